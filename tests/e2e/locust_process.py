"""Real `locust` processes against a real simulator, and what their run directories hold, checked against its truth."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.__main__ import main as analysis
from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from tests.locust_start import LocustProcess, start_locust
from tests.ports import free_port
from tests.run_health import check_code, note
from tests.simulator_process import API_KEY, FUNCTIONS_KEY, ROOT, Simulator
from tokenswarm.config.environment import NAMES
from tokenswarm.record import Outcome, RequestRecord


@dataclass
class Target:
    """A simulator as one test sees it: `truth` are the requests since this test began."""

    simulator: Simulator
    lines_before: int

    @property
    def url(self) -> str:
        return self.simulator.chat_url

    @property
    def answered(self) -> int:
        """How many answers have ended, as far as the log says; does not wait for the rest."""
        return len(self.simulator.truth_path.read_text().splitlines()) - self.lines_before

    def truth(self) -> list[dict[str, Any]]:
        """What was received from outside, by now completely answered."""
        return [line for line in self.simulator.truth()[self.lines_before :] if not line["internal"]]


@dataclass
class Run:
    """A run directory."""

    directory: Path
    facts: dict[str, Any] = field(init=False)
    rows: list[RequestRecord] = field(init=False)

    def __post_init__(self) -> None:
        self.facts = json.loads((self.directory / "run.json").read_text())
        note(self.directory, self.facts)
        with (self.directory / "requests.csv").open(newline="") as file:
            self.rows = [RequestRecord.from_row(row) for row in csv.DictReader(file)]

    def outcomes(self, outcome: Outcome) -> list[RequestRecord]:
        return [row for row in self.rows if row.outcome is outcome]

    @property
    def sent(self) -> list[RequestRecord]:
        """Without arrivals that the end of the run overtook."""
        return [row for row in self.rows if row.outcome is not Outcome.DROPPED]

    def code(self, verdict: int) -> int:
        """The exit code of a verdict, see `check_code`."""
        return check_code(self.facts, verdict)

    def locust_totals(self) -> dict[str, str]:
        """The last line of Locust's own statistics."""
        with (self.directory / "locust_stats.csv").open(newline="") as file:
            return next(row for row in csv.DictReader(file) if row["Name"] == "Aggregated")


@dataclass
class Finished:
    """A locust process that has ended."""

    code: int
    output: str
    results: Path

    def run(self) -> Run:
        """Its only run. What it came to is the same in run.json, exit code, JUnit and `analysis check`."""
        (found,) = self.results.glob("*/*/run.json")
        run = Run(found.parent)
        check_verdict(run, self.code)
        return run


def environment(**given: str) -> dict[str, str]:
    """This process's environment without anything that would reach a run, and with what is given."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES and not name.startswith("LOCUST_")}
    quiet = {"LOCUST_REPORT": "no", "LOCUST_PREFLIGHT": "reach", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    return {**kept, **quiet, **given}


def credentials(target: Target) -> dict[str, str]:
    """What a `.env` for this target holds."""
    return {
        "AZURE_OPENAI_ENDPOINT": target.url,
        "AZURE_OPENAI_API_KEY": API_KEY,
        "AZURE_OPENAI_DEPLOYMENT": "gpt-4.1-nano",
        "ORCHESTRATOR_ENDPOINT": target.url,
        "ORCHESTRATOR_FUNCTION_KEY": FUNCTIONS_KEY,
    }


@contextlib.contextmanager
def locust_process(
    arguments: Sequence[str], variables: Mapping[str, str], log: Path, cwd: Path = ROOT
) -> Iterator[LocustProcess]:
    """Locust in a session of its own (so that a signal can go to all its processes), made to end with the block."""
    if "--processes" in arguments:  # Locust's own port may be taken by another test
        port = str(free_port())
        arguments = [*arguments, "--master-bind-port", port, "--master-port", port]
    with log.open("wb") as output:
        process = start_locust(arguments, environment(**variables), output.fileno(), cwd)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_locust(arguments: Sequence[str], variables: Mapping[str, str], folder: Path, cwd: Path = ROOT) -> Finished:
    """Run headless to the end; results go below `folder`."""
    log, results = folder / "locust.log", folder / "results"
    command = [*arguments, "--headless", "--results-dir", str(results)]
    with locust_process(command, variables, log, cwd) as process:
        code = process.wait(timeout=100)
    return Finished(code, log.read_text(), results)


def scenario(name: str, *flags: str) -> list[str]:
    return ["--config", f"scenarios/{name}.conf", *flags]


def check_against_truth(run: Run, target: Target) -> None:
    """Every request received has its row and every row its request, with the same status, tokens and outcome."""
    truth: dict[str, dict[str, Any]] = {}
    for line in target.truth():
        assert line["client_request_id"] not in truth, "received twice under one id"
        truth[line["client_request_id"]] = line
    sent = {f"{row.call_id}-{row.attempt}": row for row in run.rows if row.outcome is not Outcome.DROPPED}
    assert len(sent) == len(run.rows) - len(run.outcomes(Outcome.DROPPED)), "two rows with one id"
    unsent = {key for key, row in sent.items() if row.outcome is Outcome.CANCELLED and row.sent_ms is None}
    assert truth.keys() <= sent.keys()
    assert sent.keys() - truth.keys() <= unsent
    for key, line in truth.items():
        _check_row(sent[key], line)
    _check_facts(run)


def _check_row(row: RequestRecord, line: Mapping[str, Any]) -> None:
    if row.outcome is Outcome.CANCELLED:
        return  # the simulator may have noticed that nobody listens any more, or may have been done
    assert row.status == line["status"], (row, line)
    assert (row.outcome is Outcome.OK) == (line["outcome"] == "ok"), (row, line)
    assert (row.outcome is Outcome.THROTTLED) == (line["status"] == 429), (row, line)
    if row.outcome is Outcome.OK and row.target == "chat":
        assert row.prompt_tokens == line["prompt_tokens"]
        assert row.completion_tokens == line["completion_tokens"]
        assert row.cached_tokens == line["cached_tokens"]
        assert row.max_tokens == line["max_tokens"]
        assert row.estimated_tokens == line["estimated_tokens"]
        assert row.context_tokens == line["prompt_tokens"]
        assert row.chunks == line["chunks"]
    if row.outcome is Outcome.OK and row.target == "rag":
        assert row.conversation_id == line["conversation_id"]


def check_verdict(run: Run, code: int) -> None:
    """One verdict, wherever it is looked for. Without criteria an orderly run leaves the exit code to Locust."""
    verdict = run.facts["verdict"]
    assert code in ((0, 1) if verdict["state"] == "none" else (verdict["exit_code"],))
    summary = summarise(load_run(run.directory))
    assert (summary.judgement.state, summary.judgement.exit_code) == (verdict["state"], verdict["exit_code"])
    assert {str(reason.kind) for reason in summary.judgement.reasons} == {each["kind"] for each in verdict["reasons"]}
    criteria = {item.text: item.state for item in summary.judgement.criteria}
    assert criteria == {each["text"]: each["state"] for each in run.facts["criteria"]}
    junit = run.directory / "judged.xml"
    assert analysis(["check", str(run.directory), "--junit", str(junit)]) == verdict["exit_code"]
    (suite,) = ElementTree.parse(junit).getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0") or verdict["exit_code"] != 0
    assert (suite.get("failures"), suite.get("errors")) != ("0", "0") or verdict["exit_code"] == 0


def _check_facts(run: Run) -> None:
    """run.json and Locust's own statistics count the same as the rows."""
    counted = run.facts["accounting"]
    dropped = len(run.outcomes(Outcome.DROPPED))
    assert counted["rows"] == len(run.rows)
    assert counted["sent"] == len(run.rows) - dropped
    assert counted["throttled"] == len(run.outcomes(Outcome.THROTTLED))
    assert counted["cancelled"] == len(run.outcomes(Outcome.CANCELLED))
    assert counted["lost"] == []
    totals = run.locust_totals()
    assert int(totals["Request Count"]) == counted["sent"]
    assert int(totals["Failure Count"]) == counted["sent"] - counted["ok"]
