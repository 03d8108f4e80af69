"""The start form: what it would set, what is refused, and scenarios as Locust itself reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenswarm.config.options import OPTIONS
from tokenswarm.live.start_form import (
    GROUPS,
    StartForm,
    by_field,
    list_files,
    list_scenarios,
    parse_scenario,
    read_scenario,
    scenario_folder,
)
from tokenswarm.userinput import BadInput

OPTIONS_NOW = {
    "num_users": 1,
    "spawn_rate": 1.0,
    "run_time": None,
    "rate": None,
    "results_dir": None,
    "deployment": "a",
}
FORM = StartForm(OPTIONS_NOW, Path("scenarios"))
SCENARIO = """\
# a comment
locustfile = locustfiles/chat_completions.py
users = 50
run-time: 10m   # ten minutes
rate 120
failure-criteria = p95(ttft_ms) > 1000; percentage(error) > 1
dataset = "scenarios/dataset.csv"
context-tokens = uniform(200, 800)
tls-verify = no
"""


def test_a_form_is_converted_as_locust_does() -> None:
    form = {"user_count": "20", "spawn_rate": "2.5", "run_time": "1m30s", "rate": "120", "host": "http://a<b>"}
    options, problems = FORM.would_be_options(OPTIONS_NOW, form)
    assert problems == []
    assert options["num_users"] == 20
    assert options["spawn_rate"] == 2.5
    assert options["run_time"] == 90
    assert options["rate"] == "120"
    assert options["host"] == "http://ab"
    assert OPTIONS_NOW["rate"] is None, "nothing is changed before everything is checked"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"user_count": "many"}, "user count: expected a whole number, got 'many'"),
        ({"user_count": "0"}, "users: expected 1 or more, got 0"),
        ({"spawn_rate": "inf"}, "spawn rate: expected users per second above 0, got inf"),
        ({"spawn_rate": "nan"}, "spawn rate: expected users per second above 0, got nan"),
        ({"run_time": "soon"}, "run time: expected 20, 20s, 3m, 1h20m, got 'soon'"),
        ({"results_dir": "/etc"}, "results-dir: expected on the command line or in the scenario, not from a form"),
        ({"env_file": "/etc/passwd"}, "env-file: expected on the command line or in the scenario, not from a form"),
        ({"arrival": "/etc/passwd"}, "arrival: expected one of constant, poisson, gamma, got '/etc/passwd'"),
        ({"user_count": "1000001"}, "users: expected at most 1000000, got 1000001"),
        ({"auth": "http://127.0.0.1:1"}, "auth: expected one of key, entra, got 'http://127.0.0.1:1'"),
    ],
)
def test_what_a_form_may_not_say(form: dict[str, str], expected: str) -> None:
    assert FORM.would_be_options(OPTIONS_NOW, form)[1] == [expected]


def test_all_problems_are_told_together() -> None:
    assert len(FORM.would_be_options(OPTIONS_NOW, {"user_count": "x", "spawn_rate": "0", "ca_file": "/x"})[1]) == 3


def test_every_visible_option_is_in_one_group_and_no_hidden_one_in_any() -> None:
    fields = [field["label"] for group in FORM.describe(OPTIONS_NOW) for field in group["fields"]]
    assert sorted(fields) == sorted(option.name for option in OPTIONS if option.in_form)
    assert {option.group for option in OPTIONS} <= set(GROUPS)


def test_a_scenario_is_read_by_locusts_own_rules(tmp_path: Path) -> None:
    (tmp_path / "peak.conf").write_text(SCENARIO)
    (tmp_path / "notes.txt").write_text("no scenario")
    assert list_scenarios(tmp_path) == ["peak.conf"]
    scenario = read_scenario(tmp_path, "peak.conf")
    assert scenario["values"] == {
        "user_count": "50",
        "run_time": "10m",
        "test_name": "peak",
        "rate": "120",
        "failure_criteria": "p95(ttft_ms) > 1000; percentage(error) > 1",
        "dataset": "scenarios/dataset.csv",
        "context_tokens": "uniform(200, 800)",
    }
    assert scenario["locustfile"] == "locustfiles/chat_completions.py"
    assert scenario["left_out"] == ["tls-verify"]


@pytest.mark.parametrize("name", ["../secret.conf", "/etc/passwd", "", "notes.txt", "missing.conf"])
def test_only_scenarios_of_the_directory_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path.parent / "secret.conf").write_text("users = 1")
    (tmp_path / "peak.conf").write_text(SCENARIO)
    with pytest.raises(BadInput, match=r"scenario: expected one of peak\.conf"):
        read_scenario(tmp_path, name)


def test_a_line_that_is_no_setting_is_named() -> None:
    with pytest.raises(BadInput, match="expected lines as key = value"):
        parse_scenario("= nothing")


def test_our_own_scenarios_can_fill_the_form() -> None:
    directory = Path(__file__).parents[3] / "scenarios"
    assert "smoke.conf" in list_scenarios(directory)
    for name in list_scenarios(directory):
        assert read_scenario(directory, name)["values"]


def test_without_scenarios_of_ones_own_ours_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"smoke.conf", "rag-peak.conf"} <= set(list_scenarios(scenario_folder()))
    form = StartForm(OPTIONS_NOW, scenario_folder())
    for name in list_scenarios(scenario_folder()):
        values = read_scenario(scenario_folder(), name)["values"]
        _, problems = form.would_be_options(OPTIONS_NOW, values)
        assert not problems, name
        assert all(Path(values[key]).is_file() for key in ("dataset", "trace", "requests") if key in values), name
    Path("scenarios").mkdir()
    assert scenario_folder() == Path("scenarios")


def test_a_form_chooses_among_the_files_of_the_scenarios(tmp_path: Path) -> None:
    scenarios = tmp_path / "scenarios"
    (scenarios / "traces").mkdir(parents=True)
    (scenarios / "questions.csv").write_text("a question\n")
    (scenarios / "traces" / "day.jsonl").write_text("{}\n")
    (scenarios / "peak.conf").write_text(SCENARIO)
    (tmp_path / "secret.csv").write_text("a secret\n")
    (scenarios / "link.csv").symlink_to(tmp_path / "secret.csv")
    questions, trace = f"{scenarios}/questions.csv", f"{scenarios}/traces/day.jsonl"
    assert list_files(scenarios) == [questions, trace]
    form = StartForm({**OPTIONS_NOW, "dataset": "my/own.csv"}, scenarios)
    for name, allowed in (("dataset", [questions, trace, "my/own.csv", ""]), ("trace", [questions, trace, ""])):
        assert [form.would_be_options(OPTIONS_NOW, {name: value})[1] for value in allowed] == [[]] * len(allowed)
        for value in ("/etc/shadow", "/dev/zero", f"{scenarios}/../secret.csv", f"{scenarios}/link.csv", "a\0b"):
            (problem,) = form.would_be_options(OPTIONS_NOW, {name: value})[1]
            assert problem.startswith(f"{name}: expected a file of {scenarios}/ or of the command line, got ")
            assert form.would_be_options(OPTIONS_NOW, {name: value})[0].get(name) == OPTIONS_NOW.get(name)


@pytest.mark.parametrize("key", ["csv_prefix", "html_file", "logfile", "locustfile", "web_host", "expect_workers"])
def test_locusts_own_options_are_not_the_forms(key: str) -> None:
    form = StartForm({**OPTIONS_NOW, key: None}, Path("scenarios"))
    (problem,) = form.would_be_options({**OPTIONS_NOW, key: None}, {key: "/tmp/elsewhere"})[1]
    assert problem.endswith("expected on the command line or in the scenario, not from a form")


def test_while_a_test_runs_a_form_changes_the_number_of_users_only() -> None:
    now = {**OPTIONS_NOW, "host": "http://a"}
    assert FORM.check_change(now, {"user_count": "5", "spawn_rate": "2", "host": "http://a", "deployment": "a"}) == []
    problems = FORM.check_change(now, {"user_count": "5", "spawn_rate": "2", "host": "http://b", "rate": "7"})
    assert [problem.partition(":")[0] for problem in problems] == ["host", "rate"]


def test_a_run_is_named_after_its_scenario_unless_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "peak.conf").write_text("users = 2\n")
    (tmp_path / "named.conf").write_text("test-name = evening\n")
    assert read_scenario(tmp_path, "peak.conf")["values"]["test_name"] == "peak"
    assert read_scenario(tmp_path, "named.conf")["values"]["test_name"] == "evening"


@pytest.mark.parametrize(
    ("problem", "field"),
    [
        ("rate: expected requests per minute, got 'x'", "rate"),
        ("rate-stages: expected stages, got 'x'", "rate_stages"),
        ("max-tokens: expected a number, got 'x'", "max_tokens"),
        ("spawn rate: expected users per second above 0, got 0", "spawn_rate"),
        ("run time: expected more than 0 seconds, got 0", "run_time"),
        ("failure criterion: expected a metric, got 'x'", "failure_criteria"),
        ("dataset scenarios/a.csv: expected a question, got none", "dataset"),
        ("API key: expected OPENAI_API_KEY, got none", None),
    ],
)
def test_a_problem_is_told_at_its_field(problem: str, field: str | None) -> None:
    assert by_field([problem]) == ({} if field is None else {field: [problem]})


def test_a_criterion_of_blanks_is_refused_and_an_empty_field_is_no_value() -> None:
    for blank in (" ", "\t\n"):
        _, problems = FORM.would_be_options(OPTIONS_NOW, {"failure_criteria": blank, "goodput": ""})
        assert problems == [
            "failure-criteria: expected a value, got a blank one (leave the option out to run without it)"
        ]
    assert FORM.would_be_options(OPTIONS_NOW, {"failure_criteria": "", "auto_stop": ""})[1] == []
