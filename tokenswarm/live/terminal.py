"""A headless run in the terminal: its state while it is on, then the figures, the verdict, the report and what next.

Where a person looks on, a few lines at the foot are redrawn, and the log scrolls above them. Elsewhere it is a line for
each interval and request name. Locust's own tables are left out unless `--print-stats` or `--output-format locust` asks
for them. Lines go to stdout, Locust's log to stderr: `--output-format jsonl` can be piped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from typing import IO, Any

import gevent
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.text import Text

from tokenswarm.control.load_levels import judge_levels
from tokenswarm.installation import command_name
from tokenswarm.live.current_run import CurrentRun
from tokenswarm.live.monitor import Monitor
from tokenswarm.live.report_job import can_report, report_run
from tokenswarm.live.terminal_lines import (
    TALLIES,
    failure_lines,
    header_line,
    interval_lines,
    level_lines,
    result_lines,
    search_lines,
    status_lines,
)
from tokenswarm.metrics.criterion_words import criterion_lines
from tokenswarm.metrics.samples import Samples, carries, percentile
from tokenswarm.metrics.verdict import ReasonKind
from tokenswarm.redaction import SECRETS

HEADER_EVERY = 20
STATUS_S = 0.5

logger = logging.getLogger(__name__)


class Terminal:
    """Prints the runs of `current_run` to `out`. `form`: human or jsonl; `report`: make the report at the end."""

    def __init__(self, current_run: CurrentRun, form: str, out: IO[str] | None = None, report: bool = False) -> None:
        self._current_run = current_run
        self._form = form
        self._out = out if out is not None else sys.stdout
        self._console = Console(file=self._out, highlight=False)
        self._report = report
        self._lines = 0
        self._greenlet: Any = None
        self._status: Status | None = None

    def attach(self) -> None:
        self._current_run.started.append(self._start)
        self._current_run.ended.append(self._end)

    def _start(self, monitor: Monitor) -> None:
        self._lines = 0
        if self._form == "human" and self._console.is_terminal:
            course = self._current_run.course()
            duration_s = course.duration_s if course is not None else None
            self._status = Status(self._console, monitor, duration_s, self._level)
            self._greenlet = gevent.spawn(self._status.redraw_regularly)
        else:
            self._greenlet = gevent.spawn(self._print_regularly, monitor)

    def _level(self) -> str:
        course = self._current_run.course()
        return course.level(time.time()) if course is not None else ""

    def _end(self, monitor: Monitor) -> None:
        self._greenlet.kill(block=False)
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._form == "jsonl":
            self._write([json.dumps({"type": "end", **end_facts(monitor)})])
        else:
            failures = failure_lines(self._current_run.load_test.runner.stats.errors.values())
            answer = search_lines(monitor.run.judge.facts()) or [*_levels(monitor), *final_lines(monitor)]
            self._write(["", *answer, *failures])
            self._write(verdict_lines(monitor))
        if not monitor.run.directory.is_dir():
            return  # there is nothing to report from, as the verdict has said
        reported = self._report and self._make_report(monitor)
        if self._form == "human":
            self._write([next_line(monitor, reported)])

    def _make_report(self, monitor: Monitor) -> bool:
        """Here and not in the background: with this process the report's would end, too. Whether it was made."""
        report = report_run(monitor.run.directory)
        report.make()
        if self._form == "human":
            page = monitor.run.directory / "report.html"
            made = f"Report: {page}" if report.state == "ready" else f"No report could be made: {report.problem}"
            self._write([made])
        return report.state == "ready"

    def _print_regularly(self, monitor: Monitor) -> None:
        while True:
            gevent.sleep(monitor.run.settings.output_interval_s)
            try:
                self._print(monitor)
            except OSError as error:  # nobody reads any more; the run goes on
                logger.warning("The terminal's lines end here: %s", error)
                return

    def _print(self, monitor: Monitor) -> None:
        snapshot = monitor.snapshot()
        if self._form == "jsonl":
            self._write([json.dumps({"type": "interval", **snapshot})])
            return
        width = self._console.width
        lines = interval_lines(snapshot["at"], monitor.figures(), snapshot, width)
        if self._lines % HEADER_EVERY == 0:
            lines.insert(0, header_line(width))
        self._lines += 1
        self._write(lines)

    def _write(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._console.print(SECRETS.redact(line), markup=False, soft_wrap=True)
        self._out.flush()


class Status:
    """The lines at the foot of a terminal. While they stand, what is logged to that terminal goes above them."""

    def __init__(self, console: Console, monitor: Monitor, duration_s: float | None, level: Callable[[], str]) -> None:
        self._level = level
        self._console = console
        self._monitor = monitor
        self._duration_s = duration_s
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._redirected = redirect_logs(console)
        self._live.start()

    def redraw_regularly(self) -> None:
        while True:
            self._live.update(
                Text(SECRETS.redact("\n".join(self._lines())), no_wrap=True, overflow="ellipsis"), refresh=True
            )
            gevent.sleep(STATUS_S)

    def _lines(self) -> list[str]:
        monitor = self._monitor
        elapsed_s = time.time() - monitor.run.started_at
        return status_lines(
            monitor.run.settings.test_name,
            elapsed_s,
            self._duration_s,
            monitor.figures()[0],
            monitor.snapshot(),
            monitor.criteria(time.time()),
            self._console.width,
            self._level(),
        )

    def stop(self) -> None:
        """Take the lines away; logs go where they went before."""
        self._live.stop()
        for handler, stream in self._redirected:
            handler.setStream(stream)


def redirect_logs(console: Console) -> list[tuple[logging.StreamHandler[Any], Any]]:
    """Send what is logged to a terminal through the console, clear of the status; each handler with what it had."""
    redirected = []
    named = [logging.getLogger(), *(each for each in map(logging.getLogger, logging.root.manager.loggerDict))]
    for handler in dict.fromkeys(handler for each in named for handler in each.handlers):
        if type(handler) is logging.StreamHandler and handler.stream.isatty():
            redirected.append((handler, handler.stream))
            handler.setStream(FileProxy(console, handler.stream))
    return redirected


def _levels(monitor: Monitor) -> list[str]:
    """The answer of a run whose load changed; empty of another, or without criteria."""
    run = monitor.run
    if run.levels is None or not run.settings.criteria:
        return []
    return level_lines(run.levels["unit"], judge_levels(run.levels, run.settings.criteria, run.samples))


def final_lines(monitor: Monitor) -> list[str]:
    """The run's final figures, exact, over its window."""
    run = monitor.run
    names: list[str | None] = [*run.samples.names]
    shown = [None, *names] if len(names) > 1 else names
    facts = {name or "all": _exact(run.samples, name, run.window) for name in shown}
    return result_lines(run.settings.test_name, run.window, facts)


def verdict_lines(monitor: Monitor) -> list[str]:
    """Criteria, reasons, and where the run is."""
    run = monitor.run
    verdict = run.verdict
    if verdict is None:
        return []
    lines = [line for result in verdict.results for line in criterion_lines(result)]
    lines += [f"  {reason}" for reason in verdict.reasons if reason.kind is not ReasonKind.CRITERION]
    lines += [f"  {replacement}" for replacement in run.replaced]
    judged = run.settings.criteria or verdict.state != "none"
    exit_code = f"exit code {int(verdict.exit_code)}" if judged else "no criteria were given"
    cut = ", of a run that was interrupted" if run.interrupted else ""
    where = f"Run: {run.directory}" if run.directory.is_dir() else "Run: its directory is gone"
    return [*lines, f"Verdict: {verdict.headline} ({exit_code}){cut}", where]


def next_line(monitor: Monitor, reported: bool) -> str:
    """What to type next."""
    directory = monitor.run.directory
    if not reported:
        return f"Next: {command_name()} report {directory}"
    before = sorted(path for path in directory.parent.glob("*/run.json") if path.parent.name < directory.name)
    if before:
        return f"Next: {command_name()} compare {before[-1].parent} {directory}"
    return f"Next: {command_name()} check {directory}"


def end_facts(monitor: Monitor) -> dict[str, Any]:
    """What the last line of `jsonl` says: exact figures of the whole run's window by request name, and the verdict."""
    run = monitor.run
    samples, window = run.samples, run.window
    return {
        "directory": str(run.directory),
        "window": window,
        "accounting": run.accounting.facts(),
        "figures": {name: _exact(samples, name, window) for name in samples.names},
        "criteria": monitor.snapshot()["criteria"],
        "verdict": monitor.snapshot()["verdict"],
        "stop_reason": run.stop_reason,
        "search": run.judge.facts(),
    }


def _exact(samples: Samples, name: str | None, window: tuple[float, float]) -> dict[str, Any]:
    minutes = max(0.0, window[1] - window[0]) / 60
    facts: dict[str, Any] = {what: samples.count(what, name, window) for what in (*TALLIES, "aborted")}
    for rate, quantity in (("rpm", "completed"), ("tpm", "tokens"), ("estimated_tpm", "estimated_tokens")):
        facts[rate] = samples.total(quantity, name, window) / minutes if minutes else None
    if not samples.with_tokens(name, window):
        facts["tpm"] = None
    for metric in ("ttft_ms", "tbt_ms", "e2e_ms"):
        values = samples.values(metric, name, window)
        facts[metric] = {"n": len(values)} | {
            f"p{p}": percentile(values, p) if carries(len(values), p) else None for p in (50, 95, 99)
        }
    return facts


def silence_locust_tables(options: argparse.Namespace) -> None:
    """Before Locust spawns its printer: no tables while the run is on, none at its end."""
    options.only_summary = True
    logging.getLogger("locust.stats_logger").addFilter(lambda _record: False)


def attach_terminal(current_run: CurrentRun) -> None:
    """Print the runs of a headless environment as its options say."""
    options = current_run.load_test.options
    form = options.output_format or "human"
    report = options.report != "no" and can_report()
    if form == "locust":
        if report:
            current_run.ended.append(lambda monitor: report_run(monitor.run.directory).make())
        return
    if not options.print_stats:
        silence_locust_tables(options)
    Terminal(current_run, form, report=report).attach()
