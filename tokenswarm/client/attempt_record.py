"""From a finished attempt to its record. No socket, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenswarm.apis.chat_completions import ChatStream, Usage, parse_body, streamed_tokens
from tokenswarm.apis.gpt_rag import RagStream, parse_reply, parse_server_timing
from tokenswarm.apis.request import ChatRequest, RagRequest, RagTarget
from tokenswarm.client.attempt import Caller, chunk_fields, failed_outcome, service_fields, timing_fields
from tokenswarm.record import Outcome, RequestRecord, TokenSource, tbt_ms
from tokenswarm.transport.exchange import Exchange

Emit = Callable[[RequestRecord], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """The last attempt of a call and the answer's text (empty unless it was kept)."""

    record: RequestRecord
    text: str


@dataclass(slots=True)
class Call:
    """One call on its way: its identity, the attempt that runs, and from when its latency counts."""

    emit: Emit
    call_id: str
    attempt: int
    scheduled_at: float | None
    first_started_at: float | None = None

    @property
    def request_id(self) -> str:
        return f"{self.call_id}-{self.attempt}"

    def identity(self, exchange: Exchange) -> dict[str, Any]:
        due = self.scheduled_at if self.scheduled_at is not None else self.first_started_at
        return {
            "call_id": self.call_id,
            "attempt": self.attempt,
            "scheduled_at": self.scheduled_at,
            "lag_ms": None if due is None else max(0.0, (exchange.started_at - due) * 1000.0),
        }


def chat_record(request: ChatRequest, exchange: Exchange, call: Call, caller: Caller) -> Reply:
    """The record of one finished attempt, and the answer's text."""
    stream = exchange.sink if isinstance(exchange.sink, ChatStream) else None
    seen = _ChatSeen.of_stream(stream) if stream else _ChatSeen.of_body(exchange)
    failed = failed_outcome(exchange)
    outcome, error = failed if failed is not None else seen.outcome()
    usage = seen.usage or Usage()
    times = chunk_fields(stream.times) if stream else {}
    record = RequestRecord(
        **call.identity(exchange),
        worker=caller.worker,
        user=caller.user,
        target="chat",
        name=request.name,
        conversation_id=request.conversation_id,
        turn=request.turn,
        question_id=request.question_id,
        **timing_fields(exchange),
        **times,
        ttft_visible_ms=stream.visible_ms if stream else None,
        tbt_ms=tbt_ms(
            times.get("ttft_ms"),
            times.get("last_token_ms"),
            times.get("chunks"),
            streamed_tokens(seen.usage, stream.reasoning_streamed if stream else False),
        ),
        context_tokens=request.context_tokens,
        max_tokens=None if request.max_tokens is None else request.max_tokens * int(request.body.get("n", 1)),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cached_tokens=usage.cached_tokens,
        token_source=TokenSource.USAGE if seen.usage is not None else TokenSource.NONE,
        outcome=outcome,
        status=exchange.status,
        error=error,
        finish_reason=seen.finish_reason,
        model=seen.model,
        **service_fields(exchange.headers),
    )
    return Reply(record, seen.text)


@dataclass(slots=True)
class _ChatSeen:
    """What an answer said, streamed or whole."""

    text: str
    usage: Usage | None
    finish_reason: str | None
    model: str | None
    error: str | None
    problem: str | None
    cut: bool = False

    @classmethod
    def of_stream(cls, stream: ChatStream) -> _ChatSeen:
        problem = stream.undecodable
        if problem is None and not stream.times.at_ms and not (stream.usage and stream.usage.completion_tokens):
            problem = "stream without tokens"
        return cls(stream.text, stream.usage, stream.finish_reason, stream.model, stream.error, problem, cut=stream.cut)

    @classmethod
    def of_body(cls, exchange: Exchange) -> _ChatSeen:
        if exchange.status != 200 or exchange.failure is not None:
            return cls("", None, None, None, None, None)
        body = parse_body(exchange.body)
        return cls(body.text, body.usage, body.finish_reason, body.model, body.error, body.problem)

    def outcome(self) -> tuple[Outcome, str | None]:
        if self.error is not None:
            return Outcome.STREAM_ERROR, self.error
        if self.finish_reason == "content_filter":
            return Outcome.CONTENT_FILTER, "answer stopped by the content filter"
        if self.cut and (self.usage is None or self.problem is not None):
            return Outcome.TRUNCATED, "stream ended before the answer was finished"
        if self.problem is not None:
            return Outcome.BAD_PAYLOAD, self.problem
        return Outcome.OK, None


def rag_record(request: RagRequest, target: RagTarget, exchange: Exchange, call: Call, caller: Caller) -> Reply:
    """The record of one finished attempt, and the answer's text."""
    failed = failed_outcome(exchange)
    if isinstance(exchange.sink, RagStream):
        stream = exchange.sink
        stream.finish()
        text, conversation_id = stream.text, stream.conversation_id
        # A stream that begins with its error has no token in it.
        times = {} if stream.error is not None and text.lstrip().startswith("event:") else chunk_fields(stream.times)
        outcome, error = failed if failed is not None else _stream_outcome(stream)
    else:
        times, text, conversation_id = {}, "", None
        outcome, error = failed if failed is not None else (Outcome.OK, None)
        if failed is None:
            reply = parse_reply(exchange.body, target.answer_path)
            text, conversation_id = reply.answer, reply.conversation_id
            if reply.error is not None:
                outcome, error = Outcome.STREAM_ERROR, reply.error
            elif reply.problem is not None:
                outcome, error = Outcome.BAD_PAYLOAD, reply.problem
    record = RequestRecord(
        **call.identity(exchange),
        worker=caller.worker,
        user=caller.user,
        target="rag",
        name=request.name,
        conversation_id=conversation_id or request.conversation_id,
        turn=request.turn,
        question_id=request.question_id,
        **timing_fields(exchange),
        **times,
        ttft_visible_ms=times.get("ttft_ms"),
        context_tokens=request.context_tokens,
        outcome=outcome,
        status=exchange.status,
        error=error,
        stages=parse_server_timing(exchange.headers.get("server-timing", "")),
        **service_fields(exchange.headers),
    )
    return Reply(record, text)


def _stream_outcome(stream: RagStream) -> tuple[Outcome, str | None]:
    if (error := stream.error) is not None:
        return Outcome.STREAM_ERROR, error
    if stream.undecodable is not None:
        return Outcome.BAD_PAYLOAD, stream.undecodable
    if not stream.text.strip():
        return Outcome.BAD_PAYLOAD, "answer without text"
    return Outcome.OK, None
