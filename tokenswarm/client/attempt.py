"""From an exchange to the fields of a record: instants, the service's own headers, and what the outcome was."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gevent.event import Event

from tokenswarm.client.retry import retry_after_ms
from tokenswarm.payload.errors import MAX_ERROR_CHARACTERS, body_text, is_content_filter
from tokenswarm.record import Outcome
from tokenswarm.transport.reading import Exchange, Failure

_REQUEST_IDS = (
    *("apim-request-id", "x-request-id", "x-correlation-id", "request-id", "x-litellm-call-id", "x-generation-id"),
    *("x-ms-request-id", "x-amzn-requestid", "mistral-correlation-id", "nvcf-reqid", "x-kong-request-id", "cf-ray"),
)
_TOKENS_LEFT, _REQUESTS_LEFT = (
    (f"x-ratelimit-remaining-{what}", f"anthropic-ratelimit-{what}-remaining") for what in ("tokens", "requests")
)
"""As OpenAI, Azure and others say it, and as Anthropic does."""
_ADDRESS_WRONG = frozenset({404, 405})
"""Statuses that are often about the URL: its error names it."""


MAX_ROUTE = 200
"""Characters of a backend's name that are kept."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends, and to which kind of target, as they stand in the record: the process, the virtual user in it."""

    worker: str
    user: int
    target: str = "chat"
    trace_headers: Callable[[str, int], Mapping[str, str]] | None = None
    """What an attempt (call id, number) carries for the target's traces; `None` when nothing is traced."""
    id_prefix: str = ""
    """Before each call id, for a service's own logs to tell requests apart."""
    stopping: Event | None = None
    """Set when the run ends: from then on nothing is sent again."""
    deployment: str | None = None
    """Which of several targets it asks; `None` where there is one."""
    route_header: str | None = None
    """Name, in lower case, of the response header that says which backend served a request."""


def timing_fields(exchange: Exchange) -> dict[str, Any]:
    """The record's instants and offsets of an exchange."""
    return {
        "started_at": exchange.started_at,
        "connect_ms": exchange.connect_ms,
        "resent": 1 if exchange.resent else None,
        "sent_ms": exchange.sent_ms,
        "headers_ms": exchange.headers_ms,
        "first_byte_ms": exchange.first_byte_ms,
        "e2e_ms": exchange.end_ms,
        "read_lag_ms": exchange.read_lag_ms,
        "end_note": exchange.end_note,
    }


def service_fields(headers: dict[str, str], ended_at: float, route_header: str | None = None) -> dict[str, Any]:
    """What the service says of itself in headers. Any may be missing, empty or -1: then the field is absent.

    `ended_at`: Unix s of the answer, from which a `retry-after` that is a date counts.

    Names: Azure OpenAI documentation of quotas (x-ratelimit-*, retry-after-ms) and of spillover (x-ms-deployment-name,
    x-ms-spillover-from-deployment), azure-openai-benchmark (utilization).
    """
    return {
        "request_id": next((headers[name] for name in _REQUEST_IDS if headers.get(name)), None),
        "region": headers.get("x-ms-region") or None,
        "route": (headers.get(route_header or "x-ms-deployment-name") or "")[:MAX_ROUTE] or None,
        "spilled_from": headers.get("x-ms-spillover-from-deployment") or None,
        "utilization_pct": _number(headers.get("azure-openai-deployment-utilization", "").rstrip("% ")),
        "remaining_tokens": _remaining(headers, _TOKENS_LEFT),
        "remaining_requests": _remaining(headers, _REQUESTS_LEFT),
        "retry_after_ms": retry_after_ms(headers, ended_at),
    }


def _remaining(headers: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    for name in names:
        if (text := headers.get(name)) is not None and (count := _whole(text)) is not None:
            return count
    return None


def failed_outcome(exchange: Exchange, url: str = "") -> tuple[Outcome, str] | None:
    """The outcome of an exchange that is no whole answer of status 2xx, with its error text; `None` if it is one.

    `url` is what was asked, which the error of an unknown address names."""
    status = exchange.status
    given_up = exchange.failure in (Failure.CANCELLED, Failure.ABORTED)
    if exchange.failure is not None and (status is None or status < 300 or given_up):
        return Outcome(exchange.failure), exchange.error or exchange.failure
    if status is None:
        return Outcome.CONNECTION_ERROR, exchange.error or "no answer"
    if status == 429:
        return Outcome.THROTTLED, _status_error(exchange)
    if status == 400 and is_content_filter(exchange.body):
        return Outcome.CONTENT_FILTER, _status_error(exchange)
    if 300 <= status < 400:
        return Outcome.HTTP_ERROR, f"HTTP {status}: redirect not followed{_location(exchange.headers)}"
    if status >= 400:
        where = f" (POST {url})" if status in _ADDRESS_WRONG and url else ""
        where += f" ({exchange.error})" if status == 407 and exchange.error else ""
        return Outcome.HTTP_ERROR, _status_error(exchange) + where
    return None


def _location(headers: Mapping[str, str]) -> str:
    """Where a redirect leads, for its error; empty when it does not say."""
    location = headers.get("location", "").strip()
    return f", to {location[:MAX_ERROR_CHARACTERS]}" if location else ""


def _status_error(exchange: Exchange) -> str:
    """`HTTP 429: code: message`; what repeats the status is left out."""
    status, encoding = exchange.status, exchange.headers.get("content-encoding")
    text = body_text(exchange.body)
    if encoding and text.endswith("that is no text"):
        text += f" (content-encoding {encoding})"
    text = re.sub(rf"^(?:HTTP |Error code: )?{status}(?:: | - | )(?=\S)", "", text)
    return f"HTTP {status}: {text}" if text and text != str(status) else f"HTTP {status}"


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < 1e15 else None


def _whole(text: str | None) -> int | None:
    value = _number(text)
    return None if value is None else int(value)
