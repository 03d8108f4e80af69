"""`tokenswarm demo`, shorter still: it ends with verdicts and reports, or at a Ctrl-C, and leaves nobody behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.e2e.locust_process import environment
from tests.simulator_process import ROOT
from tests.waiting import wait_until


def start_demo(results: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tokenswarm", "demo", "--results", str(results), *flags]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_the_demo_ends_with_three_verdicts_and_two_reports(tmp_path: Path) -> None:
    # What the user has set for the real services must not reach the demo's runs.
    os.environ["AZURE_OPENAI_ENDPOINT"], os.environ["LOCUST_RATE"] = "https://real.example", "9999"
    try:
        command = [sys.executable, "-m", "tokenswarm", "demo", "--results", str(tmp_path)]
        done = subprocess.run(
            [*command, "--chat-seconds", "3", "--rag-seconds", "3"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=110,
        )
    finally:
        del os.environ["AZURE_OPENAI_ENDPOINT"], os.environ["LOCUST_RATE"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split("  ")[1] for line in done.stdout.splitlines() if "(exit code" in line] == [
        "4 RPM on 20K TPM",
        "50 RPM on 200K TPM",
        "RAG, 10 testers",
    ]
    for name in ("report-chat", "report-rag"):
        assert (tmp_path / name / "report.html").stat().st_size > 10_000
        assert str(tmp_path / name / "report.html") in done.stdout


def test_a_demo_that_is_interrupted_leaves_no_process(tmp_path: Path) -> None:
    with start_demo(tmp_path) as demo:
        try:
            parent = psutil.Process(demo.pid)
            children = wait_until(lambda: found if len(found := parent.children(recursive=True)) >= 3 else [], "runs")
            wait_until(lambda: list(tmp_path.glob("paygo-*/*/run.json")), "the first run directory")
            demo.send_signal(signal.SIGINT)
            output, _ = demo.communicate(timeout=90)
        finally:
            demo.kill()
    assert demo.returncode == 130, output
    assert "Stopped." in output
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
