"""What the users of one process share in one run: their arrivals, questions and endpoint, and where their rows go."""

from __future__ import annotations

import dataclasses
import gc
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gevent.event import Event

from tokenswarm.apis.named import path_of
from tokenswarm.apis.request import ChatTarget
from tokenswarm.client.endpoint import Endpoint
from tokenswarm.client.sdk import chat_endpoint
from tokenswarm.client.several import Shares
from tokenswarm.config.settings import Settings
from tokenswarm.generator.heartbeat import Heartbeat, HeartbeatWindow
from tokenswarm.generator.influence import Stall
from tokenswarm.generator.overload import Overload
from tokenswarm.generator.selfcheck_result import read_stored
from tokenswarm.record import RequestRecord
from tokenswarm.recordings.lines import Form
from tokenswarm.results.answers_sample import AnswersSample
from tokenswarm.results.recorder import Batch, Recorder
from tokenswarm.results.run_directory import PREFIXES
from tokenswarm.sender.schedule import Schedule
from tokenswarm.sender.session import Session
from tokenswarm.traffic.replay import Conversations, Replay
from tokenswarm.traffic.seen_prefixes import SeenPrefixes
from tokenswarm.workload.questions import Questions, QuestionSource

if TYPE_CHECKING:
    from tokenswarm.sender.tracing import Telemetry


logger = logging.getLogger(__name__)

COLLECT_SELDOM = (10_000, 20, 50)
"""Thresholds of the garbage collector during a run: a request leaves no cycles, so there is little to find."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the sending processes this is. `request_name`: of arrivals that no user takes, of `target`."""

    worker: str
    position: int
    count: int
    target: str
    request_name: str
    directory: Path | None = None
    """Which all sending processes have in common; `None` where they may be on several machines."""
    has_master: bool = False
    """Whether there is somebody who tells it what others have sent."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a sending process says of itself with its rows: heartbeat windows and stalls since it last said so,
    `offered` and `overtaken` arrivals (see `Schedule`), its self-check and what is beyond that (see `Overload`), when a
    session was left (see `Sender`);
    `done`: it has stopped, nothing will follow."""

    windows: list[HeartbeatWindow]
    stalls: list[Stall]
    offered: int | None
    overtaken: int
    self_check: str | None
    beyond: str | None
    left_at: float | None
    done: bool


class Sender:
    """The sending side of one process in one run. `schedule`: `None` in closed loop; `questions`: without a dataset;
    `replay`: without recorded requests."""

    def __init__(
        self,
        settings: Settings,
        place: Place,
        journal: Path,
        observe: Callable[[RequestRecord], None] | None,
        ship: Callable[[Batch, Condition], None] | None,
        telemetry: Telemetry | None,
    ) -> None:
        """Raises `OSError` when the journal cannot be created, or recorded requests not be read."""
        self.place = place
        self._thresholds = gc.get_threshold()
        self.telemetry = telemetry
        self._backed_off = False
        self.stopping = Event()
        """Set when the run ends: only what is under way goes on."""
        self.left_at: float | None = None
        """Unix s at which a session was first left without an end although the run went on: its user was stopped, or
        raised an exception."""
        send = (lambda batch: ship(batch, self._condition(batch.is_last))) if ship is not None else None
        self.recorder = Recorder(place.worker, journal, observe, send)
        self.answers = AnswersSample(settings.answers_sample_pct, journal) if settings.answers_sample_pct else None
        self._done = False
        self.clock_shift_s: Callable[[], float | None] = lambda: 0.0
        """What is taken off this process's instants so that they are the master's; `None` while it is unknown."""
        self._unplaced: list[RequestRecord] = []
        self.heartbeat = Heartbeat(place.worker)
        self.overload = Overload(read_stored(), lambda: self.recorder.in_flight)
        self._chat = settings.chat
        self.chat_endpoint = chat_endpoint(settings.chat, settings.sending) if settings.chat is not None else None
        self.several: dict[str, tuple[ChatTarget, Endpoint]] = {}
        """Targets that share the requests, by name; empty where there is one."""
        self.shares: Shares | None = None
        if settings.several is not None:
            targets, weights = settings.several.targets, settings.several.weights
            self.several = {name: (each, chat_endpoint(each, settings.sending)) for name, each in targets.items()}
            self.shares = Shares(weights) if weights is not None else None
        self.questions: QuestionSource | None = None
        if settings.questions is not None:
            order, seed = settings.dataset_order, settings.seed
            self.questions = Questions(settings.questions, order, seed, place.position, place.count)
        recording = settings.traffic.recording
        self._recorded = Replay(recording, place.position, place.count) if recording is not None else None
        self.replay = self._recorded
        if recording is not None and recording.index.form is Form.CONVERSATION and self._recorded is not None:
            self.questions, self.replay = Conversations(self._recorded), None
        self.seen = _seen_prefixes(place) if settings.remembers_prompts else None
        self.schedule: Schedule | None = None
        if settings.open_load:
            identity = {"worker": place.worker, "target": place.target, "name": place.request_name}
            self.schedule = Schedule(settings.max_lag_s, self.record, identity)

    def begin(self) -> None:
        """Users are about to start."""
        if self.chat_endpoint is not None and self._chat is not None:
            self.chat_endpoint.at(path_of(self._chat))  # now, not inside the first request
        for target, endpoint in self.several.values():
            endpoint.at(path_of(target))
        # Locust's `Runner.stop` looks at its own call stack: 60 ms of reading source files when done for the first
        # time, and nothing else is read meanwhile, of answers that are still on their way.
        inspect.stack()
        self.recorder.start()
        gc.collect()
        self._thresholds = gc.get_threshold()
        gc.set_threshold(*COLLECT_SELDOM)
        self.settle()
        self.heartbeat.start()
        self.overload.start()

    def settle(self) -> None:
        """What lives now lives on: the garbage collector need not look at it again. Called at the start, when all users
        are there, and at the end, where telling them sets it off: a full collection over a thousand users stops the
        loop for 150 ms, one of what is new for 20."""
        gc.freeze()

    def record(self, record: RequestRecord) -> None:
        """Take one record, to the journal and to the application's traces."""
        shift_s = self.clock_shift_s()
        if shift_s is None:
            self._unplaced.append(record)
        else:
            self.recorder.record(_shifted(record, shift_s) if shift_s else record)
        self.overload.add(record)
        if self.telemetry is not None:
            self.telemetry.emit(record)

    def note_back_off(self) -> None:
        """A user of a closed load waits longer than it would think, as it was refused or throttled: said once."""
        if not self._backed_off:
            self._backed_off = True
            logger.warning(
                "Users who are refused or throttled wait 0.1 s, then longer, up to 1 s, before they ask again"
            )

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Around a call: how many are under way is known when this process dies."""
        self.recorder.start_call()
        try:
            yield
        finally:
            self.recorder.finish_call()

    @contextmanager
    def in_session(self, session: Session) -> Iterator[None]:
        """Around a session from its first request to its end, or that of the run."""
        try:
            yield
        finally:
            if session.is_on and self.left_at is None and not self.stopping.is_set():
                self.left_at = time.time()

    def place_rows(self) -> None:
        """The clock is known, or will not be: rows that waited for it are recorded."""
        shift_s = self.clock_shift_s() or 0.0
        unplaced, self._unplaced = self._unplaced, []
        for record in unplaced:
            self.recorder.record(_shifted(record, shift_s) if shift_s else record)

    def end(self) -> list[HeartbeatWindow]:
        """All users have stopped: everything is on disk and on its way. The heartbeat's last windows."""
        self.heartbeat.stop()
        self.overload.stop()
        self.place_rows()
        windows = list(self.heartbeat.windows)
        self._done = True
        if self._recorded is not None:
            self._recorded.close()
        if self.seen is not None:
            self.seen.close()
        if self.answers is not None:
            self.answers.close()
        self.recorder.close()
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()
        return windows

    def take_stalls(self) -> list[Stall]:
        """Stalls of this process since the last call, by the master's clock."""
        shift_s = self.clock_shift_s() or 0.0
        return [(at - shift_s, lag_ms) for at, lag_ms in self.heartbeat.take_stalls()]

    def _condition(self, is_last: bool) -> Condition:
        schedule = self.schedule
        return Condition(
            self.heartbeat.take(),
            self.take_stalls(),
            schedule.offered if schedule is not None else None,
            schedule.overtaken if schedule is not None else 0,
            self.overload.description,
            self.overload.warning,
            None if self.left_at is None else self.left_at - (self.clock_shift_s() or 0.0),
            self._done and is_last,
        )


def _seen_prefixes(place: Place) -> SeenPrefixes | None:
    """What recorded prompts of all sending processes begin with; `None` where they cannot know of one another."""
    if place.count == 1 or (place.directory is None and place.has_master):
        return SeenPrefixes(tells=place.count > 1)
    try:
        return SeenPrefixes(place.directory / PREFIXES, place.has_master) if place.directory is not None else None
    except (OSError, AttributeError):  # no room; macOS has no posix_fallocate
        return None


def _shifted(record: RequestRecord, by_s: float) -> RequestRecord:
    """The record by a clock that is `by_s` behind."""
    started_at, scheduled_at = (None if at is None else at - by_s for at in (record.started_at, record.scheduled_at))
    return dataclasses.replace(record, started_at=started_at, scheduled_at=scheduled_at)
