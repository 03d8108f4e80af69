"""Whether and when a failed attempt is sent again. Pure: time and chance are handed in.

What is sent again: throttled requests, 408, 409, 5xx, and those without a connection, as the openai SDK does. When: as
long after the failure as the service asks (`retry-after-ms`, or `retry-after` in seconds or as a date), else after
0.5 s, doubled with each attempt up to 8 s, less up to a quarter by chance. A service that asks for 0 asks for nothing
(the SDK, too, takes it so). Never more than `MAX_ATTEMPTS` times, never later than `MAX_RETRY_SECONDS` after the first
attempt, and never after the run's end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from tokenswarm.record import GIVEN_UP, Outcome, RequestRecord

MAX_RETRY_SECONDS = 60.0
"""A call is given up when its next attempt would start later than this after its first (azure-openai-benchmark)."""

MAX_ATTEMPTS = 20
"""Of one call, whatever short waits a service asks for."""

FIRST_WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 8.0
_STATUSES = frozenset({408, 409, 429})


def is_retryable(record: RequestRecord) -> bool:
    """Throttled, 408, 409, 5xx, or no connection: what the openai SDK retries."""
    if record.outcome is Outcome.CONNECTION_ERROR:
        return True
    if record.outcome in GIVEN_UP:
        return False
    return record.status is not None and (record.status in _STATUSES or record.status >= 500)


def wait_before_retry(record: RequestRecord, since_first_s: float, chance: float) -> float | None:
    """Seconds to wait before the next attempt, or `None` to give up.

    `since_first_s`: from the start of the first attempt until now. `chance` in 0..1 shortens a wait of our own.
    """
    if not is_retryable(record) or record.attempt >= MAX_ATTEMPTS:
        return None
    if record.retry_after_ms:
        wait = record.retry_after_ms / 1000.0
    else:
        wait = min(FIRST_WAIT_SECONDS * 2.0 ** (record.attempt - 1), MAX_WAIT_SECONDS) * (1.0 - 0.25 * chance)
    return wait if since_first_s + wait <= MAX_RETRY_SECONDS else None


def retry_after_ms(headers: Mapping[str, str], now: float) -> float | None:
    """ms the service asks to wait, from its headers by lower-case name; `None` when it asks for nothing readable.

    `retry-after-ms`, else `retry-after` in seconds or as an HTTP date: that counts from the answer's own `date`, as the
    two clocks may differ, or from Unix s `now`; one that has passed is 0.
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds
    text = headers.get("retry-after")
    seconds = _seconds(text)
    if seconds is not None:
        return seconds * 1000.0
    until = _instant(text)
    if until is None:
        return None
    sent = _instant(headers.get("date"))
    return max(0.0, until - (now if sent is None else sent)) * 1000.0


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text.split(",")[0]) if text else None  # one that came twice may have been joined
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) and 0 <= value < 1e15 else None


def _instant(text: str | None) -> float | None:
    """Unix s of an HTTP date; `None` for anything else."""
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError, IndexError):
        return None
