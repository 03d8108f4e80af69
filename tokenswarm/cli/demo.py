"""`tokenswarm demo`: both exercises, shortened, against the simulator: two chat benchmarks side by side, then RAG.

Everything that is started here is stopped here, also after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    begun = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenswarm-demo-")))
            url = stack.enter_context(running_simulator(directory))
            environment = clean_environment()
            env_file = write_env_file(directory, url)
            runs = []
            for jobs in (chat_jobs(chat_seconds), rag_jobs(rag_seconds)):
                runs += run_side_by_side(jobs, env_file, environment, results, directory)
        print_verdicts(runs)
        write_reports(runs, results, environment)
    except KeyboardInterrupt:
        write_line("\nStopped.")
        return 130
    except DemoFailed as error:
        write_line(f"\nThe demo failed: {error}", sys.stderr)
        return 1
    write_line(f"Done in {time.monotonic() - begun:.0f} s.")
    return 0


@contextlib.contextmanager
def running_simulator(directory: Path) -> Iterator[str]:
    """A simulator on a free port; its address."""
    ready = directory / "ready.json"
    options = ["--port", "0", "--ready-file", str(ready), "--config", str(Path(__file__).with_name("demo.toml"))]
    with started("simulator", options, directory / "simulator.log", clean_environment()) as process:
        deadline = time.monotonic() + 30
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoFailed(f"the simulator did not start:\n{(directory / 'simulator.log').read_text()}")
            time.sleep(0.05)
        url: str = json.loads(ready.read_text())["chat_url"]
        write_line(f"Simulator at {url}: an Azure OpenAI stand-in with two quotas, and a GPT-RAG orchestrator.")
        yield url


@contextlib.contextmanager
def started(module: str, options: Sequence[str], log: Path, environment: dict[str, str]) -> Iterator[Any]:
    """A process that runs a module, in a session of its own, so that only we stop it: asked first, then made to."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*module_command(module), *options],
            cwd=parts(),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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
    jobs: Sequence[Job], env_file: Path, environment: dict[str, str], results: Path, directory: Path
) -> list[tuple[Job, Path]]:
    """Run the jobs at the same time and say how they are doing. Returns each with its run directory."""
    write_line(f"\n{' and '.join(job.title for job in jobs)}: {jobs[0].seconds} s")
    begun = time.time()
    with contextlib.ExitStack() as stack:
        running = []
        for job in jobs:
            command = ["--config", f"scenarios/{job.scenario}.conf", "--headless", *job.flags]
            command += [
                "--env-file",
                str(env_file),
                "--results-dir",
                str(results),
                "--stop-timeout",
                "30",
                "--report",
                "no",
            ]
            log = directory / f"{job.scenario}.log"
            running.append((job, log, stack.enter_context(started("locust", command, log, environment))))
        deadline = time.monotonic() + jobs[0].seconds + PATIENCE_S
        while any(process.poll() is None for _, _, process in running):
            if time.monotonic() > deadline:
                raise DemoFailed(f"{jobs[0].title} did not end")
            _wait_for(running, PROGRESS_EVERY_S)
            states = [f"{job.title}: {describe_rows(results, job, begun)}" for job in jobs]
            write_line(f"  {time.time() - begun:3.0f} s  {'  |  '.join(states)}")
    for job, log, process in running:
        if process.returncode not in (0, 3, 4):
            raise DemoFailed(f"{job.title} ended with exit code {process.returncode}:\n{log.read_text()[-3000:]}")
    return [(job, newest_run(results, job, begun)) for job in jobs]


def _wait_for(running: Sequence[tuple[Job, Path, Any]], seconds: float) -> None:
    """Until all have ended, for at most so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(process.poll() is None for _, _, process in running):
        time.sleep(0.2)


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


def write_reports(runs: Sequence[tuple[Job, Path]], results: Path, environment: dict[str, str]) -> None:
    """The two chat benchmarks side by side, and the RAG test by itself."""
    chat = [path for job, path in runs if job.scenario.startswith("paygo")]
    rag = [path for _, path in runs if path not in chat]
    write_line("\nReports")
    for name, paths in (("chat", chat), ("rag", rag)):
        output = results / f"report-{name}"
        command = [*module_command("analysis"), "report", *map(str, paths), "--output", str(output)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DemoFailed(f"no report of {name}:\n{done.stderr}")
        write_line(f"  {output / 'report.html'}")


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
