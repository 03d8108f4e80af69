"""Bodies that hold no answer, under status 2xx and any content type, for each API and preset: none of them is ok."""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.replay import Answer, replay
from tokenswarm.apis.chat_completions import ChatCompletions
from tokenswarm.apis.completions import Completions
from tokenswarm.apis.embeddings import Embeddings, EmbeddingsRequest
from tokenswarm.apis.gpt_rag import GptRagV1, GptRagV2
from tokenswarm.apis.messages import Messages
from tokenswarm.apis.request import ChatRequest, RagRequest, Request
from tokenswarm.apis.responses import Responses
from tokenswarm.apps.app import App
from tokenswarm.apps.mapping import preset_names, read_mapping

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please log in</body></html>"
NOTHING = [
    b"", b" \r\n\r\n", b"\0" * 64, b"\xef\xbb\xbf", b"{}", b"null", b"[]", b'""', b"\xef\xbb\xbf{}", b"false",
    b"\xe2\x80\x8b \xe2\xa0\x80\n",
]  # fmt: skip
PAGES = [PAGE, b"<script>window.location='/login'</script>", b"<h1>It works!</h1>", b"<?xml version='1.0'?>\n<Error/>"]
ERRORS = [
    b'{"error":"upstream timed out"}', b'{"error":{"code":"500","message":"x"}}', b'{"detail":"Internal Server Error"}',
    b'{"status":"error","message":"boom"}', b'[{"error":{"code":500}}]', b'{"success":false}', b'{"errors":["x"]}',
]  # fmt: skip
EVENTS = [
    b"data: [DONE]\n\n", b"data: {}\n\n", b"data: null\n\n", b"data: []\n\n", b": ping\n\n",
    b"data: <html>x</html>\n\n",
    b'event: error\ndata: {"message":"x"}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\ndata: [DONE]\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"error"}]}\n\ndata: [DONE]\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\ndata: {"error":"x"}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
]  # fmt: skip
OBJECTS = [
    b'{"choices":[]}', b'{"choices":null}', b'{"data":[]}', b'{"object":"list","data":[{"embedding":[]},{}]}',
    b'{"data":[{"index":0,"embedding":["a"]},{"index":1,"embedding":[true]}]}',
    b'{"data":[{"index":0,"embedding":"a"},{"index":1,"embedding":"b"}]}',
    b'{"data":[{"index":0,"embedding":[0.1]},{"index":0,"embedding":[0.1]}]}',
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":null},"finish_reason":"stop"}]}',
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"stop"}]}',
    b'{"object":"response","status":"completed","output":[]}',
    b'{"type":"message","role":"assistant","content":[],"stop_reason":"end_turn"}',
    b'{"answer":"","conversation_id":"1"}', b'{"answer":"\\u200b \\n","conversation_id":"1"}',
    b'{"answer":null}', b'{"answer":{}}', b'{"answer":false}',
]  # fmt: skip
"""An answer as text is no answer of these only where its content type says that it is JSON."""
TYPES = ("application/json", "text/event-stream", "text/plain", "text/html", "")
Target = tuple[str, Any, Request]


def app(**options: str) -> App:
    given = {f"app-{name}": value for name, value in {"body": '{"q":"{{question}}"}', **options}.items()}
    return App(read_mapping(given.get))


def targets() -> list[Target]:
    streamed, whole = (ChatRequest(messages=[], stream=stream, keep_text=False) for stream in (True, False))
    chats = {"chat": ChatCompletions, "responses": Responses, "completions": Completions, "messages": Messages}
    found: list[Target] = [(name, make("m"), asked) for name, make in chats.items() for asked in (streamed, whole)]
    found.append(("embeddings", Embeddings("m"), EmbeddingsRequest(texts=["a", "b"])))
    found += [("rag-v1", GptRagV1(), RagRequest(question="q")), ("rag-v2", GptRagV2(), RagRequest(question="q"))]
    presets = {name: read_mapping({"app-preset": name}.get) for name in preset_names()}
    found += [(name, App(mapping), streamed) for name, mapping in presets.items() if mapping.stream != "websocket"]
    found.append(("json", app(stream="json", text="answer"), streamed))
    found.append(("jsonl", app(stream="jsonl", text="text"), streamed))
    return [*found, ("text", app(stream="text"), streamed)]


def is_text(api: Any) -> bool:
    return isinstance(api, GptRagV2) or (isinstance(api, App) and api.mapping.stream == "text")


@pytest.mark.parametrize("target", targets(), ids=lambda target: f"{target[0]}-{getattr(target[2], 'stream', '')}")
def test_a_body_without_an_answer_is_not_ok(target: Target) -> None:
    _, api, asked = target
    ok = []
    for body in [*NOTHING, *PAGES, *ERRORS, *EVENTS, *OBJECTS]:
        for content_type in TYPES:
            if is_text(api) and body in (*OBJECTS, b"<h1>It works!</h1>", b"false") and "json" not in content_type:
                continue
            headers = {"Content-Type": content_type} if content_type else {}
            record = replay(Answer(pieces=((10.0, body),), headers=headers, framing="length"), asked, api)
            ok += [(body, content_type)] if record.outcome == "ok" else []
            assert record.error, (body, content_type)
    assert ok == []


@pytest.mark.parametrize(
    "text", ["OK", "42", "true", "null hypothesis", '{"a": 1} is JSON', "data: none", '["x"]', "not"]
)
def test_a_text_is_an_answer_as_text_and_no_other(text: str) -> None:
    api = app(stream="text")
    asked = ChatRequest(messages=[], stream=True, keep_text=False)
    record = replay(Answer(pieces=((10.0, f"{text} ".encode()), (20.0, b"")), framing="length"), asked, api)
    assert (record.outcome == "ok") == (not text.startswith("data:"))
