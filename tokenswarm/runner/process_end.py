"""How a process is told to end, once, twice or by several signals at once; Locust's `quitting` and Ctrl-C come here."""

from __future__ import annotations

from locust import log
from locust.runners import MasterRunner

import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent

from tokenswarm.exit_codes import ExitCode
from tokenswarm.runner.run_part import Phase, RunPart

if TYPE_CHECKING:
    from locust.env import Environment

TOLD_TWICE_S = 2.0
"""Signals to end that come within this time are one: a supervisor tells the process and its group."""

GIVE_UP_AFTER_S = 30.0
"""What an end in order may take beyond the stop-timeout."""

EARLY_S, EARLY_SHARE = 1.0, 0.25
"""How much sooner than its run time a run may end and be over: Locust counts from before the start."""

WRITE_S = 10.0
"""What the last files of a run may take, once its users have stopped and somebody waits."""


RUN_TIME_TIMERS = ("stop_and_optionally_quit", "_stop_runners")
"""Locust's functions that run when the run time is up: in a headless run, and in one that was started in the web UI."""


def is_run_time_timer(greenlet: Any) -> bool:
    """Whether a greenlet is Locust's timer of the run time."""
    return getattr(getattr(greenlet, "_run", None), "__name__", None) in RUN_TIME_TIMERS


class ProcessEnd:
    """Of one process. `current`: its part in the run that is on, `None` between runs; `write_down`: end that run with
    what is known now; `set_exit_code`: how the process will end."""

    def __init__(
        self,
        environment: Environment,
        current: Callable[[], RunPart | None],
        write_down: Callable[[], None],
        set_exit_code: Callable[[ExitCode], None],
    ) -> None:
        assert environment.runner is not None and environment.parsed_options is not None
        self._environment = environment
        self._options = environment.parsed_options
        self._runner = environment.runner
        self._current = current
        self._write_down = write_down
        self._set_exit_code = set_exit_code
        self._told_at: float | None = None
        """Monotonic s at which the process was first told to end."""
        self._leaves: gevent.Greenlet | None = None
        """The greenlet that ends the process."""

    @property
    def why_interrupted(self) -> str:
        """Why the run that is on ends before its time."""
        if self._told_at is not None:
            return "the process was told to end"
        return "Stop was pressed in the web UI" if self._environment.web_ui is not None else "no worker was left"

    def is_over(self, part: RunPart) -> bool:
        """Whether the run ends because its time, its plan or its shape is over, or a rule of ours says so; and not
        because somebody stopped it, or its last worker went away."""
        if part.run is None or part.run.stop_reason is not None:
            return True
        if self._environment.shape_class is not None and self._runner.shape_greenlet is gevent.getcurrent():
            return True
        run_time = self._options.run_time
        return bool(run_time) and time.monotonic() - part.began_at >= run_time - min(EARLY_S, EARLY_SHARE * run_time)

    def take_interrupt(self) -> bool:
        """Ctrl-C: whether Locust is to be told. A second one is about the end that is under way."""
        part = self._current()
        if self._told_at is None:
            self._told_at = time.monotonic()
            if part is not None and part.phase < Phase.DRAINING:
                part.interrupted = True
            return True
        if part is not None and self._is_told_again():
            self._give_up(part)
            sys.exit(int(ExitCode.UNTRUSTED))
        return False

    def _is_told_again(self) -> bool:
        """Whether this is a second wish to end, and not the first one sent twice: to the process and to its group."""
        return self._told_at is not None and time.monotonic() - self._told_at >= TOLD_TWICE_S

    def on_quitting(self, **_: Any) -> None:
        """The process is to end: in order, if there is a run. Each signal comes here by itself, in a greenlet that is
        to leave the process afterwards."""
        part, again = self._current(), self._is_told_again()
        if self._told_at is None:
            self._told_at = time.monotonic()
        if self._leaves is not None and not (part is not None and again):
            self._let_leave(self._leaves)
        self._leaves = gevent.getcurrent()
        if part is not None:
            self._end_run(part, again)
        if log.unhandled_greenlet_exception and self._environment.process_exit_code != ExitCode.BAD_INPUT:
            self._set_exit_code(ExitCode.INTERNAL_ERROR)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)  # all is said: the exit code is to be this one

    def _end_run(self, part: RunPart, again: bool) -> None:
        if part.phase >= Phase.DRAINING:
            if again or not part.over.wait(self._environment.stop_timeout + GIVE_UP_AFTER_S):
                self._give_up(part)
            return
        part.interrupted = True
        if isinstance(self._runner, MasterRunner):  # its workers quit, which Locust tells none that was told to stop
            self._runner.stop(send_stop_to_client=False)
        else:
            self._runner.stop()

    def _let_leave(self, other: gevent.Greenlet) -> None:
        """The process is on its way out already: two greenlets that leave it at once end in a traceback."""
        while not other.dead and other is not gevent.getcurrent():
            gevent.sleep(0.05)

    def _give_up(self, part: RunPart) -> None:
        """Write the run down as it is now: what is under way is lost."""
        if part.run is not None:
            part.run.note_problem("the process was told to end a second time: what was under way is lost")
        self._environment.stop_timeout = 0.0  # nor does Locust wait for it any more
        if part.phase is Phase.ENDED:
            part.over.wait(WRITE_S)
        else:
            self._write_down()
