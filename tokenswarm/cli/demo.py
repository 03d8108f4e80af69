"""`tokenswarm demo`: both exercises, shortened, against the simulator: two chat benchmarks side by side, then RAG.

Everything that is started here is stopped here, also after Ctrl-C.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenswarm.cli.demo_processes import DemoProcesses
from tokenswarm.config.environment import NAMES
from tokenswarm.installation import module_command, parts, python_path
from tokenswarm.redaction import write_line

PROGRESS_EVERY_S = 5.0
PATIENCE_S = 90.0
"""How much longer than planned a run may take before it is given up."""


@dataclass(frozen=True)
class Job:
    """One run of a scenario: what it is called here, and what differs from the scenario."""

    scenario: str
    title: str
    flags: tuple[str, ...]
    seconds: int


class DemoFailed(Exception):
    """The demo could not be carried out; the text says why."""


def chat_jobs(seconds: int) -> list[Job]:
    """The chat benchmark at both rates, each on its own deployment."""
    flags = ("--run-time", f"{seconds}s")
    return [
        Job("paygo-gpt35-4rpm", "4 RPM on 20K TPM", ("--deployment", "gpt-4.1-mini-20k", *flags), seconds),
        Job("paygo-gpt35-50rpm", "50 RPM on 200K TPM", ("--deployment", "gpt-4.1-mini-200k", *flags), seconds),
    ]


def rag_jobs(seconds: int) -> list[Job]:
    """Ten testers of the orchestrator."""
    stages = f"threads=10, delay=3s, ramp=5s, duration={seconds}s"
    return [Job("rag-peak", "RAG, 10 testers", ("--stages", stages), seconds + 3)]


def run_demo(results: Path, chat_seconds: int, rag_seconds: int) -> int:
    """Exit code 0 when every run came to a verdict, whichever it was."""
    begun = time.monotonic()
    processes = DemoProcesses()
    try:
        with tempfile.TemporaryDirectory(prefix="tokenswarm-demo-") as directory, processes:
            _run(processes, Path(directory), results, chat_seconds, rag_seconds)
    except KeyboardInterrupt:
        write_line("\nStopped.")
        return 130
    except DemoFailed as error:
        write_line(f"\nThe demo failed: {error}", sys.stderr)
        return 1
    write_line(f"Done in {time.monotonic() - begun:.0f} s.")
    return 0


def _run(processes: DemoProcesses, directory: Path, results: Path, chat_seconds: int, rag_seconds: int) -> None:
    env_file = write_env_file(directory, start_simulator(processes, directory))
    runs = []
    for jobs in (chat_jobs(chat_seconds), rag_jobs(rag_seconds)):
        runs += run_side_by_side(processes, jobs, env_file, results, directory)
    print_verdicts(runs)
    write_reports(processes, runs, results, directory)


def start_simulator(processes: DemoProcesses, directory: Path) -> str:
    """A simulator on a free port; its address."""
    ready, log = directory / "ready.json", directory / "simulator.log"
    options = ["--port", "0", "--ready-file", str(ready), "--config", str(Path(__file__).with_name("demo.toml"))]
    process = processes.start([*module_command("simulator"), *options], log, clean_environment(), parts())
    processes.wait(lambda: ready.exists() or process.poll() is not None, 30)
    if not ready.exists():
        raise DemoFailed(f"the simulator did not start:\n{log.read_text()}")
    url: str = json.loads(ready.read_text())["chat_url"]
    write_line(f"Simulator at {url}: an Azure OpenAI stand-in with two quotas, and a GPT-RAG orchestrator.")
    return url


def clean_environment() -> dict[str, str]:
    """This process's environment without what would win over the env file, or lead around the simulator."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES and not name.startswith("LOCUST_")}
    local = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return {**kept, **local, "PYTHONUNBUFFERED": "1", "PYTHONPATH": python_path()}


def write_env_file(directory: Path, url: str) -> Path:
    """What a `.env` for the real services holds, for the simulator. Goes with the temporary directory."""
    path = directory / "demo.env"
    path.write_text(
        f"AZURE_OPENAI_ENDPOINT={url}\nAZURE_OPENAI_API_KEY=simulator-key\n"
        f"ORCHESTRATOR_ENDPOINT={url}\nORCHESTRATOR_FUNCTION_KEY=simulator-function-key\n"
    )
    return path


def run_side_by_side(
    processes: DemoProcesses, jobs: Sequence[Job], env_file: Path, results: Path, directory: Path
) -> list[tuple[Job, Path]]:
    """Run the jobs at the same time and say how they are doing. Returns each with its run directory."""
    write_line(f"\n{' and '.join(job.title for job in jobs)}: {jobs[0].seconds} s")
    begun = time.time()
    running = [(job, *_start(processes, job, env_file, results, directory)) for job in jobs]
    deadline = time.monotonic() + jobs[0].seconds + PATIENCE_S
    while any(process.poll() is None for _, process, _ in running):
        if time.monotonic() > deadline:
            raise DemoFailed(f"{jobs[0].title} did not end")
        processes.wait(lambda: all(process.poll() is not None for _, process, _ in running), PROGRESS_EVERY_S)
        states = [f"{job.title}: {describe_rows(results, job, begun)}" for job in jobs]
        write_line(f"  {time.time() - begun:3.0f} s  {'  |  '.join(states)}")
    for job, process, log in running:
        if process.returncode not in (0, 3, 4):
            raise DemoFailed(f"{job.title} ended with exit code {process.returncode}:\n{log.read_text()[-3000:]}")
    return [(job, newest_run(results, job, begun)) for job in jobs]


def _start(
    processes: DemoProcesses, job: Job, env_file: Path, results: Path, directory: Path
) -> tuple[subprocess.Popen[bytes], Path]:
    """The job's process and its log."""
    command = [*module_command("locust"), "--config", f"scenarios/{job.scenario}.conf", "--headless", *job.flags]
    command += ["--env-file", str(env_file), "--results-dir", str(results), "--stop-timeout", "30", "--report", "no"]
    log = directory / f"{job.scenario}.log"
    return processes.start(command, log, clean_environment(), parts()), log


def newest_run(results: Path, job: Job, since: float) -> Path:
    """The run directory that a job has made. Raises `DemoFailed` without one."""
    found = [path for path in (results / job.scenario).glob("*/run.json") if path.stat().st_mtime >= since - 1]
    if not found:
        raise DemoFailed(f"{job.title} left no run directory in {results}")
    return max(found).parent


def describe_rows(results: Path, job: Job, since: float) -> str:
    """What came back so far, in words."""
    try:
        text = (newest_run(results, job, since) / "requests.csv").read_text()
    except (DemoFailed, OSError):
        return "starting"
    whole_lines = text[: text.rfind("\n") + 1]
    counts = Counter(row["outcome"] for row in csv.DictReader(io.StringIO(whole_lines)))
    return ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())) or "nothing back yet"


def print_verdicts(runs: Sequence[tuple[Job, Path]]) -> None:
    """Each run's verdict and why."""
    write_line("\nVerdicts")
    for job, directory in runs:
        facts = json.loads((directory / "run.json").read_text())
        verdict = facts["verdict"]
        write_line(f"  {job.title:20} {verdict['state'].upper():10} (exit code {verdict['exit_code']})")
        for criterion in facts["criteria"]:
            value = "no data" if criterion["value"] is None else f"{criterion['value']:.4g} {criterion['unit']}"
            write_line(f"      fails if {criterion['text']}: {criterion['state']}, {value} (n={criterion['n']})")
        for reason in verdict["reasons"]:
            if verdict["state"] == "untrusted":
                write_line(f"      {reason['text']}")


def write_reports(processes: DemoProcesses, runs: Sequence[tuple[Job, Path]], results: Path, directory: Path) -> None:
    """The two chat benchmarks side by side, and the RAG test by itself."""
    chat = [path for job, path in runs if job.scenario.startswith("paygo")]
    rag = [path for _, path in runs if path not in chat]
    write_line("\nReports")
    for name, paths in (("chat", chat), ("rag", rag)):
        output, log = results / f"report-{name}", directory / f"report-{name}.log"
        command = [*module_command("analysis"), "report", *map(str, paths), "--output", str(output)]
        done = processes.start(command, log, clean_environment(), Path.cwd())
        processes.wait(lambda process=done: process.poll() is not None, PATIENCE_S)  # type: ignore[misc]
        if done.returncode != 0:
            raise DemoFailed(f"no report of {name}:\n{log.read_text()}")
        write_line(f"  {output / 'report.html'}")
