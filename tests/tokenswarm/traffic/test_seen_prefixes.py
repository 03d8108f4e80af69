from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tokenswarm.traffic.seen_prefixes import BLOCK_BYTES, SeenPrefixes


def test_shared_is_what_an_earlier_text_began_with() -> None:
    seen = SeenPrefixes()
    same, other = "a" * 640, "b" * 384
    assert seen.share([same, "x" * 384]) == 0
    assert seen.share([same, other]) == pytest.approx(640 / 1024)
    assert seen.share([other, same]) == 0  # the same text elsewhere is not shared
    assert seen.share([same, other]) == 1  # all of it, to the last byte
    assert seen.share([same, other, "c"]) == pytest.approx(1024 / 1025)
    assert seen.share([]) == seen.share([""]) == 0


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_longest_beginning_in_common_with_any_earlier_text_to_within_a_block(seed: int) -> None:
    rng, seen, before = random.Random(seed), SeenPrefixes(), [""]
    for _ in range(300):
        base = rng.choice(before)
        text = base[: rng.randint(0, len(base))] + "".join(rng.choices("ab\u00e4", k=rng.randint(1, 400)))
        data = text.encode()
        longest = max(_common(data, each.encode()) for each in before)
        found = round(seen.share([text]) * len(data))
        assert longest - BLOCK_BYTES < found <= longest
        before.append(text)


def _common(one: bytes, other: bytes) -> int:
    return next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )


def test_hardly_anything_else_seems_to_have_been_seen() -> None:
    rng, seen = random.Random(1), SeenPrefixes()
    texts = [rng.randbytes(BLOCK_BYTES * 20).hex() for _ in range(2000)]
    assert sum(seen.share([text]) > 0 for text in texts) < 5
    assert all(seen.share([text]) == 1 for text in texts)


def test_processes_of_one_machine_know_of_one_another(tmp_path: Path) -> None:
    path = tmp_path / "prefixes.bin"
    seen = SeenPrefixes(path)
    code = (
        "import sys; from pathlib import Path; from tokenswarm.traffic.seen_prefixes import SeenPrefixes\n"
        "print(SeenPrefixes(Path(sys.argv[1])).share(['x' * 900]))"
    )
    shares = [
        subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert shares == ["0.0", "1.0"]
    assert seen.share(["x" * 900, "y"]) == pytest.approx(900 / 901, abs=BLOCK_BYTES / 900)
    assert b"x" * 8 not in path.read_bytes()
    seen.close()
    assert not path.exists()
    assert seen.share(["x" * 900]) == 1
