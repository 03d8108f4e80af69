"""The wheel, installed into an empty environment elsewhere: what a new user has, and nothing of the checkout."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.e2e.locust_process import environment
from tests.linked_packages import link_packages
from tests.ports import free_port
from tests.simulator_process import API_KEY, ROOT, running_simulator
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(400)
TOKENS = ("--prompt-tokens", "1000", "--completion-tokens", "200")


def clean_environment(**more: str) -> dict[str, str]:
    """Without what would let the checkout or this test's environment be found."""
    kept = {name: value for name, value in environment().items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {name: value for name, value in kept.items() if not name.startswith("LOCUST_")} | more


def done(command: list[str], cwd: Path, said: str = "", **variables: str) -> str:
    finished = ended(command, cwd, said, **variables)
    assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


def ended(command: list[str], cwd: Path, said: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment(**variables),
        input=said,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has the wheel and what it asks for: our packages, as no index may be near."""
    folder = tmp_path_factory.mktemp("wheel")
    done([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)], folder)
    (wheel,) = folder.glob("tokenswarm-*.whl")
    done([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], folder)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "venv/bin/python")]
    done([*pip, "install", "-q", "--no-deps", str(wheel)], folder)
    (installed,) = metadata.distributions(
        name="tokenswarm", path=map(str, folder.glob("venv/lib/python*/site-packages"))
    )
    asked = [Requirement(line) for line in installed.requires or []]
    link_packages(
        folder / "venv", [each for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]
    )
    done([*pip, "check"], folder)
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_simulator() as simulator:
        yield simulator.chat_url


def test_the_wheel_takes_one_name(installed: Path, tmp_path: Path) -> None:
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    assert not {"analysis", "simulator", "locustfiles", "scenarios", "tests"} & {
        path.name for path in packages.iterdir()
    }
    code = "import importlib.util as u; print([n for n in ('analysis', 'simulator') if u.find_spec(n)])"
    assert done([str(installed / "python"), "-c", code], tmp_path).strip() == "[]"


def test_every_file_of_the_checkout_is_in_the_wheel(installed: Path) -> None:
    (package,) = installed.parent.glob("lib/python*/site-packages/tokenswarm")
    listed = subprocess.run(["git", "ls-files", "tokenswarm", "analysis", "simulator", "locustfiles", "scenarios"],
                            cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()  # fmt: skip
    for name in listed:
        inside = name.removeprefix("tokenswarm/") if name.startswith("tokenswarm/") else f"parts/{name}"
        assert (package / inside).exists(), name


def test_the_first_five_minutes(installed: Path, url: str, tmp_path: Path) -> None:
    """The transcript of the quickstart: the same commands, against a simulator that runs already."""
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    block = re.search(r"```console\n(.*?)```", page, re.DOTALL)
    assert block is not None
    typed = [line[2:] for line in block[1].splitlines() if line.startswith("$ ")]
    assert [shlex.split(line)[:2] for line in typed[1:]] == [
        ["tokenswarm", "init"],
        ["tokenswarm", "run"],
        ["tokenswarm", "check"],
        ["tokenswarm", "report"],
    ]
    assert typed[0].startswith("pip install")
    begun = time.monotonic()
    busy = False
    for line in typed[1:]:
        words = shlex.split(line)
        said = f"{url}\n{API_KEY}\ngpt-4.1-mini\n" if words[1] == "init" else ""
        home = {"HOME": str(tmp_path / "home")}
        finished = ended([str(installed / words[0]), *words[1:]], tmp_path, said, **home)
        assert finished.returncode in (0, 4), finished.stdout + finished.stderr
        seen = re.sub(r"((?:Endpoint \(.*?\)|Key \(.*?\)|Model or deployment):) ", r"\1\n", finished.stdout)
        expected = shown_after(line, block[1])
        busy = busy or finished.returncode == 4
        if busy:  # this machine was too busy to measure: all lines but that of the verdict
            expected = re.sub(r"^(Verdict|passed|PASSED).*", "", expected, flags=re.MULTILINE)
        assert without_figures(expected) <= without_figures(seen), line
    assert time.monotonic() - begun < 300
    (run,) = tmp_path.glob("results/smoke/*")
    assert (run / "report.html").stat().st_size > 10_000


def shown_after(command: str, transcript: str) -> str:
    """What the transcript shows of a command's output; without the answers that were typed, and what it leaves out."""
    text = transcript.partition(f"$ {command}\n")[2].partition("\n$ ")[0]
    text = re.sub(r"^((?:Endpoint|Key|Model)[^\n]*):(?= )[^\n]*$", r"\1:", text, flags=re.MULTILINE)
    return text.replace("\n...\n", "\n")


def without_figures(text: str) -> set[str]:
    """The lines, whatever the figures in them and the width of columns."""
    return {re.sub(r"[ #.-]+", " ", re.sub(r"\d+", "#", line)).strip() for line in text.splitlines()} - {""}


def test_the_page_and_the_parts_are_whole(installed: Path, url: str, tmp_path: Path) -> None:
    """The LLM page with its scripts, and a report made by the run itself, from the wheel alone."""
    port = free_port()
    command = [str(installed / "tokenswarm"), "run", "smoke", "--web", "--web-port", str(port)]
    variables = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": API_KEY, "AZURE_OPENAI_DEPLOYMENT": "gpt-4.1-nano"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=clean_environment(**variables), stdout=log, stderr=log)
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, "the web UI")
        page = wait_until(lambda: _get(f"http://127.0.0.1:{port}/llm"), "the page")
        for name in re.findall(r'(?:src|href)="([^"]+\.(?:js|css))"', page):
            assert _get(f"http://127.0.0.1:{port}/{name.lstrip('./')}"), name
    finally:
        process.terminate()
        process.wait(30)


def test_the_simulator_and_the_sizing_come_with_it(installed: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    command = [str(installed / "tokenswarm"), "simulator", "--port", "0", "--ready-file", str(ready)]
    process = subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.DEVNULL)
    try:
        wait_until(ready.exists, "the simulator")
        assert json.loads(ready.read_text())["chat_url"].startswith("http://127.0.0.1:")
    finally:
        process.terminate()
        process.wait(30)
    assert "TPM" in done([str(installed / "tokenswarm"), "sizing", "--users", "10", *TOKENS], tmp_path)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text
