from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.apis.sse import MAX_EVENT_BYTES, ErrorEvent, EventDecoder, EventTooLarge


def decode(*pieces: bytes) -> list[bytes]:
    decoder = EventDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: one\n\ndata: two\n\n", [b"one", b"two"]),
        (b"data:one\n\n", [b"one"]),
        (b"data:  one\n\n", [b" one"]),
        (b"data: one\r\n\r\ndata: two\r\n\r\n", [b"one", b"two"]),
        (b"data: one\r\rdata: two\r\r", [b"one", b"two"]),
        (b": comment\n\ndata: one\n\n", [b"one"]),
        (b"event: message\ndata: one\nid: 7\n\n", [b"one"]),
        (b"event: error\ndata: one\nid: 7\n\n", [b"one"]),
        (b"event: ping\ndata: pong\n\ndata: one\n\n", [b"one"]),
        (b'{"error":\n"x"}\n\n', [b'{"error":\n"x"}']),
        (b"data: one\ndata: two\n\n", [b"one\ntwo"]),  # WHATWG: several data lines join with a line feed
        (b"data\n\n", [b""]),
        (b"event: ping\n\n", []),
        (b"\xef\xbb\xbfdata: one\n\n", [b"one"]),
        (b"data: one\n\n\n\n\ndata: two\n\n", [b"one", b"two"]),
        (b"data: unfinished", []),
    ],
)
def test_events_of_a_stream(stream: bytes, events: list[bytes]) -> None:
    assert decode(stream) == events


@given(st.data())
def test_events_do_not_depend_on_where_the_bytes_are_cut(data: st.DataObject) -> None:
    end = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    payloads = data.draw(
        st.lists(st.binary(min_size=1, max_size=40).filter(lambda b: not set(b) & {10, 13}), max_size=5)
    )
    stream = b"".join(b"data: " + payload + end + end for payload in payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decode(*pieces) == payloads


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_any_bytes_are_taken_without_an_error(pieces: list[bytes]) -> None:
    for event in decode(*pieces):
        assert isinstance(event, bytes)


def test_an_event_that_is_named_an_error_is_told_apart() -> None:
    decoder = EventDecoder()
    events = decoder.feed(b"event: error\ndata: one\n\ndata: two\n\n")
    assert events == [b"one", b"two"]
    assert [isinstance(event, ErrorEvent) for event in events] == [True, False]


def test_the_last_event_may_lack_its_blank_line() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: one\n\ndata: two\n") == [b"one"]
    assert decoder.finish() == [b"two"]
    assert not decoder.unfinished


def test_an_unfinished_event_is_noticed() -> None:
    decoder = EventDecoder()
    decoder.feed(b"data: one\n\ndata: tw")
    assert decoder.unfinished
    decoder.feed(b"o\n\n")
    assert not decoder.unfinished


def test_an_event_without_end_is_refused_before_it_fills_the_memory() -> None:
    decoder = EventDecoder()
    with pytest.raises(EventTooLarge, match=str(MAX_EVENT_BYTES)):
        for _ in range(MAX_EVENT_BYTES // 65536 + 2):
            decoder.feed(b"x" * 65536)
