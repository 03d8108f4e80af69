"""Each preset against the simulator's front end of that kind: what rows say, held against what was really sent."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from configargparse import DefaultConfigFileParser

from tests.simulator_process import API_KEY, FUNCTIONS_KEY, ROOT, Simulator, running_simulator
from tokenswarm.apis.request import ChatRequest
from tokenswarm.apps.mapping import PRESETS, preset_names, read_preset
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import Client, Reply
from tokenswarm.client.sdk import chat_endpoint
from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.record import Outcome, RequestRecord, TokenSource

FAST = "ttft_base_ms = 5\nttft_std_ms = 0\nttft_per_token_ms = 0\ntbt_ms = 2\ntbt_std_ms = 0\n"
CONFIG = f"[deployments.'gpt-4.1-nano']\n{FAST}\n[rag]\nanswer_tokens = 12\nretrieval_delay_ms = 30\n"
QUESTIONS = ("How long is the warranty of a frame?", "And of a wheel, is it the same?")
LATE_MS = 500.0  # a loaded machine


@dataclass(frozen=True)
class App:
    """`key`: the option headers; `fault`: what makes it fail under status 200; `tokens`: how its answer comes."""

    preset: str
    key: str = f"api-key: {API_KEY}"
    fault: str = "error_event"
    progress: bool = False
    streamed: bool = True
    keeps_id: bool = True
    more: dict[str, str] = field(default_factory=dict)


OWN = {"app-body": '{"question": "{{question}}", "conversation_id": "{{conversation_id}}"}'}
LINES = {
    "app-path": "/app/jsonl",
    "app-stream": "jsonl",
    "app-text": "type == 'token' && text",
    "app-conversation": "conversation_id",
    "app-error": "type == 'error' && message",
    "app-end": "type == 'done'",
    "app-progress": "type == 'progress'",
}
TEXT = {"app-stream": "text", "app-conversation": "header:x-conversation-id", "app-error": "^ERROR: (.*)"}
BODY = {"app-stream": "json", "app-text": "answer", "app-conversation": "conversation_id"}
CHAT_BODY = {"app-path": "/chat", "app-stream": "json", "app-text": "message.content"}
APPS = [
    App("ai-chat-protocol", progress=True),
    App("ai-chat-protocol", streamed=False, more=CHAT_BODY),
    App("ag-ui", progress=True),
    App("gpt-rag-v1", f"x-functions-key: {FUNCTIONS_KEY}", "error_answer", streamed=False),
    App("gpt-rag-v2", f"X-API-KEY: {API_KEY}", "in_band_error"),
    App("gpt-rag-hosted-responses"),
    App("gpt-rag-hosted-invocations"),
    App("prompt-flow", keeps_id=False),
    App("prompt-flow", streamed=False, keeps_id=False, more={"app-stream": "json"}),
    App("openai", keeps_id=False, more={"deployment": "gpt-4.1-nano"}),
    App("", progress=True, more=OWN | LINES),
    App("", more=OWN | TEXT | {"app-path": "/app/text"}),
    App("", progress=True, more=OWN | LINES | {"app-path": "/app/ws", "app-stream": "websocket"}),
    App("", streamed=False, more=OWN | BODY | {"app-path": "/app/json"}),
]
MANGLED = [a for a in APPS if a.fault == "error_event" and a.streamed and a.more.get("app-stream") != "websocket"]
"""Those that the simulator mangles."""
IDS = [f"{app.preset or 'own'}-{app.more.get('app-stream', 'as-it-is')}" for app in APPS]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG) as simulator:
        yield simulator


def converse(
    simulator: Simulator, app: App, *, turns: int = 2, **more: str
) -> tuple[list[Reply], list[dict[str, Any]]]:
    """A conversation over one connection, and the truth about it."""
    before = len(simulator.truth())
    options = {"host": simulator.rag_url, "endpoint": "app", "headers": app.key, **app.more}
    if app.preset:
        options["app-preset"] = app.preset
    if fault := more.pop("fault", None):
        options["headers"] += f"; x-simulate-fault: {fault}"
    given = {name.replace("-", "_"): value for name, value in (options | more).items()}
    settings = build_settings(given, Environment({}, {}), {"chat"})
    assert settings.chat is not None and settings.chat.app is not None
    client: Client[Any] = Client(
        settings.chat.app, chat_endpoint(settings.chat, settings.sending), settings.sending, Caller("w0", 1)
    )
    replies: list[Reply] = []
    messages: list[dict[str, str]] = []
    conversation = "made-up"
    for turn, question in enumerate(QUESTIONS[:turns], 1):
        messages.append({"role": "user", "content": question})
        request = ChatRequest(
            messages=list(messages), keep_text=True, session_id="made-up", conversation_id=conversation, turn=turn
        )
        replies.append(client.call(request, lambda _: None))
        messages.append({"role": "assistant", "content": replies[-1].text})
        conversation = replies[-1].record.conversation_id or conversation
    client.close()
    return replies, [line for line in simulator.truth()[before:] if not line["internal"]]


def late_ms(record: RequestRecord, measured_ms: float | None, true_at: float) -> float:
    assert record.started_at is not None and measured_ms is not None
    return measured_ms - (true_at - record.started_at) * 1000.0


@pytest.mark.parametrize("app", APPS, ids=IDS)
def test_rows_are_what_was_sent(simulator: Simulator, app: App) -> None:
    replies, truth = converse(simulator, app)
    assert len(truth) == len(replies) == 2
    for reply, line in zip(replies, truth, strict=True):
        row = reply.record
        assert (row.outcome, row.error, row.status) == (Outcome.OK, None, line["status"])
        assert line["client_request_id"] == f"{(reply if line['status'] == 200 else replies[0]).record.call_id}-1"
        assert app.preset == "openai" or len(reply.text.split()) == 12
        assert (row.conversation_id == line.get("conversation_id")) == app.keeps_id
        assert (row.first_progress_ms is not None) == app.progress
        if app.streamed:
            of_text = "text" in (app.more.get("app-stream"), read_preset(app.preset or "openai")["app-stream"])
            assert row.chunks and row.chunks <= line["chunks"]
            assert of_text or row.chunks == line["chunks"]  # pieces of a text may come in one read
            assert abs(late_ms(row, row.ttft_ms, line["first_token_at"])) < LATE_MS
            assert row.ttft_visible_ms == row.ttft_ms
        else:
            assert (row.ttft_ms, row.chunks, row.tbt_ms) == (None, None, None)
        if app.progress:
            assert abs(late_ms(row, row.first_progress_ms, line["first_progress_at"])) < LATE_MS
        if app.preset == "openai":
            expected = (line["prompt_tokens"], line["completion_tokens"], TokenSource.USAGE)
            assert (row.prompt_tokens, row.completion_tokens, row.token_source) == expected
        else:
            assert (row.completion_tokens, row.token_source, row.tbt_ms) == (None, TokenSource.NONE, None)
    if app.keeps_id:
        assert truth[0]["conversation_id"] == truth[1]["conversation_id"]


@pytest.mark.parametrize("app", APPS, ids=IDS)
def test_an_error_under_200_is_a_failure(simulator: Simulator, app: App) -> None:
    (reply,), (line,) = converse(simulator, app, turns=1, fault=app.fault)
    row = reply.record
    assert row.outcome in (Outcome.STREAM_ERROR, Outcome.HTTP_ERROR), row.error
    assert (row.status, line["outcome"]) in (
        (200, "in_band_error"),
        (101, "in_band_error"),
        (500, "http_error"),
    )
    assert row.error and (
        "encountered an error" in row.error or "simulated failure" in row.error or "server" in row.error
    )
    if app.streamed and app.preset != "openai":
        assert (row.chunks or 0) <= line["chunks"] == 3


@pytest.mark.parametrize(
    "fault", ["end_midway", "reset_midway", "invalid_json", "invalid_utf8", "one_byte", "bad_chunk"]
)
@pytest.mark.parametrize(
    "app",
    MANGLED,
    ids=lambda a: a.preset,
)
def test_a_mangled_answer_is_one_row(
    simulator: Simulator, app: App, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    (reply,), _ = converse(simulator, app, turns=1, fault=fault)
    ends_itself = app.preset in ("ai-chat-protocol", "prompt-flow") or app.more.get("app-stream") == "text"
    fine = fault == "one_byte" or (fault == "end_midway" and ends_itself) or app.more.get("app-stream") == "text"
    assert not caplog.records
    if not fine:
        assert reply.record.outcome not in (Outcome.OK, Outcome.CANCELLED) and reply.record.error
    if fault == "one_byte":
        assert reply.record.outcome is Outcome.OK and len(reply.text.split()) > 3


@pytest.mark.parametrize("app", APPS, ids=IDS)
def test_a_wrong_key_is_a_refusal(simulator: Simulator, app: App) -> None:
    options = {"headers": app.key.replace("simulator", "wrong")}
    (reply,), (line,) = converse(simulator, app, turns=1, **options)
    assert (reply.record.status, reply.record.outcome) == (line["status"], Outcome.HTTP_ERROR)
    assert line["status"] == (403 if app.more.get("app-stream") == "websocket" else 401)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_a_part_of_a_scenario(name: str) -> None:
    """Locust's own parser reads the same from it."""
    with (PRESETS / f"{name}.conf").open() as file:
        assert DefaultConfigFileParser().parse(file) == read_preset(name)


def test_presets_are_read_from_a_package_that_is_one_file(tmp_path: Path) -> None:
    """As Azure Load Testing has it."""
    archive = tmp_path / "tokenswarm.pyz"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in (ROOT / "tokenswarm").rglob("*"):
            if path.is_file() and path.suffix in (".py", ".conf"):
                packed.write(path, path.relative_to(ROOT))
    code = "from tokenswarm.apps import mapping as m; print(m.__file__, len(m.preset_names()), m.read_preset('ag-ui'))"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(archive)}, capture_output=True, text=True, check=True
    )
    assert str(archive) in done.stdout
    assert f" {len(preset_names())} " in done.stdout and "RUN_FINISHED" in done.stdout
