"""How Tokenswarm enters Locust: its options, and a load test for each environment. Importing `users` does this."""

from __future__ import annotations

from locust import argument_parser, events

import functools
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

import gevent

from tokenswarm.config.options import add_options
from tokenswarm.control.cluster_token import (
    LOOPBACK,
    VARIABLE,
    bind_host,
    check_bind_host,
    read_cluster_token,
    secure_sockets,
)
from tokenswarm.control.workers import DRAIN_EXTRA_S
from tokenswarm.exit_codes import ExitCode
from tokenswarm.live.current_run import CurrentRun
from tokenswarm.live.terminal import attach_terminal
from tokenswarm.preflight.machine_limits import port_problems
from tokenswarm.preflight.preparation import Preparation, load_for_workers
from tokenswarm.redaction import SECRETS, accept_any_text, write_line
from tokenswarm.runner.interrupts import end_on_hangup, is_made_by_master, leave_to_master, wait_for_interrupts
from tokenswarm.runner.load_test import LoadTest
from tokenswarm.runner.master_watch import end_with_parent
from tokenswarm.runner.shapes import choose_shape, choose_shape_at_each_start
from tokenswarm.userinput import BadInput

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.web import WebUI

INIT_S = 30.0
"""How long a worker may take to be set up, Key Vault and all."""

logger = logging.getLogger(__name__)


def register() -> None:
    """Make Locust know our options and set up a load test in each environment."""
    accept_any_text()
    try:
        token = read_cluster_token(os.environ)
    except BadInput as error:
        _refuse(error)
    SECRETS.add(token)
    if token is not None:
        secure_sockets(token)
    events.init_command_line_parser.add_listener(add_options)
    events.init_command_line_parser.add_listener(lambda parser: parser.set_defaults(master_bind_host=bind_host(token)))
    is_set_up = threading.Event()
    events.init.add_listener(lambda **_: is_set_up.set())
    events.init.add_listener(_on_init)
    events.test_start.add_listener(_await_init)
    _prepare_forks(is_set_up)
    if "--worker" in sys.argv or os.environ.get("LOCUST_MODE_WORKER"):
        load_for_workers()  # before Locust says that this worker is ready: at the start it would be late
    # Locust's worker builds its whole parser anew for each option of each spawn message: with ours, half a second in
    # which nothing else runs, at each step of a shape. The function is pure; asked once, it costs 3 ms.
    argument_parser.default_args_dict = functools.cache(argument_parser.default_args_dict)


def _prepare_forks(is_set_up: threading.Event) -> None:
    """Locust forks its workers before the init event; what is forked later, as `git`, is none."""
    master = os.getpid()

    def watch() -> None:
        if not is_set_up.is_set():
            gevent.spawn(end_with_parent, master, is_set_up.is_set)

    os.register_at_fork(before=lambda: None if is_set_up.is_set() else load_for_workers(), after_in_child=watch)


def _await_init(environment: Environment, **_: Any) -> None:
    """A worker that joins a running test is told to start while Locust still sets it up, before the init event: wait
    for that, and hand the start on to the load test, which could not listen yet."""
    if getattr(environment, "tokenswarm", None) is not None:
        return
    ours = any(getattr(user, "target", None) for user in environment.user_classes)
    deadline = time.monotonic() + INIT_S
    while ours and getattr(environment, "tokenswarm", None) is None and time.monotonic() < deadline:
        gevent.sleep(0.01)
    load_test = getattr(environment, "tokenswarm", None)
    if load_test is not None:
        load_test.start()


def _on_init(environment: Environment, web_ui: WebUI | None = None, **_: Any) -> None:
    """Set up a load test. A mistake of our own ends the process at once, with a code that says so."""
    try:
        _set_up(environment, web_ui)
    except Exception:  # Locust would log what a listener raises, and test without us
        logger.exception("Tokenswarm could not be set up")
        sys.exit(int(ExitCode.INTERNAL_ERROR))


def _set_up(environment: Environment, web_ui: WebUI | None) -> None:
    preparation = Preparation(environment)
    if not preparation.targets:
        return
    load_test = LoadTest(environment, preparation)
    options = load_test.options
    if load_test.is_master:
        _check_master(options.master_bind_host)
    if web_ui is not None and (problems := port_problems(options.web_host or "", options.web_port)):
        _refuse(BadInput(problems))
    try:
        preparation.prepare(is_worker=load_test.is_worker, has_web_ui=web_ui is not None)
    except BadInput as error:
        if web_ui is None and not load_test.is_worker:
            _refuse(error)
        for problem in error.problems:
            logger.warning("Before a start: %s", problem)
    load_test.attach()
    if load_test.is_worker:
        if is_made_by_master(options.processes, sys.argv, os.environ):
            leave_to_master(lambda: load_test.part is not None, environment.stop_timeout + DRAIN_EXTRA_S)
            end_on_hangup(lambda: load_test.part is None)  # its master ends it, or its master's absence does
        else:
            wait_for_interrupts()
            end_on_hangup()
        return
    if web_ui is None:
        load_test.set_exit_code(ExitCode.UNTRUSTED)  # nothing was tested yet
    # What was imported took its time, and Locust's timer of the run time counts from what the loop takes for now.
    gevent.get_hub().loop.update_now()
    wait_for_interrupts(load_test.process_end.take_interrupt)
    end_on_hangup()
    try:
        _show(load_test, web_ui)
    except BadInput as error:
        _refuse(error)
    choose_shape(environment, options.shape, options.stages, options.search)
    if web_ui is not None:
        choose_shape_at_each_start(environment, web_ui)


def _check_master(host: str) -> None:
    """A master that other machines reach has a token; one that has none says where it listens."""
    if problems := check_bind_host(host, read_cluster_token(os.environ)):
        _refuse(BadInput(problems))
    if host == LOOPBACK:
        logger.info("The master listens on this machine only; for workers on others give all of them %s", VARIABLE)


def _refuse(error: BadInput) -> NoReturn:
    """Say why nothing starts, and end the process."""
    lines = ["Not started:", *(f"  - {problem}" for problem in error.problems)]
    write_line("\n".join(lines), sys.stderr)
    sys.exit(int(ExitCode.BAD_INPUT))


def _show(load_test: LoadTest, web_ui: WebUI | None) -> None:
    """Where a run is looked at: the page of the web UI, or the terminal."""
    current_run = CurrentRun(load_test)
    current_run.attach()
    _open_prometheus(current_run)
    if web_ui is None:
        attach_terminal(current_run)
        return
    from tokenswarm.live.webui import LlmPage  # a headless run does without its modules

    LlmPage(current_run, web_ui).attach()


def _open_prometheus(current_run: CurrentRun) -> None:
    """With the option `prometheus`: let a Prometheus server read the runs of this process."""
    address = current_run.load_test.options.prometheus
    if not address:
        return
    from tokenswarm.telemetry.metrics_endpoint import MetricsEndpoint, parse_address  # others do without

    endpoint = MetricsEndpoint(parse_address(address))
    endpoint.open()
    current_run.started.append(
        lambda monitor: monitor.run.observers.append(endpoint.follow(monitor.run.settings.test_name, monitor))
    )
    current_run.ended.append(lambda _: endpoint.leave())
