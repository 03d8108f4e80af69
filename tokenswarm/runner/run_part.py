"""One process's part in one run: made when Locust starts a test, dropped when all users have stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

import gevent
from gevent.event import Event

from tokenswarm.config.settings import Settings
from tokenswarm.control.run import LoadRun
from tokenswarm.metrics.server_metrics import FILE_NAME
from tokenswarm.results.prometheus import Scraper
from tokenswarm.runner.locust_stats import LocustFiles
from tokenswarm.sender.schedule import Schedule
from tokenswarm.sender.sender import Sender

WAIT_S = 0.1


class Phase(IntEnum):
    """Where a run is. It only moves on."""

    PREPARING = 0
    SPAWNING = 1
    RUNNING = 2
    DRAINING = 3
    ENDED = 4


class Offered(Protocol):
    """What a run asks of its open load (`tokenswarm.runner.open_load.OpenLoad`, which in turn knows its run's part)."""

    def begin(self) -> None: ...

    def planned(self, until: float) -> int: ...

    def last(self, run_time_s: float) -> float | None: ...

    def change_rate(self, rate_rpm: float) -> float: ...


class RunPart:
    """`sender`: `None` in a master, which sends nothing; `run`: `None` in a worker, which judges nothing."""

    def __init__(self, settings: Settings, began_at: float) -> None:
        self.settings = settings
        self.began_at = began_at
        """Monotonic s of Locust's word to start."""
        self.phase = Phase.PREPARING
        self.sender: Sender | None = None
        self.run: LoadRun | None = None
        self.files: LocustFiles | None = None
        self.scrapers: Sequence[Scraper] = ()
        self.origin: float | None = None
        """Unix s at which the open load began; `None` before that and in closed load."""
        self.ended_at: float | None = None
        """Unix s from which nothing more is offered."""
        self.interrupted = False
        """Whether it was ended from outside, before its time."""
        self.over = Event()
        """Set when all is written, or given up."""
        self.users = 0
        self.open_load: Offered | None = None
        """What is offered, in the process that judges; `None` in closed load."""

    @property
    def schedule(self) -> Schedule | None:
        return self.sender.schedule if self.sender is not None else None

    def advance(self, phase: Phase) -> bool:
        """Move on to a later phase; whether that was one."""
        if phase <= self.phase:
            return False
        self.phase = phase
        return True

    def end(self, at: float) -> bool:
        """Nothing more is offered from Unix s `at` on; whether this is the first word of it."""
        if self.ended_at is None:
            self.ended_at = at
        return self.advance(Phase.DRAINING)

    def last_until(self, ends_at: float) -> float | None:
        """Wait for Unix s `ends_at`, or for another end: in the web UI Locust counts the run time from the button, and
        the first request to the target comes before the load. `None` where that is past; else when it was over: users
        go on until then, by milliseconds longer."""
        if ends_at <= time.time():
            return None
        while self.ended_at is None and (left_s := ends_at - time.time()) > 0:
            gevent.sleep(min(WAIT_S, left_s))
        return max(ends_at, time.time())

    def start_scrapers(self, run: LoadRun) -> None:
        """Read the target's own metrics beside the run."""
        self.scrapers = [
            Scraper(each, run.directory / FILE_NAME, tls=self.settings.sending.tls) for each in self.settings.endpoints
        ]
        for scraper in self.scrapers:
            scraper.start()

    def close_files(self) -> None:
        """What is written beside the rows is complete."""
        for scraper in self.scrapers:
            scraper.stop()
        if self.files is not None:
            self.files.finish()
