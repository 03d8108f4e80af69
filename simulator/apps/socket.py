"""A front end on a WebSocket, /app/ws: each message is a question, the answer comes in messages of JSON.

The connection stays open for further questions. One line of the truth log for each question.
"""

from __future__ import annotations

import time
import uuid
from contextlib import aclosing
from typing import Any

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from simulator.apps.contract import FAILURE, BadQuestion, read_object
from simulator.apps.plain import JsonLinesWriter, read_question
from simulator.config.fault_specs import FAULT_HEADER
from simulator.config.live import LiveSettings
from simulator.rag.pipeline import FAILURES, Pipeline, Turn
from simulator.service.credentials import is_authorized
from simulator.truth.log import TruthLog
from simulator.wire.exchange import SANE_ID

ERROR_AFTER = 3
"""Pieces of the answer before the error that `x-simulate-fault: error_event` asks for."""


class SocketFrontEnd:
    def __init__(self, pipeline: Pipeline, live: LiveSettings, truth: TruthLog) -> None:
        self._pipeline = pipeline
        self._live = live
        self._truth = truth

    def route(self) -> WebSocketRoute:
        return WebSocketRoute("/app/ws", self._serve)

    async def _serve(self, socket: WebSocket) -> None:
        if not is_authorized(socket.headers, self._live.current):
            entry = {"received_at": time.time(), "status": 403, "outcome": "http_error", "reason": "credentials"}
            self._truth.write({"target": "app", "api": "app-websocket", **entry})
            return await socket.close(1008)
        await socket.accept()
        try:
            while True:
                await self._answer_message(socket, await socket.receive())
        except WebSocketDisconnect:
            return None

    async def _answer_message(self, socket: WebSocket, message: Any) -> None:
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        entry: dict[str, Any] = {
            "target": "app",
            "api": "app-websocket",
            "client_request_id": self._client_id(socket),
            "request_id": str(uuid.uuid4()),
            "received_at": time.time(),
            "status": 101,
            "stream": True,
        }
        self._truth.in_flight += 1
        try:
            body = (message.get("text") or "").encode() or message.get("bytes") or b""
            await self._answer(socket, body, entry)
        except (WebSocketDisconnect, RuntimeError):  # starlette raises the latter for a send after the end
            entry["outcome"] = "client_gone"
            raise WebSocketDisconnect(1006) from None
        finally:
            self._truth.in_flight -= 1
            self._truth.write({"outcome": "cut", "finished_at": time.time(), **entry})

    @staticmethod
    def _client_id(socket: WebSocket) -> str | None:
        given = socket.headers.get("x-ms-client-request-id", "")
        return given if SANE_ID.fullmatch(given) else None

    async def _answer(self, socket: WebSocket, body: bytes, entry: dict[str, Any]) -> None:
        try:
            fields = read_object(body, {"error": {"message": "expected a JSON object"}})
            asked = read_question(fields)
        except BadQuestion as error:
            await socket.send_json({"type": "error", "message": error.body["error"]["message"]})
            entry |= {"outcome": "in_band_error", "reason": "no question"}
            return
        turn = Turn(asked.question, asked.conversation_id or str(uuid.uuid4()), entry["request_id"])
        entry |= {"conversation_id": turn.conversation_id, "stages": turn.stages}
        writer = JsonLinesWriter(turn)
        try:
            await self._send_answer(socket, turn, writer, entry)
        except FAILURES as error:
            entry |= {"outcome": "in_band_error", "reason": type(error).__name__}
            await _send(socket, writer.failed(" ".join(str(error).split())))

    async def _send_answer(self, socket: WebSocket, turn: Turn, writer: JsonLinesWriter, entry: dict[str, Any]) -> None:
        entry["headers_at"] = await _send(socket, writer.begun())
        await self._pipeline.recall(turn)
        entry["first_progress_at"] = await _send(socket, writer.searching())
        await self._pipeline.prepare(turn)
        await _send(socket, writer.found(turn))
        fails = socket.headers.get(FAULT_HEADER) == "error_event"
        async with aclosing(self._pipeline.generate(turn)) as pieces:
            async for piece in pieces:
                at = await _send(socket, writer.piece(piece))
                entry.setdefault("first_token_at", at)
                entry |= {"last_token_at": at, "chunks": entry.get("chunks", 0) + 1}
                if fails and entry["chunks"] == ERROR_AFTER:
                    entry |= {"outcome": "in_band_error", "reason": "error_event"}
                    await _send(socket, writer.failed(FAILURE))
                    return
        await self._pipeline.persist(turn)
        entry["finished_at"] = await _send(socket, writer.ended(turn))
        entry["outcome"] = "ok"


async def _send(socket: WebSocket, data: bytes) -> float:
    """Send a message of text. Returns the instant (Unix s) right after."""
    await socket.send_text(data.decode().rstrip("\n"))
    return time.time()
