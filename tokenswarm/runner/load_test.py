"""Tokenswarm inside Locust: one `LoadTest` for each process, wired to Locust's events.

A local process sends and judges; a worker sends and ships its rows; the master judges. Results are final only when
all users have stopped and all rows are in: in a local process at `test_stop`, in the master after the drain that
runs in `test_stopping` (on the master `test_stop` fires before the workers have stopped).
"""

from __future__ import annotations

from locust.runners import MasterRunner, WorkerRunner

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent

from tokenswarm.config.given_options import replaced
from tokenswarm.config.settings import Settings
from tokenswarm.control.judge import CriteriaJudge
from tokenswarm.control.load_levels import level_facts
from tokenswarm.control.mailbox import Mailbox
from tokenswarm.control.messages import Rows
from tokenswarm.control.run import LoadRun
from tokenswarm.control.search_driver import SearchDriver
from tokenswarm.control.workers import Workers
from tokenswarm.exit_codes import ExitCode
from tokenswarm.preflight.forecast import describe_forecast
from tokenswarm.preflight.preparation import Preparation
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.runner.locust_stats import LocustFiles, note_unseen
from tokenswarm.runner.master_link import MasterLink
from tokenswarm.runner.master_watch import MasterWatch
from tokenswarm.runner.message_guard import guard
from tokenswarm.runner.open_load import OpenLoad, end_search
from tokenswarm.runner.process_end import GIVE_UP_AFTER_S, ProcessEnd, is_run_time_timer
from tokenswarm.runner.request_event import fire_request
from tokenswarm.runner.run_part import Phase, RunPart
from tokenswarm.runner.shapes import UsersOverTime
from tokenswarm.runner.stopping import tell_users
from tokenswarm.runner.thread_allocation import ThreadAllocation
from tokenswarm.sender.sender import Place, Sender
from tokenswarm.userinput import BadInput
from tokenswarm.workload.stages import ThreadGroup
from tokenswarm.workload.thread_group import Thread

if TYPE_CHECKING:
    from locust.env import Environment

    from tokenswarm.sender.tracing import Telemetry

logger = logging.getLogger(__name__)


class LoadTest:
    """This process's part in the runs of a Locust environment: `part` is of the run that is on, `None` between runs."""

    def __init__(self, environment: Environment, preparation: Preparation) -> None:
        assert environment.runner is not None and environment.parsed_options is not None
        self.environment = environment
        self.runner = environment.runner
        self.options = environment.parsed_options
        self.preparation = preparation
        self.is_master = isinstance(self.runner, MasterRunner)
        self.is_worker = isinstance(self.runner, WorkerRunner)
        self.part: RunPart | None = None
        self.has_ended = False
        """Whether a run is over here, and none has begun since."""
        self.process_end = ProcessEnd(environment, lambda: self.part, self._on_stop, self.set_exit_code)
        self._made_salt: str | None = None
        """The salt of the last run's prompts, where it was made up."""
        self.mailbox = Mailbox(self.runner) if isinstance(self.runner, MasterRunner | WorkerRunner) else None
        self.master_link: MasterLink | None = None
        if isinstance(self.runner, WorkerRunner) and self.mailbox is not None:
            self.master_link = MasterLink(self.runner, self.mailbox, self.options, lambda: self.part)
        self.workers: Workers | None = None
        if isinstance(self.runner, MasterRunner) and self.mailbox is not None:
            self.workers = Workers(self.runner, self.mailbox, self._receive)
            guard(self.runner, self.mailbox)
        self.message_observers: list[Callable[[Rows], None]] = []
        """Master: whoever else wants each message of rows as it comes."""
        self.thread_allocation = ThreadAllocation(environment, self.mailbox)

    def attach(self) -> None:
        """Listen to the environment's events; users find it in the environment (`load_test_of`)."""
        self.environment.tokenswarm = self  # type: ignore[attr-defined]
        listeners: dict[str, Callable[..., None]] = {
            "test_start": self.start,
            "spawning_complete": self._on_spawned,
            "test_stopping": self._on_stopping,
            "test_stop": self._on_stop,
            "quitting": self.process_end.on_quitting,
        }
        for name, listener in listeners.items():
            getattr(self.environment.events, name).add_listener(listener)
        self.thread_allocation.listen()
        if self.master_link is not None:
            self.master_link.listen()
            MasterWatch(self.environment)

    @property
    def worker_name(self) -> str:
        return self.master_link.name if self.master_link is not None else "local"

    @property
    def ended(self) -> bool:
        """Whether the run is over and only what is under way is still waited for."""
        return self.part is None or self.part.phase >= Phase.DRAINING

    @property
    def settings(self) -> Settings | None:
        """Of the run that is on."""
        return self.part.settings if self.part is not None else None

    @property
    def sender(self) -> Sender | None:
        """Of the run that is on, where this process sends."""
        return self.part.sender if self.part is not None else None

    @property
    def run(self) -> LoadRun | None:
        """The run that is on, where this process judges it."""
        return self.part.run if self.part is not None else None

    def next_user_number(self) -> int:
        """Numbers this process's users from 1."""
        if self.part is None:
            return 0
        self.part.users += 1
        return self.part.users

    def take_thread(self) -> Thread | None:
        """The next thread of a thread group, for a user that asks for it; `None` under any other load."""
        if self.settings is None or not isinstance(self.settings.shape, ThreadGroup):
            return None
        return self.thread_allocation.take()

    def record(self, record: RequestRecord) -> None:
        """Take one record, less the keys a service told back: to the journal, and one Locust event if it was sent."""
        record = self.preparation.secrets.clean(record)
        if self.sender is not None:
            self.sender.record(record)
        if record.outcome is not Outcome.DROPPED:
            fire_request(self.environment, record)

    def change_rate(self, rate_rpm: float) -> float:
        """Offer another rate from now on; see `OpenLoad.change_rate`. Raises `BadInput`."""
        if self.part is None or self.part.open_load is None:
            raise BadInput(["rate: expected a running load test with an open load, got none"])
        return self.part.open_load.change_rate(rate_rpm)

    def start(self, **_: Any) -> None:
        """A run starts: Locust's `test_start`."""
        self.set_exit_code(ExitCode.UNTRUSTED)  # until a finished, written and re-read run says otherwise
        began_at = time.monotonic()
        try:
            self._salt_prompts()
            settings = self.preparation.settings()
            if self.environment.web_ui is not None and not self.is_worker:
                self.preparation.check_load(settings)
                settings = self.preparation.check_targets(settings)  # without the web UI this was done before the start
            self.part = self._begin(RunPart(settings, began_at))
        except BadInput as error:
            self._refuse(error.problems)
        except OSError as error:
            self._refuse([f"results-dir: expected a directory that can be written, got {error}"])

    def _salt_prompts(self) -> None:
        """Where the scenario names no salt, each run has its own; workers get it with the options."""
        if not self.is_worker and self.options.prompt_salt in (None, "", self._made_salt):
            self._made_salt = self.options.prompt_salt = secrets.token_hex(8)

    def set_exit_code(self, code: ExitCode | None) -> None:
        """How this process will end; `None` leaves it to Locust. Workers say nothing about the run."""
        if not self.is_worker:
            self.environment.process_exit_code = None if code is None else int(code)

    def _begin(self, part: RunPart) -> RunPart:
        self.has_ended = False
        if not self.is_worker:
            part.run = self._open_run(part)
        if not self.is_master:
            part.sender = self._begin_sending(part.settings, part.run)
        if part.run is not None:
            part.run.collect_stalls = lambda: self._collect_stalls(part)
            part.run.begin()
            if part.open_load is None and isinstance(part.run.judge, SearchDriver):
                part.run.judge.start(part.run)
        part.advance(Phase.SPAWNING)
        return part

    def _open_run(self, part: RunPart) -> LoadRun:
        settings, options, scenario = part.settings, vars(self.options), self.preparation.scenario
        open_load = OpenLoad(part, self.workers, self.preparation.engine_assignment()) if settings.open_load else None
        judge = (open_load.search if open_load is not None else self._user_search(part)) or CriteriaJudge(
            settings.criteria
        )
        workers = self.runner.worker_count if isinstance(self.runner, MasterRunner) else 1
        run = LoadRun(settings, options, scenario, workers, judge, self._stop_from_inside)
        run.first_requests = self.preparation.first_requests
        run.replaced = replaced(self.preparation.agreed, settings)
        run.open()
        self.options.run_directory = str(run.directory.resolve())
        self.options.worker_count = str(workers)
        part.open_load = open_load
        part.files = LocustFiles(self.environment, run.directory)
        part.start_scrapers(run)
        for replacement in run.replaced:
            logger.warning("Criterion %s", replacement)
        for line in describe_forecast(settings, options):
            logger.info(line)
        if self.workers is not None:
            self.workers.begin(run.directory)
        return run

    def _user_search(self, part: RunPart) -> SearchDriver | None:
        """What decides the users of a search over them; `None` under any other load."""
        shape = self.environment.shape_class
        if part.settings.search is None or not isinstance(shape, UsersOverTime):
            return None
        return SearchDriver(part.settings, lambda plan, origin: None, lambda said: end_search(part.run, said), shape)

    def _begin_sending(self, settings: Settings, run: LoadRun | None) -> Sender:
        observe = run.observe if run is not None else None
        ship = self.master_link.ship if self.master_link is not None else None
        telemetry = self._start_telemetry(settings)
        journal = self._journal_path(settings)
        sender = Sender(settings, self._place(settings, journal.parent), journal, observe, ship, telemetry)
        if self.master_link is not None:
            self.master_link.ask_time(sender)
        sender.begin()
        return sender

    def _place(self, settings: Settings, journals: Path) -> Place:
        position, count = self._position()
        target = settings.target
        name = settings.name_of(self.preparation.request_name(target))
        is_shared = self.is_worker and journals == Path(self.options.run_directory)
        return Place(self.worker_name, position, count, target, name, journals if is_shared else None, self.is_worker)

    def _start_telemetry(self, settings: Settings) -> Telemetry | None:
        """With `--otel`, where Locust could set it up; otherwise OpenTelemetry is not even imported."""
        if not self.options.otel:
            return None
        try:
            from tokenswarm.sender.tracing import start_telemetry
        except ModuleNotFoundError:
            return None  # Locust has said so
        return start_telemetry(settings)

    def _position(self) -> tuple[int, int]:
        """This process among all that send: (position, count)."""
        if isinstance(self.runner, WorkerRunner):
            count = max(1, int(self.options.worker_count or 1))
            return self.runner.worker_index % count, count
        share = self.preparation.engine_assignment()
        return share.worker_position or 0, share.worker_count

    def _journal_path(self, settings: Settings) -> Path:
        """requests.csv in a local process; a worker's journal beside it, or at home when the master is remote."""
        directory = Path(self.options.run_directory)
        if not self.is_worker:
            return directory / "requests.csv"
        if not directory.is_dir():
            directory = settings.results / "journals" / directory.name
            directory.mkdir(parents=True, exist_ok=True)
        return directory / f"journal-{self.worker_name}.csv"

    def _on_spawned(self, **_: Any) -> None:
        part = self.part
        # Locust says so again when somebody changes the number of users.
        if part is None or part.phase is not Phase.SPAWNING:
            return
        part.advance(Phase.RUNNING)
        if part.sender is not None:
            part.sender.settle()
        if part.open_load is not None:
            part.open_load.begin()

    def _receive(self, message: Rows, records: list[RequestRecord]) -> None:
        """Master: rows of a worker have arrived."""
        for observe in self.message_observers:
            observe(message)
        if self.run is not None:
            self.run.take(message, records)

    def _on_stopping(self, **_: Any) -> None:
        part = self.part
        if part is None:
            return
        ends_at = self._serve_run_time(part)
        if part.ended_at is not None and ends_at is not None:  # it was stopped meanwhile by another greenlet
            part.over.wait(self.environment.stop_timeout + GIVE_UP_AFTER_S)
            return
        part.interrupted = part.interrupted or (ends_at is None and not self.process_end.is_over(part))
        part.end(time.time() if ends_at is None else ends_at)
        assert part.ended_at is not None
        if part.interrupted and part.run is not None and part.run.stop_reason is None:
            part.run.stop_reason = self.process_end.why_interrupted
        if part.sender is not None:
            part.sender.stopping.set()
            part.sender.settle()
        if part.run is not None:
            part.run.judge.stop()
        if part.schedule is not None:
            part.schedule.stop(part.ended_at)
        if self.workers is not None:
            self.workers.drain(part.ended_at, self.environment.stop_timeout)
        elif self.environment.stop_timeout:
            tell_users(self.runner.user_greenlets)

    def _on_stop(self, **_: Any) -> None:
        """All users of this process have stopped (master: and its workers have drained)."""
        part = self.part
        if part is None:
            return
        part.end(time.time())
        if not part.advance(Phase.ENDED):
            return  # it is being written down already
        if part.sender is not None:
            self._end_sending(part, part.sender)
        if part.run is not None:
            self._end_run(part, part.run)
        self.part, self.has_ended = None, True
        part.over.set()

    def _serve_run_time(self, part: RunPart) -> float | None:
        """When the run time is up by Locust's count, and the load began later: wait for the load's own end, Unix s.
        `None` where it is another end."""
        run_time = self.options.run_time
        if part.interrupted or not run_time or not is_run_time_timer(gevent.getcurrent()):
            return None
        if part.run is None or part.run.stop_reason is not None:
            return None
        if part.open_load is not None:
            return part.open_load.last(run_time)
        return part.last_until(part.run.started_at + run_time)

    def _collect_stalls(self, part: RunPart) -> None:
        if part.run is not None and part.sender is not None:
            part.run.stalls.add_stalls(self.worker_name, part.sender.take_stalls())

    def _end_sending(self, part: RunPart, sender: Sender) -> None:
        if isinstance(self.runner, WorkerRunner):
            self.runner._send_stats()  # before the rows that say "done": the master then writes its files
        windows = sender.end()
        if part.run is not None:
            part.run.note_condition(windows, sender.overload.description, sender.overload.warning)
            part.run.note_problem(sender.recorder.journal.problem)

    def _end_run(self, part: RunPart, run: LoadRun) -> None:
        assert part.ended_at is not None
        lost = []
        if self.workers is not None:
            lost, run.written = self.workers.finish(part.ended_at), self.workers.written
            run.clocks, run.messages_refused = self.workers.clocks(), self.workers.refused
            run.sessions_until = self.workers.sessions_until(part.ended_at)
            for reason in self.workers.reasons():
                run.note_reason(reason)
        elif part.sender is not None:
            run.written = part.sender.recorder.journal.written
            run.sessions_until = {self.worker_name: min(part.sender.left_at or part.ended_at, part.ended_at)}
        planned = part.open_load.planned(part.ended_at) if part.open_load is not None and part.origin else None
        part.close_files()
        run.levels = self._levels(part, run)
        note_unseen(self.environment, run, rows_are_whole=not lost)
        verdict = run.finish(part.ended_at, planned, lost, part.interrupted)  # run.json last: then all is there
        if self.workers is not None and run.is_written:
            self.workers.discard_journals()
        # Without criteria Locust's own meaning of the exit code stays.
        self.set_exit_code(verdict.exit_code if verdict.state != "none" else None)
        run.announce()

    def _levels(self, part: RunPart, run: LoadRun) -> dict[str, Any] | None:
        shape = self.environment.shape_class
        origin = shape.began_at if isinstance(shape, UsersOverTime) else part.origin
        if origin is None or part.ended_at is None:
            return None
        return level_facts(part.settings, origin, part.ended_at, run.rate_changes)

    def _stop_from_inside(self, _reason: str) -> None:
        shape = self.environment.shape_class
        if isinstance(shape, UsersOverTime):
            shape.end()
            return
        self._leave()

    def _refuse(self, problems: list[str]) -> None:
        """A start that cannot be: say why, send nothing."""
        for problem in problems:
            logger.error("Not started: %s", problem)
        self.set_exit_code(ExitCode.BAD_INPUT)
        self._leave()

    def _leave(self) -> None:
        gevent.spawn(self.runner.quit if self.environment.web_ui is None else self.runner.stop)


def load_test_of(environment: Environment) -> LoadTest:
    """The environment's load test. Raises `RuntimeError` outside a Locust process that was set up by us."""
    load_test = getattr(environment, "tokenswarm", None)
    if not isinstance(load_test, LoadTest):
        raise RuntimeError("Tokenswarm's users need a Locust environment that fired its init event")
    return load_test
