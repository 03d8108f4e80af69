"""What the README and the quickstart tell a newcomer to type, typed; runs are shortened by flags."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.locust_process import Run, Target, credentials, environment
from tests.simulator_process import ROOT

PAGES = ("README.md", "docs/quickstart.md")
SHORTER = {
    "paygo-gpt35-4rpm": ["--rate", "60", "--max-total-requests", "2"],
    "paygo-gpt35-50rpm": ["--rate", "500", "--max-total-requests", "50", "--deployment", "gpt-4.1-mini-200k"],
    "smoke": ["--max-total-requests", "3"],
}
EXPECTED = {"paygo-gpt35-4rpm": 0, "paygo-gpt35-50rpm": 3, "smoke": 0}


def commands(page: str) -> list[str]:
    """Lines of the shell blocks, without their comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def checkout(target: Target, tmp_path: Path) -> Path:
    """A folder that looks like a clone in which .env is filled in."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in ("tokenswarm", "analysis", "simulator", "locustfiles", "scenarios", ".env.example"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in credentials(target).items()))
    return folder


def newest(folder: Path) -> Path:
    return max(folder.glob("results/*/*/run.json"), key=lambda path: json.loads(path.read_text())["started_at"]).parent


def run_command(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`tokenswarm` in the folder, as in a clone without an installation."""
    command = [sys.executable, "-m", "tokenswarm", *words]
    env = environment(**variables)
    return subprocess.run(
        command, cwd=folder, env=env, input="", capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_the_page(page: str, checkout: Path, target: Target) -> None:
    typed = [shlex.split(line) for line in commands(page)]
    assert len(typed) >= 5
    if page == "docs/quickstart.md":  # typed already, of the README
        typed.remove(["tokenswarm", "report"])
    runs = {}
    variables: dict[str, str] = {}
    for words in typed:
        match words:
            case ["make", name, *_]:
                assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
            case ["pip", "install", source]:
                assert source == "git+https://github.com/OWNER/tokenswarm"
            case ["export", *given]:
                assert [each.partition("=")[0] for each in given] == ["OPENAI_BASE_URL", "OPENAI_API_KEY"]
                variables = {"OPENAI_BASE_URL": target.url + "/v1", "OPENAI_API_KEY": "simulator-key"}
            case ["tokenswarm", "run", scenario, *rest]:
                done = run_command(checkout, "run", scenario, *rest, *SHORTER[scenario], **variables)
                runs[scenario] = max(checkout.glob(f"results/{scenario}/*/run.json")).parent
                assert done.returncode == Run(runs[scenario]).code(EXPECTED[scenario]), done.stdout + done.stderr
            case ["tokenswarm", name, *rest]:
                done = run_command(checkout, name, *rest, **variables)
                expected = Run(newest(checkout)).facts["verdict"]["exit_code"] if name == "check" else 0
                assert done.returncode == expected, done.stdout + done.stderr
            case _:
                raise AssertionError(f"not known how to try: {words}")
    assert "paygo-gpt35-50rpm" in runs
    reports = [Path(folder) / name for folder, _, names in os.walk(checkout / "results") for name in names]
    assert {"report.html", "report.md", "summary.json"} <= {path.name for path in reports}
