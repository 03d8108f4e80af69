"""What the terminal shows, as lines of at most a given width. No clock, no console."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from tokenswarm.control.load_levels import JudgedLevel
from tokenswarm.live.last_minute import Figures
from tokenswarm.metrics.criteria import CriterionResult
from tokenswarm.metrics.criterion_words import sentence
from tokenswarm.workload.levels import load_text

Column = tuple[str, int]

COLUMNS: tuple[Column, ...] = (
    ("time", 8),
    ("name", 12),
    ("due/min", 7),
    ("ok/min", 6),
    ("429/min", 7),
    ("fail/min", 8),
    ("TTFT p95", 8),
    ("TBT p95", 7),
    ("E2E p95", 7),
)
"""Of the last minute; latencies in ms; `-` where there is none, or where too few values carry the percentile. They are
78 columns wide."""

WIDE_COLUMNS: tuple[Column, ...] = (*COLUMNS, ("tokens/min", 10), ("open", 5), ("util", 4), ("lag p95", 7))
"""Where there are 110 columns: requests under way, the service's utilization, the generator's own lag in ms, too."""

WIDE = 110

COUNT_COLUMNS: tuple[Column, ...] = (
    ("request", 14),
    ("sent", 7),
    ("ok", 7),
    ("429", 7),
    ("failed", 7),
    ("requests/min", 13),
    ("tokens/min", 12),
)
LATENCY_COLUMNS: tuple[Column, ...] = (
    ("latency in ms", 14),
    ("TTFT p50", 9),
    ("p95", 8),
    ("TBT p50", 9),
    ("p95", 8),
    ("E2E p50", 9),
    ("p95", 8),
)
"""Of the run's window, exact."""

LEVEL_COLUMNS: tuple[Column, ...] = (
    ("load", 18),
    ("why", 7),
    ("holds", 5),
    ("requests", 8),
    ("ok/min", 9),
    ("tokens/min", 11),
)
"""Of a search's levels."""

PLANNED_COLUMNS: tuple[Column, ...] = tuple(
    column for column in LEVEL_COLUMNS if column[0] not in ("why", "tokens/min")
)
"""Of the levels of a plan."""

LEVELS_NOTE = (
    "  without the first tenth of each level; requests: started in it, and judged; ok/min: answers that ended in it"
)

SHOWN_LEVELS = 40
TALLIES = ("sent", "ok", "throttled", "failed")
SHOWN_FAILURES = 5
SHOWN_CRITERIA = 5
FAILURE_WIDTH = 154
"""Of a failure's line: two lines of a narrow terminal; services write long errors."""
TEXT_TITLES = ("name", "request", "latency in ms", "load", "why")


def columns_for(width: int) -> tuple[Column, ...]:
    return WIDE_COLUMNS if width >= WIDE else COLUMNS


def header_line(width: int) -> str:
    """The names of the columns."""
    columns = columns_for(width)
    return row([title for title, _ in columns], columns)


def interval_lines(at: float, figures: Sequence[Figures], snapshot: dict[str, Any], width: int) -> list[str]:
    """One line for each request name, and first one for all where there are several."""
    clock = time.strftime("%H:%M:%S", time.localtime(at))
    columns = columns_for(width)
    lines = []
    for position, each in enumerate(figures):
        process = _process_cells(snapshot) if position == 0 else ["", "", ""]
        cells = [
            clock,
            each.name or "all",
            number(snapshot["offered_rpm"], 1) if position == 0 else "",
            number(each.ok_rpm, 1),
            number(each.throttled_rpm, 0),
            number(each.failed_rpm, 0),
            number(each.ttft_ms.p95, 0),
            number(each.tbt_ms.p95, 1),
            number(each.e2e_ms.p95, 0),
            number(each.total_tpm, 0),
            *process,
        ]
        lines.append(row(cells[: len(columns)], columns))
    return lines


def _process_cells(snapshot: dict[str, Any]) -> list[str]:
    utilization = snapshot["service"]["utilization_pct"]
    lag_ms = max((worker["lag_p95_ms"] for worker in snapshot["workers"]), default=None)
    return [str(snapshot["in_flight"]), "-" if utilization is None else f"{utilization:.0f}%", number(lag_ms, 1)]


def status_lines(
    title: str,
    elapsed_s: float,
    duration_s: float | None,
    figures: Figures,
    snapshot: dict[str, Any],
    criteria: Sequence[CriterionResult],
    width: int,
    level: str = "",
) -> list[str]:
    """What stands at the foot of the terminal while the run is on: progress, counts, latencies, criteria so far.
    `level`: of its stages or its search; a search judges each level by itself, so nothing is said of the whole."""
    searches = snapshot["so_far"]["state"] == "searching"
    until = "the search is over" if searches else "it is stopped"
    lines = [progress_line(title, elapsed_s, duration_s, width, until), counts_line(figures, snapshot)]
    lines += [latency_line(figures), *([level] if level else [])]
    if snapshot["so_far"]["state"] == "untrusted":
        lines.append(f"not to be trusted so far: {snapshot['so_far']['reasons'][0]}")
    criteria = [] if searches else criteria
    for result in criteria[:SHOWN_CRITERIA]:
        state = "no data" if result.state == "no_data" else result.state
        lines.append(f"{state} so far: {sentence(result, 'is')}")
    if len(criteria) > SHOWN_CRITERIA:
        lines.append(f"and {len(criteria) - SHOWN_CRITERIA} more criteria")
    return [line if len(line) <= width else line[: width - 3] + "..." for line in lines]


def progress_line(
    title: str, elapsed_s: float, duration_s: float | None, width: int, until: str = "it is stopped"
) -> str:
    """How far the run is; without a known end, how long it has been on and `until` when."""
    if duration_s is None:
        return f"{title[:30]}  {clock_time(elapsed_s)}, until {until}"
    done = min(1.0, elapsed_s / duration_s) if duration_s > 0 else 1.0
    left_s = max(0.0, duration_s - elapsed_s)
    left = f"{clock_time(left_s)} left" if left_s > 0 else "waiting for the last answers"
    text = f"{done * 100:3.0f} %  {clock_time(elapsed_s)} of {clock_time(duration_s)}, {left}"
    name = title[:20]
    length = max(5, min(40, width - len(name) - len(text) - 6))
    filled = int(done * length)
    return f"{name}  [{'#' * filled}{'.' * (length - filled)}] {text}"


def counts_line(figures: Figures, snapshot: dict[str, Any]) -> str:
    """Rates of the last minute."""
    offered = snapshot["offered_rpm"]
    due = "" if offered is None else f"offered {offered:.1f}, "
    rates = f"answered {figures.ok_rpm:.1f}, throttled {figures.throttled_rpm:.1f}, failed {figures.failed_rpm:.1f}"
    left = f", aborted {figures.aborted_rpm:.1f}" if figures.aborted_rpm else ""
    return f"per minute: {due}{rates}{left}; {snapshot['in_flight']} open"


def latency_line(figures: Figures) -> str:
    """Latencies of the last minute, the percentile named."""
    parts = []
    for name, values, digits in (("TTFT", figures.ttft_ms, 0), ("TBT", figures.tbt_ms, 1), ("E2E", figures.e2e_ms, 0)):
        parts.append(f"{name} p50 {number(values.p50, digits)} p95 {number(values.p95, digits)}")
    return "ms: " + ", ".join(parts)


def result_lines(title: str, window: tuple[float, float], facts: dict[str, dict[str, Any]]) -> list[str]:
    """The run's final figures by request name ("all" first where there are several)."""
    span = f"{window[1] - window[0]:.1f} s" if window[1] > window[0] else "no time between warm-up and cool-down"
    counts = [
        [name, *(str(each[what]) for what in TALLIES), number(each["rpm"], 1), number(each["tpm"], 0)]
        for name, each in facts.items()
    ]
    latencies = [
        [name]
        + [
            number(each[metric][p], digits)
            for metric, digits in (("ttft_ms", 0), ("tbt_ms", 1), ("e2e_ms", 0))
            for p in ("p50", "p95")
        ]
        for name, each in facts.items()
    ]
    left = [f"{each['aborted']} of {name} aborted by their users" for name, each in facts.items() if each["aborted"]]
    return [f"{title}: {span}", *_table(COUNT_COLUMNS, counts), *left, *_table(LATENCY_COLUMNS, latencies)]


def search_lines(facts: dict[str, Any] | None) -> list[str]:
    """The answer of a search and its levels: figures of all of them together would be of no load. Empty without one."""
    if facts is None:
        return []
    levels = [
        [
            f"{level['load']:g} {facts['unit']}",
            level["purpose"],
            "yes" if level["holds"] else "no",
            str(level["n"]),
            number(level["completed_rpm"], 1),
            number(level["tpm"], 0),
        ]
        for level in facts["levels"]
    ]
    return [f"Search: {facts['sentence']}", *_table(LEVEL_COLUMNS, levels)]


def level_lines(unit: str, levels: Sequence[JudgedLevel]) -> list[str]:
    """Up to which load the criteria held, and the levels; figures of all of them together are of no load."""
    broken = next((level for level in levels if level.breaks), None)
    held = [level.load for level in levels if not level.breaks and (broken is None or level.load < broken.load)]
    said = f"held up to {load_text(held[-1], unit)}" if held else "held at no level"
    why = "" if broken is None else f"; at {load_text(broken.load, unit)} {broken.breaks[0]}"
    cells = [
        [load_text(level.load, unit), "no" if level.breaks else "yes", str(level.n), number(level.ok_rpm, 1)]
        for level in levels[:SHOWN_LEVELS]
    ]
    return [f"Levels: the criteria {said}{why}", *_table(PLANNED_COLUMNS, cells), LEVELS_NOTE]


def _table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> list[str]:
    return [row([title for title, _ in columns], columns), *(row(cells, columns) for cells in rows)]


def failure_lines(errors: Iterable[Any]) -> list[str]:
    """The most frequent failures as Locust counted them, throttled requests among them."""
    most = sorted(errors, key=lambda error: -error.occurrences)
    lines = [shorten(f"  {error.occurrences} x {error.name}: {error.error}") for error in most[:SHOWN_FAILURES]]
    if len(most) > SHOWN_FAILURES:
        lines.append(f"  and {len(most) - SHOWN_FAILURES} other kinds of failure: see locust_failures.csv")
    return ["Failures (of the whole run):", *lines] if lines else []


def shorten(line: str) -> str:
    """A line of one failure, cut where it is long; locust_failures.csv has it whole."""
    return line if len(line) <= FAILURE_WIDTH else line[: FAILURE_WIDTH - 3] + "..."


def row(cells: Sequence[str], columns: Sequence[Column]) -> str:
    """Cells under their titles; the name is cut, a figure never."""
    return " ".join(
        cell[:width].ljust(width) if title in TEXT_TITLES else cell.rjust(width)
        for cell, (title, width) in zip(cells, columns, strict=True)
    ).rstrip()


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def clock_time(seconds: float) -> str:
    """1:05 or 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
