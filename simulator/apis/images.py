"""What an image in a prompt costs: its size out of its first bytes, and tokens by the models' published rules. Pure."""

from __future__ import annotations

import base64
import binascii
import math
import struct
import zlib

UNKNOWN_SIZE = (1024, 1024)
"""Pixels of an image that is given by an address: nothing is fetched."""

LOW_DETAIL_TOKENS = 85
TILE_TOKENS = 170


class BadImage(ValueError):
    """Not an image, or not one that a model takes."""


def read_image(url: str) -> tuple[tuple[int, int], int]:
    """Width and height in pixels of an image's address or data URL, and a digest of it. Raises BadImage."""
    digest = zlib.crc32(url.encode("utf-8", "replace"))
    if not url.startswith("data:"):
        if not url.startswith(("http://", "https://")):
            raise BadImage("expected an http(s) address or a data URL")
        return UNKNOWN_SIZE, digest
    head, _, data = url.partition(",")
    if not head.endswith(";base64"):
        raise BadImage("expected a base64-encoded data URL")
    return size_of(decode_base64(data)), digest


def decode_base64(data: str) -> bytes:
    """Raises BadImage."""
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadImage("expected valid base64") from error


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG, JPEG, GIF or WebP (lossy or extended) image. Raises BadImage."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack(">II", data[16:24])
        if data.startswith((b"GIF87a", b"GIF89a")):
            return struct.unpack("<HH", data[6:10])
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
    except (struct.error, IndexError) as error:
        raise BadImage("expected a whole image") from error
    raise BadImage("expected a PNG, JPEG, GIF or WebP image")


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while True:
        marker, length = struct.unpack(">HH", data[at : at + 4])
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + length


def tile_tokens(size: tuple[int, int], detail: str = "auto") -> int:
    """OpenAI's rule of the GPT-4o family: 85, and 170 for each tile of 512 x 512 after scaling."""
    if detail == "low":
        return LOW_DETAIL_TOKENS
    width, height = (max(1, side) for side in size)
    scale = min(1.0, 2048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    tiles = math.ceil(round(width * scale, 6) / 512) * math.ceil(round(height * scale, 6) / 512)
    return LOW_DETAIL_TOKENS + TILE_TOKENS * tiles


def area_tokens(size: tuple[int, int]) -> int:
    """Anthropic's rule: pixels over 750, for an image scaled to at most 1568 pixels a side."""
    width, height = (max(1, side) for side in size)
    scale = min(1.0, 1568 / max(width, height))
    return max(1, math.ceil(width * scale * height * scale / 750))
