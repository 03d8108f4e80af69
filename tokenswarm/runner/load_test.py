"""Tokenswarm inside Locust: one `LoadTest` for each process, wired to Locust's events.

A local process sends and judges; a worker sends and ships its rows; the master judges. Results are final only when
all users have stopped and all rows are in: in a local process at `test_stop`, in the master after the drain that
runs in `test_stopping` (on the master `test_stop` fires before the workers have stopped).
"""

from __future__ import annotations

from locust.runners import MasterRunner, WorkerRunner

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent

from tokenswarm.config.settings import Settings
from tokenswarm.control.run import Conductor
from tokenswarm.control.search_driver import SearchDriver, make_plan
from tokenswarm.control.workers import Workers
from tokenswarm.exit_codes import ExitCode
from tokenswarm.metrics.server_metrics import FILE_NAME
from tokenswarm.preflight.forecast import describe_forecast
from tokenswarm.preflight.preparation import Preparation
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.results.prometheus import Scraper
from tokenswarm.runner.locust_stats import LocustFiles
from tokenswarm.runner.master_watch import MasterWatch
from tokenswarm.runner.request_event import fire_request
from tokenswarm.runner.shapes import UsersOverTime
from tokenswarm.runner.thread_allocation import ThreadAllocation
from tokenswarm.sender.schedule import AHEAD_S, Schedule
from tokenswarm.sender.sender import Place, Sender
from tokenswarm.userinput import BadInput
from tokenswarm.workload.arrivals import Assignment, LevelPlan, Plan, RatePlan
from tokenswarm.workload.stages import ThreadGroup
from tokenswarm.workload.thread_group import Thread

if TYPE_CHECKING:
    from tokenswarm.sender.tracing import Telemetry

MARGIN_S = 0.1

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
        self.sender: Sender | None = None
        self.conductor: Conductor | None = None
        self.workers = Workers(self.runner) if self.is_master else None
        self.verdict_exit_code: ExitCode | None = None
        self._files: LocustFiles | None = None
        self._scrapers: list[Scraper] = []
        self._origin: float | None = None
        self._ended_at: float | None = None
        self._interrupted = False
        self._has_spawned = False
        self._users = 0
        self.thread_allocation = ThreadAllocation(environment)

    def attach(self) -> None:
        """Listen to the environment's events."""
        listeners: dict[str, Callable[..., None]] = {
            "test_start": self.start,
            "spawning_complete": self._on_spawned,
            "test_stopping": self._on_stopping,
            "test_stop": self._on_stop,
            "quitting": self._on_quitting,
        }
        for name, listener in listeners.items():
            getattr(self.environment.events, name).add_listener(listener)
        self.thread_allocation.listen()
        if self.workers is not None:
            self.workers.listen(self.receive)
        if self.is_worker:
            self.runner.register_message("tokenswarm_plan", self._take_plan)
            self.runner.register_message("tokenswarm_drain", self._drain, concurrent=True)
            MasterWatch(self.environment)

    @property
    def worker_name(self) -> str:
        return f"w{self.runner.worker_index}" if self.is_worker else "local"

    @property
    def running(self) -> bool:
        return self.settings is not None

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
        return self.thread_allocation.take()

    @property
    def _schedule(self) -> Schedule | None:
        return self.sender.schedule if self.sender is not None else None

    @property
    def _shape(self) -> UsersOverTime | None:
        shape = self.environment.shape_class
        return shape if isinstance(shape, UsersOverTime) else None

    def record(self, record: RequestRecord) -> None:
        """Take one record, less the keys a service told back: to the journal, and one Locust event if it was sent."""
        record = self.preparation.secrets.clean(record)
        if self.sender is not None:
            self.sender.record(record)
        if record.outcome is not Outcome.DROPPED:
            fire_request(self.environment, record)

    def start(self, **_: Any) -> None:
        """A run starts: Locust's `test_start`."""
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
            self.environment.parsed_options.worker_count = str(workers)
            self._files = LocustFiles(self.environment, self.conductor.directory)
            self._files.start()
            self._scrapers = [Scraper(each, self.conductor.directory / FILE_NAME) for each in settings.endpoints]
            for scraper in self._scrapers:
                scraper.start()
            for line in describe_forecast(settings, options):
                logger.info(line)
        if self.workers is not None and self.conductor is not None:
            self.workers.begin(self.conductor.directory)
        if not self.is_master:
            self._begin_sending(settings)
        self.settings = settings

    def _begin_sending(self, settings: Settings) -> None:
        observe = self.conductor.observe if self.conductor else None
        ship = (lambda message: self.runner.send_message("tokenswarm_rows", message)) if self.is_worker else None
        telemetry = self._start_telemetry(settings)
        self.sender = Sender(settings, self._place(settings), self._journal_path(settings), observe, ship, telemetry)
        self.sender.begin()

    def _place(self, settings: Settings) -> Place:
        position, count = self._position()
        target = settings.target
        return Place(self.worker_name, position, count, target, self.preparation.request_name(target))

    def _start_telemetry(self, settings: Settings) -> Telemetry | None:
        """With `--otel`, where Locust could set it up; otherwise OpenTelemetry is not even imported."""
        if not self.environment.parsed_options.otel:
            return None
        try:
            from tokenswarm.sender.tracing import start_telemetry
        except ModuleNotFoundError:
            return None  # Locust has said so
        return start_telemetry(settings)

    def _position(self) -> tuple[int, int]:
        """This process among all that send: (position, count)."""
        if self.is_worker:
            count = max(1, int(self.environment.parsed_options.worker_count or 1))
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

    def _on_spawned(self, **_: Any) -> None:
        settings = self.settings
        if self.sender is not None and settings is not None and not self._has_spawned:
            self.sender.settle()
        if settings is None or not settings.open_load or self.is_worker or self._has_spawned:
            return
        self._has_spawned = True  # Locust says so again when somebody changes the number of users
        if self.workers is not None:
            self.workers.await_users()
        if self.settings is None or self._ended_at is not None:
            return  # stopped meanwhile
        self._origin = time.time() + START_AFTER_S
        if settings.plan is not None:
            self._start_plan(settings.plan, self._origin)
            if settings.plan.duration_s is not None and self.conductor is not None:
                ends_at = self._origin + settings.plan.duration_s
                gevent.spawn_later(ends_at - time.time() + MARGIN_S, self._end_with_plan, self.conductor, ends_at)
        elif self.conductor is not None:
            self.conductor.search_driver = SearchDriver(self.conductor, self._start_level, self._end_search)
            self.conductor.search_driver.start()

    def _start_plan(self, plan: Plan, origin: float, level: list[float] | None = None) -> None:
        """Offer a plan's arrivals from Unix s `origin` on, through the workers where there are any."""
        if self.workers is not None:
            self.workers.start_plan(plan, origin, level)
        elif self._schedule is not None:
            self._schedule.start(plan, origin, [self.preparation.engine_assignment()])

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
        if conductor.search_driver is not None or not isinstance(settings.plan, RatePlan | LevelPlan):
            raise BadInput(["rate: expected a load of rate or rate-stages; a search or a trace chooses its own"])
        after_s = CHANGE_AFTER_S if self.workers is not None else AHEAD_S
        origin = max(time.time() + after_s, self._origin)
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
        schedule, settings = self._schedule, self.settings
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
        if self.sender is None:  # the start was refused here, or never came: there is nothing to wait for
            nothing = {"worker": self.worker_name, "rows": 0, "text": "", "total": 0, "in_flight": 0, "done": True}
            self.runner.send_message("tokenswarm_rows", nothing)

    def receive(self, message: dict[str, Any], records: list[RequestRecord]) -> None:
        """Master: rows of a worker have arrived."""
        conductor = self.conductor
        if conductor is None:
            return
        for record in records:
            conductor.observe(record)
        conductor.health += self.workers.health_of(message) if self.workers else []
        conductor.note_overload(message)
        if message.get("problem") and message["problem"] not in conductor.problems:
            conductor.problems.append(message["problem"])

    def _on_stopping(self, **_: Any) -> None:
        if self.settings is None:
            return
        if self._ended_at is None:
            self._ended_at = time.time()
        if self.conductor is not None and self.conductor.search_driver is not None:
            self.conductor.search_driver.stop()
        if self._schedule is not None:
            self._schedule.stop(self._ended_at)
        if self.workers is not None:
            self.workers.drain(self._ended_at, self.environment.stop_timeout)

    def _on_stop(self, **_: Any) -> None:
        """All users of this process have stopped (master: and its workers have drained)."""
        settings, self.settings = self.settings, None
        if settings is None:
            return
        ended_at = self._ended_at if self._ended_at is not None else time.time()
        if self.sender is not None:
            self._end_sending(self.sender)
        if self.conductor is not None:
            self._end_run(self.conductor, settings, ended_at)

    def _end_sending(self, sender: Sender) -> None:
        if self.is_worker:
            self.runner._send_stats()  # before the rows that say "done": the master then writes its files
        windows = sender.end()
        if self.conductor is not None:
            self.conductor.health += windows
            self.conductor.note_overload(sender.overload.facts())
            if sender.recorder.journal.problem:
                self.conductor.problems.append(sender.recorder.journal.problem)

    def _end_run(self, conductor: Conductor, settings: Settings, ended_at: float) -> None:
        lost = self.workers.finish(ended_at) if self.workers is not None else []
        conductor.problems += self.workers.problems if self.workers is not None else []
        planned = None
        if settings.open_load and self._origin is not None:
            planned = self._planned(ended_at)
        for scraper in self._scrapers:
            scraper.stop()
        if self._files is not None:
            self._files.finish()
        verdict = conductor.finish(ended_at, planned, lost, self._interrupted)  # run.json last: then all is there
        self.verdict_exit_code = verdict.exit_code
        if verdict.state == "none" and not settings.criteria:
            self.verdict_exit_code = None  # without criteria Locust's own meaning of the exit code stays
        self._announce(conductor)

    def _planned(self, ended_at: float) -> int:
        if self.workers is not None:
            return self.workers.planned(ended_at)
        return self._schedule.offered if self._schedule is not None else 0

    def _announce(self, conductor: Conductor) -> None:
        verdict = conductor.verdict
        assert verdict is not None
        for result in verdict.results:
            logger.info("Criterion %s", result)
        for reason in verdict.reasons:
            logger.warning("Verdict: %s", reason)
        cut = ", of a run that was interrupted" if conductor.interrupted else ""
        logger.info("Verdict: %s%s. Run directory: %s", verdict.state.upper(), cut, conductor.directory)

    def _on_quitting(self, environment: Any, **_: Any) -> None:
        if self.settings is not None:
            self._interrupted = self._ended_at is None
            if self.is_master:  # its workers are to quit, which Locust tells none that was told to stop
                self.runner.stop(send_stop_to_client=False)
            else:
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


def load_test_of(environment: Any) -> LoadTest:
    """The environment's load test. Raises `RuntimeError` outside a Locust process that was set up by us."""
    load_test = getattr(environment, "tokenswarm", None)
    if not isinstance(load_test, LoadTest):
        raise RuntimeError("Tokenswarm's users need a Locust environment that fired its init event")
    return load_test
