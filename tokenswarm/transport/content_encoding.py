"""Bodies that come compressed, whatever was asked for: decoded piece by piece. No I/O, no clock.

Source of the names: RFC 9110, 8.4.1.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped,unused-ignore]

from tokenswarm.transport.http1 import ProtocolError

MAX_PIECE_BYTES = 16 * 1024 * 1024
"""What one piece may become: a bomb is refused before it fills the memory."""

_NOT_READ = frozenset({"zstd", "compress", "x-compress", "dcb", "dcz", "lz4", "snappy"})
"""Encodings that exist and are not decoded here; other names (`utf-8`) are servers' mistakes about plain bodies."""

Decode = Callable[[bytes], bytes]


def decoder_of(encoding: str) -> Decode | None:
    """What decodes a body with this Content-Encoding; `None` for identity, and for what cannot be decoded here."""
    names = [name.strip().lower() for name in encoding.split(",")]
    decoders = [_decoder(name) for name in reversed(names) if name not in ("", "identity")]
    known = [decoder for decoder in decoders if decoder is not None]
    if not decoders or len(known) < len(decoders):
        return None
    return known[0] if len(known) == 1 else lambda data: _through(known, data)


def unread(encoding: str) -> str | None:
    """The first of a Content-Encoding's names that is not decoded here; `None` where all are."""
    names = [name.strip().lower() for name in encoding.split(",")]
    return next((name for name in names if name in _NOT_READ), None)


def _through(decoders: list[Decode], data: bytes) -> bytes:
    for decode in decoders:
        data = decode(data)
    return data


def _decoder(name: str) -> Decode | None:
    if name in ("gzip", "x-gzip"):
        return _Inflate(31)
    if name == "deflate":
        return _Inflate(15)
    return _brotli() if name == "br" else None


class _Inflate:
    """Gzip or deflate; `deflate` comes with zlib's frame or, from some servers, without it."""

    def __init__(self, window: int) -> None:
        self._may_be_raw = window == 15
        self._window = window
        self._inflate = zlib.decompressobj(window)
        self._held = b""

    def __call__(self, data: bytes) -> bytes:
        try:
            if self._inflate.eof and data.strip(b"\x00"):
                self._inflate = zlib.decompressobj(self._window)
            found = self._inflate.decompress(data, MAX_PIECE_BYTES)
        except zlib.error as error:
            if not self._may_be_raw:
                raise ProtocolError(f"compressed body cannot be read: {error}") from error
            self._may_be_raw = False
            self._inflate = zlib.decompressobj(-15)
            return self(self._held + data)
        if self._inflate.unconsumed_tail:
            raise ProtocolError(f"compressed body of more than {MAX_PIECE_BYTES} bytes in one piece")
        if self._may_be_raw:
            self._held += data
            self._may_be_raw = not found
        if self._inflate.eof and (rest := self._inflate.unused_data.lstrip(b"\x00")):
            self._inflate = zlib.decompressobj(self._window)  # the next member: some servers write one for each event
            return found + self(rest)
        return found


def _brotli() -> Decode:
    decompressor = brotli.Decompressor()

    def decode(data: bytes) -> bytes:
        try:
            return bytes(decompressor.process(data))
        except brotli.error as error:
            raise ProtocolError(f"compressed body cannot be read: {error}") from error

    return decode
