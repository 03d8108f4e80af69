"""Stand-in GPT-RAG orchestrator: `/api/orc` (v1, an Azure Function) and `/orchestrator` (v2 and later, FastAPI).

v1 answers in one JSON document when all stages are done, and reports their times in a `Server-Timing` header. The
deployed v1 has no such header.

v2 sends its headers and the conversation id before the work begins, so `Server-Timing` holds only `history`; HTTP
trailers reach hardly any client, so the other stages are in the truth log alone (the deployed v2 reports none).
v2 has no groundedness check, like the default strategy it stands for, and stores the turn before the stream ends, so
that the next turn of a fast client finds it (the deployed one stores it a little later).

Failures hide under status 200 in both, as in the originals: v1 puts the error's text into `answer` (or returns
`{"error": ...}` without a question), v2 writes `event: error` into the text. When the client leaves, v1 finishes its
work like a function that has no way to notice, v2 stops at the next piece of text.

The request header `x-simulate-fault: error_answer | in_band_error | cut` asks for a failure; the first two mean the
same, each route failing in its own way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from simulator.config.settings import RagSettings
from simulator.rag.call import RagCall
from simulator.rag.pipeline import FAILURES, Pipeline, Turn, format_passages
from simulator.truth.log import TruthLog
from simulator.wire.exchange import Gone

__all__ = ["Orchestrator", "RagSettings", "routes"]

ERROR_ANSWER = "Sorry, something went wrong while your question was answered. Please tell the support team."
"""Wording of ours; the original's is configurable. What follows it is fixed: ` RAG flow: exception: ...`."""

FAULT_AFTER_PIECES = 3
"""A simulated fault of v2 comes after so many pieces of text."""

IN_BAND_FAULTS = ("error_answer", "in_band_error")
FAULTS = (*IN_BAND_FAULTS, "cut")


class SimulatedFault(Exception):
    """Asked for by the request header."""


class BadBody(ValueError):
    """A body that FastAPI's validation would refuse. `detail` is its list of problems."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__(str(detail))
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Ask:
    """The fields of a v2 request that matter here."""

    ask: str | None = None
    question: str | None = None
    conversation_id: str | None = None
    question_id: str | None = None
    type: str | None = None
    is_positive: bool | None = None
    stars_rating: int | None = None
    feedback_text: str | None = None


_ASK_TYPES: dict[str, type] = {name: str for name in Ask.__dataclass_fields__} | {
    "is_positive": bool,
    "stars_rating": int,
}


def routes(settings: RagSettings, truth: TruthLog) -> list[BaseRoute]:
    return Orchestrator(settings, truth).routes()


class Orchestrator:
    """Both contracts over one pipeline. `aclose` ends its connections and its thread."""

    def __init__(self, settings: RagSettings, truth: TruthLog) -> None:
        self._settings = settings
        self._truth = truth
        self.pipeline = Pipeline(settings)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/orc", _Endpoint("orc", False, self._answer_v1, self._truth), methods=["POST"]),
            Route("/orchestrator", _Endpoint("orchestrator", True, self._answer_v2, self._truth), methods=["POST"]),
        ]

    async def aclose(self) -> None:
        await self.pipeline.aclose()

    async def _answer_v1(self, call: RagCall, body: bytes) -> None:
        key = call.headers.get("x-functions-key") or QueryParams(call.scope["query_string"]).get("code")
        if self._settings.functions_key is not None and not _same(key, self._settings.functions_key):
            await call.respond(401, {}, b"", "text/plain")
            return call.finish("http_error", "unauthorized")
        fields = _parse_object(body)
        if fields is None:  # the function does not catch this, and its host answers an uncaught exception like so
            await call.respond(500, {}, b"", "text/plain")
            return call.finish("http_error", "body is not a JSON object")
        question = fields.get("question")
        if not question:
            await call.respond(200, {}, _dump({"error": "no question found in json input"}))
            return call.finish("in_band_error", "no question")
        turn = Turn(str(question), str(fields.get("conversation_id") or uuid.uuid4()))
        call.entry |= {"request_id": turn.request_id, "conversation_id": turn.conversation_id, "stages": turn.stages}
        fault = call.headers.get("x-simulate-fault")
        failure = await self._work_v1(turn, fault)
        headers, document = _server_timing(turn), _dump(_v1_document(turn))
        if fault == "cut":
            await call.respond_half(200, headers, document)
            return call.finish("cut", fault)
        await call.respond(200, headers, document)
        return call.finish("ok" if failure is None else "in_band_error", failure)

    async def _work_v1(self, turn: Turn, fault: str | None) -> str | None:
        """All stages; what failed, with its text left in `turn.answer`."""
        try:
            await self.pipeline.work(turn)
            if fault in IN_BAND_FAULTS:
                raise SimulatedFault("simulated failure")
            await self.pipeline.check_groundedness(turn)
            await self.pipeline.persist(turn)
        except (*FAILURES, SimulatedFault) as error:
            turn.answer = f"{ERROR_ANSWER} RAG flow: exception: {error}"
            return _reason(error, fault)
        return None

    async def _answer_v2(self, call: RagCall, body: bytes) -> None:
        call.entry["request_id"] = str(uuid.uuid4())
        correlation = {"x-correlation-id": call.headers.get("x-correlation-id") or call.entry["request_id"]}

        async def refuse(status: int, detail: object, reason: str) -> None:
            await call.respond(status, correlation, _dump({"detail": detail}))
            call.finish("http_error", reason)

        if (denial := self._deny_v2(call)) is not None:
            return await refuse(401, denial, "unauthorized")
        try:
            ask = parse_ask(body)
        except BadBody as error:
            return await refuse(422, error.detail, "validation")
        if ask.type == "feedback":
            return await self._take_feedback(call, ask, correlation)
        question = ask.ask or ask.question
        if not question:
            return await refuse(400, "No 'ask' or 'question' field in request body", "no question")
        turn = Turn(question, ask.conversation_id or str(uuid.uuid4()), call.entry["request_id"])
        call.entry |= {"conversation_id": turn.conversation_id, "stages": turn.stages}
        try:
            await self.pipeline.recall(turn)
        except FAILURES as error:
            return await refuse(500, "Internal Server Error", _reason(error, None))
        stream_headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        await call.start(200, stream_headers | correlation | _server_timing(turn))
        return await self._stream_v2(call, turn)

    async def _stream_v2(self, call: RagCall, turn: Turn) -> None:
        fault = call.headers.get("x-simulate-fault")
        await call.write(f"{turn.conversation_id} ".encode())
        await asyncio.sleep(0)  # an event loop that writes at the end of its round sends the id now
        try:
            await self.pipeline.prepare(turn)
            async with aclosing(self.pipeline.generate(turn)) as pieces:
                async for piece in pieces:
                    await call.write_text(piece.encode())
                    if fault in FAULTS and call.entry["chunks"] >= FAULT_AFTER_PIECES:
                        raise SimulatedFault("simulated failure")
            await self.pipeline.persist(turn)
        except (*FAILURES, SimulatedFault) as error:
            if fault == "cut" and isinstance(error, SimulatedFault):
                return call.finish("cut", fault)  # returning without the last part makes the server close the socket
            message = " ".join(str(error).split())
            await call.write(f"event: error\ndata: {message}\n\n".encode(), more=False)
            return call.finish("in_band_error", _reason(error, fault))
        await call.write(b"", more=False)
        return call.finish("ok")

    def _deny_v2(self, call: RagCall) -> str | None:
        token, key = call.headers.get("dapr-api-token"), call.headers.get("x-api-key")
        if token:
            right = self._settings.dapr_token is not None and _same(token, self._settings.dapr_token)
            return None if right else "Invalid Dapr token"
        if key:
            return None if _same(key, self._settings.api_key) else "Invalid API key"
        return "Missing credentials. Provide dapr-api-token or X-API-KEY"

    async def _take_feedback(self, call: RagCall, ask: Ask, headers: dict[str, str]) -> None:
        row = (ask.conversation_id, ask.question_id, ask.is_positive, ask.stars_rating, ask.feedback_text)
        await self.pipeline.history.add_feedback(row)
        call.entry |= {"stream": False, "conversation_id": ask.conversation_id}
        await call.respond(200, headers, _dump({"status": "success", "message": "Feedback saved successfully"}))
        call.finish("ok")


class _Endpoint:
    """A raw ASGI endpoint, so that every write is ours to time."""

    def __init__(
        self, target: str, stream: bool, answer: Callable[[RagCall, bytes], Awaitable[None]], truth: TruthLog
    ) -> None:
        self._target, self._stream, self._answer, self._truth = target, stream, answer, truth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = RagCall(self._target, self._stream, scope, receive, send, self._truth)
        self._truth.in_flight += 1
        try:
            await self._refuse_or_answer(call, await call.read_body())
        except Gone:
            call.finish("client_gone")
        except asyncio.CancelledError:  # the server stops; nothing runs after this that should hear of it
            await self._break_off(call)
        finally:
            call.finish("cut", "internal error")
            self._truth.in_flight -= 1

    async def _break_off(self, call: RagCall) -> None:
        """Answer 503 as a host that is going away, unless the answer has begun: then it ends here."""
        if not call.started:
            with contextlib.suppress(Gone):
                await call.respond(503, {}, b"", "text/plain")
                call.finish("http_error", "shutdown")
        call.finish("cut", "shutdown")

    async def _refuse_or_answer(self, call: RagCall, body: bytes) -> None:
        fault = call.headers.get("x-simulate-fault")
        if fault is not None and fault not in FAULTS:
            problem = f"x-simulate-fault: expected one of {', '.join(FAULTS)}, got {fault}"
            await call.respond(400, {}, _dump({"detail": problem}))
            return call.finish("http_error", "unknown fault")
        return await self._answer(call, body)


def parse_ask(body: bytes) -> Ask:
    """Raises BadBody. Unknown fields are ignored; `user_context` may hold anything."""
    fields = _parse_object(body)
    if fields is None:
        raise BadBody([{"type": "json_invalid", "loc": ["body"], "msg": "JSON decode error", "input": {}}])
    known = {name: fields[name] for name in _ASK_TYPES if fields.get(name) is not None}
    problems = [
        {"type": f"{kind.__name__}_type", "loc": ["body", name], "msg": f"Input should be a valid {kind.__name__}"}
        for name, kind in _ASK_TYPES.items()
        if name in known and type(known[name]) is not kind
    ]
    if not problems and not 1 <= known.get("stars_rating", 1) <= 5:
        problems = [{"type": "range", "loc": ["body", "stars_rating"], "msg": "Input should be from 1 to 5"}]
    if problems:
        raise BadBody(problems)
    return Ask(**known)


def _v1_document(turn: Turn) -> dict[str, str]:
    return {
        "conversation_id": turn.conversation_id,
        "answer": turn.answer,
        "data_points": format_passages(turn.passages),
        "thoughts": f"Searched for:<br>{' '.join(turn.terms)}<br><br>Prompt:<br>{turn.question}",
    }


def _server_timing(turn: Turn) -> dict[str, str]:
    return {"server-timing": ", ".join(f"{name};dur={took:.3f}" for name, took in turn.stages.items())}


def _reason(error: Exception, fault: str | None) -> str:
    if isinstance(error, SimulatedFault):
        return fault or "fault"
    status = getattr(error, "status", None)
    return f"chat {status}" if status is not None else type(error).__name__


def _parse_object(body: bytes) -> dict[str, Any] | None:
    """None as well for half a surrogate pair ("\\ud800"): JSON may spell it, UTF-8 and SQLite cannot hold it."""
    try:
        value = json.loads(body)
        _dump(value)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _same(given: str | None, expected: str) -> bool:
    return given is not None and secrets.compare_digest(given.encode(), expected.encode())
