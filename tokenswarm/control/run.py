"""The run as a whole, in the process that has all rows (a local run's only process, or the master).

It makes the run directory, sees every record once, stops the run when a rule says so, and at the end gives the
verdict and writes down what happened. What its figures are held against is handed in: criteria, or a search.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gevent

from tokenswarm.config.settings import Settings
from tokenswarm.control.given import scenario_facts, shown_options, target_facts
from tokenswarm.control.judge import Judge
from tokenswarm.control.messages import Rows
from tokenswarm.generator.heartbeat import HeartbeatWindow, summarise
from tokenswarm.generator.influence import Influence, Stalls
from tokenswarm.lease import TOUCHED_EVERY_S, Lease
from tokenswarm.metrics.accounting import Accounting, Lost
from tokenswarm.metrics.answers import AnswerDoubts, AnswerLengths, in_words
from tokenswarm.metrics.autostop import AutoStopMonitor
from tokenswarm.metrics.criteria import CriterionResult, over_all_levels
from tokenswarm.metrics.criterion_words import STATES, noted
from tokenswarm.metrics.open_sessions import RunEnd
from tokenswarm.metrics.prices import Spending
from tokenswarm.metrics.refusals import RefusalMonitor
from tokenswarm.metrics.samples import Samples
from tokenswarm.metrics.verdict import Evidence, Reason, ReasonKind, Replacement, Verdict, decide, delivery
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.results.journal import WrittenBytes
from tokenswarm.results.read_back import WrittenFiles
from tokenswarm.results.run_directory import describe_tools, name_directory, read_run_json, write_run_json
from tokenswarm.transport.connect import kernel_timestamps
from tokenswarm.userinput import counted

POLL_S = 0.05
ANSWERS_EXTRA_S = 5.0
"""How much longer than a request may take its row is awaited: those of a dead worker never come."""

PAUSES = 10
"""Of the mean of a session's pauses, how much is waited for the next request at most."""

CLOCK_STEP_S = 0.5
"""How far the clock of the wall may leave the monotonic one in a run: more than NTP's slewing in an hour."""

OUTSIDE_S = 2.0
"""How far outside the run a request may have started: word of its end takes a moment to reach a busy worker."""

logger = logging.getLogger(__name__)


class LoadRun:
    """One run, from its directory to its verdict. `judge` is what it is held against; `stop(reason)` ends it from
    inside; `scenario` and `workers` are for run.json."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        scenario: Path | None,
        workers: int,
        judge: Judge,
        stop: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self._traffic = settings.traffic.facts() | {"prompts_remembered": settings.remembers_prompts}
        self.started_at = time.time()
        self._began = time.monotonic()
        self._files: WrittenFiles | None = None
        self.ended_at: float | None = None
        self.directory = name_directory(settings.results, settings.test_name, self.started_at)
        self.samples = Samples(settings.goodput)
        self.accounting = Accounting()
        self.health: list[HeartbeatWindow] = []
        self.stalls = Stalls()
        self.collect_stalls: Callable[[], None] = lambda: None
        """Where this process sends itself: hand over the stalls that it has seen since the last call."""
        self.influence = Influence(0, 0, 0, 0, None)
        """What the generator's lag can have done to the run's figures; known at its end."""
        self.problems: list[Reason] = []
        """Why the figures cannot be trusted, as far as it was noted on the way."""
        self.clocks: dict[str, Any] = {}
        """Of each worker, for run.json: how far its clock is from the master's."""
        self.messages_refused = 0
        """Messages to the master that were left out."""
        self.is_written = False
        """Whether the rows and run.json were found on disk at the end."""
        self.written: WrittenBytes | None = None
        """What the process that keeps requests.csv has written to it; known at the end."""
        self.stop_reason: str | None = None
        self.interrupted = False
        self.verdict: Verdict | None = None
        self.replaced: Sequence[Replacement] = ()
        """Criteria of the scenario file that this run is not held against."""
        self.workers = workers
        self.sessions_until: dict[str, float] = {}
        """See `RunEnd`; known at the end."""
        self.judge = judge
        self.answer_lengths = AnswerLengths()
        self.answer_doubts = AnswerDoubts()
        self.rate_changes: list[tuple[float, float]] = []
        """Rates in requests per minute that were set while the run was on, and the Unix s from which they hold."""
        self.levels: dict[str, Any] | None = None
        """When which load was offered, of a load that changed; known at the end (see `load_levels`)."""
        self.first_requests: dict[str, Any] | None = None
        """What was asked of the targets before the start; `None` when nothing was."""
        self.observers: list[Callable[[RequestRecord], None]] = []
        """Whoever else wants each record as it comes."""
        self._options = options
        self._scenario = scenario
        self._stop = stop
        self._auto_stop = AutoStopMonitor(settings.auto_stop) if settings.auto_stop else None
        self._refusals = RefusalMonitor(settings.max_refusals) if settings.max_refusals else None
        self._read_lags_ms = array("f")
        self._tokens = 0
        self._spending = Spending(settings.prices, settings.model, settings.ptu)
        self._self_checks: dict[str, None] = {}
        self._beyond: dict[str, None] = {}
        self._failed_by_stop = False
        self._lease = Lease(self.directory)
        self._lease_greenlet: Any = None

    def open(self) -> None:
        """Make the run directory and say in run.json that the run is on. Raises `OSError`."""
        self.directory.mkdir(parents=True)
        self._lease.take()
        self._lease_greenlet = gevent.spawn(self._keep_lease)
        self._write(state="running")
        logger.info("Writing this run to %s", self.directory)

    def begin(self) -> None:
        """requests.csv is there, too. Raises `OSError`."""
        self._files = WrittenFiles(self.directory)

    def observe(self, record: RequestRecord) -> None:
        """Take in one record, from whichever process."""
        self.samples.add(record)
        self.accounting.add(record)
        self.answer_lengths.add(record)
        self.answer_doubts.add(record)
        self.judge.observe(record)
        self.stalls.add(record)
        if record.read_lag_ms is not None:
            self._read_lags_ms.append(record.read_lag_ms)
        self._tokens += record.total_tokens or 0
        self._spending.add(record)
        for observer in self.observers:
            observer(record)
        if self.stop_reason is None:
            self._check_limits(record)

    def take(self, message: Rows, records: Sequence[RequestRecord]) -> None:
        """Take in a worker's message and the records in it."""
        for record in records:
            self.observe(record)
        self.note_condition(message.windows, message.self_check, message.beyond)
        self.stalls.add_stalls(message.worker, ((at, lag_ms) for at, lag_ms in message.stalls))
        self.note_problem(message.problem)

    def note_condition(self, windows: Sequence[HeartbeatWindow], self_check: str | None, beyond: str | None) -> None:
        """What one sending process says of itself: see `Condition`."""
        self.health += windows
        self._self_checks |= dict.fromkeys(filter(None, [self_check]))
        self._beyond |= dict.fromkeys(filter(None, [beyond]))

    def note_problem(self, problem: str | None, kind: ReasonKind = ReasonKind.EVIDENCE) -> None:
        """Why the figures cannot be trusted; said once, however often it is noted."""
        if problem:
            self.note_reason(Reason(kind, problem))

    def note_reason(self, reason: Reason) -> None:
        """The same, of a known kind."""
        if reason not in self.problems:
            self.problems.append(reason)

    @property
    def answered(self) -> int:
        """Arrivals that have come to something."""
        return self.accounting.came_to_something

    def await_answers(self, count: int) -> None:
        """Wait until so many arrivals have been answered, or none can come any more: a session's next request comes
        after a pause, which is taken for not more than ten times its mean."""
        limit_s = self.settings.max_lag_s + self.settings.sending.timeout_s + ANSWERS_EXTRA_S
        limit_s += (
            PAUSES * (self.settings.traffic.tool_time or self.settings.think_time).mean()
            if self.settings.traffic.sessions
            else 0.0
        )
        deadline, rows = time.monotonic() + limit_s, self.accounting.rows
        while self.answered < count and time.monotonic() < deadline:
            gevent.sleep(POLL_S)
            if self.settings.traffic.sessions and self.accounting.rows > rows:
                deadline, rows = time.monotonic() + limit_s, self.accounting.rows

    def finish(self, ended_at: float, planned: int | None, lost: Sequence[Lost], interrupted: bool) -> Verdict:
        """The end: `planned` arrivals were due until then (`None`: closed loop). Rows are read back, run.json is
        written and read back; the verdict is about what was found."""
        self.ended_at, self.interrupted = ended_at, interrupted
        self._check_clock()
        self.collect_stalls()
        self.influence = self.stalls.influence()
        missing = self._read_rows_back()
        self.accounting.close(planned, [*lost, *missing])
        if warning := self.answer_lengths.describe():
            logger.warning("%s", warning)
        for warning in in_words(self.answer_doubts.counts):
            logger.warning("%s", warning)
        if (said := self.influence.describe()) and not self.influence.matters:
            logger.info("Load generator: %s; no figure is in doubt for it", said)
        self.samples.run_end = RunEnd(ended_at, self.window[1], self.sessions_until)
        results = self.judge.results(self.samples, self.window)
        if self.levels is not None and self.judge.facts() is None:  # a search's are of the level it answers with
            results = over_all_levels(results)
        self.verdict = self._decide(results)
        self.is_written = self._write("interrupted" if interrupted else "finished") and not missing
        if not self.is_written:
            self.verdict = self._decide(results)
        self._end_lease()
        return self.verdict

    def _keep_lease(self) -> None:
        while True:
            self._lease.touch()
            gevent.sleep(TOUCHED_EVERY_S)

    def _end_lease(self) -> None:
        if self._lease_greenlet is not None:
            self._lease_greenlet.kill(block=False)
        self._lease.release()

    def _read_rows_back(self) -> list[Lost]:
        """From here on the rows on disk are what counts; those that were measured and are not there are lost."""
        assert self.ended_at is not None
        if self._files is None:
            return []
        found, problems = self._files.read_back(self.written)
        for problem in problems:
            self.note_problem(problem)
        missing = self.accounting.rows - found.rows
        if missing < 0:
            self.note_problem(f"requests.csv has {counted(-missing, 'row')} more than were measured")
        self.accounting = found
        reason = "measured, and not in requests.csv"
        return [Lost("", missing, self.started_at, self.ended_at, reason)] if missing > 0 else []

    def _check_clock(self) -> None:
        """Rows lie where the clock of the wall had them: it must have gone on as clocks do."""
        assert self.ended_at is not None
        step_s = (time.time() - self.started_at) - (time.monotonic() - self._began)
        if abs(step_s) > CLOCK_STEP_S:
            text = f"the clock was set by {step_s:+.1f} s while the run was on: rates and the time of rows are wrong"
            self.note_problem(text, ReasonKind.CLOCK)
        inside = self.started_at - OUTSIDE_S, self.ended_at + OUTSIDE_S
        outside = self.samples.count("sent") - self.samples.count("sent", None, inside)
        if outside:
            started = counted(outside, "request was started", "requests were started")
            text = f"{started} outside the run, as their rows say: no criterion has seen them"
            self.note_problem(text, ReasonKind.CLOCK)

    @property
    def window(self) -> tuple[float, float]:
        """Unix s from the end of the warm-up to the start of the cool-down; nothing lies between when they are as long
        as the run, and then there is no data."""
        end = self.ended_at if self.ended_at is not None else time.time()
        return self.started_at + self.settings.warm_up_s, end - self.settings.cool_down_s

    def _check_limits(self, record: RequestRecord) -> None:
        settings = self.settings
        if self._auto_stop is not None and self._auto_stop.add(record):
            self._failed_by_stop = True
            self.end(f"auto-stop: more than {settings.auto_stop} of the requests failed")
        elif self._refusals is not None and self._refusals.add(record):
            self._failed_by_stop = True
            self.end(self._refusals.description)
        elif settings.max_total_tokens is not None and self._tokens >= settings.max_total_tokens:
            self.end(f"budget: max-total-tokens of {settings.max_total_tokens:.0f} reached ({self._tokens} used)")
        elif settings.max_cost is not None and (spent := self.cost) is not None and spent >= settings.max_cost:
            cost = f"{spent:.4g} {settings.prices.currency}"
            self.end(f"budget: max-cost of {settings.max_cost:g} {settings.prices.currency} reached ({cost} spent)")
        elif settings.max_total_requests is not None and self.accounting.sent >= settings.max_total_requests:
            self.end(f"budget: max-total-requests of {settings.max_total_requests:.0f} reached")

    @property
    def cost(self) -> float | None:
        """So far, in the currency of the prices; `None` while nothing of known price was used."""
        until = self.ended_at if self.ended_at is not None else time.time()
        return self._spending.so_far(max(0.0, until - self.started_at))

    def end(self, reason: str, importance: int = logging.WARNING) -> None:
        """Stop the run from inside, and say why."""
        self.stop_reason = reason
        logger.log(importance, "Stopping the run: %s", reason)
        self._stop(reason)

    def _decide(self, results: list[CriterionResult]) -> Verdict:
        stopped = [Reason(ReasonKind.STOPPED, self.stop_reason)] if self._failed_by_stop and self.stop_reason else []
        evidence = Evidence(
            sent=self.accounting.sent,
            answered=self.accounting.outcomes[Outcome.OK],
            not_ok=self.accounting.not_ok,
            failures=stopped,
            distrust=self._distrust(),
            interrupted=self.interrupted,
            replaced=self.replaced,
        )
        return decide(results, bool(self.settings.criteria), evidence)

    def _distrust(self) -> list[Reason]:
        """Why the figures cannot be trusted, if they cannot."""
        reasons = self.problems + self.judge.distrust(self.accounting)
        if unaccounted := self.accounting.unaccounted:
            text = f"accounting: {unaccounted} planned arrivals are neither sent, dropped nor lost"
            reasons.append(Reason(ReasonKind.ACCOUNTING, text))
        reasons += self.influence.reasons()
        return reasons + [Reason(ReasonKind.LOST, str(lost)) for lost in self.accounting.lost]

    def announce(self) -> None:
        """Say in the log what the run came to; after `finish`."""
        verdict = self.verdict
        assert verdict is not None
        for result in verdict.results:
            logger.info("Criterion %s: %s", STATES[result.state], noted(result))
        for reason in verdict.reasons:
            logger.warning("Verdict: %s", reason)
        cut = ", of a run that was interrupted" if self.interrupted else ""
        where = f"Run directory: {self.directory}" if self.directory.is_dir() else "The run directory is gone"
        logger.info("Verdict: %s%s. %s", verdict.headline, cut, where)

    def _write(self, state: str) -> bool:
        """Whether run.json is on disk as it should be."""
        facts = self._facts(state)
        try:
            write_run_json(self.directory, facts)
            written = read_run_json(self.directory)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.note_problem(f"run.json could not be written: {reason}")
            logger.error("run.json could not be written: %s", reason)
            return False
        if written.get("verdict") != facts["verdict"]:
            self.note_problem("run.json was changed by somebody else")
            return False
        return True

    def _facts(self, state: str) -> dict[str, Any]:
        settings, found = self.settings, self.accounting
        return {
            **describe_tools(),
            "test_name": settings.test_name,
            "scenario": scenario_facts(self._scenario),
            "options": shown_options(self._options),
            "target": target_facts(settings),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "state": state,
            "preflight": self.first_requests,
            "seed": settings.seed,
            "traffic": self._traffic,
            "workers": self.workers,
            "clocks": self.clocks,
            "messages_refused": self.messages_refused,
            "sessions_until": self.sessions_until,
            "clock": "kernel" if kernel_timestamps() else "user",
            "prices": settings.prices.facts(),
            "quota": {"tpm": settings.quota_tpm, "rpm": settings.quota_rpm, "ptu": settings.ptu},
            "window": {"warm_up_s": settings.warm_up_s, "cool_down_s": settings.cool_down_s},
            "accounting": found.facts(),
            "rows_file": None if self.written is None else self.written.facts(),
            "delivery": delivery(self.samples, self.window, found.planned, found.first_attempts)
            if self.ended_at
            else {},
            "generator": {
                **summarise(self.health, self._read_lags_ms),
                **self.influence.facts(),
                "self_checks": list(self._self_checks),
                "beyond_self_check": list(self._beyond),
            },
            "length_shortfall": self.answer_lengths.facts(),
            "answer_doubts": dict(self.answer_doubts.counts),
            "search": self.judge.facts(),
            "levels": self.levels,
            "criteria": [result.facts() for result in self.verdict.results] if self.verdict else [],
            "criteria_replaced": [replacement.facts() for replacement in self.replaced],
            "verdict": None if self.verdict is None else self.verdict.facts(),
            "rate_changes": [{"at": at, "rate_rpm": rate_rpm} for at, rate_rpm in self.rate_changes],
            "stop_reason": self.stop_reason,
        }
