from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenswarm.config.environment import (
    IDENTITY_NAMES,
    NAMES,
    SECRET_NAMES,
    Entry,
    Environment,
    api_key_name,
    check_environment,
    endpoint_problems,
    identity_variables,
    option_defaults,
    option_source,
    parse_env,
    rag_headers,
    read_env_file,
    read_environment,
)
from tokenswarm.keys.keyvault import KeyVaultReference, key_vault_references
from tokenswarm.userinput import BadInput

CANARY = "c4nary-0123456789"

LAB_FILE = f"""\
export OPENAI_API_KEY="{CANARY}"
export AOAI_ENDPOINT="https://lab.openai.azure.com"
export AOAI_DEPLOYMENT="gpt-35-turbo-20k"
export TEST_NAME="gpt-35-turbo-20k-4rpm"
export CONTEXT_TOKENS=4500
export MAX_TOKENS=500
export RETRY="none"
export RATE=4
export DURATION=180
"""

LAB_OPTIONS = {
    "host": "https://lab.openai.azure.com",
    "deployment": "gpt-35-turbo-20k",
    "test-name": "gpt-35-turbo-20k-4rpm",
    "context-tokens": "4500",
    "max-tokens": "500",
    "retry": "none",
    "rate": "4",
    "run-time": "180",
}


def problems_of(data: bytes | str, **variables: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        parse_env(data.encode() if isinstance(data, str) else data, "x.env", variables)
    assert CANARY not in str(caught.value)
    return caught.value.problems


def values(data: str, **variables: str) -> dict[str, str]:
    return {name: entry.value for name, entry in parse_env(data.encode(), "x.env", variables).items()}


@pytest.mark.parametrize(
    "spelling",
    [
        LAB_FILE,
        LAB_FILE.replace("export ", ""),
        LAB_FILE.replace("\n", "\r\n"),
        "\ufeff" + LAB_FILE,
        LAB_FILE.replace('"', "'"),
        LAB_FILE.replace('"', ""),
    ],
    ids=["export", "plain", "windows", "byte-order-mark", "single-quotes", "no-quotes"],
)
def test_the_labs_parameter_file_works_unchanged(tmp_path, spelling):
    path = tmp_path / "lab.env"
    path.write_bytes(spelling.encode())
    environment = read_environment([path], {})
    assert option_defaults(environment) == LAB_OPTIONS
    assert api_key_name(environment, "azure") == "OPENAI_API_KEY"
    assert option_source(environment, "rate") == f"RATE ({path}:8)"
    assert check_environment(environment) == []
    assert environment.warnings == ()


def test_the_process_environment_wins_over_files_and_a_later_file_over_an_earlier(tmp_path):
    first, second = tmp_path / "1.env", tmp_path / "2.env"
    first.write_text("RATE=1\nMAX_TOKENS=10\nTEST_NAME=one\n")
    second.write_text("RATE=2\nMAX_TOKENS=20\n")
    environment = read_environment([first, second], {"RATE": "3", "CONTEXT_TOKENS": "30", "PATH": "/bin"})
    assert dict(environment) == {"RATE": "3", "MAX_TOKENS": "20", "TEST_NAME": "one", "CONTEXT_TOKENS": "30"}
    assert [environment.source(name) for name in ("RATE", "MAX_TOKENS", "TEST_NAME")] == [
        "environment",
        f"{second}:2",
        f"{first}:3",
    ]
    assert environment.warnings == (f"RATE: the environment's value is used, not the other one in {second}:1",)


def test_an_empty_value_counts_as_none(tmp_path):
    path = tmp_path / "x.env"
    path.write_text("OPENAI_API_KEY=\nRATE=5\nAOAI_ENDPOINT=''\n")
    environment = read_environment([path], {"RATE": " ", "OPENAI_API_KEY": ""})
    assert dict(environment) == {"RATE": "5"}


def test_the_real_environment_is_read_when_none_is_given(monkeypatch):
    monkeypatch.setenv("AOAI_DEPLOYMENT", "from-the-process")
    assert option_defaults(read_environment())["deployment"] == "from-the-process"


def test_locust_names_in_a_file_are_warned_about(tmp_path):
    path = tmp_path / "x.env"
    path.write_text("LOCUST_USERS=5\n")
    [warning] = read_environment([path], {}).warnings
    assert warning.startswith(f"LOCUST_USERS ({path}:1): Locust reads LOCUST_ names from the real environment only")


def test_problems_of_all_files_are_said_at_once(tmp_path):
    bad = tmp_path / "bad.env"
    bad.write_text("ok=1\nnot an assignment\n")
    with pytest.raises(BadInput) as caught:
        read_environment([tmp_path / "missing.env", bad, tmp_path], {})
    missing, malformed, folder = caught.value.problems
    assert missing == f"env-file {tmp_path}/missing.env: expected a readable file, got: No such file or directory"
    assert malformed.startswith(f"{bad}:2: expected NAME=value")
    assert folder == f"env-file {tmp_path}: expected a readable file, got: Is a directory"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (f"A=1\n\n\nKEY='{CANARY}\nB=2\n", ["x.env:4: expected NAME=value, got something else (an unclosed quote?)"]),
        (f"A=1\r\n\r\nKEY {CANARY}\r\n", ["x.env:3: expected NAME=value, got something else (an unclosed quote?)"]),
        ("export KEY\n", ["x.env:1: expected NAME=value, got a line without =value"]),
        (
            f"{CANARY}+=x\n=y",
            [
                "x.env:1: expected a name of letters, digits and _ before the =, got something else",
                "x.env:2: expected NAME=value, got something else (an unclosed quote?)",
            ],
        ),
        ("A=1\nB=${NOPE}/x\n", ["x.env:2: B: refers to ${NOPE}, which is not set"]),
        (f"A=${{{CANARY}!}}\n", ["x.env:1: A: refers to a variable, which is not set"]),
        (b"A=1\nB=\x81\n", ["x.env:2: expected UTF-8, got other bytes"]),
        (b"A=1\r\nB=\0\n", ["x.env:2: expected text, got a NUL character"]),
        ("A=1".encode("utf-16"), ['x.env: expected UTF-8, got UTF-16 (save it as UTF-8; in Excel "CSV UTF-8")']),
    ],
)
def test_bad_files_are_named_with_their_line_and_without_their_values(data, expected):
    assert problems_of(data) == expected


def test_a_huge_file_is_refused(tmp_path):
    path = tmp_path / "huge.env"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(BadInput, match="expected at most 1000000 bytes, got more"):
        read_env_file(path)


def test_quotes_comments_escapes_and_lines():
    data = 'A = plain # comment\nB=\'single # kept\'\nC="two\\nlines"\nD="over\nlines"\nE=a#b\n# F=1\n\nG=last'
    assert parse_env(data.encode()) == {
        "A": Entry("plain", 1),
        "B": Entry("single # kept", 2),
        "C": Entry("two\nlines", 3),
        "D": Entry("over\nlines", 4),
        "E": Entry("a#b", 6),
        "G": Entry("last", 9),
    }


def test_variables_in_values():
    data = "NAME=lab\nURL=https://${NAME}.openai.azure.com\nZONE=${ZONE:-west}\nPRICE=$5\nREGION=${REGION}"
    assert values(data, NAME="process", REGION="east") == {
        "NAME": "lab",
        "URL": "https://process.openai.azure.com",
        "ZONE": "west",
        "PRICE": "$5",
        "REGION": "east",
    }


def test_the_example_file_names_everything_and_sets_nothing():
    text = Path(__file__).parents[3].joinpath(".env.example").read_text()
    assert parse_env(text.encode()) == {}
    assert re.findall(r"^# ([A-Za-z_]+)=", text, re.MULTILINE) != []
    assert set(re.findall(r"^# ([A-Za-z_]+)=", text, re.MULTILINE)) == set(NAMES)
    assert parse_env(re.sub(r"^# (?=[A-Za-z_]+=)", "", text, flags=re.MULTILINE).encode()).keys() == set(NAMES)


def environment(**given_values: str) -> Environment:
    return Environment(given_values, dict.fromkeys(given_values, "x.env:1"))


def test_names_of_one_thing_have_an_order():
    both = environment(
        OPENAI_BASE_URL="http://c", AOAI_ENDPOINT="http://b", AZURE_OPENAI_ENDPOINT="http://a", AOAI_DEPLOYMENT="d"
    )
    assert option_defaults(both) == {"host": "http://a", "deployment": "d"}
    assert option_source(both, "host") == "AZURE_OPENAI_ENDPOINT (x.env:1)"
    assert option_source(both, "rate") is None
    assert option_source(both, "users") is None


def test_an_azure_key_goes_to_azure_only():
    both = environment(AZURE_OPENAI_API_KEY="azure", OPENAI_API_KEY="plain")
    assert [api_key_name(both, api) for api in ("azure", "azure-v1", "openai")] == [
        "AZURE_OPENAI_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "OPENAI_API_KEY",
    ]
    assert api_key_name(environment(AZURE_OPENAI_API_KEY="azure"), "openai") is None
    assert api_key_name(environment(OPENAI_API_KEY="plain"), "azure") == "OPENAI_API_KEY"


def test_headers_of_the_orchestrator():
    everything = environment(functionKey="f", ORCHESTRATOR_APP_APIKEY="a", DAPR_API_TOKEN="d")
    assert rag_headers(everything, "v1") == {"x-functions-key": "f"}
    assert rag_headers(everything, "v2") == {"dapr-api-token": "d"}
    assert rag_headers(environment(ORCHESTRATOR_APP_APIKEY="a"), "v2") == {"X-API-KEY": "a"}
    assert rag_headers(environment(ORCHESTRATOR_FUNCTION_KEY="o", functionKey="f"), "v1") == {"x-functions-key": "o"}
    assert rag_headers(environment(), "v1") == {}
    bearer = environment(ORCHESTRATOR_BEARER_TOKEN="t", ORCHESTRATOR_APP_APIKEY="a")
    assert rag_headers(bearer, "v2") == {"X-API-KEY": "a", "Authorization": "Bearer t"}
    assert rag_headers(bearer, "v1") == {"Authorization": "Bearer t"}


def test_a_service_principal_can_come_from_a_file():
    given_names = environment(AZURE_TENANT_ID="t", AZURE_CLIENT_ID="c", AZURE_CLIENT_SECRET="s", RATE="1")
    assert tuple(identity_variables(given_names)) == IDENTITY_NAMES


def test_secrets_are_known_and_not_shown():
    known = environment(OPENAI_API_KEY=CANARY, OTHER_PASSWORD="p4ssword", functionKey="fk", RATE="5", MAX_TOKENS="7")
    assert sorted(known.secrets()) == [CANARY, "fk", "p4ssword"]
    assert CANARY not in repr(known)
    assert set(NAMES) >= SECRET_NAMES


def test_resolved_values_replace_references():
    before = environment(OPENAI_API_KEY="@Microsoft.KeyVault(VaultName=abc;SecretName=n)", RATE="5")
    after = before.resolved({"OPENAI_API_KEY": "value"})
    assert dict(after) == {"OPENAI_API_KEY": "value", "RATE": "5"}
    assert after.source("OPENAI_API_KEY") == "x.env:1"
    assert key_vault_references(before) == {"OPENAI_API_KEY": KeyVaultReference("https://abc.vault.azure.net", "n")}
    assert key_vault_references(after) == {}


@pytest.mark.parametrize("key", ["<your-key>", "your-key-here", "xxxxxxxx", "...", "CHANGEME", "{key}"])
def test_placeholders_are_no_keys(key):
    assert check_environment(environment(OPENAI_API_KEY=key)) == [
        "OPENAI_API_KEY (x.env:1): expected a key, got what is still a placeholder"
    ]


@pytest.mark.parametrize("key", [f"{CANARY}\nX-Evil: 1", f"{CANARY} b", f"{CANARY}é", f"{CANARY}\x7f"])
def test_keys_that_cannot_be_a_header_are_refused_unseen(key):
    [problem] = check_environment(environment(ORCHESTRATOR_FUNCTION_KEY=key))
    assert problem.startswith("ORCHESTRATOR_FUNCTION_KEY (x.env:1): expected a key of printable ASCII")
    assert CANARY not in problem


@pytest.mark.parametrize(
    "url",
    [
        "https://r.openai.azure.com",
        "https://r.openai.azure.com/",
        "http://127.0.0.1:8000/v1",
        "http://[::1]:8000/openai/v1/",
    ],
)
def test_good_endpoints(url):
    assert endpoint_problems(url, "host") == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (CANARY, ", got one without http:// or https://"),
        ("r.openai.azure.com", ", got one without http:// or https://"),
        ("ftp://host", ", got 'ftp://host'"),
        ("https://", ", got 'https://'"),
        ("https://host:0", ", got 'https://host:0'"),
        ("https://host:99999", ", got one with an unusable host or port"),
        (f"https://me:{CANARY}/+@host", ", got one with an unusable host or port"),
        ("https://[::1", ", got one with an unusable host or port"),
        ("https://<resource>.openai.azure.com", ", got one that is still a placeholder"),
        ("https://ho st", " without blanks and special characters, got 'https://ho st'"),
        ("https://host/\r\nX: 1", " without blanks and special characters, got 'https://host/\\r\\nX: 1'"),
        (f"https://me:{CANARY}@host", " without credentials, got one with (give the key by its own name)"),
        (f"https://host/?code={CANARY}", " without query and fragment, got one with"),
    ],
)
def test_bad_endpoints(url, expected):
    [problem] = endpoint_problems(url, "host")
    assert problem == f"host: expected an http or https URL{expected}"
    assert CANARY not in problem


def test_endpoints_of_the_environment_are_checked():
    assert check_environment(environment(AOAI_ENDPOINT="nowhere", RATE="x")) == [
        "AOAI_ENDPOINT (x.env:1): expected an http or https URL, got one without http:// or https://"
    ]


def test_a_reference_is_no_bad_key_and_no_bad_endpoint():
    reference = "@Microsoft.KeyVault(VaultName=kv-a;SecretName=n)"
    assert check_environment(environment(OPENAI_API_KEY=reference, AOAI_ENDPOINT=reference)) == []


ENV_TEXT = st.text(st.sampled_from("AB_=\"' \t\r\n#$\\{}:-export1é"), max_size=60)


@settings(max_examples=400, deadline=None)
@given(st.one_of(ENV_TEXT.map(str.encode), st.binary(max_size=60)))
def test_any_bytes_are_assignments_or_bad_input(data):
    try:
        entries = parse_env(data)
    except BadInput as error:
        assert error.problems
        return
    lines = len(re.findall(r"\r\n|\n|\r", data.decode("utf-8-sig"))) + 1
    assert all(1 <= entry.line <= lines for entry in entries.values())


@settings(max_examples=300)
@given(st.one_of(st.text(), st.text().map(lambda text: f"https://{text}")))
def test_any_endpoint_is_judged(url):
    assert isinstance(endpoint_problems(url, "host"), list)


def test_every_placeholder_of_a_parameter_file_is_named() -> None:
    text = (
        "OPENAI_API_KEY=[replace with your key]\nAOAI_ENDPOINT=[replace with your endpoint: https://x/]\n"
        "AOAI_DEPLOYMENT=[replace with your deployment name]\nTEST_NAME=[name, example: ptu]\nRATE=<rate>\n"
    )
    values = {name: entry.value for name, entry in parse_env(text.encode()).items()}
    problems = check_environment(Environment(values, {}))
    assert {problem.partition(" ")[0] for problem in problems} == set(values)
    assert all("still a placeholder" in problem for problem in problems)
    assert check_environment(Environment({"TEST_NAME": "a[1]", "AOAI_ENDPOINT": "http://[::1]:80/"}, {})) == []


@pytest.mark.parametrize("name", ["your-deployment", "<deployment>", "xxxxxx", "Enter model here"])
def test_placeholders_are_no_deployments(name: str) -> None:
    (said,) = check_environment(Environment({"AZURE_OPENAI_DEPLOYMENT": name}, {}))
    assert said.startswith("AZURE_OPENAI_DEPLOYMENT (environment): expected a value, got what is still a placeholder")
    assert not check_environment(Environment({"AZURE_OPENAI_DEPLOYMENT": "enterprise", "TEST_NAME": "todo"}, {}))


def test_a_name_that_a_file_leaves_empty_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("OPENAI_BASE_URL=\nRATE=5\n")
    read = read_environment([tmp_path / "a.env"], {})
    assert read.left_blank(["AOAI_ENDPOINT", "OPENAI_BASE_URL"]) == f"; OPENAI_BASE_URL ({tmp_path}/a.env:1) is empty"
    assert read.left_blank(["RATE"]) == ""
    (tmp_path / "b.env").write_text("RATE=\n")
    assert read_environment([tmp_path / "a.env", tmp_path / "b.env"], {}).source("RATE").endswith("a.env:2")


def test_an_orchestrator_has_no_query_in_its_url() -> None:
    url = "https://h/?api-version=2024-01-01"
    assert check_environment(Environment({"AOAI_ENDPOINT": url}, {})) == []
    (problem,) = check_environment(Environment({"ORCHESTRATOR_ENDPOINT": url}, {}))
    assert "expected a URL without a query" in problem
