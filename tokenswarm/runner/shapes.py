"""Locust's side of closed load over time: the shapes of `stages` as a `LoadTestShape`, chosen by the option `shape`.

Locust asks a shape once a second how many users there should be. Threads of a thread group are therefore asked for
ahead of time, and wait for their exact instant by themselves (see `threads`).
"""

from __future__ import annotations

from locust import LoadTestShape
from locust.runners import MasterRunner

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tokenswarm.userinput import BadInput
from tokenswarm.workload.levels import USERS, parse_search
from tokenswarm.workload.stages import Shape, ThreadGroup, parse_shape
from tokenswarm.workload.thread_group import LEAD_S, Threads

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.web import WebUI


WORKERS_BEHIND_S = 1.0


class SearchedUsers:
    """Users as a search asks for them: a shape whose next value is not known before. `wanted`: how many from now on."""

    duration_s = math.inf

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted

    def users(self, t_s: float) -> int:
        """However long the search is on."""
        return self.wanted


class UsersOverTime(LoadTestShape):
    """Users as `shape` has them, until it is over or `run_time` (s, when given) has passed."""

    abstract = True  # chosen by an option, never by being found in a locustfile
    use_common_options = True  # the run time counts, hence its field stays in the web form

    def __init__(self, shape: Shape, run_time: Callable[[], float | None] = lambda: None) -> None:
        self._shape = shape
        self._run_time = run_time
        self._last: tuple[int, float] | None = None
        self._ended = False
        self.threads: Threads | None = None
        self.began_at: float | None = None
        """Unix s at which the shape of the last run began."""
        super().__init__()  # type: ignore[no-untyped-call]

    def reset_time(self) -> None:
        """A run begins."""
        super().reset_time()  # type: ignore[no-untyped-call]
        self._last, self._ended, self.began_at = None, False, time.time()
        if isinstance(self._shape, ThreadGroup):
            self.threads = Threads(self._shape, time.time() + max(0.0, LEAD_S - self._shape.delay_s))

    def end(self) -> None:
        """Stop the run at the next tick. Locust's own stop kills a shape before its users have finished."""
        self._ended = True

    def want(self, users: int) -> None:
        """So many users from the next tick on, where a search decides."""
        if isinstance(self._shape, SearchedUsers):
            self._shape.wanted = users

    @property
    def present(self) -> int:
        """Users there are."""
        return int(self.runner.user_count) if self.runner is not None else 0

    @property
    def rows_behind_s(self) -> float:
        """Rows of this process's users are there at once; workers send theirs twice a second."""
        return WORKERS_BEHIND_S if isinstance(self.runner, MasterRunner) else 0.0

    def tick(self) -> tuple[int, float] | None:
        """Users and users per second; `None` stops the run. Users that are missing or too many come and go at once."""
        elapsed_s = self.get_run_time()  # type: ignore[no-untyped-call]
        run_time = self._run_time()
        users = None if self._ended or (run_time and elapsed_s >= run_time) else self._users(elapsed_s)
        if users is None:
            return None
        before = self._last[0] if self._last else 0
        if self._last is None or users != before:
            self._last = users, float(max(1, abs(users - before)))
        return self._last

    def _users(self, elapsed_s: float) -> int | None:
        if self.threads is None:
            return self._shape.users(elapsed_s)
        return None if self.threads.over(self._processes()) else self.threads.users(time.time(), LEAD_S)

    def _processes(self) -> set[str]:
        clients = getattr(self.runner, "clients", None)
        if clients is None:
            return {"local"}
        return {client.id for client in clients.values() if client.state != "missing"}


def choose_shape(environment: Environment, kind: str | None, stages: str | None, search: str | None) -> None:
    """Give the environment the shape of these options; plain users, spawn rate and run time without one.

    A text that is no shape leaves none: the start then says what is wrong with it.
    """
    try:
        shape = parse_shape(kind, stages or "") if kind else _searched(search)
    except BadInput:
        shape = None
    options = environment.parsed_options
    assert options is not None
    environment.shape_class = UsersOverTime(shape, lambda: options.run_time) if shape is not None else None
    if environment.shape_class is not None:
        environment.shape_class.runner = environment.runner


def _searched(search: str | None) -> Shape | None:
    """The users of a search over users, from its lowest number on."""
    found = parse_search(search) if search else None
    return SearchedUsers(int(found.low)) if found is not None and found.unit == USERS else None


def choose_shape_at_each_start(environment: Environment, web_ui: WebUI) -> None:
    """The web form has fields for the shape: look at them before Locust decides whether a start has one."""
    from flask import request

    def before_request() -> None:
        state = environment.runner.state if environment.runner is not None else None
        running = state in ("spawning", "running", "cleanup", "stopping")
        if request.method != "POST" or not request.path.endswith("/swarm") or running:
            return
        options = vars(environment.parsed_options)
        given = (request.form.get(name, options.get(name)) for name in ("shape", "stages", "search"))
        choose_shape(environment, *given)

    assert web_ui.app is not None
    web_ui.app.before_request(before_request)
