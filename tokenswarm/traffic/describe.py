"""What recorded requests are like: when they come, how long they are, what their prompts share."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tokenswarm.recordings.lines import Form
from tokenswarm.recordings.scan import Index
from tokenswarm.recordings.sessions import Sessions
from tokenswarm.traffic.recorded import count_of
from tokenswarm.traffic.replay import Recording, Replay
from tokenswarm.traffic.seen_prefixes import SeenPrefixes, parts_of
from tokenswarm.userinput import counted
from tokenswarm.workload.distributions import MAX_TOKENS
from tokenswarm.workload.prompts import estimate_tokens

PERCENTILES = (50, 95, 99)
_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]{1000,}")
"""Images and other files: their tokens have nothing to do with their bytes."""


def describe(index: Index) -> dict[str, Any]:
    """Figures of a file. Tokens are estimates (a quarter of the bytes, without files in base64); shared is the
    beginning of a prompt that an earlier one has, too."""
    replay = Replay(Recording(index, 0, len(index)))
    prompts, limits, turns, tools, apis, shares = [], [], array("L"), 0, Counter[str](), array("d")
    seen = SeenPrefixes()
    try:
        for bodies in replay.bodies():
            turns.append(len(bodies))
            for body, asks in bodies:
                text = said(body)
                prompts.append(estimate_tokens(_BASE64.sub("", text)))
                limits += [value for name in LIMITS if (value := count_of(body.get(name), MAX_TOKENS)) is not None]
                tools += bool(body.get("tools"))
                apis[asks] += 1
                shares.append(100.0 * seen.share([text.encode("utf-8", "surrogatepass")]))
    finally:
        replay.close()
    shared = sum(share * tokens for share, tokens in zip(shares, prompts, strict=True))
    sessions = Sessions(index)
    if index.form is Form.REQUEST:
        turns = array("L", (len(sessions.places(number)) for number in range(len(sessions))))
    return {
        "requests": len(prompts),
        "skipped_lines": index.skipped,
        "apis": dict(apis),
        "sessions": len(sessions),
        "requests_per_session": _spread(turns),
        "prompt_tokens": _spread(prompts),
        "max_tokens": _spread(limits),
        "with_tools_pct": 100.0 * tools / len(prompts) if prompts else None,
        "shared_prefix_pct": shared / sum(prompts) if any(prompts) else None,
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
    """All that a body says."""
    return "".join(part if isinstance(part, str) else json.dumps(part, ensure_ascii=False) for part in parts_of(body))


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """Lines for a person."""
    whole, left_out = counted(found["requests"], "request"), counted(found["skipped_lines"], "line")
    yield f"{whole} in {counted(found['sessions'], 'session')}, {left_out} left out"
    yield "APIs: " + ", ".join(f"{name} {count}" for name, count in found["apis"].items())
    for name in ("requests_per_session", "prompt_tokens", "max_tokens"):
        if spread := found[name]:
            figures = ", ".join(f"{key} {value:g}" for key, value in spread.items())
            yield f"{name.replace('_', ' ')}: {figures}"
    for name in ("with_tools_pct", "shared_prefix_pct"):
        if found[name] is not None:
            yield f"{name.removesuffix('_pct').replace('_', ' ')}: {found[name]:.1f} %"
    if found["arrivals"] is None:
        yield "arrivals: no timestamps, so that rate or users decide when they are sent"
    if arrivals := found["arrivals"]:
        if arrivals["rpm"] is None:
            yield f"arrivals: {counted(sum(arrivals['per_bin']), arrivals['of'][:-1])} at one instant"
            return
        yield f"arrivals: {arrivals['rpm']:.4g} {arrivals['of']} a minute over {arrivals['duration_s']:.4g} s"
        most, digits = max(arrivals["per_bin"]), 0 if arrivals["bin_s"] >= 1 else 3
        for number, count in enumerate(arrivals["per_bin"]):
            yield f"{number * arrivals['bin_s']:8.{digits}f} s {count:7d} {'#' * round(40 * count / most)}"


def _spread(values: Sequence[int]) -> dict[str, float]:
    """Mean, percentiles (nearest rank) and greatest; empty without values."""
    if not values:
        return {}
    ordered = sorted(values)
    ranks = {f"p{p}": float(ordered[-(-len(ordered) * p // 100) - 1]) for p in PERCENTILES}
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


def _arrivals(index: Index, bins: int = 20) -> dict[str, Any] | None:
    if not index.has_timestamps:
        return None
    first_s, duration_s = index.instants_s[0], index.instants_s[-1] - index.instants_s[0]
    bin_s = duration_s / bins or 1.0
    per_bin = [0] * bins
    for instant_s in index.instants_s:
        per_bin[min(bins - 1, int((instant_s - first_s) / bin_s))] += 1
    rpm = (len(index) - 1) / duration_s * 60 if duration_s else None  # of the gaps: there is none after the last
    of = "requests" if index.form is Form.REQUEST else "sessions"
    return {"of": of, "duration_s": duration_s, "rpm": rpm, "bin_s": bin_s, "per_bin": per_bin}
