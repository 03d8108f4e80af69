"""A headless run in the terminal: a line for each interval and request name, then the figures and the verdict.

Locust's own tables are left out unless `--print-stats` or `--output-format locust` asks for them. Lines go to stdout,
Locust's log to stderr: `--output-format jsonl` can be piped.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from typing import IO, Any

import gevent
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tokenswarm.live.current_run import CurrentRun
from tokenswarm.live.last_minute import Figures
from tokenswarm.live.monitor import Monitor
from tokenswarm.metrics.samples import Samples, carries, percentile
from tokenswarm.metrics.verdict import ReasonKind
from tokenswarm.redaction import SECRETS

HEADER_EVERY = 20
BAR_S = 0.5
INTERVAL_S = 10.0

COLUMNS = (
    ("time", 8),
    ("name", 12),
    ("rpm", 6),
    ("tpm", 8),
    ("ttft/p95", 10),
    ("tbt/p95", 10),
    ("e2e p95", 7),
    ("429", 5),
    ("fail", 5),
    ("flight", 6),
    ("util", 4),
    ("lag", 5),
)
"""Of the last minute, rates per minute, latencies in ms (mean/p95); `-` where there is none, or where too few values
carry the percentile."""

RESULT_COLUMNS = (
    ("request", 12),
    ("sent", 6),
    ("ok", 6),
    ("429", 5),
    ("fail", 5),
    ("rpm", 8),
    ("tpm", 9),
    ("ttft/p95", 11),
    ("tbt/p95", 11),
    ("e2e/p95", 12),
)
"""Of the run's window, exact; latencies in ms (p50/p95)."""

SHOWN_FAILURES = 5

logger = logging.getLogger(__name__)


class Terminal:
    """Prints the runs of a watch to `out`. `form`: human or jsonl; the bar only where a person looks on."""

    def __init__(self, watch: CurrentRun, form: str, interval_s: float, out: IO[str] | None = None) -> None:
        self._current_run = watch
        self._form = form
        self._interval_s = interval_s
        self._out = out if out is not None else sys.stdout
        self._console = Console(file=self._out, highlight=False, soft_wrap=True)
        self._lines = 0
        self._greenlets: list[Any] = []
        self._bar: Progress | None = None

    def attach(self) -> None:
        self._current_run.started.append(self._start)
        self._current_run.ended.append(self._end)

    def _start(self, monitor: Monitor) -> None:
        self._lines = 0
        self._greenlets = [gevent.spawn(self._print_regularly, monitor)]
        duration_s = run_duration_s(self._current_run)
        if self._form == "human" and duration_s and self._console.is_terminal:
            self._greenlets.append(gevent.spawn(self._move_bar, monitor, duration_s))

    def _end(self, monitor: Monitor) -> None:
        for greenlet in self._greenlets:
            greenlet.kill(block=False)
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._form == "jsonl":
            self._write([json.dumps({"type": "end", **end_facts(monitor)})])
        else:
            failures = failure_lines(self._current_run.load_test.runner.stats.errors.values())
            self._write(["", *result_lines(monitor), *failures, *verdict_lines(monitor)])

    def _print_regularly(self, monitor: Monitor) -> None:
        while True:
            gevent.sleep(self._interval_s)
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
        lines = interval_lines(snapshot["at"], monitor.figures(), snapshot)
        if self._lines % HEADER_EVERY == 0:
            lines.insert(0, header_line())
        self._lines += 1
        self._write(lines)

    def _write(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._console.print(SECRETS.redact(line), markup=False)
        self._out.flush()

    def _move_bar(self, monitor: Monitor, duration_s: float) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console, auto_refresh=False, transient=True)
        self._bar.start()
        task = self._bar.add_task(monitor.run.settings.test_name, total=duration_s)
        while True:
            self._bar.update(task, completed=time.time() - monitor.run.started_at, refresh=True)
            gevent.sleep(BAR_S)


def run_duration_s(watch: CurrentRun) -> float | None:
    """Seconds the run will take; `None` when nothing ends it but a stop."""
    options, settings = watch.load_test.options, watch.load_test.settings
    ends = [float(options.run_time)] if options.run_time else []
    plan = settings.plan if settings is not None else None
    if plan is not None and plan.duration_s is not None:
        ends.append(plan.duration_s)
    return min(ends, default=None)


def header_line() -> str:
    """The names of the columns."""
    return _row([title for title, _ in COLUMNS], COLUMNS)


def interval_lines(at: float, figures: Sequence[Figures], snapshot: dict[str, Any]) -> list[str]:
    """One line for each request name, and first one for all where there are several."""
    lag_ms = max((worker["lag_p95_ms"] for worker in snapshot["workers"]), default=None)
    utilization = snapshot["service"]["utilization_pct"]
    clock = time.strftime("%H:%M:%S", time.localtime(at))
    lines = []
    for position, each in enumerate(figures):
        first = position == 0
        cells = [
            clock,
            each.name or "all",
            _number(each.ok_rpm, 1),
            _number(each.total_tpm, 0),
            f"{_number(each.ttft_ms.mean, 0)}/{_number(each.ttft_ms.p95, 0)}",
            f"{_number(each.tbt_ms.mean, 1)}/{_number(each.tbt_ms.p95, 1)}",
            _number(each.e2e_ms.p95, 0),
            _number(each.throttled_rpm, 0),
            _number(each.failed_rpm, 0),
            str(snapshot["in_flight"]) if first else "",
            _percent(utilization) if first else "",
            _number(lag_ms, 1) if first else "",
        ]
        lines.append(_row(cells, COLUMNS))
    return lines


def result_lines(monitor: Monitor) -> list[str]:
    """The run's final figures, exact, over its window."""
    run = monitor.run
    window, samples = run.window, run.samples
    names: list[str | None] = [*samples.names]
    return [
        f"{run.settings.test_name}: {_describe_window(window)}",
        _row([title for title, _ in RESULT_COLUMNS], RESULT_COLUMNS),
        *(
            _row([name or "all", *_result_cells(samples, name, window)], RESULT_COLUMNS)
            for name in ([None, *names] if len(names) > 1 else names)
        ),
    ]


def verdict_lines(monitor: Monitor) -> list[str]:
    """Criteria, reasons, and where the run is."""
    run = monitor.run
    verdict = run.verdict
    if verdict is None:
        return []
    marks = {"held": "ok", "failed": "FAILED", "no_data": "NO DATA"}
    lines = [f"  {marks[result.state]:<8}{result}" for result in verdict.results]
    lines += [f"  {reason}" for reason in verdict.reasons if reason.kind is not ReasonKind.CRITERION]
    judged = run.settings.criteria or verdict.state != "none"
    exit_code = f"exit code {int(verdict.exit_code)}" if judged else "no criteria were given"
    cut = ", of a run that was interrupted" if run.interrupted else ""
    where = f"Run: {run.directory}" if run.directory.is_dir() else "Run: its directory is gone"
    return [*lines, f"Verdict: {verdict.headline} ({exit_code}){cut}", where]


def failure_lines(errors: Iterable[Any]) -> list[str]:
    """The most frequent failures as Locust counted them, throttled requests among them."""
    most = sorted(errors, key=lambda error: -error.occurrences)
    lines = [f"  {error.occurrences} x {error.name}: {error.error}" for error in most[:SHOWN_FAILURES]]
    if len(most) > SHOWN_FAILURES:
        lines.append(f"  and {len(most) - SHOWN_FAILURES} other kinds of failure: see locust_failures.csv")
    return ["Failures:", *lines] if lines else []


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
    }


def _exact(samples: Samples, name: str | None, window: tuple[float, float]) -> dict[str, Any]:
    minutes = max(0.0, window[1] - window[0]) / 60
    facts: dict[str, Any] = {what: samples.count(what, name, window) for what in ("sent", "ok", "throttled", "failed")}
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


def _result_cells(samples: Samples, name: str | None, window: tuple[float, float]) -> list[str]:
    facts = _exact(samples, name, window)
    cells = [str(facts[what]) for what in ("sent", "ok", "throttled", "failed")]
    cells += [_number(facts["rpm"], 1), _number(facts["tpm"], 0)]
    for metric, digits in (("ttft_ms", 0), ("tbt_ms", 1), ("e2e_ms", 0)):
        cells.append("/".join(_number(facts[metric][p], digits) for p in ("p50", "p95")))
    return cells


def _describe_window(window: tuple[float, float]) -> str:
    return f"{window[1] - window[0]:.1f} s" if window[1] > window[0] else "no time between warm-up and cool-down"


def _row(cells: Sequence[str], columns: Sequence[tuple[str, int]]) -> str:
    """Cells under their titles; the name is cut, a figure never."""
    widths = [width for _, width in columns]
    return " ".join(
        cell[:width].ljust(width) if title in ("name", "request") else cell.rjust(width)
        for cell, width, (title, _) in zip(cells, widths, columns, strict=True)
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}%"


def silence_locust_tables(options: Any) -> None:
    """Before Locust spawns its printer: no tables while the run is on, none at its end."""
    options.only_summary = True
    logging.getLogger("locust.stats_logger").addFilter(lambda _record: False)


def attach_terminal(watch: CurrentRun) -> None:
    """Print the runs of a headless environment as its options say."""
    options = watch.load_test.options
    form = options.output_format or "human"
    if form == "locust":
        return
    if not options.print_stats:
        silence_locust_tables(options)
    try:
        interval_s = float(options.output_interval or INTERVAL_S)
    except ValueError:
        return  # the start is refused, with the reason
    Terminal(watch, form, interval_s).attach()
