"""What recorded requests are like: when they come, how long they are, what their prompts share."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tokenswarm.recordings.scan import Index
from tokenswarm.recordings.sessions import Sessions
from tokenswarm.traffic.replay import Recording, Replay
from tokenswarm.workload.prompts import estimate_tokens

BLOCK_TOKENS = 128
"""Prompts are compared in blocks of so many tokens, as prompt caches do."""
_BLOCK_BYTES = 4 * BLOCK_TOKENS
PERCENTILES = (50, 95, 99)


def describe(index: Index) -> dict[str, Any]:
    """Figures of a file. Tokens are estimates (a quarter of the bytes); shared are blocks at the beginning of a prompt
    that began an earlier one in the same way."""
    replay = Replay(Recording(index, 0, len(index)))
    prompts, limits, tools, apis, shares = [], [], 0, Counter[str](), array("d")
    seen = SeenBlocks()
    shared = total = 0
    try:
        for body, asks in replay.bodies():
            text = said(body)
            prompts.append(estimate_tokens(text))
            limits += [value for name in LIMITS if isinstance(value := body.get(name), int)]
            tools += bool(body.get("tools"))
            apis[asks] += 1
            found, blocks = _shared_blocks(text, seen)
            shared, total = shared + found, total + blocks
            shares.append(100.0 * found / blocks if blocks else 0.0)
    finally:
        replay.close()
    sessions = Sessions(index)
    turns = [len(sessions.places(number)) for number in range(len(sessions))]
    return {
        "requests": len(prompts),
        "skipped_lines": index.skipped,
        "apis": dict(apis),
        "sessions": len(sessions),
        "requests_per_session": _spread(turns),
        "prompt_tokens": _spread(prompts),
        "max_tokens": _spread(limits),
        "with_tools_pct": 100.0 * tools / len(prompts) if prompts else None,
        "shared_prefix_pct": 100.0 * shared / total if total else None,
        "arrivals": _arrivals(index),
        "histograms": {
            "prompt_tokens": histogram(prompts),
            "max_tokens": histogram(limits),
            "requests_per_session": histogram(turns),
            "shared_pct_of_prompt": _tenths(shares),
        },
    }


LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def said(body: dict[str, Any]) -> str:
    """All that a body says, in the order in which a service reads it: tools, then system and messages."""
    parts = [body.get(name) for name in ("tools", "system", "messages", "input", "prompt", "conversations")]
    return "".join(part if isinstance(part, str) else json.dumps(part, ensure_ascii=False) for part in parts if part)


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """Lines for a person."""
    yield f"{found['requests']} requests in {found['sessions']} sessions, {found['skipped_lines']} lines left out"
    yield "APIs: " + ", ".join(f"{name} {count}" for name, count in found["apis"].items())
    for name in ("requests_per_session", "prompt_tokens", "max_tokens"):
        if spread := found[name]:
            figures = ", ".join(f"{key} {value:g}" for key, value in spread.items())
            yield f"{name.replace('_', ' ')}: {figures}"
    for name in ("with_tools_pct", "shared_prefix_pct"):
        if found[name] is not None:
            yield f"{name.removesuffix('_pct').replace('_', ' ')}: {found[name]:.1f} %"
    if arrivals := found["arrivals"]:
        yield f"arrivals: {arrivals['rpm']:.1f} a minute over {arrivals['duration_s']:.0f} s"
        most = max(arrivals["per_bin"])
        for number, count in enumerate(arrivals["per_bin"]):
            yield f"{number * arrivals['bin_s']:8.0f} s {count:7d} {'#' * round(40 * count / most)}"


def _spread(values: list[int]) -> dict[str, float]:
    """Mean, percentiles (nearest rank) and greatest; empty without values."""
    if not values:
        return {}
    ordered = sorted(values)
    ranks = {f"p{p}": float(ordered[min(len(ordered) - 1, len(ordered) * p // 100)]) for p in PERCENTILES}
    return {"mean": round(sum(ordered) / len(ordered), 1), **ranks, "max": float(ordered[-1])}


def histogram(values: Sequence[int]) -> list[tuple[int, int, int]]:
    """Lowest, highest and count of each bin: whole numbers up to 8, above that four bins from a power of two to the
    next; empty without values."""
    counts = Counter(map(_bin_of, values))
    bins = sorted(counts)
    return [(*_limits_of(number), counts[number]) for number in range(bins[0], bins[-1] + 1)] if bins else []


def _bin_of(value: int) -> int:
    if value < 8:
        return max(0, value)
    power = value.bit_length() - 1
    return 8 + 4 * (power - 3) + ((value >> (power - 2)) & 3)


def _limits_of(number: int) -> tuple[int, int]:
    if number < 8:
        return number, number
    power, quarter = divmod(number - 8, 4)
    width = 1 << (power + 1)
    begin = (1 << (power + 3)) + quarter * width
    return begin, begin + width - 1


def _tenths(shares: Sequence[float]) -> list[tuple[int, int, int]]:
    """How many of some percentages lie in each tenth; the last has 100 %."""
    counts = Counter(min(9, int(share // 10)) for share in shares)
    return [(10 * tenth, 10 * tenth + 10, counts[tenth]) for tenth in range(10)] if shares else []


class SeenBlocks:
    """Digests of 8 bytes that have been seen, in 32 MB whatever their number: with ten million of them one in 200 that
    has not been is taken for one that has (a Bloom filter of two bits each)."""

    _BITS = 1 << 28

    def __init__(self) -> None:
        self._bits = bytearray(self._BITS // 8)

    def __contains__(self, digest: bytes) -> bool:
        return all(self._bits[place >> 3] >> (place & 7) & 1 for place in self._places(digest))

    def add(self, digest: bytes) -> None:
        for place in self._places(digest):
            self._bits[place >> 3] |= 1 << (place & 7)

    def _places(self, digest: bytes) -> tuple[int, int]:
        number = int.from_bytes(digest, "big")
        return number % self._BITS, (number >> 32) % self._BITS


def _shared_blocks(text: str, seen: SeenBlocks) -> tuple[int, int]:
    """Blocks at the beginning of a text that have been seen, and all its whole blocks, which have been from now on."""
    data, digest, shared, is_known = text.encode("utf-8", "surrogatepass"), hashlib.blake2b(digest_size=8), 0, True
    count = len(data) // _BLOCK_BYTES
    for block in range(count):
        digest.update(data[block * _BLOCK_BYTES : (block + 1) * _BLOCK_BYTES])
        key = digest.copy().digest()
        is_known = is_known and key in seen
        shared += is_known
        seen.add(key)
    return shared, count


def _arrivals(index: Index, bins: int = 20) -> dict[str, Any] | None:
    if not index.has_timestamps:
        return None
    first_s, duration_s = index.instants_s[0], index.instants_s[-1] - index.instants_s[0]
    bin_s = duration_s / bins or 1.0
    per_bin = [0] * bins
    for instant_s in index.instants_s:
        per_bin[min(bins - 1, int((instant_s - first_s) / bin_s))] += 1
    rpm = len(index) / duration_s * 60 if duration_s else float(len(index))
    return {"duration_s": duration_s, "rpm": rpm, "bin_s": bin_s, "per_bin": per_bin}
