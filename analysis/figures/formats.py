"""Figures, instants and lengths as people read them: one form in every table, tile, plot and sentence."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence

ABSENT = "–"


def format_figure(value: float | None, unit: str = "") -> str:
    """A figure as people read it: three digits and more, thousands apart; an en dash for an absent one."""
    if value is None or not math.isfinite(value):
        return ABSENT
    digits = 0 if float(value).is_integer() and unit in ("", "tokens") else _digits(abs(value))
    suffix = " %" if unit == "%" else ""
    return f"{value:,.{digits}f}{suffix}"


def _digits(size: float) -> int:
    if size >= 100:
        return 0
    return 1 if size >= 10 else 2


def format_time(instant: float | None) -> str:
    """Unix s as UTC; an en dash when unknown."""
    return ABSENT if instant is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(instant))


def format_duration(seconds: float | None) -> str:
    """Seconds as 45 s, 3 min 20 s or 2 h 5 min."""
    if seconds is None:
        return ABSENT
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def money(value: float | None, currency: str) -> str:
    """An amount with its currency: three digits at least, cents from 10 on; an en dash for an unknown one."""
    if value is None or not math.isfinite(value):
        return ABSENT
    if value == 0 or value >= 10:
        return f"{value:,.2f} {currency}"
    return f"{value:.{max(2, 2 - math.floor(math.log10(value)))}f} {currency}"


_STAMP = re.compile(r"\d{8}T\d{6}Z")


def short_labels(labels: Sequence[str]) -> list[str]:
    """Labels without the parts that all of them share, and without those that it does not take to tell them apart."""
    parts = [label.split("/") for label in labels]
    if len(parts) < 2:
        return list(labels)
    while all(len(part) > 1 for part in parts) and len({part[0] for part in parts}) == 1:
        parts = [part[1:] for part in parts]
    while any(len(part) > 1 for part in parts) and _are_distinct([part[:-1] or part for part in parts]):
        parts = [part[:-1] or part for part in parts]
    return _clock_times(["/".join(part) for part in parts])


def _are_distinct(parts: Sequence[Sequence[str]]) -> bool:
    return len({tuple(part) for part in parts}) == len(parts)


def _clock_times(labels: list[str]) -> list[str]:
    """Of run directories named by their start on one day, the time of day."""
    if not all(_STAMP.fullmatch(label) for label in labels) or len({label[:8] for label in labels}) > 1:
        return labels
    return [f"{label[9:11]}:{label[11:13]}:{label[13:15]}" for label in labels]
