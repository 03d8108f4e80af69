"""The master's side of a distributed run: rows in, one plan divided among the workers, and an end that loses nothing.

Locust's master waits half a second for its workers' last reports and loses what streams finish later, so the end is a
handshake: each worker is told to stop, ships all it has, and says so with its count of rows. Rows of a dead worker are
taken from its journal where that is on this machine; what is then still missing is counted as lost.
"""

from __future__ import annotations

import csv
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent

from tokenswarm.control.mailbox import Mailbox
from tokenswarm.control.messages import Drain, IllFormed, PlanStart, Rows
from tokenswarm.metrics.accounting import Lost
from tokenswarm.record import RequestRecord
from tokenswarm.results.in_flight import in_flight_path, read_in_flight
from tokenswarm.results.journal import Journal
from tokenswarm.results.recorder import parse_rows, read_journal_after
from tokenswarm.workload.arrivals import Assignment, Plan

WATCH_S = 0.2
USERS_WITHIN_S = 15.0
REASSIGN_AFTER_S = 0.7
"""A change of the workers holds for arrivals due later than this from now: time for all of them to hear of it."""

DRAIN_EXTRA_S = 10.0
"""What the handshake may take beyond the stop-timeout."""

MISSING_EXTRA_S = 5.0
"""How long a worker that gave no heartbeat lately may take to answer after all: a busy one looks like a dead one."""

if TYPE_CHECKING:
    from locust.runners import MasterRunner

logger = logging.getLogger(__name__)

Receive = Callable[[Rows, list[RequestRecord]], None]


@dataclass(slots=True)
class _Worker:
    """What the master knows of one worker in this run."""

    name: str
    rows: int = 0
    planned_rows: int = 0
    reported: int = 0
    in_flight: int = 0
    overtaken: int = 0
    journal: Path | None = None
    heard_at: float = field(default_factory=time.time)
    done: bool = False


@dataclass(slots=True)
class _Offer:
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
        self._offers: list[_Offer] = []
        self._watch: Any = None
        self._drained = gevent.event.Event()
        self._until = math.inf
        self._after_end = 0
        self.problems: list[str] = []
        """Why the count of the last run's requests cannot be trusted."""
        mailbox.listen(Rows, self._take_rows)

    def begin(self, directory: Path) -> None:
        """A run starts: rows go to its requests.csv. Raises `OSError`."""
        self._workers = {client_id: self._expected(client_id, directory) for client_id in self._runner.clients}
        self._journal = Journal(directory / "requests.csv")
        self._offers = []
        self._until, self._after_end = math.inf, 0
        self.problems = []

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
        self._offers.append(_Offer(plan, origin, level))
        self._share(self._offers[-1], 0)
        if self._watch is None:
            self._watch = gevent.spawn(self._watch_workers)

    def planned(self, until: float) -> int:
        """Arrivals of all plans that were due by Unix s `until`, and those sent while word of the end was on its way.

        Without those that the end overtook: see `Schedule.give_up`.
        """
        overtaken = sum(worker.overtaken for worker in self._workers.values())
        return sum(offer.count_before(until) for offer in self._offers) + self._after_end - overtaken

    def drain(self, until: float, stop_timeout: float) -> None:
        """Stop all workers and wait until each has shipped everything, has died, or the time is up."""
        self._until = until
        if self._watch is not None:
            self._watch.kill(block=False)
            self._watch = None
        # Whatever Locust says of its state: a worker that has not been heard from may still be about to send.
        waiting = list(self._runner.clients)
        for client_id in waiting:
            self._mailbox.send(Drain(until), client_id)
        now = time.monotonic()
        deadline, patience = now + stop_timeout + DRAIN_EXTRA_S, now + MISSING_EXTRA_S
        while time.monotonic() < deadline and any(self._is_awaited(client_id, patience) for client_id in waiting):
            self._drained.clear()
            self._drained.wait(timeout=0.2)

    def finish(self, ended_at: float) -> list[Lost]:
        """All that will come has come: fetch the rest from journals on this machine, and say what is lost."""
        for worker in self._workers.values():
            self._recover(worker)
            if not worker.done:
                self.problems.append(f"{worker.name} did not end in order: what it sent last may be missing")
        lost = [self._lost(worker, ended_at) for worker in self._workers.values() if not worker.done]
        lost += [
            Lost(worker.name, worker.reported - worker.rows, worker.heard_at, ended_at, "shipped rows did not arrive")
            for worker in self._workers.values()
            if worker.done
        ]
        if self._journal is not None:
            self._journal.close()
            if self._journal.problem is not None:
                self.problems.append(self._journal.problem)
        return [each for each in lost if each.rows > 0]

    def _take_rows(self, message: Rows, client_id: str) -> None:
        records = _read_records(message)
        worker = self._worker(client_id, message.worker)
        if worker.done and not records:
            return  # it had ended before it was told to
        worker.heard_at = time.time()
        worker.in_flight, worker.reported = message.in_flight, message.total
        worker.overtaken = message.overtaken
        if message.journal:
            worker.journal = Path(message.journal)
        self._take(worker, message, records)
        if message.done:
            worker.done = True
            self._drained.set()
        if self._journal is not None:
            self._journal.flush()

    def _take(self, worker: _Worker, message: Rows, records: list[RequestRecord]) -> None:
        if self._journal is not None and records:
            self._journal.add(message.text, message.rows)
        worker.rows += message.rows
        due = [record.scheduled_at for record in records if record.scheduled_at is not None and record.attempt == 1]
        late = sum(instant >= self._until for instant in due)
        worker.planned_rows += len(due) - late
        self._after_end += late
        self._receive(message, records)

    def _worker(self, client_id: str, name: str) -> _Worker:
        return self._workers.setdefault(client_id, _Worker(name))

    def _expected(self, client_id: str, directory: Path) -> _Worker:
        """A worker that is to take part. On this machine its journal is where it would say."""
        name = f"w{self._runner.get_worker_index(client_id)}"
        return _Worker(name, journal=directory / f"journal-{name}.csv")

    def _active(self) -> tuple[str, ...]:
        clients = self._runner.clients.values()
        return tuple(
            client.id
            for client in clients
            if client.state in ("running", "spawning")
            and (client.user_count or sum(client.user_classes_count.values()))
        )

    def _share(self, offer: _Offer, begin: int) -> None:
        """Divide a plan from arrival `begin` on, and tell the workers."""
        active = self._active()
        offer.shares.append((begin, active))
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
        if worker.journal is None or (worker.done and worker.rows >= worker.reported):
            return
        lines = read_journal_after(worker.journal, worker.rows)
        if lines:
            message = Rows(worker.name, len(lines), "".join(lines))
            self._take(worker, message, _read_records(message))
            logger.info("%d rows of %s were recovered from its journal", len(lines), worker.name)

    def _lost(self, worker: _Worker, ended_at: float) -> Lost:
        """What a dead worker took with it: planned arrivals without a row; in closed loop what was under way."""
        client_id = next(key for key, value in self._workers.items() if value is worker)
        rows = max(worker.in_flight, read_in_flight(worker.journal)) if worker.journal else worker.in_flight
        if self._offers:
            rows = sum(offer.owned(client_id, ended_at) for offer in self._offers) - worker.planned_rows
        return Lost(worker.name, rows, worker.heard_at, ended_at, "worker died with requests under way or due")

    def discard_journals(self) -> None:
        """Journals beside a complete requests.csv say nothing more."""
        directory = self._journal.path.parent.resolve() if self._journal is not None else None
        for worker in self._workers.values():
            if worker.journal is not None and worker.journal.parent == directory:
                worker.journal.unlink(missing_ok=True)
                in_flight_path(worker.journal).unlink(missing_ok=True)


def _read_records(message: Rows) -> list[RequestRecord]:
    """The records of a message, all of it understood before any of it is used. Raises `IllFormed`."""
    windows = message.windows
    try:
        records = parse_rows(message.text)
    except (ValueError, TypeError, csv.Error) as error:
        raise IllFormed(f"{message.NAME}.text: expected rows, got {error}") from None
    if len(records) != message.rows or any(window.worker != message.worker for window in windows):
        raise IllFormed(f"{message.NAME}: expected {message.rows} rows of {message.worker}, got {len(records)}")
    return records
