from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.apis.request import head_of, with_body, write_request

URL = "http://user@host:81/v1/chat?api-version=1"
HEADERS = {"api-key": "k", "accept": "*/*"}
NAMES = st.text("abcdefghij-", min_size=1, max_size=8).map(lambda name: f"x-{name}")
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f\x85"), max_size=12)


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.binary(max_size=50), st.booleans())
def test_a_head_that_is_kept_makes_the_same_request(changing: dict[str, str], body: bytes, absolute: bool) -> None:
    kept = head_of("POST", URL, HEADERS, absolute)
    assert with_body(kept, changing, body) == write_request("POST", URL, {**HEADERS, **changing}, body, absolute)


def test_the_bytes_of_a_request() -> None:
    assert write_request("POST", URL, {"a": "é"}, b"{}", absolute=False) == (
        b"POST /v1/chat?api-version=1 HTTP/1.1\r\nHost: host:81\r\na: \xe9\r\n"
        b"Accept-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\r\nb: c", "\r\n"])
def test_a_header_that_would_break_the_framing_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        head_of("POST", URL, {"a": value}, absolute=False)
    with pytest.raises(ValueError, match="line break"):
        with_body(head_of("POST", URL, HEADERS, absolute=False), {"a": value}, b"")
