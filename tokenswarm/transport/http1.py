"""One HTTP/1.1 response, from bytes: status, headers, body, end. Framing by llhttp (`httptools`). No I/O, no clock."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import httptools

MAX_HEADERS = 1000


LENIENT = {
    "lenient_chunked_length": True,
    "lenient_optional_cr_before_lf": True,
    "lenient_spaces_after_chunk_size": True,
}
"""What other clients read, too: a length beside chunks, which count then (RFC 9112, 6.3); lines that end with LF alone;
blanks behind a chunk's size. Nothing is forwarded, so nobody can be misled by it."""


class ProtocolError(ValueError):
    """What came is not the HTTP it should be."""


class _ChunkLines(dict[int, bytes]):
    """The line that a chunk which is read whole and alone begins with, by the bytes of it all; of no chunk, where none
    has so many."""

    def __missing__(self, size: int) -> bytes:
        line = bytes(size + 1)
        for digits in range(1, 9):
            content = size - digits - 4
            if content > 0 and len(found := b"%x\r\n" % content) == digits + 2:
                line = found
        self[size] = line
        return line


CHUNK_LINES = _ChunkLines()


@lru_cache(maxsize=256)
def chunk_end(content_end: bytes) -> bytes:
    """How a chunk ends whose content ends so: one object for all streams, which stays in the processor's cache."""
    return content_end + b"\r\n"


class HttpAnswer:
    """Collects one final response; interim ones (HTTP 100, 103) are passed over."""

    ends_with_answer = False
    """Whether nothing more belongs to an answer that has ended: of HTTP, its body's own end does."""

    __slots__ = (
        "_body",
        "_chunk_ended",
        "_headers",
        "_parser",
        "between_chunks",
        "complete",
        "failure",
        "headers",
        "headers_complete",
        "keep_alive",
        "status",
    )

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(**LENIENT)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._chunk_ended = False
        self.between_chunks = False
        """Whether the next byte begins a chunk of the body. Whole chunks may then be kept from the parser."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.headers_complete = False
        self.complete = False
        self.keep_alive = False
        self.failure: str | None = None

    def feed(self, data: bytes) -> bytes:
        """Parse, and give the body bytes in `data`. What is wrong with the framing is left in `failure`.

        Raises what a callback here raised, an interrupt as well: the parser hands on an error of its own in its place.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.failure = "server switched protocols"
        except httptools.HttpParserError as error:
            if isinstance(error, httptools.HttpParserCallbackError) and error.__context__ is not None:
                raise error.__context__ from None
            self.keep_alive = False
            if not self.complete:
                self.failure = f"malformed HTTP: {error}"
        # Behind a chunk's end, a line that ends as well would have been the head of the next.
        self.between_chunks = self._chunk_ended and not self.complete and data.endswith(b"\n")
        body = self._body
        if not body:
            return b""
        joined = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        return joined

    def release(self) -> None:
        """Nothing more will be fed: the parser and this answer hold each other, which only a full collection undoes."""
        self._parser = None

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body has no length of its own, so that closing the connection is its proper end."""
        return (
            self.headers_complete
            and "content-length" not in self.headers
            and "chunked" not in self.headers.get("transfer-encoding", "").lower()
        )

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.headers_complete and len(self._headers) < MAX_HEADERS:  # trailers come later
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            # Of several caches in a row, each may add its own line.
            self._headers[key] = f"{self._headers[key]}, {text}" if "cache" in key and key in self._headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.headers_complete or status < 200:
            self._headers = {}
            return
        self.status = status
        self.headers = self._headers
        self.headers_complete = True

    def on_body(self, body: bytes) -> None:
        if self.headers_complete and not self.complete:
            self._body.append(body)

    def on_chunk_header(self) -> None:
        self._chunk_ended = False

    def on_chunk_complete(self) -> None:
        self._chunk_ended = True

    def on_message_complete(self) -> None:
        if self.headers_complete and not self.complete:
            self.complete = True
            self.keep_alive = bool(self._parser.should_keep_alive())
