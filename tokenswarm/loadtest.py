"""Tokenswarm inside Locust: one `LoadTest` for each process, wired to Locust's events.

A local process sends and judges; a worker sends and ships its rows; the master judges. Results are final only when
all users have stopped and all rows are in: in a local process at `test_stop`, in the master after the drain that
runs in `test_stopping` (on the master `test_stop` fires before the workers have stopped).
"""

from __future__ import annotations

from locust import argument_parser, events
from locust.runners import MasterRunner, WorkerRunner

import functools
import gc
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
import gevent.queue

from tokenswarm.arrivals import Assignment, Plan, RatePlan
from tokenswarm.conductor import Conductor
from tokenswarm.criteria import ExitCode
from tokenswarm.dataset import Questions
from tokenswarm.fleet import DRAIN_EXTRA_S, Fleet
from tokenswarm.forecast import describe_forecast
from tokenswarm.health import Heartbeat, Window
from tokenswarm.interrupts import is_made_by_master, leave_to_master
from tokenswarm.locust_files import LocustFiles
from tokenswarm.options import add_options
from tokenswarm.orphan import MasterWatch
from tokenswarm.preparation import Preparation
from tokenswarm.problems import BadInput
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.recorder import Recorder
from tokenswarm.schedule import Schedule
from tokenswarm.sdk import ChatTemplate
from tokenswarm.search import LevelPlan
from tokenswarm.settings import Settings
from tokenswarm.shapes import UsersOverTime, choose_shape, choose_shape_at_each_start
from tokenswarm.stages import ThreadGroup
from tokenswarm.surveyor import Surveyor, make_plan
from tokenswarm.threads import Thread

MARGIN_S = 0.1
if TYPE_CHECKING:
    from tokenswarm.telemetry import Telemetry

START_AFTER_S = 0.3
"""From "all users are there" to the first arrival of an open plan: time for the workers to hear of it."""

CHANGE_AFTER_S = 1.0
"""From a change of the rate to its first arrival with workers: none may offer the old plan beyond it unknowingly."""

NO_END_S = 1e8
"""Of a rate that holds until the run ends."""

logger = logging.getLogger(__name__)


class LoadTest:
    """This process's part in the runs of a Locust environment."""

    def __init__(self, environment: Any, preparation: Preparation) -> None:
        self.environment = environment
        self.runner = environment.runner
        self.preparation = preparation
        self.is_master = isinstance(self.runner, MasterRunner)
        self.is_worker = isinstance(self.runner, WorkerRunner)
        self.settings: Settings | None = None
        self.recorder: Recorder | None = None
        self.schedule: Schedule | None = None
        self.conductor: Conductor | None = None
        self.fleet = Fleet(self.runner) if self.is_master else None
        self.verdict_exit_code: ExitCode | None = None
        self._heartbeat: Heartbeat | None = None
        self._files: LocustFiles | None = None
        self._origin: float | None = None
        self._ended_at: float | None = None
        self._interrupted = False
        self._has_spawned = False
        self._users = 0
        self._threads: gevent.queue.Queue[Thread] = gevent.queue.Queue()
        self.questions: Questions | None = None
        self.chat_template: ChatTemplate | None = None
        self.telemetry: Telemetry | None = None

    def attach(self) -> None:
        """Listen to the environment's events."""
        listeners: dict[str, Callable[..., None]] = {
            "test_start": self._on_start,
            "spawning_complete": self._on_spawned,
            "test_stopping": self._on_stopping,
            "test_stop": self._on_stop,
            "quitting": self._on_quitting,
        }
        for name, listener in listeners.items():
            getattr(self.environment.events, name).add_listener(listener)
        if self.fleet is not None:
            self.fleet.listen(self.receive)
            self.runner.register_message("tokenswarm_thread", self._give_thread)
            self.runner.register_message("tokenswarm_parked", self._count_parked)
        if self.is_worker:
            self.runner.register_message("tokenswarm_plan", self._take_plan)
            self.runner.register_message("tokenswarm_drain", self._drain, concurrent=True)
            self.runner.register_message("tokenswarm_thread", lambda msg, **_: self._threads.put(Thread(*msg.data)))
            MasterWatch(self.environment)

    @property
    def worker_name(self) -> str:
        return f"w{self.runner.worker_index}" if self.is_worker else "local"

    @property
    def running(self) -> bool:
        return self.settings is not None

    @property
    def heartbeat_windows(self) -> list[Window]:
        """Of this process, those that have not been handed on yet."""
        return list(self._heartbeat.windows) if self._heartbeat is not None else []

    @property
    def ended(self) -> bool:
        """Whether the run is over and only what is under way is still waited for."""
        return self._ended_at is not None

    def next_user_number(self) -> int:
        """Numbers this process's users from 1."""
        self._users += 1
        return self._users

    def take_thread(self) -> Thread | None:
        """The next thread of a thread group, for a user that asks for it; `None` under any other load."""
        if self.settings is None or not isinstance(self.settings.shape, ThreadGroup):
            return None
        if self.is_worker:
            self.runner.send_message("tokenswarm_thread", None)
            thread: Thread = self._threads.get()
            return thread
        threads = self._shape.threads if self._shape is not None else None
        return threads.take("local") if threads is not None else None

    def park_thread(self) -> None:
        """A thread of this process has done its loops."""
        if self.is_worker:
            self.runner.send_message("tokenswarm_parked", None)
        elif self._shape is not None and self._shape.threads is not None:
            self._shape.threads.park("local")

    @property
    def _shape(self) -> UsersOverTime | None:
        shape = self.environment.shape_class
        return shape if isinstance(shape, UsersOverTime) else None

    def _give_thread(self, msg: Any, **_: Any) -> None:
        """Master: a user of a worker asks which thread it is."""
        if self._shape is not None and self._shape.threads is not None:
            thread = self._shape.threads.take(msg.node_id)
            data = [thread.start_at, thread.ends_at, thread.loops]
            self.runner.send_message("tokenswarm_thread", data, client_id=msg.node_id)

    def _count_parked(self, msg: Any, **_: Any) -> None:
        if self._shape is not None and self._shape.threads is not None:
            self._shape.threads.park(msg.node_id)

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Around a call: how many are under way is known when this process dies."""
        recorder = self.recorder
        if recorder is None:
            yield
            return
        recorder.in_flight += 1
        try:
            yield
        finally:
            recorder.in_flight -= 1

    def record(self, record: RequestRecord) -> None:
        """Take one record: to the journal, and one Locust event if it was sent."""
        record = self.preparation.secrets.clean(record)
        if self.recorder is not None:
            self.recorder.record(record)
        if record.outcome is not Outcome.DROPPED:
            fire_request(self.environment, record)
        if self.telemetry is not None:
            self.telemetry.emit(record)

    def _on_start(self, **_: Any) -> None:
        try:
            settings = self.preparation.settings()
            if self.environment.web_ui is not None and not self.is_worker:
                self.preparation.check_load(settings)
                self.preparation.check_targets(settings)  # without the web UI this was done before the start
            self._begin(settings)
        except BadInput as error:
            self._refuse(error.problems)
        except OSError as error:
            self._refuse([f"results-dir: expected a directory that can be written, got {error}"])

    def _begin(self, settings: Settings) -> None:
        self._interrupted, self._ended_at, self._origin, self._users = False, None, None, 0
        self._has_spawned = False
        options = vars(self.environment.parsed_options)
        if not self.is_worker:
            workers = self.runner.worker_count if self.is_master else 1
            self.conductor = Conductor(settings, options, self.preparation.scenario, workers, self._stop_from_inside)
            self.conductor.open()
            self.environment.parsed_options.run_directory = str(self.conductor.directory.resolve())
            self.environment.parsed_options.fleet_size = str(workers)
            self._files = LocustFiles(self.environment, self.conductor.directory)
            self._files.start()
            for line in describe_forecast(settings, options):
                logger.info(line)
        if self.fleet is not None and self.conductor is not None:
            self.fleet.begin(self.conductor.directory)
        if not self.is_master:
            self._begin_sending(settings)
        self.settings = settings

    def _begin_sending(self, settings: Settings) -> None:
        if settings.chat is not None:
            self.chat_template = ChatTemplate(settings.chat)
            self.chat_template.current()  # now, not inside the first request
        observe = self.conductor.observe if self.conductor else None
        ship = (lambda message: self.runner.send_message("tokenswarm_rows", message)) if self.is_worker else None
        self.recorder = Recorder(self.worker_name, self._journal_path(settings), observe, ship)
        self._heartbeat = Heartbeat(self.worker_name)
        self.recorder.facts = self._facts
        self.telemetry = self._start_telemetry(settings)
        if settings.questions is not None:
            position, count = self._position()
            self.questions = Questions(settings.questions, settings.dataset_order, settings.seed, position, count)
        self.schedule = None
        if settings.open_load:
            target = "chat" if settings.chat is not None else "rag"
            identity = {"worker": self.worker_name, "target": target, "name": self.preparation.request_name(target)}
            self.schedule = Schedule(settings.max_lag_s, self.record, identity)
        self.recorder.start()
        gc.collect()
        gc.freeze()  # what lives now lives on: a full collection would stop the loop for tens of ms
        self._heartbeat.start()

    def _start_telemetry(self, settings: Settings) -> Telemetry | None:
        """With `--otel`, where Locust could set it up; otherwise OpenTelemetry is not even imported."""
        if not self.environment.parsed_options.otel:
            return None
        try:
            from tokenswarm.telemetry import start_telemetry
        except ModuleNotFoundError:
            return None  # Locust has said so
        return start_telemetry(settings)

    def _position(self) -> tuple[int, int]:
        """This process among all that send: (position, count)."""
        if self.is_worker:
            count = max(1, int(self.environment.parsed_options.fleet_size or 1))
            return self.runner.worker_index % count, count
        share = self.preparation.engine_assignment()
        return share.worker_position or 0, share.worker_count

    def _journal_path(self, settings: Settings) -> Path:
        """requests.csv in a local process; a worker's journal beside it, or at home when the master is remote."""
        directory = Path(self.environment.parsed_options.run_directory)
        if not self.is_worker:
            return directory / "requests.csv"
        if not directory.is_dir():
            directory = settings.results / "journals" / directory.name
            directory.mkdir(parents=True, exist_ok=True)
        return directory / f"journal-{self.worker_name}.csv"

    def _facts(self) -> dict[str, Any]:
        """What travels with the rows to the master."""
        windows = self._heartbeat.take() if self._heartbeat else []
        offered = self.schedule.offered if self.schedule else None
        return {"health": [window.to_message() for window in windows], "offered": offered}

    def _on_spawned(self, **_: Any) -> None:
        settings = self.settings
        if settings is None or not settings.open_load or self.is_worker or self._has_spawned:
            return
        self._has_spawned = True  # Locust says so again when somebody changes the number of users
        if self.fleet is not None:
            self.fleet.await_users()
        if self.settings is None or self._ended_at is not None:
            return  # stopped meanwhile
        self._origin = time.time() + START_AFTER_S
        if settings.plan is not None:
            self._start_plan(settings.plan, self._origin)
            if settings.plan.duration_s is not None and self.conductor is not None:
                ends_at = self._origin + settings.plan.duration_s
                gevent.spawn_later(ends_at - time.time() + MARGIN_S, self._end_with_plan, self.conductor, ends_at)
        elif self.conductor is not None:
            self.conductor.surveyor = Surveyor(self.conductor, self._start_level, self._end_search)
            self.conductor.surveyor.start()

    def _start_plan(self, plan: Plan, origin: float, level: list[float] | None = None) -> None:
        """Offer a plan's arrivals from Unix s `origin` on, through the workers where there are any."""
        if self.fleet is not None:
            self.fleet.start_plan(plan, origin, level)
        elif self.schedule is not None:
            self.schedule.start(plan, origin, [self.preparation.engine_assignment()])

    def _end_with_plan(self, conductor: Conductor, ends_at: float) -> None:
        """Stages and traces are over one day: the run is, too, with the last answer."""
        if not conductor.rate_changes:
            conductor.await_answers(self._planned(math.nextafter(ends_at, math.inf)))
        if conductor.ended_at is None and not conductor.rate_changes and conductor.stop_reason is None:
            conductor.end("the plan is over")

    def _start_level(self, plan: LevelPlan, origin: float) -> None:
        self._start_plan(plan, origin, [plan.rate_rpm, plan.first_index, plan.duration])

    def change_rate(self, rate_rpm: float) -> float:
        """Offer another rate from now on, whatever was planned; returns the Unix s from which it holds.

        Raises `BadInput` when no open load is on, or one whose rate is not ours to choose.
        """
        settings, conductor = self.settings, self.conductor
        if settings is None or conductor is None or self._origin is None:
            raise BadInput(["rate: expected a running load test with an open load, got none"])
        if conductor.surveyor is not None or not isinstance(settings.plan, RatePlan | LevelPlan):
            raise BadInput(["rate: expected a load of rate or rate-stages; a search or a trace chooses its own"])
        origin = max(time.time() + (CHANGE_AFTER_S if self.fleet is not None else 0.0), self._origin)
        first_index = self._planned(origin)
        self._start_level(make_plan(settings, rate_rpm, first_index, NO_END_S), origin)
        conductor.rate_changes.append((origin, rate_rpm))
        logger.info("The rate is %g requests per minute from now on", rate_rpm)
        return origin

    def _end_search(self, sentence: str) -> None:
        if self.conductor is not None:
            self.conductor.end(f"capacity search finished: {sentence}")

    def _take_plan(self, msg: Any, **_: Any) -> None:
        """Worker: the master says when a plan starts, or that the workers have changed."""
        schedule, settings = self.schedule, self.settings
        if schedule is None or settings is None:
            return
        assignment, origin, level = Assignment(*msg.data["assignment"]), msg.data["origin"], msg.data["level"]
        plan = settings.plan if level is None else make_plan(settings, *level)
        if schedule.origin == origin:
            schedule.assign(assignment)
        elif plan is not None:
            schedule.start(plan, origin, [assignment])

    def _drain(self, msg: Any, **_: Any) -> None:
        """Worker: stop for good, now, with everything that is known on its way before the answer."""
        self._ended_at = msg.data["until"]
        self.runner.stop()
        if self.recorder is None:  # the start was refused here, or never came: there is nothing to wait for
            nothing = {"worker": self.worker_name, "rows": 0, "text": "", "total": 0, "in_flight": 0, "done": True}
            self.runner.send_message("tokenswarm_rows", nothing)

    def receive(self, message: dict[str, Any], records: list[RequestRecord]) -> None:
        """Master: rows of a worker have arrived."""
        conductor = self.conductor
        if conductor is None:
            return
        for record in records:
            conductor.observe(record)
        conductor.health += self.fleet.health_of(message) if self.fleet else []
        if message.get("problem") and message["problem"] not in conductor.problems:
            conductor.problems.append(message["problem"])

    def _on_stopping(self, **_: Any) -> None:
        if self.settings is None:
            return
        if self._ended_at is None:
            self._ended_at = time.time()
        if self.conductor is not None and self.conductor.surveyor is not None:
            self.conductor.surveyor.stop()
        if self.schedule is not None:
            self.schedule.stop(self._ended_at)
        if self.fleet is not None:
            self.fleet.drain(self._ended_at, self.environment.stop_timeout)

    def _on_stop(self, **_: Any) -> None:
        """All users of this process have stopped (master: and its workers have drained)."""
        settings, self.settings = self.settings, None
        if settings is None:
            return
        ended_at = self._ended_at if self._ended_at is not None else time.time()
        if self.recorder is not None:
            self._end_sending(self.recorder)
        if self.conductor is not None:
            self._end_run(self.conductor, settings, ended_at)

    def _end_sending(self, recorder: Recorder) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
            if self.conductor is not None:
                self.conductor.health += self._heartbeat.take()
        if self.is_worker:
            self.runner._send_stats()  # before the rows that say "done": the master then writes its files
        facts = self._facts
        recorder.facts = lambda: {**facts(), "done": True}
        recorder.close()
        if self.conductor is not None and recorder.journal.problem:
            self.conductor.problems.append(recorder.journal.problem)
        gc.unfreeze()

    def _end_run(self, conductor: Conductor, settings: Settings, ended_at: float) -> None:
        lost = self.fleet.finish(ended_at) if self.fleet is not None else []
        conductor.problems += self.fleet.problems if self.fleet is not None else []
        planned = None
        if settings.open_load and self._origin is not None:
            planned = self._planned(ended_at)
        if self._files is not None:
            self._files.finish()
        verdict = conductor.finish(ended_at, planned, lost, self._interrupted)  # run.json last: then all is there
        self.verdict_exit_code = verdict.exit_code
        if verdict.state == "none" and not settings.criteria:
            self.verdict_exit_code = None  # without criteria Locust's own meaning of the exit code stays
        self._announce(conductor)

    def _planned(self, ended_at: float) -> int:
        if self.fleet is not None:
            return self.fleet.planned(ended_at)
        return self.schedule.offered if self.schedule is not None else 0

    def _announce(self, conductor: Conductor) -> None:
        verdict = conductor.verdict
        assert verdict is not None
        for result in verdict.results:
            logger.info("Criterion %s", result)
        for reason in verdict.reasons:
            logger.warning("Verdict: %s", reason)
        logger.info("Verdict: %s. Run directory: %s", verdict.state.upper(), conductor.directory)

    def _on_quitting(self, environment: Any, **_: Any) -> None:
        if self.settings is not None:
            self._interrupted = self._ended_at is None
            self.runner.stop()
        if not self.is_worker and self.verdict_exit_code is not None:
            environment.process_exit_code = int(self.verdict_exit_code)

    def _stop_from_inside(self, _reason: str) -> None:
        if self._shape is not None:
            self._shape.end()
            return
        headless = self.environment.web_ui is None
        gevent.spawn(self.runner.quit if headless else self.runner.stop)

    def _refuse(self, problems: list[str]) -> None:
        """A start that cannot be: say why, send nothing."""
        for problem in problems:
            logger.error("Not started: %s", problem)
        self.verdict_exit_code = ExitCode.BAD_INPUT
        self.environment.process_exit_code = int(ExitCode.BAD_INPUT)
        gevent.spawn(self.runner.quit if self.environment.web_ui is None else self.runner.stop)


def fire_request(environment: Any, record: RequestRecord) -> None:
    """Locust's event for one HTTP request: its statistics, CSVs, charts. `response_length` carries the tokens."""
    failed = record.outcome is not Outcome.OK
    environment.events.request.fire(
        request_type="POST",
        name=record.name,
        response_time=record.e2e_ms,
        response_length=record.total_tokens or 0,
        exception=RequestFailed(f"{record.outcome.value}: {record.error}") if failed else None,
        start_time=record.started_at,
        context={"tokenswarm": record},
    )


class RequestFailed(Exception):
    """What Locust's failure statistics show for a request that was not ok."""

    def __repr__(self) -> str:
        return str(self)


def load_test_of(environment: Any) -> LoadTest:
    """The environment's load test. Raises `RuntimeError` outside a Locust process that was set up by us."""
    load_test = getattr(environment, "tokenswarm", None)
    if not isinstance(load_test, LoadTest):
        raise RuntimeError("Tokenswarm's users need a Locust environment that fired its init event")
    return load_test


def _on_init(environment: Any, runner: Any, web_ui: Any = None, **_: Any) -> None:
    preparation = Preparation(environment)
    if not preparation.targets:
        return
    load_test = LoadTest(environment, preparation)
    environment.tokenswarm = load_test
    try:
        preparation.prepare(is_worker=load_test.is_worker, has_web_ui=web_ui is not None)
    except BadInput as error:
        if web_ui is None and not load_test.is_worker:
            print("Not started:", *(f"  - {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
            sys.exit(int(ExitCode.BAD_INPUT))
        for problem in error.problems:
            logger.warning("Before a start: %s", problem)
    load_test.attach()
    if load_test.is_worker and is_made_by_master(environment.parsed_options.processes, sys.argv, os.environ):
        leave_to_master(lambda: load_test.running, environment.stop_timeout + DRAIN_EXTRA_S)
    if not load_test.is_worker:
        _show(load_test, web_ui)
    if not load_test.is_worker:
        choose_shape(environment, environment.parsed_options.shape, environment.parsed_options.stages)
        if web_ui is not None:
            choose_shape_at_each_start(environment, web_ui)


def _show(load_test: LoadTest, web_ui: Any) -> None:
    """Where a run is looked at: the page of the web UI, or the terminal."""
    from tokenswarm.terminal import attach_terminal  # these need this module
    from tokenswarm.watch import Watch

    watch = Watch(load_test)
    watch.attach()
    if web_ui is not None:
        from tokenswarm.webui import attach_page

        attach_page(watch, web_ui)
    else:
        attach_terminal(watch)


def register() -> None:
    """Make Locust know our options and set up a load test in each environment. Importing `users` does this."""
    events.init_command_line_parser.add_listener(add_options)
    events.init.add_listener(_on_init)
    # Locust's worker builds its whole parser anew for each option of each spawn message: with ours, half a second in
    # which nothing else runs, at each step of a shape. The function is pure; asked once, it costs 3 ms.
    argument_parser.default_args_dict = functools.cache(argument_parser.default_args_dict)
