"""From a finished attempt to its record. No socket, no clock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokenswarm.apis.api import Found, Reader
from tokenswarm.apis.request import ChatRequest, Request
from tokenswarm.client.attempt import Caller, failed_outcome, service_fields, timing_fields
from tokenswarm.client.quotes import without_quotes
from tokenswarm.client.response_cache import from_cache
from tokenswarm.payload.tool_calls import Called
from tokenswarm.record import Doubt, Outcome, RequestRecord, TokenSource, cell_text
from tokenswarm.transport.content_encoding import unread
from tokenswarm.transport.reading import Exchange

logger = logging.getLogger(__name__)

_SERVICE_TEXTS = (
    "error", "finish_reason", "model", "request_id", "region", "route", "spilled_from", "service_tier",
    "conversation_id", "stages", "end_note",
)  # fmt: skip
"""Columns whose text a service has written."""

Emit = Callable[[RequestRecord], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """The last attempt of a call, the answer's text (empty unless it was kept), its id, where the API has one, and the
    tools that it calls, where these are to be answered."""

    record: RequestRecord
    text: str
    answer_id: str | None = None
    called: Called | None = None


@dataclass(slots=True)
class Call:
    """One call on its way: its identity, the attempt that runs, and from when its latency counts."""

    emit: Emit
    call_id: str
    attempt: int
    scheduled_at: float | None
    first_started_at: float | None = None
    url: str = ""
    """Where the attempt went."""
    due_at: float | None = None
    """Unix s from which the latency counts of a call that no plan has scheduled."""

    @property
    def start_at(self) -> float:
        """Unix s before which the attempt must not start: only the first has one that is not over."""
        return self.due_at or 0.0

    @property
    def request_id(self) -> str:
        return f"{self.call_id}-{self.attempt}"

    def identity(self, exchange: Exchange) -> dict[str, Any]:
        due = self.scheduled_at if self.scheduled_at is not None else self.due_at
        due = self.first_started_at if due is None else due
        return {
            "call_id": self.call_id,
            "attempt": self.attempt,
            "scheduled_at": self.scheduled_at,
            "lag_ms": None if due is None else max(0.0, (exchange.started_at - due) * 1000.0),
        }


def attempt_record(request: Request, reader: Reader | None, exchange: Exchange, call: Call, caller: Caller) -> Reply:
    """The record of one finished attempt, and the answer's text. `reader`: of an answer with status 2xx."""
    failed = failed_outcome(exchange, call.url)
    found = _finish(reader)
    outcome, error = failed or _unread(found, exchange) or (found.outcome, found.error)
    columns: dict[str, Any] = {
        **call.identity(exchange),
        "worker": caller.worker,
        "user": caller.user,
        "target": caller.target,
        "deployment": caller.deployment,
        **request.columns(),
        **timing_fields(exchange),
        **service_fields(
            exchange.headers, exchange.started_at + (exchange.end_ms or 0.0) / 1000.0, caller.route_header
        ),
        "outcome": outcome,
        "status": exchange.status,
        "error": error,
    }
    columns |= found.columns
    if request.seen_share is not None and (prompt_tokens := columns.get("prompt_tokens")):
        columns["shared_tokens"] = round(request.seen_share * prompt_tokens)
    if outcome is Outcome.ABORTED:
        columns |= _tokens_so_far(columns)
    if outcome is Outcome.OK:
        columns["doubts"] = (
            ";".join(filter(None, (columns.get("doubts"), *_doubts(request, found, exchange.headers)))) or None
        )
    if request.judge is not None and outcome is Outcome.OK:
        columns |= request.judge(found.text, found.tool_calls, found.refused)
    error = columns.get("error")
    if error and error != exchange.error and (said := request.recorded()) is not None:
        columns["error"] = without_quotes(error, said)
    for name in _SERVICE_TEXTS:
        if text := columns.get(name):
            columns[name] = cell_text(text)
    return Reply(RequestRecord(**columns), found.text, found.answer_id, found.called)


def _doubts(request: Request, found: Found, headers: Mapping[str, str]) -> Iterator[Doubt]:
    """What is doubtful about an answer by its form and its headers."""
    if found.whole and isinstance(request, ChatRequest) and request.stream:
        yield Doubt.WHOLE
    if not _is_documented(headers.get("content-type", "")):
        yield Doubt.CONTENT_TYPE
    if from_cache(headers):
        yield Doubt.CACHED


def _is_documented(content_type: str) -> bool:
    """Whether answers of an API come with such a type: JSON, events or plain text in any spelling, or none."""
    essence = content_type.partition(";")[0].strip().lower()
    return not essence or essence == "text/plain" or any(word in essence for word in ("json", "event-stream", "octet"))


def _tokens_so_far(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens that had come when a user left, where no usage says more: a chunk holds one at least."""
    chunks, completion = columns.get("chunks"), columns.get("completion_tokens")
    if not chunks or (completion is not None and completion >= chunks):
        return {}
    return {"completion_tokens": chunks, "token_source": TokenSource.ESTIMATE}


def _unread(found: Found, exchange: Exchange) -> tuple[Outcome, str] | None:
    """The outcome of an answer in an encoding that could not be read; `None` where it could be."""
    encoding = unread(exchange.headers.get("content-encoding", ""))
    if encoding is None or found.outcome not in (Outcome.TRUNCATED, Outcome.BAD_PAYLOAD):
        return None
    return Outcome.BAD_PAYLOAD, f"body has content-encoding {encoding}, which was not asked for and cannot be read"


def _finish(reader: Reader | None) -> Found:
    """What a reader found. One that fails is a fault of its API, and its answer a row all the same."""
    if reader is None:
        return Found()
    try:
        return reader.finish()
    except Exception as error:  # a reader's fault must not take the row of its request along
        logger.exception("%s could not say what an answer came to", type(reader).__name__)
        return Found(Outcome.BAD_PAYLOAD, f"{type(reader).__name__}: {type(error).__name__}: {error}"[:500])
