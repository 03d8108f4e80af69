"""Every command that a page tells someone to type: it exists with all its options, and what can be run here is run.

README and quickstart are typed whole in `tests/e2e/test_documented.py`.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from analysis.__main__ import COMMANDS as ANALYSIS
from tests.e2e.locust_process import environment
from tests.simulator_process import API_KEY, FUNCTIONS_KEY, ROOT, running_simulator
from tokenswarm.cli.main import cli

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
PROGRAMS = ("tokenswarm", "locust", "python", ".venv/bin/python", "make", "pip", "pipx", "uvx", "gh", "az", "docker",
            "kubectl", "curl", "git")  # fmt: skip
SHELL = ("", "sh", "bash", "console")
LOCUST_OPTIONS = """
import json
from locust.argument_parser import get_parser, default_args_dict
from tokenswarm.config.options import OPTIONS
names = {name for action in get_parser()._actions for name in action.option_strings}
print(json.dumps(sorted(names | {f"--{option.name}" for option in OPTIONS} | {"--otel"})))
"""


def typed_lines(text: str) -> Iterator[str]:
    """Lines of shell blocks, fenced or indented, and what stands in backquotes and begins with a program's name."""
    fence = None
    text = re.sub(r" *\\\n *", " ", text)
    for line in text.splitlines():
        if line.startswith("```"):
            fence = line[3:].strip() if fence is None else None
        elif (fence in SHELL) if fence is not None else line.startswith("    "):
            yield line.strip().removeprefix("$ ")
        elif fence is None:
            yield from re.findall(r"`([^`]+ [^`]+)`", line)


def commands(text: str) -> list[list[str]]:
    """The words of each command, without comments, `export`s and variables before it; each side of a pipe by itself."""
    found = []
    for line in typed_lines(text):
        begins = line.removeprefix("export ")
        if not re.match(rf"(\w+=\S+ )*({'|'.join(map(re.escape, PROGRAMS))}) ", begins):
            continue
        for part in re.split(r" \| ", re.sub(r"\s+#.*", "", begins)):
            words = shlex.split(part)
            while words and re.match(r"\w+=", words[0]):
                words = words[1:]
            found.append(words)
    return found


COMMANDS = {page.name: commands(page.read_text(encoding="utf-8")) for page in PAGES}


@functools.cache
def locust_options() -> frozenset[str]:
    done = subprocess.run([sys.executable, "-c", LOCUST_OPTIONS], cwd=ROOT, capture_output=True, text=True, check=True)
    return frozenset(json.loads(done.stdout))


@functools.cache
def module_help(*module: str) -> str:
    """Of a module, or of a command of it."""
    done = subprocess.run(
        [sys.executable, "-m", *module, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def command_options(name: str) -> str:
    """The options of a command of `tokenswarm` or of `python -m analysis`, as text."""
    if name in ANALYSIS:
        parser = argparse.ArgumentParser()
        importlib.import_module(ANALYSIS[name].module).add_arguments(parser)
        return parser.format_help()
    return " ".join(option for each in cli.commands[name].params for option in each.opts)


def long_options(words: Sequence[str]) -> list[str]:
    return [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]


def problems(words: Sequence[str]) -> list[str]:
    """What would keep a command from doing what the page says, as far as it can be seen without running it."""
    match [word for word in words if not word.startswith("#")]:
        case [("python" | ".venv/bin/python"), "-m", "tokenswarm", *rest]:
            return problems(["tokenswarm", *rest])
        case ["tokenswarm", "run", scenario, *rest] if scenario.islower():
            return _no_file(f"scenarios/{scenario}.conf") + _unknown(rest, locust_options() | {"--web"})
        case ["tokenswarm", "sweep", scenario, *rest] if scenario.islower():
            return _no_file(f"scenarios/{scenario}.conf") + _unknown(rest, locust_options() | {"--sweep", "--into"})
        case ["tokenswarm", name, *rest] if not name.isupper():
            return _unknown(rest, command_options(name)) if name in cli.commands else [f"no command {name}"]
        case ["locust", *rest]:
            files = [word for word in rest if word.startswith("scenarios/") and "SCENARIO" not in word]
            return _unknown(rest, locust_options()) + [each for file in files for each in _no_file(file)]
        case [("python" | ".venv/bin/python"), "-m", "analysis", name, *rest]:
            return _unknown(rest, command_options(name)) if name in ANALYSIS else [f"no command {name}"]
        case [("python" | ".venv/bin/python"), "-m", module, *rest] if module != "pip":
            if importlib.util.find_spec(module) is None:
                return [f"no module {module}"]
            command = [word for word in rest[:1] if re.fullmatch("[a-z]+", word)]
            return _unknown(rest, module_help(module, *command)) if long_options(rest) else []
        case [("python" | ".venv/bin/python"), script, *rest] if script.endswith(".py"):
            return _no_file(script)
        case ["make", *rest]:
            targets = [word for word in rest if "=" not in word]
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            return [f"no target {name}" for name in targets if not re.search(rf"^{name}:", makefile, re.MULTILINE)]
        case ["gh", "workflow", "run", workflow, *rest]:
            inputs = yaml.safe_load((ROOT / ".github/workflows" / workflow).read_text())[True]["workflow_dispatch"][
                "inputs"
            ]
            return [f"no input {word}" for word in rest if "=" in word and word.partition("=")[0] not in inputs]
        case [("docker" | "kubectl" | "pip"), *rest]:
            return [each for word in rest if "/" in word and "." in word and "://" not in word and "http" not in word
                    for each in _no_file(word.partition(":")[0])]  # fmt: skip
    return []


def _no_file(name: str) -> list[str]:
    return (
        [] if (ROOT / name).exists() or re.search("[A-Z]{4}", name) or name.startswith("job/") else [f"no file {name}"]
    )


def _unknown(words: Sequence[str], known: str | frozenset[str]) -> list[str]:
    """Options that are not known; of a help text, whole words."""
    names = known if isinstance(known, frozenset) else frozenset(re.findall(r"(?<![\w-])--?[\w-]+", known))
    return [f"no option {option}" for option in long_options(words) if option not in names]


@pytest.mark.parametrize("page", sorted(COMMANDS))
def test_what_a_page_tells_to_type_exists(page: str) -> None:
    wrong = {" ".join(words): found for words in COMMANDS[page] if (found := problems(words))}
    assert wrong == {}


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    text = """
`tokenswarm run smokes`, `tokenswarm reprot x`, `make tset now`, `python -m tokenswarm.selfchek --json`

    locust --config scenarios/smoke.conf --headles     # a comment
    python -m analysis check RUN --junitt x
"""
    assert [problems(words) for words in commands(text)] == [
        ["no file scenarios/smokes.conf"],
        ["no command reprot"],
        ["no target tset", "no target now"],
        ["no module tokenswarm.selfchek"],
        ["no option --headles"],
        ["no option --junitt"],
    ]


SHORT = "--max-total-requests 3 --run-time 20s"
RUNS = {
    ("scenarios.md", "locust --config scenarios/balanced.conf --headless --env-file .env"): SHORT,
    ("live.md", "locust --config scenarios/smoke.conf --headless --otel"): f"--env-file .env {SHORT}",
    ("ci.md", "tokenswarm run rag-peak"): "--stages threads=2,duration=4s --max-total-requests 4",
}
"""Commands that send load, and what makes them short; they run at the same time."""
AFTERWARDS = {
    ("ci.md", "tokenswarm check --junit junit.xml"): (0, 3, 4),
    ("azure.md", 'python -m analysis azure-metrics results/smoke/RUN --endpoint http://127.0.0.1:8000 --server-metrics '
     '"/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/sim region=local"'): (0,),
    ("history.md", "tokenswarm history"): (0,),
    ("history.md", "tokenswarm history results/rag-peak"): (0,),
    ("results-explained.md", "tokenswarm sizing --rpm 50 --prompt-tokens 4500 --completion-tokens 500"): (0,),
    ("metrics.md", "python -m analysis metrics --markdown"): (0,),
    ("options.md", "tokenswarm options tokens"): (0,),
}  # fmt: skip
"""What is typed after a run, and the exit codes that it may end with."""


def typed(folder: Path, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    programs = {"tokenswarm": ["-m", "tokenswarm"], "locust": ["-m", "locust"], "python": []}
    command = [sys.executable, *programs[words[0]], *words[1:]]
    env = environment(PYTHONPATH=str(ROOT))
    return subprocess.run(
        command, cwd=folder, env=env, input="", capture_output=True, text=True, timeout=100, check=False
    )


def test_what_can_be_run_here_does_what_the_page_says(tmp_path: Path) -> None:
    for page, line in (*RUNS, *AFTERWARDS):
        assert shlex.split(line) in COMMANDS[page], f"{page} says so no more: {line}"
    for name in ("analysis", "simulator", "tokenswarm", "locustfiles", "scenarios"):
        (tmp_path / name).symlink_to(ROOT / name)
    with running_simulator("[deployments.'gpt-4.1-nano']\nttft_base_ms = 20\ntbt_ms = 1\n") as simulator:
        url = simulator.chat_url
        (tmp_path / ".env").write_text(
            f"AZURE_OPENAI_ENDPOINT={url}\nAZURE_OPENAI_API_KEY={API_KEY}\nAZURE_OPENAI_DEPLOYMENT=gpt-4.1-nano\n"
            f"ORCHESTRATOR_ENDPOINT={url}\nORCHESTRATOR_FUNCTION_KEY={FUNCTIONS_KEY}\n"
        )
        with ThreadPoolExecutor() as pool:
            ran = pool.map(lambda item: typed(tmp_path, shlex.split(f"{item[0][1]} {item[1]}")), RUNS.items())
        for done in ran:
            assert done.returncode in (0, 4), done.stdout + done.stderr
        (smoke,) = tmp_path.glob("results/smoke/*")
        local = {"http://127.0.0.1:8000": url, "results/smoke/RUN": str(smoke)}
        with ThreadPoolExecutor(2) as pool:
            commands_ = [[local.get(word, word) for word in shlex.split(line)] for _, line in AFTERWARDS]
            for codes, done in zip(
                AFTERWARDS.values(), pool.map(lambda words: typed(tmp_path, words), commands_), strict=True
            ):
                assert done.returncode in codes, [*done.args, done.stdout + done.stderr]
    assert (tmp_path / "junit.xml").is_file() and (smoke / "server_metrics.csv").is_file()
