"""Images in prompts: made at a given size, or files.

    images = 1024x768
    images = 3 of 512x512
    images = 2 of receipt.png, photo.jpg

A made image is a PNG of coarse noise in 256 colours. Its pixels are compressed once for each size; the palette is drawn
for each image, so that no two are alike and none is served from a cache, at the cost of a checksum.
"""

from __future__ import annotations

import base64
import random
import re
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

from tokenswarm.userinput import BadInput, read_file

MAX_IMAGES = 50
MAX_SIDE = 16_384
MAX_FILE_BYTES = 20_000_000
_BLOCK = 16
"""Pixels of one patch of a made image: photographs compress about as well."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FORM = re.compile(r"(?:(?P<count>\d+)\s+of\s+)?(?P<what>\S.*)", re.DOTALL)
_SIZE = re.compile(r"(?P<width>\d+)\s*x\s*(?P<height>\d+)")
_TYPES = ((_SIGNATURE, "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))


@dataclass(frozen=True, slots=True)
class Images:
    """So many images in each request: of `size` (width, height in pixels), or of `files`, which are data URLs."""

    count: int
    size: tuple[int, int] | None
    files: tuple[str, ...] = ()

    def sample(self, rng: random.Random) -> list[str]:
        """The data URLs of one request's images."""
        if self.size is None:
            return [rng.choice(self.files) for _ in range(self.count)]
        return [data_url("image/png", make_png(*self.size, rng)) for _ in range(self.count)]


def parse_images(text: str) -> Images:
    """Parse the option (see the module); files are read. Raises `BadInput`."""
    match = _FORM.fullmatch(text.strip())
    count = int(match["count"] or 1) if match else 0
    if match is None or not 1 <= count <= MAX_IMAGES:
        raise BadInput([f"images: expected 1024x768, or 1 to {MAX_IMAGES} as 3 of 512x512, got {text.strip()!r:.80}"])
    if size := _SIZE.fullmatch(match["what"].strip()):
        width, height = int(size["width"]), int(size["height"])
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            raise BadInput([f"images: expected 1 to {MAX_SIDE} pixels a side, got {match['what'].strip()!r:.40}"])
        return Images(count, (width, height))
    return Images(count, None, tuple(_read(path.strip()) for path in match["what"].split(",") if path.strip()))


def _read(path: str) -> str:
    data = read_file(path, "images", MAX_FILE_BYTES)
    kind = next((kind for begin, kind in _TYPES if data.startswith(begin)), None)
    if kind is None:
        raise BadInput([f"images: expected a PNG, JPEG, GIF or WebP file, got {path!r:.80}"])
    return data_url(kind, data)


def data_url(kind: str, data: bytes) -> str:
    """`data` as a URL that carries it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def make_png(width: int, height: int, rng: random.Random) -> bytes:
    """A PNG of that many pixels that is like no other."""
    header, pixels, end = _shared_chunks(width, height)
    return _SIGNATURE + header + _chunk(b"PLTE", rng.randbytes(768)) + pixels + end


@lru_cache(maxsize=32)
def _shared_chunks(width: int, height: int) -> tuple[bytes, bytes, bytes]:
    """Header, compressed pixels and end: the same for all images of a size."""
    rng = random.Random(f"{width}x{height}")
    rows = bytearray()
    for top in range(0, height, _BLOCK):
        patches = rng.randbytes(-(-width // _BLOCK))
        line = b"\0" + b"".join(bytes((patch,)) * _BLOCK for patch in patches)[:width]
        rows += line * min(_BLOCK, height - top)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return _chunk(b"IHDR", head), _chunk(b"IDAT", zlib.compress(bytes(rows), 6)), _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
