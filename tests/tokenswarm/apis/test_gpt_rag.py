from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.apis.gpt_rag import MAX_TEXT_BYTES, AnswerTooLarge, RagStream, parse_server_timing, read_reply
from tokenswarm.record import Doubt

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def collect(*pieces: str | bytes) -> RagStream:
    stream = RagStream()
    for number, piece in enumerate(pieces):
        stream.feed(piece.encode() if isinstance(piece, str) else piece, number * 10.0, number * 10.0)
    stream.finish()
    return stream


@pytest.mark.parametrize(
    ("pieces", "conversation_id", "text", "times"),
    [
        ((f"{ID} ", "Hello", " you"), ID, "Hello you", [10.0, 20.0]),
        ((f"{ID} Hello",), ID, "Hello", [0.0]),
        ((ID[:10], ID[10:], " ", "Hi"), ID, "Hi", [30.0]),
        (("Hello", " you"), None, "Hello you", [0.0, 10.0]),
        (("abc", " is text"), None, "abc is text", [10.0]),
        ((f"{ID} ",), ID, "", []),
        (("cafe",), None, "cafe", [0.0]),
        (("11111111-22",), None, "11111111-22", []),
        ((), None, "", []),
    ],
)
def test_the_id_piece_is_taken_off(
    pieces: tuple[str, ...], conversation_id: str | None, text: str, times: list[float]
) -> None:
    stream = collect(*pieces)
    assert (stream.conversation_id, stream.text, list(stream.times.at_ms)) == (conversation_id, text, times)


@given(st.text(max_size=80), st.data())
def test_the_text_does_not_depend_on_where_the_bytes_are_cut(text: str, data: st.DataObject) -> None:
    whole = f"{ID} {text}".encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    stream = collect(*pieces)
    assert (stream.conversation_id, stream.text, stream.undecodable) == (ID, text, None)


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_are_taken_without_an_error(pieces: list[bytes]) -> None:
    stream = collect(*pieces)
    assert stream.error is None or isinstance(stream.error, str)


def test_an_answer_that_came_in_one_piece_is_doubtful() -> None:
    words = ["word "] * 40
    assert collect(ID + " ", "".join(words)).finish().columns["doubts"] == Doubt.BUFFERED
    for pieces in (words, ["Ann."]):
        assert "doubts" not in collect(ID + " ", *pieces).finish().columns


def test_an_in_band_error_cut_into_pieces() -> None:
    assert collect(f"{ID} ", "Ann is", "\nevent: er", "ror\ndata: model ", "down\n\n").error == "model down"
    assert collect(f"{ID} ", "event: error\r\ndata: x\r\n\r\n").error == "x"
    assert collect(f"{ID} ", "an event: of error").error is None


def test_bytes_that_are_no_utf8_are_noted() -> None:
    stream = collect(f"{ID} ", b"ok \xff\xfe", b" more")
    assert stream.undecodable is not None
    assert "more" in stream.text


def test_an_answer_without_end_is_refused() -> None:
    stream = RagStream()
    with pytest.raises(AnswerTooLarge):
        for _ in range(MAX_TEXT_BYTES // 65536 + 2):
            stream.feed(b"x" * 65536, 0.0, 0.0)


def test_other_orchestrators_by_path() -> None:
    body = json.dumps({"output": {"choices": [{"text": "Hi"}]}, "session": {"id": "s1"}}).encode()
    reply = read_reply(body, "output.choices.0.text", "session.id")
    assert (reply.text, reply.columns, reply.error) == ("Hi", {"conversation_id": "s1"}, None)
    assert "output.missing" in str(read_reply(body, "output.missing").error)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_json_is_taken_without_an_error(body: Any) -> None:
    read_reply(json.dumps(body).encode(), "answer.0.a")


@pytest.mark.parametrize(
    ("header", "stages"),
    [
        ("history;dur=1.2, retrieval;dur=30", "history=1.2;retrieval=30"),
        ('db;desc="a b";dur=5', "db=5"),
        ("cache", None),
        ("x;dur=abc, y;dur=2", "y=2"),
        ("", None),
    ],
)
def test_server_timing(header: str, stages: str | None) -> None:
    assert parse_server_timing(header) == stages


@given(st.text(max_size=60))
def test_any_server_timing_is_taken_without_an_error(header: str) -> None:
    parse_server_timing(header)
