"""Answers from bytes. That each of the corpus becomes the right row is tested in tests/wire."""

from __future__ import annotations

import pytest

from tokenswarm.transport.http1 import HttpAnswer

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CALLBACKS = ["on_header", "on_headers_complete", "on_body", "on_chunk_header", "on_chunk_complete"]


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3), LookupError("a fault of ours")], ids=repr)
@pytest.mark.parametrize("callback", [*CALLBACKS, "on_message_complete"])
def test_what_a_callback_raises_is_not_the_peers_fault(callback: str, raised: BaseException) -> None:
    """Such as an interrupt: a signal's handler runs in whatever Python code is next."""

    def interrupted(*_: object) -> None:
        raise raised

    answer = type("Interrupted", (HttpAnswer,), {callback: interrupted})()
    with pytest.raises(type(raised)) as found:
        answer.feed(HEAD + b"2\r\nok\r\n0\r\n\r\n")
    assert found.value is raised and answer.failure is None


def test_a_fault_of_the_peer_is_left_to_be_told() -> None:
    answer = HttpAnswer()
    answer.feed(HEAD + b"no size\r\n")
    assert answer.failure is not None and answer.failure.startswith("malformed HTTP: ")
