"""The orchestrator routes on a real socket, in front of a chat target that does what a test tells it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from simulator.rag.target import Orchestrator, RagSettings
from simulator.truth.log import TruthLog

FUNCTIONS_KEY = {"x-functions-key": "simulator-function-key"}
API_KEY = {"x-api-key": "simulator-key"}


@dataclass
class FakeChat:
    """Answers with `pieces`; `status` other than 200 refuses; `ends` False leaves out [DONE].

    `gate`: the stream waits for it after the first piece.
    """

    pieces: list[str] = field(default_factory=lambda: ["Yes", ", that", " is", " so."])
    status: int = 200
    ends: bool = True
    gate: threading.Event | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append({"headers": dict(request.headers), "path": request.url.path, "body": body})
        if self.status != 200:
            return JSONResponse({"error": {"code": "x", "message": "refused by the test"}}, self.status)
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[str]:
        yield _event({"choices": [], "prompt_filter_results": []})
        yield _event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for position, piece in enumerate(self.pieces):
            if position == 1 and self.gate is not None:
                await _wait(self.gate)
            yield _event({"choices": [{"delta": {"content": piece}}]})
        yield _event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        if self.ends:
            yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


async def _wait(gate: threading.Event) -> None:
    await asyncio.get_running_loop().run_in_executor(None, gate.wait, 10)


@dataclass
class Target:
    """What a test needs: `http` is a client of the orchestrator, `chat` the fake behind it."""

    http: httpx2.Client
    chat: FakeChat
    url: str
    history_path: Path
    _log: TruthLog
    _truth_path: Path
    _forgotten: int = 0

    def truth(self) -> list[dict[str, Any]]:
        """The lines of the requests since the last `reset`, all by now answered: a line follows its answer."""
        deadline = time.monotonic() + 30
        while self._log.in_flight:
            assert time.monotonic() < deadline, "a request is still being answered"
            time.sleep(0.005)  # the target is in a thread of its own, and tells nobody
        self._log.flush()
        return [json.loads(line) for line in self._truth_path.read_text().splitlines()[self._forgotten :]]

    def reset(self) -> None:
        """Let the next test start afresh on the running servers; only the history stays."""
        self._forgotten += len(self.truth())
        vars(self.chat).update(vars(FakeChat()))

    def ask_v1(self, question: str, conversation_id: str = "", **headers: str) -> httpx2.Response:
        body = {"conversation_id": conversation_id, "question": question, "client_principal_id": "00"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post("/api/orc", json=body, headers=FUNCTIONS_KEY | named)

    def ask_v2(self, question: str, conversation_id: str | None = None, **headers: str) -> httpx2.Response:
        body = {"ask": question, "conversation_id": conversation_id, "user_context": {}}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post("/orchestrator", json=body, headers=API_KEY | named)


@contextlib.contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Run `app` in a thread; its address."""
    config = uvicorn.Config(app, port=0, log_level="critical", ws="none", lifespan="on", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    sockets = [config.bind_socket()]
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        sockets[0].close()


@contextlib.contextmanager
def running_target(folder: Path, **settings: Any) -> Iterator[Target]:
    chat, log = FakeChat(), TruthLog(folder / "truth.jsonl")
    path = "/openai/deployments/rag/chat/completions"
    with serving(Starlette(routes=[Route(path, chat.answer, methods=["POST"])])) as chat_url:
        history_path = folder / "history.sqlite"
        orchestrator = Orchestrator(
            RagSettings(chat_url=chat_url, chat_key="k", deployment="rag", history_path=history_path, **settings), log
        )

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            yield
            await orchestrator.aclose()

        with (
            serving(Starlette(routes=orchestrator.routes(), lifespan=lifespan)) as url,
            httpx2.Client(base_url=url, timeout=10) as http,
        ):
            yield Target(http, chat, url, history_path, log, folder / "truth.jsonl")
    log.close()
