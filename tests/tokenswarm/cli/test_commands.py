"""The commands as a user types them, in a folder of their own."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.locust_process import environment
from tests.simulator_process import API_KEY, ROOT, Simulator, running_simulator
from tokenswarm.cli.env_file import env_text, env_values
from tokenswarm.cli.scenarios import find_scenario, known_scenarios, locust_arguments
from tokenswarm.config.environment import parse_env
from tokenswarm.results.run_directory import check_results
from tokenswarm.userinput import BadInput

QUICK = "[deployments.'gpt-4.1-nano']\nttft_base_ms = 20\ntbt_ms = 1\n"


@pytest.fixture(scope="module")
def simulator() -> object:
    with running_simulator(QUICK) as simulator:
        yield simulator


def typed(folder: Path, *words: str, said: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tokenswarm", *words]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(PYTHONPATH=str(ROOT), **variables),
        input=said,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_init_run_and_report_in_an_empty_folder(simulator: Simulator, tmp_path: Path) -> None:
    done = typed(tmp_path, "init", said=f"{simulator.chat_url}\n{API_KEY}\ngpt-4.1-nano\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Answered: first token after" in done.stdout
    assert API_KEY not in done.stdout + done.stderr
    assert stat.S_IMODE(os.stat(tmp_path / ".env").st_mode) == 0o600
    assert (tmp_path / "scenarios" / "traces" / "sample-azure.csv").exists()
    assert ".env" in (tmp_path / ".gitignore").read_text().splitlines()
    ran = typed(tmp_path, "run", "smoke", "-t", "30s", "--max-total-requests", "3")
    assert ran.returncode in (0, 4), ran.stdout + ran.stderr  # 4: this machine was too busy to measure
    (run,) = (tmp_path / "results" / "smoke").iterdir()
    reported = typed(tmp_path, "report")
    assert reported.returncode == 0, reported.stderr
    assert (run / "report.html").exists()
    assert typed(tmp_path, "check").returncode == ran.returncode
    assert "expected 2 runs of one test" in typed(tmp_path, "compare").stderr
    again = typed(tmp_path, "init", "--no-test")
    assert again.returncode == 0 and "stays as it is" in again.stdout


def test_a_wrong_key_is_said_and_the_exit_code_says_so(simulator: Simulator, tmp_path: Path) -> None:
    done = typed(
        tmp_path, "init", "--endpoint", simulator.chat_url, "--model", "gpt-4.1-nano", said="another-key-123\n"
    )
    assert done.returncode == 2
    assert "API key: expected one that" in done.stderr
    assert "init --force" in done.stderr.splitlines()[-1], "what to do"
    assert "another-key-123" not in done.stdout + done.stderr


def test_init_without_answers_writes_nothing(tmp_path: Path) -> None:
    done = typed(tmp_path, "init", "new", said="http://127.0.0.1:8000\n")
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert done.stderr.splitlines()[-1].endswith("got no answer to 'Key'; nothing was written")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "scenarios").write_text("a file")
    done = typed(tmp_path, "init", "--no-test", said="http://127.0.0.1:8000\n\nm\n")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.endswith("expected to be able to read and write it, got File exists\n"), done.stderr


@pytest.mark.parametrize("words", [("check",), ("history",), ("doctor", "--no-request")])
def test_ctrl_c_while_a_command_is_loaded_is_one_line(words: tuple[str, ...], tmp_path: Path) -> None:
    """The signal comes when the module of the command is asked for: a Python that loads it is stopped there."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('analysis.__main__', 'tokenswarm.cli.demo'):\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop())\n"
    )
    command = [sys.executable, "-m", "tokenswarm", *words]
    variables = environment(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "Stopped.")


def test_a_mistyped_command_is_one_line(tmp_path: Path) -> None:
    done = typed(tmp_path, "chekc")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "command: expected one that python -m tokenswarm has, got 'chekc' (did you mean check?)\n"
    shown = typed(tmp_path, "--help").stdout
    assert "..." not in shown.partition("Commands:")[2], "no command's line is cut"
    assert shown.index("  init ") < shown.index("  run ") < shown.index("  report ") < shown.index("  simulator ")


@pytest.mark.parametrize("name", [None, ".env"])
def test_a_run_without_an_endpoint_says_where_one_comes_from(name: str | None, tmp_path: Path) -> None:
    if name:
        (tmp_path / name).write_text("RATE=4\nOPENAI_BASE_URL=\n")
    (line,) = [line for line in typed(tmp_path, "run", "smoke").stderr.splitlines() if "chat endpoint" in line]
    looked = "(looked in the environment and .env; OPENAI_BASE_URL (.env:2) is empty)"
    assert line.endswith(looked if name else "asks for the endpoint and writes .env)")


def test_a_run_of_our_scenario_needs_no_copy(simulator: Simulator, tmp_path: Path) -> None:
    """Its budget ends it, and its run time is over while the report is being made, or soon after: it is made."""
    variables = {"OPENAI_BASE_URL": f"{simulator.chat_url}/v1", "OPENAI_API_KEY": API_KEY, "LOCUST_REPORT": ""}
    words = ["run", "smoke", "--deployment", "gpt-4.1-nano", "--max-total-requests", "2", "-t", "2s"]
    done = typed(tmp_path, *words, **variables)
    assert done.returncode in (0, 4), done.stderr
    (run,) = tmp_path.glob("results/smoke/*/run.json")
    assert (run.parent / "report.html").is_file()
    assert "Next: python -m tokenswarm check" in done.stdout


def test_doctor_says_what_is_inferred(simulator: Simulator, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        f"OPENAI_BASE_URL={simulator.chat_url}\nOPENAI_API_KEY={API_KEY}\nAZURE_OPENAI_DEPLOYMENT=gpt-4.1-nano\n"
    )
    done = typed(tmp_path, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert simulator.chat_url in lines["endpoint"] and ".env:1" in lines["endpoint"]
    assert "openai" in lines["API"] and "OPENAI_API_KEY" in lines["key"] and API_KEY not in done.stdout
    assert "gpt-4.1-nano" in lines["model"] and "none" in lines["proxy"]
    assert "processors" in lines["limits"] and "clock" in lines and "Answered" in lines["request"]


def test_doctor_says_what_to_do(tmp_path: Path) -> None:
    done = typed(tmp_path, "doctor")
    assert done.returncode == 2
    assert "chat endpoint: expected" in done.stderr and "What to do:" in done.stderr and "init" in done.stderr


def test_options_are_found_by_a_word(tmp_path: Path) -> None:
    done = typed(tmp_path, "options", "warm")
    assert "--warm-up" in done.stdout and "default: 0" in done.stdout and "example: --warm-up 30" in done.stdout
    assert "--rate-stages" not in done.stdout
    assert "did you mean context-tokens" in typed(tmp_path, "options", "contxt-tokens").stderr


HELP_OF_ALL = """
import os, sys
from tokenswarm.cli.main import main
for name in sys.argv[1:]:
    print("help of", name, flush=True)
    if os.fork() == 0:  # each loads what is its own
        sys.argv = ["tokenswarm", name, "--help"]
        main()
    assert os.wait()[1] == 0, name
"""


def test_small_commands_answer(tmp_path: Path) -> None:
    assert "smoke" in typed(tmp_path, "list").stdout
    assert typed(tmp_path, "--version").stdout.startswith("tokenswarm ")
    assert "tokenswarm" in typed(tmp_path, "completion", "bash").stdout
    names = ("report", "check", "compare", "sizing", "simulator", "selfcheck", "demo", "init", "run")
    command = [sys.executable, "-c", HELP_OF_ALL, *names]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.split(r"^help of (\w+)$", done.stdout, flags=re.MULTILINE)[1:]
    assert tuple(shown[::2]) == names
    assert all("usage" in text.lower() for text in shown[1::2])


def test_a_file_in_the_place_of_the_results_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    assert check_results(tmp_path / "results", "smoke") == [
        f"results-dir: expected a directory that can be written, got {tmp_path}/results, which is a file"
    ]


def test_a_misspelt_scenario_is_one_line(tmp_path: Path) -> None:
    done = typed(tmp_path, "run", "smok")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "scenario: expected the name of one or a .conf file, got 'smok' (did you mean smoke or soak?)\n"
    )


def test_what_locust_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = find_scenario("rag-peak")
    told = locust_arguments(path, ["-t", "5s"], web=False)
    assert told[:2] == ["--config", str(path)] and told[-2:] == ["-t", "5s"] and "--headless" in told
    assert {"--locustfile", "--dataset"} <= set(told) and "--env-file" not in told
    Path(".env").write_text("")
    assert "--env-file" in locust_arguments(path, [], web=False)
    assert "--headless" not in locust_arguments(path, [], web=True)
    assert "--headless" not in locust_arguments(path, ["--worker"], web=False)
    assert "--locustfile" not in locust_arguments(path, ["-f", "mine.py"], web=False)


def test_every_scenario_of_ours_finds_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in known_scenarios().values():
        told = locust_arguments(path, [], web=False)
        named = re.findall(r"^([\w-]+) *= *(?:scenarios|locustfiles)/", path.read_text(), re.MULTILINE)
        assert named and all(Path(told[told.index(f"--{key}") + 1]).is_file() for key in named), path


def test_a_scenario_of_ones_own_hides_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scenarios").mkdir()
    Path("scenarios/smoke.conf").write_text("# Mine.\n")
    assert known_scenarios()["smoke"] == Path("scenarios/smoke.conf")
    assert known_scenarios()["rag-peak"].is_absolute()


@pytest.mark.parametrize("key", ["plain-key_1", "with space", "quote'and#hash", "back\\slash", 'double"quote'])
def test_the_env_file_gives_the_same_values_back(key: str) -> None:
    values = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": key}
    read = parse_env(env_text(values).encode())
    assert {name: entry.value for name, entry in read.items()} == values


def test_an_azure_host_gets_azures_names() -> None:
    values = env_values("https://res.openai.azure.com", "0" * 32, "gpt-4o")
    assert [*values] == ["AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_DEPLOYMENT"]
    assert [*env_values("http://127.0.0.1:8000", "", "m")] == ["OPENAI_BASE_URL", "AZURE_OPENAI_DEPLOYMENT"]
    with pytest.raises(BadInput, match="endpoint: expected an http or https URL"):
        env_values("res.openai.azure.com", "", "m")


def test_a_scenario_that_is_none_is_one_line(tmp_path: Path) -> None:
    scenario = "scenario: expected"
    for words, said in (
        (["run"], f"{scenario} the name of one or a .conf file, got none (`list` shows all)"),
        (["run", "smoke", "balanced"], f"{scenario} one, got smoke and balanced (run them one after the other)"),
        (
            ["run", "scenarios/smoke.conf"],
            f"{scenario} a file, got 'scenarios/smoke.conf', which does not exist (`run smoke` takes the one that came "
            "with us)",
        ),
    ):
        done = typed(tmp_path, *words)
        assert (done.returncode, done.stderr.splitlines()) == (2, [said])


def test_a_run_below_the_folder_of_env_says_where_that_is(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=http://127.0.0.1:9/v1\n")
    below = tmp_path / "deep"
    below.mkdir()
    done = typed(below, "run", "smoke")
    assert done.returncode == 2 and f"there is a .env in {tmp_path}: go there, or give --env-file" in done.stderr
