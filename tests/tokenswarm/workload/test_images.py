from __future__ import annotations

import base64
import io
import random
from pathlib import Path

import pytest
from PIL import Image

from tokenswarm.userinput import BadInput
from tokenswarm.workload.images import Images, make_png, parse_images


def decoded(url: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2], validate=True)))
    image.load()
    return image


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (1024, 768)])
def test_a_made_image_is_one_of_that_size_and_like_no_other(size: tuple[int, int]) -> None:
    rng = random.Random(1)
    first, second = decoded(Images(1, size).sample(rng)[0]), decoded(Images(1, size).sample(rng)[0])
    assert (first.size, first.format) == (size, "PNG")
    assert first.convert("RGB").tobytes() != second.convert("RGB").tobytes()
    assert len(make_png(1024, 768, rng)) < 200_000


def test_the_forms(tmp_path: Path) -> None:
    path = tmp_path / "a photo.jpg"
    Image.new("RGB", (8, 4), "red").save(path)
    assert parse_images("1024x768") == Images(1, (1024, 768))
    assert parse_images(" 3 of 512 x 512 ") == Images(3, (512, 512))
    (url, _) = parse_images(f"2 of {path}").sample(random.Random(1))
    assert url.startswith("data:image/jpeg;base64,") and decoded(url).size == (8, 4)


@pytest.mark.parametrize("text", ["0 of 8x8", "51 of 8x8", "0x8", "99999x8", "no-such-file.png", "README.md"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(BadInput) as raised:
        parse_images(text)
    assert raised.value.problems[0].startswith("images")
