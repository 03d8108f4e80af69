"""Real `locust` processes against a real target, several at once, and what they left behind."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.locust_start import LocustProcess, start_locust
from tests.ports import free_port
from tests.run_health import check_code, code_apart_from_health, note
from tests.simulator_process import API_KEY, FUNCTIONS_KEY, Simulator
from tokenswarm.record import Outcome, RequestRecord

AT_ONCE = 4
QUICK = "ttft_base_ms = 20\nttft_std_ms = 1\nttft_per_token_ms = 0\ntbt_ms = 1\ntbt_std_ms = 0\ntokens_per_chunk = 5\n"
CONFIG = f"""
[rag]
deployment = "quick"
answer_tokens = 50
[deployments.quick]
{QUICK}
[deployments.slots]
max_concurrent = 2
max_waiting = 100
ttft_base_ms = 600
ttft_std_ms = 0
ttft_per_token_ms = 0
tbt_ms = 0.1
tbt_std_ms = 0
[deployments.ptu]
ptu = 240
bucket_s = 1
{QUICK}
[deployments.slow]
ttft_base_ms = 50
tbt_ms = 40
tbt_std_ms = 0
[deployments.steady]
ttft_base_ms = 18
ttft_std_ms = 0
ttft_per_token_ms = 0
tbt_ms = 20
tbt_std_ms = 0
[deployments.terse]
completion_tokens = 20
{QUICK}
"""


@dataclass
class LoadRun:
    """One finished run. `truth`: what the target received of it, by request id."""

    code: int
    output: str
    facts: dict[str, Any]
    rows: list[RequestRecord]
    directory: Path
    truth: dict[str, dict[str, Any]]

    def of(self, outcome: Outcome) -> list[RequestRecord]:
        return [row for row in self.rows if row.outcome is outcome]

    @property
    def sent(self) -> list[RequestRecord]:
        return [row for row in self.rows if row.outcome is not Outcome.DROPPED]

    @property
    def trouble(self) -> list[str]:
        """Why the run did not pass, but for a machine that was busy with something else, and the exit code if wrong."""
        apart = code_apart_from_health(self.facts)
        reasons = [str(each["text"]) for each in self.facts["verdict"]["reasons"]] if apart else []
        expected = check_code(self.facts, apart)
        return reasons if self.code == expected else [*reasons, f"exit code {self.code} instead of {expected}"]

    def check(self) -> None:
        """The identity of every run, and each of its rows against the target's own log."""
        accounting = self.facts["accounting"]
        assert accounting["rows"] == len(self.rows)
        assert accounting["sent"] == len(self.sent)
        assert accounting["sent"] == sum(
            accounting[kind] for kind in ("ok", "throttled", "failed", "cancelled", "aborted")
        )
        if accounting["planned"] is not None:
            lost = sum(each["rows"] for each in accounting["lost"])
            assert accounting["planned"] == accounting["first_attempts"] + accounting["dropped"] + lost
        ids = [request_id(row) for row in self.sent]
        assert len(set(ids)) == len(ids)
        never_arrived = set(ids) - set(self.truth)
        assert never_arrived <= {request_id(row) for row in self.of(Outcome.CANCELLED)}
        for row in self.of(Outcome.OK):
            line = self.truth[request_id(row)]
            assert (line["prompt_tokens"], line["completion_tokens"]) == (row.prompt_tokens, row.completion_tokens)
        for row in self.of(Outcome.THROTTLED):
            assert self.truth[request_id(row)]["status"] == 429


def are_apart(instants: Sequence[float], gap_s: float) -> bool:
    """Whether most of them stand on a grid to a tenth of a second. One that a busy machine held up is late."""
    late_s = [instant - number * gap_s for number, instant in enumerate(sorted(instants))]
    return median(late_s) - min(late_s) < 0.1


def request_id(row: RequestRecord) -> str:
    return f"{row.call_id}-{row.attempt}"


def command(*arguments: str, scenario: str | None = None, locustfile: str = "chat_completions") -> list[str]:
    """A headless locust, by a scenario of the project or a locustfile."""
    source = ["--config", f"scenarios/{scenario}.conf"] if scenario else ["-f", f"locustfiles/{locustfile}.py"]
    return [*source, "--headless", "--only-summary", *arguments]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    return kept | {
        "AZURE_OPENAI_API_KEY": API_KEY,
        "ORCHESTRATOR_FUNCTION_KEY": FUNCTIONS_KEY,
        "NO_COLOR": "1",
        "LOCUST_REPORT": "no",
    }


@dataclass
class Started:
    """A process that may still run, and the file of its output."""

    process: LocustProcess
    log: Path

    def end(self, timeout_s: float = 90) -> tuple[int, str]:
        """Wait for it: its exit code and output."""
        return self.process.wait(timeout_s), self.log.read_text()


def start(arguments: Sequence[str], results: Path, host: str) -> Started:
    if "--processes" in arguments:  # a port of its own: other tests may run beside this one
        port = str(free_port())
        arguments = [*arguments, "--master-bind-port", port, "--master-port", port]
    results.mkdir(parents=True, exist_ok=True)
    command = [*arguments, "-H", host, "--results-dir", str(results)]
    with tempfile.NamedTemporaryFile(suffix=".log", dir=results, delete=False) as log:
        return Started(start_locust(command, environment(), log.fileno()), Path(log.name))


def run_all(
    runs: Mapping[str, Sequence[str]], simulator: Simulator, results: Path, at_once: int = AT_ONCE
) -> dict[str, LoadRun]:
    """Run all commands, some at a time; then read what they left."""

    def run(name: str) -> tuple[int, str]:
        return start(runs[name], results / name, simulator.chat_url).end()

    with ThreadPoolExecutor(at_once) as pool:
        ended = dict(zip(runs, pool.map(run, runs), strict=True))
    truth = read_truth(simulator)
    return {name: read_run(results / name, code, output, truth) for name, (code, output) in ended.items()}


def read_truth(simulator: Simulator) -> dict[str, dict[str, Any]]:
    return {line["client_request_id"]: line for line in simulator.truth() if line["client_request_id"]}


def read_run(results: Path, code: int, output: str, truth: dict[str, dict[str, Any]]) -> LoadRun:
    directories = list(results.glob("*/*/run.json"))
    assert len(directories) == 1, output
    directory = directories[0].parent
    with (directory / "requests.csv").open(newline="") as file:
        rows = [RequestRecord.from_row(row) for row in csv.DictReader(file)]
    facts = json.loads((directory / "run.json").read_text())
    note(directory, facts)
    ids = {request_id(row) for row in rows}
    return LoadRun(code, output, facts, rows, directory, {key: truth[key] for key in ids & set(truth)})
