"""The master's side of a distributed run: rows in, one plan divided among the workers, and an end that loses nothing.

Locust's master waits half a second for its workers' last reports and loses what streams finish later, so the end is a
handshake: each worker is told to stop, ships all it has, and says so with its count of rows. Rows of a dead worker are
taken from its journal where that is on this machine; what is then still missing is counted as lost.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent

from tokenswarm.control.clock import BOUND_S, MOVED_S
from tokenswarm.control.mailbox import Mailbox
from tokenswarm.control.messages import ClockAsked, ClockTold, Drain, IllFormed, PlanStart, Rows
from tokenswarm.control.seen_blocks import SeenRelay
from tokenswarm.metrics.accounting import Lost
from tokenswarm.metrics.verdict import Reason, ReasonKind
from tokenswarm.record import RequestRecord
from tokenswarm.results.in_flight import in_flight_path, read_in_flight
from tokenswarm.results.journal import Journal, WrittenBytes
from tokenswarm.results.recorder import read_journal_after
from tokenswarm.results.remote_workers import RemoteWorker, discard_remote_workers, write_remote_workers
from tokenswarm.results.run_directory import PREFIXES
from tokenswarm.workload.arrivals import Assignment, Plan

WATCH_S = 0.2
USERS_WITHIN_S = 15.0
REASSIGN_AFTER_S = 0.7
"""A change of the workers holds for arrivals due later than this from now: time for all of them to hear of it."""

DRAIN_EXTRA_S = 10.0
"""What the handshake may take beyond the stop-timeout."""

MISSING_EXTRA_S = 5.0
"""How long a worker that gave no heartbeat lately may take to answer after all: a busy one looks like a dead one."""

NOTE_EVERY_S = 0.4
"""How often it is noted what workers on other machines have: they say so twice a second."""

if TYPE_CHECKING:
    from locust.runners import MasterRunner

logger = logging.getLogger(__name__)

Receive = Callable[[Rows, list[RequestRecord]], None]


@dataclass(slots=True)
class _Worker:
    """What the master knows of one worker in this run: its last message, and the rows that came with all of them."""

    name: str
    told: Rows
    rows: int = 0
    planned_rows: int = 0
    journal: Path | None = None
    heard_at: float = field(default_factory=time.time)
    done: bool = False
    done_early: bool = False
    """It ended, in order, before the run did."""

    def is_elsewhere(self, directory: Path) -> bool:
        """Whether its journal is none of the run's directory, on another machine as a rule, or not known to be."""
        return self.told.journal is None or Path(self.told.journal).parent != directory.resolve()

    @property
    def without_row(self) -> int:
        """Requests it has made or begun, as it last said, whose rows are not here."""
        return max(0, self.told.made - self.rows) + self.told.in_flight

    @property
    def overtaken(self) -> int:
        """Arrivals that the end of the run overtook; none where the worker left before it."""
        return 0 if self.done_early else self.told.overtaken

    @property
    def was_there_to_end(self) -> bool:
        """It ended, in order, with the run, and all its rows are here."""
        return self.done and not self.done_early and self.rows >= self.told.made

    def take(self, message: Rows) -> None:
        """A message has come."""
        self.told, self.heard_at = message, time.time()
        if message.journal:
            self.journal = Path(message.journal)


@dataclass(slots=True)
class _SharedOffer:
    """A plan from Unix s `origin` on. `level` describes it to workers that cannot know it from their settings;
    `shares` are the workers among whom it is divided, each time from an arrival on."""

    plan: Plan
    origin: float
    level: list[float] | None
    shares: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    until: float = math.inf
    """Unix s at which the next plan takes over."""

    def count_before(self, until: float) -> int:
        return self.plan.count_before(min(until, self.until) - self.origin)

    def owned(self, client_id: str, until: float) -> int:
        """Arrivals due before Unix s `until` that were given to a worker."""
        end = self.count_before(until)
        total = 0
        ends = [begin for begin, _ in self.shares[1:]] + [end]
        for (begin, active), before in zip(self.shares, ends, strict=True):
            if client_id in active:
                share = Assignment(begin, active.index(client_id), len(active))
                total += share.count_owned(begin, min(before, end))
        return total


class Workers:
    """The workers of one master, run after run. `receive` is handed every message of rows, and the rows as records."""

    def __init__(self, runner: MasterRunner, mailbox: Mailbox, receive: Receive) -> None:
        self._runner = runner
        self._mailbox = mailbox
        self._receive = receive
        self._workers: dict[str, _Worker] = {}
        self._journal: Journal | None = None
        self._offers: list[_SharedOffer] = []
        self._greenlet: Any = None
        self._drained = gevent.event.Event()
        self._until = math.inf
        self._after_end = 0
        self._run = ""
        self._is_over = False
        self._in_sessions = False
        self._note_after = 0.0
        self._refused_before = 0
        self.problems: list[str] = []
        """Why the count of the last run's requests cannot be trusted."""
        self._seen = SeenRelay(runner, mailbox)
        mailbox.listen(Rows, self._take_rows)
        mailbox.listen(ClockAsked, self._tell_time)

    def begin(self, directory: Path) -> None:
        """A run starts: rows go to its requests.csv. Raises `OSError`."""
        self._workers = {client_id: self._expected(client_id, directory) for client_id in self._runner.clients}
        self._journal = Journal(directory / "requests.csv")
        self._offers = []
        self._until, self._after_end, self._is_over, self._in_sessions = math.inf, 0, False, False
        self._run, self._refused_before = run_of(directory), self._mailbox.refused
        self._seen.begin(self._run)
        self.problems = []
        self._note_after = 0.0
        self._note_remote_workers()

    def await_users(self) -> None:
        """Wait until every worker that was given users has reported them: Locust waits a second for it and goes on.

        A worker that needs longer than `USERS_WITHIN_S` starts without its part, and gets one when it reports."""
        deadline = time.monotonic() + USERS_WITHIN_S
        while time.monotonic() < deadline and self._runner.user_count < self._runner.target_user_count:
            gevent.sleep(0.02)

    def start_plan(self, plan: Plan, origin: float, level: list[float] | None = None) -> None:
        """A plan begins at Unix s `origin`, divided among the workers that have users; earlier ones end there."""
        if self._offers:
            self._offers[-1].until = origin
        self._offers.append(_SharedOffer(plan, origin, level))
        self._share(self._offers[-1], 0)
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._watch_workers)

    def end_plan(self, at: float) -> None:
        """Nothing of the current plan is due from Unix s `at` on, which is told to all workers now."""
        self._stop_watching()
        if not self._offers:
            return
        offer = self._offers[-1]
        begin = offer.count_before(at)
        offer.shares.append((begin, ()))
        for client_id in self._runner.clients:
            self._mailbox.send(PlanStart(offer.origin, [begin, None, 0], offer.level), client_id)

    def _stop_watching(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
            self._greenlet = None

    def planned(self, until: float) -> int:
        """Arrivals of all plans that were due by Unix s `until`, and those sent while word of the end was on its way.

        Without those that the end overtook: see `Schedule.give_up`.
        """
        overtaken = sum(worker.overtaken for worker in self._workers.values())
        return sum(offer.count_before(until) for offer in self._offers) + self._after_end - overtaken

    def drain(self, until: float, stop_timeout: float) -> None:
        """Stop all workers and wait until each has shipped everything, has died, or the time is up."""
        self._until = until
        self._stop_watching()
        # Whatever Locust says of its state: a worker that has not been heard from may still be about to send.
        waiting = list(self._runner.clients)
        for client_id in waiting:
            self._mailbox.send(Drain(until, self._run), client_id)
        now = time.monotonic()
        deadline, patience = now + stop_timeout + DRAIN_EXTRA_S, now + MISSING_EXTRA_S
        while time.monotonic() < deadline and any(self._is_awaited(client_id, patience) for client_id in waiting):
            self._drained.clear()
            self._drained.wait(timeout=0.2)

    def finish(self, ended_at: float) -> list[Lost]:
        """All that will come has come: fetch the rest from journals on this machine, and say what is lost. A message
        that comes after all is not taken, as its rows have been fetched or counted as lost."""
        self._is_over = True
        for worker in self._workers.values():
            self._recover(worker)
            if not worker.done:
                self.problems.append(f"{worker.name} did not end in order: what it sent last may be missing")
        lost = [self._lost(client_id, worker, ended_at) for client_id, worker in self._workers.items()]
        if (unassigned := self._unassigned(ended_at)) > 0:
            lost.append(Lost("", unassigned, ended_at, ended_at, "due while there was no worker"))
        if self._journal is not None:
            self._journal.close()
            if self._journal.problem is not None:
                self.problems.append(self._journal.problem)
        return [each for each in lost if each.rows > 0 or each.at_least]

    def reasons(self) -> list[Reason]:
        """Why the last run cannot be trusted, as far as its workers are concerned; after `finish`."""
        reasons = [Reason(ReasonKind.EVIDENCE, problem) for problem in self.problems]
        if self.refused:
            logger.warning("%d messages that were no worker's of this run were left out", self.refused)
        for name, clock in self.clocks().items():
            moved_s = clock["ahead_s"] - clock["shift_s"]
            if abs(moved_s) > MOVED_S + clock["error_s"]:
                text = f"the clock of {name} moved by {moved_s:+.1f} s while the run was on: its rows are out of place"
                reasons.append(Reason(ReasonKind.CLOCK, text))
            if abs(clock["shift_s"]) > BOUND_S:
                text = "The clock of %s is %+.1f s from this one: its rows were placed by this one"
                logger.warning(text, name, clock["shift_s"])
        for worker in self._workers.values():
            if worker.rows and worker.told.clock is None:
                text = f"the clock of {worker.name} could not be held against this one: its rows may be out of place"
                reasons.append(Reason(ReasonKind.CLOCK, text))
        return reasons

    @property
    def refused(self) -> int:
        """Messages of the last run that were left out: ill-formed ones, or no worker's of this run."""
        return self._mailbox.refused - self._refused_before

    def clocks(self) -> dict[str, dict[str, float]]:
        """Of each worker, in s: what it took off its instants, how far it was ahead at last, and the error of that."""
        known = {worker.name: worker.told.clock for worker in self._workers.values() if worker.told.clock is not None}
        return {name: dict(zip(("shift_s", "ahead_s", "error_s"), clock, strict=True)) for name, clock in known.items()}

    def _tell_time(self, message: ClockAsked, client_id: str) -> None:
        if client_id in self._runner.clients:
            self._mailbox.send(ClockTold(message.asked_at, time.time()), client_id)
        elif client_id not in self._workers:  # nor one that has just left
            raise IllFormed(f"{message.NAME}: expected a worker, got somebody else")

    def _take_rows(self, message: Rows, client_id: str) -> None:
        records = message.records()
        if message.run != self._run or not (client_id in self._runner.clients or client_id in self._workers):
            raise IllFormed(f"{message.NAME}: expected a worker of this run, got one of {message.run[:60]!r}")
        worker = self._worker(client_id, message.worker)
        if self._is_over or (worker.done and not records):
            return  # of the latter: it had ended before it was told to
        message.check_after(worker.told, worker.name)
        if worker.told.journal is None:
            self._note_after = 0.0  # until now it was not known where it is
        worker.take(message)
        self._take(worker, message, records)
        self._note_remote_workers()
        if message.done:
            worker.done, worker.done_early = True, self._until == math.inf
            self._drained.set()
        if self._journal is not None:
            self._journal.flush()

    def _note_remote_workers(self) -> None:
        """Leave word of what workers elsewhere have, for the case that this process is killed."""
        if self._journal is None or time.monotonic() < self._note_after:
            return
        self._note_after = time.monotonic() + NOTE_EVERY_S
        directory = self._journal.path.parent
        elsewhere = [each for each in self._workers.values() if each.is_elsewhere(directory)]
        write_remote_workers(
            directory, [RemoteWorker(x.name, x.told.journal, x.without_row, x.heard_at) for x in elsewhere]
        )

    def _take(self, worker: _Worker, message: Rows, records: list[RequestRecord]) -> None:
        if self._journal is not None and records:
            self._journal.add(message.text, message.rows)
            self._in_sessions |= records[0].step is not None
        worker.rows += message.rows
        due = [record.scheduled_at for record in records if record.scheduled_at is not None and record.attempt == 1]
        late = sum(instant >= self._until for instant in due)
        worker.planned_rows += len(due) - late
        self._after_end += late
        self._receive(message, records)

    def _worker(self, client_id: str, name: str) -> _Worker:
        return self._workers.setdefault(client_id, _Worker(name, Rows(name)))

    def _expected(self, client_id: str, directory: Path) -> _Worker:
        """A worker that is to take part. On this machine its journal is where it would say."""
        name = f"w{self._runner.get_worker_index(client_id)}"
        return _Worker(name, Rows(name), journal=directory / f"journal-{name}.csv")

    def _active(self) -> tuple[str, ...]:
        clients = self._runner.clients.values()
        return tuple(
            client.id
            for client in clients
            if client.state in ("running", "spawning")
            and (client.user_count or sum(client.user_classes_count.values()))
        )

    def _share(self, offer: _SharedOffer, begin: int) -> None:
        """Divide a plan from arrival `begin` on, and tell the workers."""
        active = self._active()
        offer.shares.append((begin, active))
        for client_id in self._runner.clients:
            if client_id not in active:  # it may be stopped, and come back with its old share
                self._mailbox.send(PlanStart(offer.origin, [begin, None, len(active)], offer.level), client_id)
        for position, client_id in enumerate(active):
            self._worker(client_id, f"w{self._runner.get_worker_index(client_id)}")
            self._mailbox.send(PlanStart(offer.origin, [begin, position, len(active)], offer.level), client_id)

    def _watch_workers(self) -> None:
        while True:
            gevent.sleep(WATCH_S)
            active, offer = self._active(), self._offers[-1]
            if active and set(active) != set(offer.shares[-1][1]):
                begin = offer.count_before(time.time() + REASSIGN_AFTER_S)
                logger.warning("Workers changed to %d: the plan is divided anew from arrival %d", len(active), begin)
                self._share(offer, begin)

    def _is_awaited(self, client_id: str, patience: float) -> bool:
        client = self._runner.clients.get(client_id)
        if client is None or (client.state == "missing" and time.monotonic() > patience):
            return False
        worker = self._workers.get(client_id)
        return worker is None or not worker.done

    def _recover(self, worker: _Worker) -> None:
        """Rows that a dead worker wrote down and did not ship are the end of its journal."""
        if worker.journal is None or (worker.done and worker.rows >= worker.told.made):
            return
        lines = read_journal_after(worker.journal, worker.rows)
        if lines:
            message = Rows(worker.name, self._run, len(lines), "".join(lines))
            self._take(worker, message, message.records())
            logger.info("%d rows of %s were recovered from its journal", len(lines), worker.name)

    def _lost(self, client_id: str, worker: _Worker, ended_at: float) -> Lost:
        """What a worker was given or made and did not deliver. In open loop that is known exactly but for the later
        requests of sessions, in closed loop only as far as it said, or left in its files."""
        left = read_in_flight(worker.journal) if worker.journal is not None else None
        if self._offers:
            owned = sum(offer.owned(client_id, ended_at) for offer in self._offers)
            rows = owned - worker.planned_rows - worker.overtaken
            if rows < 0:
                self.problems.append(f"{worker.name} sent {-rows} arrivals that were another worker's by then")
            more = self._in_sessions and not worker.done and left != 0
            return Lost(worker.name, rows, worker.heard_at, ended_at, _why_lost(worker), at_least=more)
        made = max(0, worker.told.made - worker.rows)
        if worker.done:
            return Lost(worker.name, made, worker.heard_at, ended_at, _why_lost(worker))
        under_way = worker.told.in_flight if left is None else left
        return Lost(worker.name, made + under_way, worker.heard_at, ended_at, _why_lost(worker), at_least=left is None)

    def _unassigned(self, ended_at: float) -> int:
        """Arrivals that were due while no worker was there to be given them."""
        owned = sum(offer.owned(client_id, ended_at) for offer in self._offers for client_id in self._workers)
        return sum(offer.count_before(ended_at) for offer in self._offers) - owned

    def sessions_until(self, ended_at: float) -> dict[str, float]:
        """Up to which Unix s all sessions of each worker went on that no row ends. Of one that was lost before the end
        nobody knows, nor where rows are missing: one of them may have ended a session."""
        to_end = [worker for worker in self._workers.values() if worker.was_there_to_end]
        return {worker.name: min(worker.told.left_at or ended_at, ended_at) for worker in to_end}

    @property
    def written(self) -> WrittenBytes | None:
        """What of the last run's rows went to requests.csv."""
        return self._journal.written if self._journal is not None else None

    def discard_journals(self) -> None:
        """Journals beside a complete requests.csv say nothing more."""
        directory = self._journal.path.parent.resolve() if self._journal is not None else None
        if directory is not None:
            discard_remote_workers(directory)
            (directory / PREFIXES).unlink(missing_ok=True)
        for worker in self._workers.values():
            if worker.journal is not None and worker.journal.parent == directory:
                worker.journal.unlink(missing_ok=True)
                in_flight_path(worker.journal).unlink(missing_ok=True)


def run_of(directory: Path | str) -> str:
    """The name a run travels by: its directory's, and its test's."""
    return "/".join(Path(directory).parts[-2:])


def _why_lost(worker: _Worker) -> str:
    if worker.done_early:
        return "worker ended before the run with requests due"
    return "shipped rows did not arrive" if worker.done else "worker died with requests under way or due"
