"""Whether and when a failed attempt is sent again. Pure: time and chance are handed in."""

from __future__ import annotations

from tokenswarm.record import Outcome, RequestRecord

MAX_RETRY_SECONDS = 60.0
"""A call is given up when its next attempt would start later than this after its first (azure-openai-benchmark)."""

FIRST_WAIT_SECONDS = 0.5
MAX_WAIT_SECONDS = 8.0
_STATUSES = frozenset({408, 409, 429})


def is_retryable(record: RequestRecord) -> bool:
    """Throttled, 408, 409, 5xx, or no connection: what the openai SDK retries."""
    if record.outcome is Outcome.CONNECTION_ERROR:
        return True
    return record.status is not None and (record.status in _STATUSES or record.status >= 500)


def wait_before_retry(record: RequestRecord, since_first_s: float, chance: float) -> float | None:
    """Seconds to wait before the next attempt, or `None` to give up.

    `since_first_s`: from the start of the first attempt until now. The service's own request (`retry-after-ms`,
    `retry-after`) counts; without it the wait doubles from 0.5 s to 8 s, less up to a quarter by `chance` in 0..1.
    """
    if not is_retryable(record):
        return None
    if record.retry_after_ms is not None:
        wait = record.retry_after_ms / 1000.0
    else:
        wait = min(FIRST_WAIT_SECONDS * 2.0 ** (record.attempt - 1), MAX_WAIT_SECONDS) * (1.0 - 0.25 * chance)
    return wait if since_first_s + wait <= MAX_RETRY_SECONDS else None
