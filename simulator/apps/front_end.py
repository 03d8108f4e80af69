"""A front end on its path: one question over HTTP, the orchestrator's work, the answer in the front end's format."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from simulator.apps.ag_ui import AgUiFormat
from simulator.apps.ai_chat import AiChatFormat
from simulator.apps.contract import BadQuestion, Format, Writer, dump
from simulator.apps.hosted import HostedFormat
from simulator.apps.plain import PlainFormat
from simulator.apps.prompt_flow import PromptFlowFormat
from simulator.config.live import LiveSettings
from simulator.rag.call import RagCall
from simulator.rag.pipeline import FAILURES, Pipeline, Turn
from simulator.service.credentials import is_authorized
from simulator.truth.log import TruthLog
from simulator.wire.exchange import Gone
from simulator.wire.fault_injection import FaultGate


def front_ends(pipeline: Pipeline, live: LiveSettings, truth: TruthLog) -> list[BaseRoute]:
    """A route for each format, with faults to be had."""
    formats: list[tuple[str, Format]] = [
        ("/chat", AiChatFormat(stream=False)),
        ("/chat/stream", AiChatFormat(stream=True)),
        ("/ag-ui", AgUiFormat()),
        ("/score", PromptFlowFormat()),
        ("/app/text", PlainFormat("app-text")),
        ("/app/jsonl", PlainFormat("app-jsonl")),
        ("/app/json", PlainFormat("app-json")),
        ("/responses", HostedFormat("gpt-rag-responses")),
        ("/invocations", HostedFormat("gpt-rag-invocations")),
    ]
    return [
        Route(path, FaultGate(FrontEnd(form, pipeline, live, truth), live, form.dialect), methods=["POST"])
        for path, form in formats
    ]


class FrontEnd:
    """A raw ASGI endpoint, so that every write is ours to time."""

    def __init__(self, form: Format, pipeline: Pipeline, live: LiveSettings, truth: TruthLog) -> None:
        self._form = form
        self._pipeline = pipeline
        self._live = live
        self._truth = truth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = RagCall("app", True, scope, receive, send, self._truth)
        call.entry |= {"api": self._form.name, "request_id": str(uuid.uuid4())}
        self._truth.in_flight += 1
        try:
            await self._read_and_answer(call, await call.read_body())
        except Gone:
            call.finish("client_gone")
        except asyncio.CancelledError:  # the server stops; nothing runs after this that should hear of it
            call.finish("cut", "shutdown")
        finally:
            self._truth.in_flight -= 1
            call.finish("cut", "internal error")

    async def _read_and_answer(self, call: RagCall, body: bytes) -> None:
        if not is_authorized(call.headers, self._live.current):
            await call.respond(401, {}, dump(self._form.error_body(401, "Unauthorized")))
            return call.finish("http_error", "credentials")
        try:
            asked = self._form.read(body, call.headers)
        except BadQuestion as error:
            await call.respond(error.status, {}, dump(error.body))
            return call.finish("http_error", "no question")
        turn = Turn(asked.question, asked.conversation_id or str(uuid.uuid4()), call.entry["request_id"])
        call.entry |= {"conversation_id": turn.conversation_id, "stages": turn.stages, "stream": asked.stream}
        writer = self._form.writer(asked, turn)
        return await (self._stream if asked.stream else self._send_whole)(call, turn, writer)

    async def _stream(self, call: RagCall, turn: Turn, writer: Writer) -> None:
        await call.start(200, {"content-type": writer.content_type, **writer.headers()})
        try:
            await call.write_unless_empty(writer.begun())
            await self._pipeline.recall(turn)
            await call.write_progress(writer.searching())
            await self._pipeline.prepare(turn)
            await call.write_progress(writer.found(turn))
            async with aclosing(self._pipeline.generate(turn)) as pieces:
                async for piece in pieces:
                    await call.write_text(writer.piece(piece))
            await self._pipeline.persist(turn)
        except FAILURES as error:
            await call.write(writer.failed(" ".join(str(error).split())), more=False)
            return call.finish("in_band_error", _reason(error))
        await call.write(writer.ended(turn), more=False)
        return call.finish("ok")

    async def _send_whole(self, call: RagCall, turn: Turn, writer: Writer) -> None:
        try:
            await self._pipeline.work(turn)
            await self._pipeline.persist(turn)
        except FAILURES as error:
            message = " ".join(str(error).split())
            await call.respond(500, {}, dump(self._form.error_body(500, message)))
            return call.finish("http_error", _reason(error))
        await call.respond(200, writer.headers(), writer.whole(turn), "application/json")
        return call.finish("ok")


def _reason(error: Exception) -> str:
    status = getattr(error, "status", None)
    return f"chat {status}" if status is not None else type(error).__name__
