from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from xxhash import xxh3_64_intdigest

from tokenswarm.traffic import seen_prefixes
from tokenswarm.traffic.seen_prefixes import BLOCK_BYTES, PARTS, SeenPrefixes


def test_shared_is_what_an_earlier_text_began_with() -> None:
    seen = SeenPrefixes()
    same, other = b"a" * 640, b"b" * 384
    assert seen.share([same, b"x" * 384]) == 0
    assert seen.share([same, other]) == pytest.approx(640 / 1024)
    assert seen.share([other, same]) == 0  # the same text elsewhere is not shared
    assert seen.share([same, other]) == 1  # all of it, to the last byte
    assert seen.share([same, other, b"c"]) == pytest.approx(1024 / 1025)
    assert seen.share([]) == seen.share([b""]) == 0


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_longest_beginning_in_common_with_any_earlier_text_to_within_a_block(seed: int) -> None:
    rng, seen, before = random.Random(seed), SeenPrefixes(), [""]
    for _ in range(300):
        base = rng.choice(before)
        text = base[: rng.randint(0, len(base))] + "".join(rng.choices("ab\u00e4", k=rng.randint(1, 400)))
        data = text.encode()
        longest = max(_common(data, each.encode()) for each in before)
        found = round(seen.share([data]) * len(data))
        assert longest - BLOCK_BYTES < found <= longest
        before.append(text)


@pytest.mark.parametrize("seed", range(3))
def test_of_a_long_text_it_is_the_longest_beginning_to_within_a_twentieth(seed: int) -> None:
    rng, seen, before = random.Random(seed), SeenPrefixes(), [b""]
    for _ in range(60):
        base = rng.choice(before)
        data = base[: rng.randint(0, len(base))] + rng.randbytes(rng.choice([50, 3000, 100_000])).hex().encode()
        longest = max(_common(data, each) for each in before)
        found = round(seen.share([data]) * len(data))
        assert longest - max(BLOCK_BYTES, longest / PARTS) < found <= longest
        before.append(data)


@pytest.mark.parametrize("size", [500, 2000, 9000, 40_000, 99_999, 300_000])
def test_what_grows_and_what_several_begin_with_is_found_more_exactly(size: int) -> None:
    rng, seen = random.Random(size), SeenPrefixes()
    common, *rest = (rng.randbytes(size) for _ in range(4))
    exactly = max(BLOCK_BYTES, size / PARTS**2)
    seen.share([common])
    assert 0 <= size - seen.share([common, rest[0]]) * len(common + rest[0]) < exactly  # a conversation goes on
    other, seen = common[: size // 4 * 3], SeenPrefixes()
    shares = [seen.share([other, text]) * len(other + text) for text in rest]
    assert len(other) - shares[1] < max(BLOCK_BYTES, len(other) / PARTS)
    assert 0 <= len(other) - shares[2] < exactly  # where the second text has parted, others do


@pytest.mark.parametrize(("size", "most"), [(4096, 40), (16_384, 90), (100_000, 140), (1_000_000, 190)])
def test_few_blocks_are_looked_at_whatever_the_length(size: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(
        seen_prefixes, "xxh3_64_intdigest", lambda data, key: looks.append(len(data)) or xxh3_64_intdigest(data, key)
    )
    seen, text = SeenPrefixes(), random.Random(size).randbytes(size)
    for each in (text, text[: size // 3] + b"!" + text):
        looks.clear()
        seen.share([each])
        assert len(looks) <= most
        assert sum(looks) < 1.2 * len(each) + BLOCK_BYTES


def _common(one: bytes, other: bytes) -> int:
    """Bytes that both begin with, by halves."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def test_hardly_anything_else_seems_to_have_been_seen() -> None:
    rng, seen = random.Random(1), SeenPrefixes()
    texts = [rng.randbytes(BLOCK_BYTES * 20) for _ in range(2000)]
    assert sum(seen.share([text]) > 0 for text in texts) < 5
    assert all(seen.share([text]) == 1 for text in texts)


def test_processes_of_one_machine_know_of_one_another(tmp_path: Path) -> None:
    path = tmp_path / "prefixes.bin"
    seen = SeenPrefixes(path)
    code = (
        "import sys; from pathlib import Path; from tokenswarm.traffic.seen_prefixes import SeenPrefixes\n"
        "print(SeenPrefixes(Path(sys.argv[1])).share([b'x' * 900]))"
    )
    shares = [
        subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert shares == ["0.0", "1.0"]
    assert seen.share([b"x" * 900, b"y"]) == pytest.approx(900 / 901, abs=BLOCK_BYTES / 900)
    assert b"x" * 8 not in path.read_bytes()
    seen.close()
    assert not path.exists()
    assert seen.share([b"x" * 900]) == 1
