"""Answers of applications, however they are cut: text, progress, ids, errors and ends found by a mapping."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenswarm.apis.api import Found, Reader
from tokenswarm.apis.request import ChatRequest
from tokenswarm.apps.app import App
from tokenswarm.apps.events import AppEvents
from tokenswarm.apps.mapping import FIELDS, AppMapping, read_mapping
from tokenswarm.record import Outcome
from tokenswarm.userinput import BadInput

BODY = '{"q": "{{question}}"}'
TYPED = {
    "text": "type == 'token' && text",
    "conversation": "conversation_id",
    "error": "type == 'error' && message",
    "end": "type == 'done'",
    "progress": "type == 'progress'",
    "usage": "usage",
}
START, SEARCH = {"type": "start", "conversation_id": "c-1"}, {"type": "progress", "stage": "retrieval"}
DONE = {"type": "done", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def token(text: str) -> dict[str, Any]:
    return {"type": "token", "text": text}


ANSWER = [START, SEARCH, token("How"), token(" long"), token('? "quoted" ä'), DONE]
TEXT = 'How long? "quoted" ä'


def mapping(**given: str) -> AppMapping:
    return AppMapping(**{"path": "", "body": BODY, "stream": "sse", **dict.fromkeys(FIELDS[3:], ""), **given})


def reader(given: AppMapping, headers: dict[str, str] | None = None, keep_text: bool = True) -> Reader:
    request = ChatRequest(messages=[{"role": "user", "content": "?"}], keep_text=keep_text)
    return App(given).reader(request, 200, headers or {})


def framed(stream: str, events: list[Any]) -> list[bytes]:
    texts = [json.dumps(event, separators=(",", ":")).encode() for event in events]
    before, after = {"sse": (b"data: ", b"\n\n"), "jsonl": (b"", b"\n"), "websocket": (b"", b"\x1e")}[stream]
    return [before + text + after for text in texts]


def read(given: AppMapping, reads: list[bytes], step_ms: float = 10.0, **more: Any) -> tuple[Found, list[bool]]:
    found, ended = reader(given, **more), []
    for number, data in enumerate(reads, 1):
        ended.append(found.feed(data, number * step_ms, (number - 1) * step_ms))
    return found.finish(), ended


@pytest.mark.parametrize("stream", ["sse", "jsonl", "websocket"])
def test_one_answer(stream: str) -> None:
    found, ended = read(mapping(stream=stream, **TYPED), framed(stream, ANSWER))
    assert (found.outcome, found.error, found.text) == (Outcome.OK, None, TEXT)
    assert ended == [False] * 5 + [True]
    columns = {name: value for name, value in found.columns.items() if value is not None}
    assert columns.pop("token_source") == "usage"
    assert columns == {
        "first_progress_ms": 20.0,
        "ttft_ms": 30.0,
        "ttft_visible_ms": 30.0,
        "last_token_ms": 50.0,
        "chunks": 3,
        "chunks_interpolated": 0,
        "gap_max_ms": 10.0,
        "gap_p95_ms": 10.0,
        "tbt_ms": 10.0,
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "conversation_id": "c-1",
    }


@settings(max_examples=60)
@given(
    stream=st.sampled_from(["sse", "jsonl", "websocket"]),
    texts=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 2000), max_size=12),
)
def test_what_is_read_does_not_depend_on_the_cuts(stream: str, texts: list[str], cuts: list[int]) -> None:
    """Remembered surroundings of a text are a way to save work: the same is found without them."""
    texts = [*texts, "x"]  # blanks alone are no answer
    events = [START, *map(token, texts), DONE]
    whole = b"".join(framed(stream, events))
    at = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    pieces = [whole[a:b] for a, b in itertools.pairwise(at)]
    given_mapping = mapping(stream=stream, **TYPED)
    for reads in (pieces, framed(stream, events)):
        found, _ = read(given_mapping, reads)
        assert (found.outcome, found.text, found.columns["chunks"]) == (Outcome.OK, "".join(texts), len(texts))


def test_reads_that_differ_only_in_their_text_are_not_parsed() -> None:
    found = reader(mapping(**TYPED), keep_text=True)
    assert isinstance(found, AppEvents)
    for number, data in enumerate(framed("sse", [START, *(token(f"w{n}") for n in range(6))])):
        found.feed(data, 10.0 * number, 10.0 * number - 10.0)
    assert found._before == b'data: {"type":"token","text":"' and found._after == b'"}\n\n'
    assert len(found.times.at_ms) == 6 and found.finish().text == "w0w1w2w3w4w5"


@pytest.mark.parametrize(
    ("paths", "event"),
    [
        ({"text": "content", "end": "content == 'END'"}, {"content": "so"}),
        ({"text": "content != 'no' && content"}, {"content": "so"}),
        ({"text": "content", "progress": "contains(content, 'x')"}, {"content": "so"}),
        ({"text": "content[].text"}, {"content": [{"text": "so"}]}),
    ],
    ids=["end", "itself", "function", "list"],
)
def test_a_text_that_an_expression_looks_at_is_parsed_each_time(paths: dict[str, str], event: Any) -> None:
    found = reader(mapping(**paths))
    assert isinstance(found, AppEvents)
    for number, data in enumerate(framed("sse", [event] * 4)):
        found.feed(data, 10.0 * number, 0.0)
    assert found._before == b"" and len(found.times.at_ms) == 4


def test_events_that_are_never_alike_are_not_remembered_for_ever() -> None:
    found = reader(mapping(text="delta"))
    assert isinstance(found, AppEvents)
    for number in range(30):
        found.feed(framed("sse", [{"n": f"id-{number}", "delta": "x"}])[0], float(number), 0.0)
    assert len(found.times.at_ms) == 30 and found._misses == 8


def test_numbered_events_are_alike() -> None:
    found = reader(mapping(text="delta", error="type == 'error' && @"))
    assert isinstance(found, AppEvents)
    for number in range(8, 30):
        event = {"type": "d", "sequence_number": number, "item": "i-1", "delta": f"w{number}", "logprobs": []}
        found.feed(framed("sse", [event])[0], float(number), 0.0)
    assert (len(found.times.at_ms), found._misses) == (22, 2)
    assert found.finish().text == "".join(f"w{number}" for number in range(8, 30))


def test_a_number_that_an_expression_looks_at_is_looked_at() -> None:
    found = reader(mapping(text="delta", end="n == '12' || last"))
    assert isinstance(found, AppEvents)
    for number in range(8, 14):
        found.feed(framed("sse", [{"n": number, "delta": "x"}])[0], float(number), 0.0)
    assert found._misses == 6 and found._middle == b""


@pytest.mark.parametrize("stream", ["sse", "jsonl", "websocket"])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_an_error_under_status_200(stream: str, after: int) -> None:
    events = [*ANSWER[:after], {"type": "error", "message": "no index"}]
    found, ended = read(mapping(stream=stream, **TYPED), framed(stream, events))
    assert (found.outcome, found.error) == (Outcome.STREAM_ERROR, "no index")
    assert ended[-1] and found.columns.get("ttft_ms") == (30.0 if after == 4 else None)


def test_an_error_without_a_text_shows_the_event() -> None:
    found, _ = read(mapping(text="t", error="type == 'fail'"), framed("sse", [{"type": "fail", "detail": "disk full"}]))
    assert (found.outcome, found.error) == (Outcome.STREAM_ERROR, "fail: disk full")


def test_throttling_in_mid_stream_is_throttling() -> None:
    events = [token("a"), {"type": "error", "message": {"code": "rate_limit_exceeded", "message": "slow down"}}]
    found, _ = read(mapping(**TYPED), framed("sse", events))
    assert found.outcome is Outcome.THROTTLED


def test_an_event_that_is_named_an_error_needs_no_expression() -> None:
    data = [*framed("sse", [token("a")]), b'event: error\ndata: {"message": "no model"}\n\n']
    found, ended = read(mapping(text="text"), data)
    assert (found.outcome, found.error, ended) == (Outcome.STREAM_ERROR, "no model", [False, True])
    assert read(mapping(text="text"), [b"event: error\ndata: broken\n\n"])[0].error == "broken"


@pytest.mark.parametrize(
    ("reads", "outcome", "error"),
    [
        (framed("sse", ANSWER[:4]), Outcome.TRUNCATED, "ended without app-end \"type == 'done'\": it ended with {"),
        ([*framed("sse", ANSWER[:3]), b'data: {"type": "tok'], Outcome.TRUNCATED, "stream ended inside an event"),
        (framed("sse", [START, DONE]), Outcome.BAD_PAYLOAD, "no text at app-text"),
        ([], Outcome.BAD_PAYLOAD, "it held nothing"),
        ([b"data: [DONE]\n\n"], Outcome.BAD_PAYLOAD, "it held nothing"),
        ([b"data: hello\n\n"], Outcome.BAD_PAYLOAD, "event is not JSON"),
        ([b"<html><title>Sign in</title></html>"], Outcome.BAD_PAYLOAD, "event is an HTML page: Sign in"),
        ([b'{"error": {"code": "x", "message": "m"}}'], Outcome.BAD_PAYLOAD, "no text"),
        ([b"\xff\xfe\x00data"], Outcome.BAD_PAYLOAD, ""),
    ],
)
def test_what_is_no_answer(reads: list[bytes], outcome: Outcome, error: str) -> None:
    found, _ = read(mapping(**TYPED), reads)
    assert found.outcome is outcome and error in (found.error or "")


def test_a_bare_json_error_in_place_of_events() -> None:
    found, _ = read(mapping(text="text"), [b'{"error": {"code": "x", "message": "m"}}'])
    assert (found.outcome, found.error) == (Outcome.STREAM_ERROR, "x: m")


def test_what_an_answer_did_hold_is_shortened() -> None:
    long = {"kind": "chunk", "payload": {"words": ["x" * 900] * 50}, **{f"k{n}": n for n in range(99)}}
    found, _ = read(mapping(text="delta.text"), framed("sse", [long] * 9))
    assert found.error is not None and len(found.error) < 420
    assert 'no text at app-text \'delta.text\': it held {"kind": "chunk", "payload": {"words": ["xxx' in found.error


def test_done_ends_an_answer_whose_usage_came_after_its_end() -> None:
    events = [{"delta": "Hi"}, {"finish": "stop"}, {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}]
    given_mapping = mapping(text="delta", end="finish", usage="usage")
    found, ended = read(given_mapping, framed("sse", events))
    assert (found.columns["prompt_tokens"], ended) == (3, [False, False, True])
    found, ended = read(given_mapping, [*framed("sse", events[:2]), b"data: [DONE]\n\n"])
    assert (found.outcome, found.columns["prompt_tokens"], ended) == (Outcome.OK, None, [False, False, True])


def test_without_an_end_the_end_of_the_body_is_it() -> None:
    found, ended = read(mapping(text="text", stream="jsonl"), [b'{"text":"a"}\n{"te', b'xt":"b"}'])
    assert (found.outcome, found.text, ended) == (Outcome.OK, "ab", [False, False])


def test_plain_text_in_events() -> None:
    found, _ = read(mapping(text="@"), [b"data: How\n\n", b"data:  long\n\ndata: 42\n\n", b": ping\n\n"])
    assert (found.outcome, found.text, found.columns["chunks"]) == (Outcome.OK, "How long42", 3)


def test_a_conversation_in_a_header() -> None:
    given_mapping = mapping(text="text", conversation="header:X-Conversation-Id")
    found, _ = read(given_mapping, framed("sse", [token("a")]), headers={"x-conversation-id": "c-9"})
    assert found.columns["conversation_id"] == "c-9"


# One JSON body


@pytest.mark.parametrize(
    ("body", "outcome", "text", "error"),
    [
        ({"answer": "Two years", "id": 5, "usage": {"prompt_tokens": 2}}, Outcome.OK, "Two years", None),
        ({"error": "no index"}, Outcome.STREAM_ERROR, "", "no index"),
        ({"detail": "not found"}, Outcome.STREAM_ERROR, "", "not found"),
        ({"answer": "", "id": 5}, Outcome.BAD_PAYLOAD, "", "no text at app-text 'answer': it held {\"answer\""),
        ([1], Outcome.BAD_PAYLOAD, "", "it held [1]"),
    ],
)
def test_one_json_body(body: Any, outcome: Outcome, text: str, error: str | None) -> None:
    given_mapping = mapping(stream="json", text="answer", conversation="id", usage="usage")
    found, ended = read(given_mapping, [json.dumps(body).encode()])
    assert (found.outcome, found.text, ended) == (outcome, text, [False])
    assert (error or "") in (found.error or "") and (found.error is None) == (error is None)
    assert "ttft_ms" not in found.columns
    if outcome is Outcome.OK:
        assert (found.columns["conversation_id"], found.columns["prompt_tokens"]) == ("5", 2)


def test_a_body_that_is_no_json() -> None:
    found, _ = read(mapping(stream="json", text="answer"), [b"<html><h1>Login</h1></html>"])
    assert (found.outcome, found.error) == (Outcome.BAD_PAYLOAD, "body is an HTML page: Login")


# Text

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
PIECES = {"stream": "text", "conversation": r"\s*([0-9a-f-]{36})\s", "error": r"^ERROR: (.*)", "end": r"\[END\]\s*\Z"}


@pytest.mark.parametrize("cut", [1, 5, 36, 37, 40, 200])
def test_a_text_with_its_conversation_first(cut: int) -> None:
    whole = f"{ID} Two years. [END]\n".encode()
    found, _ = read(mapping(**PIECES), [whole[at : at + cut] for at in range(0, len(whole), cut)])
    assert (found.outcome, found.text, found.columns["conversation_id"]) == (Outcome.OK, "Two years. [END]\n", ID)


def test_a_first_word_that_is_no_id_keeps_its_time() -> None:
    found, _ = read(mapping(**PIECES), [b"Two", b" years", b" [END]"])
    assert (found.text, found.columns["ttft_ms"], found.columns["chunks"]) == ("Two years [END]", 10.0, 3)
    assert "conversation_id" not in found.columns
    found, _ = read(mapping(stream="text", conversation=PIECES["conversation"]), [b"Two"])
    assert (found.outcome, found.text, found.columns["ttft_ms"]) == (Outcome.OK, "Two", 10.0)


def test_errors_and_ends_of_a_text() -> None:
    found, _ = read(mapping(**PIECES), [b"Two ye", b"\nERROR: no index\n"])
    assert (found.outcome, found.error, found.columns["ttft_ms"]) == (Outcome.STREAM_ERROR, "no index", 10.0)
    found, _ = read(mapping(**PIECES), [b"ERROR: no index\n"])
    assert found.outcome is Outcome.STREAM_ERROR and found.columns["ttft_visible_ms"] is None
    found, _ = read(mapping(**PIECES), [b"Two ", b"ye"])
    assert found.outcome is Outcome.TRUNCATED and "ended without app-end" in (found.error or "")
    found, _ = read(mapping(stream="text"), [b" \n"])
    assert (found.outcome, found.error) == (Outcome.BAD_PAYLOAD, "answer without text")
    found, _ = read(mapping(stream="text"), ["ä".encode()[:1], "ä".encode()[1:], b"\xff"])
    assert (found.outcome, found.text) == (Outcome.OK, "ä\ufffd")


def test_an_endless_answer_is_refused() -> None:
    text, lines = reader(mapping(stream="text")), reader(mapping(stream="jsonl", text="t"))
    for each in (text, lines):
        with pytest.raises(ValueError, match="more than 4194304 bytes"):
            for _ in range(5):
                each.feed(b"x" * 1_000_000, 1.0, 0.0)


# Options


def options(**given: str) -> AppMapping:
    return read_mapping(lambda name: given.get(name.replace("-", "_")))


def test_options_stand_in_place_of_the_presets() -> None:
    found = options(app_preset="ag-ui", app_path="/agent", app_progress="type == 'RAW'")
    assert (found.path, found.progress, found.given) == ("/agent", "type == 'RAW'", {"path", "progress"})
    assert found.text and found.end == "type == 'RUN_FINISHED'"


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"app_preset": "ag_ui"}, ["app-preset: expected one of ag-ui, ai-chat-protocol, "]),
        ({}, ["app-body: expected", "app-text: expected"]),
        ({"app_body": BODY, "app_stream": "grpc"}, ["app-stream: expected sse or jsonl or"]),
        ({"app_body": BODY, "app_stream": "text", "app_text": "a"}, ["app-text: expected none, as app-stream = text"]),
        (
            {"app_body": BODY, "app_stream": "json", "app_text": "a", "app_end": "b", "app_path": "/a b"},
            ["app-path: expected a path without blanks", "app-end: expected none"],
        ),
    ],
)
def test_what_is_wrong_with_a_mapping(given: dict[str, str], problems: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        options(**given)
    assert [part in each for part, each in zip(problems, caught.value.problems, strict=True)] == [True] * len(problems)


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = mapping(body="{}", text="a..b", end="(", conversation="header:x")
    with pytest.raises(BadInput) as caught:
        App(wrong)
    assert [each.partition(":")[0] for each in caught.value.problems] == ["app-body", "app-text", "app-end"]
    with pytest.raises(BadInput, match="app-error: expected a regular expression"):
        App(mapping(stream="text", error="("))
