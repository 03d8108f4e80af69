"""Sizes out of real files' first bytes, and what they cost by the published rules."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.apis.images import UNKNOWN_SIZE, BadImage, area_tokens, read_image, size_of, tile_tokens

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xc0\x00\x11\x08" + struct.pack(
    ">HH", 480, 640
)
WEBP_LOSSY = b"RIFF\x00\x00\x00\x00WEBPVP8 \x00\x00\x00\x00\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 640, 480)
WEBP_EXTENDED = b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x7f\x02\x00\xdf\x01\x00"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 640, 480)
GIF = b"GIF89a" + struct.pack("<HH", 640, 480)


@pytest.mark.parametrize("data", [JPEG, WEBP_LOSSY, WEBP_EXTENDED, PNG, GIF], ids=lambda data: data[:4].hex())
def test_the_size_is_read_from_the_header(data):
    assert size_of(data) == (640, 480)
    assert read_image("data:image/x;base64," + base64.b64encode(data).decode())[0] == (640, 480)


def test_an_address_is_not_fetched_and_equal_images_are_known_again():
    first, second = read_image("https://example.com/a.png"), read_image("https://example.com/a.png")
    assert first == second
    assert first[0] == UNKNOWN_SIZE
    assert read_image("https://example.com/b.png")[1] != first[1]


@given(st.binary(max_size=60), st.sampled_from([b"", JPEG[:2], PNG[:8], GIF[:6], WEBP_LOSSY[:16], WEBP_EXTENDED[:16]]))
def test_any_bytes_are_an_image_or_refused(tail, head):
    try:
        width, height = size_of(head + tail)
    except BadImage:
        return
    assert width >= 0 and height >= 0


def test_costs():
    assert [tile_tokens(size) for size in ((1024, 1024), (2048, 4096), (1, 1), (512, 512), (513, 512))] == [
        765,
        1105,
        255,
        255,
        425,
    ]
    assert tile_tokens((4000, 4000), "low") == 85
    assert [area_tokens(size) for size in ((200, 200), (1000, 1000))] == [54, 1334]
