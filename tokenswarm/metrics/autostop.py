"""Stopping a run that only produces errors, with Azure Load Testing's meaning of `autoStop`.

The service stops a test when the share of errors in a window of `timeWindow` seconds exceeds `errorPercentage`.
Throttled requests are no errors here (on the service they are, so that a test meant to be throttled stops itself).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from tokenswarm.record import GIVEN_UP, NOT_FAILED, NOT_SENT, RequestRecord
from tokenswarm.userinput import BadInput, format_number, parse_duration, read_number

MAX_TIME_WINDOW_S = 86400

_PAIR = re.compile(r"(?P<share>[^/=]+)/(?P<window>[^/=]+)")
_KEYS = {"errorpercentage": "error_percentage", "timewindow": "time_window"}
_EXPECTED = "expected disable, 90% / 60s or error_percentage=90, time_window=60"


@dataclass(frozen=True, slots=True)
class AutoStop:
    """Stop when more than `error_percentage` % of the requests that ended within `time_window` s failed."""

    error_percentage: float = 90.0
    time_window: int = 60

    def __str__(self) -> str:
        return f"{format_number(self.error_percentage)}% / {self.time_window}s"


def parse_auto_stop(text: str) -> AutoStop | None:
    """`None` for "disable", else both figures (the service's defaults are 90 and 60). Raises `BadInput`."""
    stripped = text.strip()
    if stripped.lower() == "disable":
        return None
    problems: list[str] = []
    fields = _split(stripped, problems)
    share = _read_share(fields.get("error_percentage", "90"), problems)
    window_s = _read_window(fields.get("time_window", "60"), problems)
    if problems:
        raise BadInput(problems)
    return AutoStop(share, window_s)


class AutoStopMonitor:
    """Watches the records of a run as they end. Whole seconds are the grain of its windows."""

    def __init__(self, rule: AutoStop) -> None:
        self.rule = rule
        self._ended: defaultdict[int, int] = defaultdict(int)
        self._failed: defaultdict[int, int] = defaultdict(int)
        self._first_s: int | None = None
        self._now_s = 0
        self._ended_in_window = 0
        self._failed_in_window = 0

    def add(self, record: RequestRecord) -> bool:
        """Take in a record; true when the run should stop: a whole window has passed and exceeds the share."""
        ended_at = record.ended_at
        if record.outcome in GIVEN_UP | NOT_SENT or record.started_at is None or ended_at is None:
            return False
        started_s, ended_s = int(record.started_at // 1), int(ended_at // 1)
        if self._first_s is None or started_s < self._first_s:
            self._first_s = started_s
        if ended_s > self._now_s:
            self._advance(ended_s)
        self._note(ended_s, record.outcome not in NOT_FAILED)
        return self._exceeded()

    @property
    def error_percentage(self) -> float | None:
        """Share of failed requests in the last whole window, %; `None` when none ended in it."""
        return 100.0 * self._failed_in_window / self._ended_in_window if self._ended_in_window else None

    def _exceeded(self) -> bool:
        if self._first_s is None or self._now_s - self._first_s < self.rule.time_window:
            return False
        share = self.error_percentage
        return share is not None and share > self.rule.error_percentage

    def _note(self, second: int, failed: bool) -> None:
        if second < self._now_s - self.rule.time_window:
            return
        self._ended[second] += 1
        self._failed[second] += failed
        if second < self._now_s:
            self._ended_in_window += 1
            self._failed_in_window += failed

    def _advance(self, now_s: int) -> None:
        """Move the window to the whole seconds before `now_s`; older ones are forgotten."""
        self._now_s = now_s
        for counts in (self._ended, self._failed):
            for second in [second for second in counts if second < now_s - self.rule.time_window]:
                del counts[second]
        self._ended_in_window = sum(self._ended.values())
        self._failed_in_window = sum(self._failed.values())


def _split(text: str, problems: list[str]) -> dict[str, str]:
    if match := _PAIR.fullmatch(text):
        return {"error_percentage": match["share"], "time_window": match["window"]}
    fields: dict[str, str] = {}
    for part in re.split(r"[,;]", text):
        key, equals, value = part.partition("=")
        name = _KEYS.get(key.strip().lower().replace("_", "").replace("-", ""))
        if not equals or name is None or name in fields:
            problems.append(f"auto-stop: {_EXPECTED}, got {part.strip()!r}")
        else:
            fields[name] = value
    return fields


def _read_share(text: str, problems: list[str]) -> float:
    share = read_number(text.strip().removesuffix("%"))
    if share is None or not 0 <= share <= 100:
        problems.append(f"auto-stop: expected an error percentage from 0 to 100, got {text.strip()!r}")
        return 0.0
    return share


def _read_window(text: str, problems: list[str]) -> int:
    try:
        window_s = parse_duration(text)
    except BadInput:
        window_s = 0.0
    if window_s != int(window_s) or not 1 <= window_s <= MAX_TIME_WINDOW_S:
        problems.append(
            f"auto-stop: expected a time window of whole seconds from 1 to {MAX_TIME_WINDOW_S}, got {text.strip()!r}"
        )
        return 1
    return int(window_s)
