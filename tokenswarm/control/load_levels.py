"""When which load was offered in a run whose load changed: the `levels` part of run.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tokenswarm.config.settings import Settings
from tokenswarm.metrics.criteria import Criterion, evaluate
from tokenswarm.metrics.criterion_words import sentence
from tokenswarm.metrics.samples import SETTLE_SHARE, Samples
from tokenswarm.workload.arrivals import RatePlan
from tokenswarm.workload.levels import RPM, SESSIONS, USERS, levels_of
from tokenswarm.workload.stages import Stages

Span = tuple[float, float, float]
"""Load, and the Unix s from and to which it was offered."""


def level_facts(
    settings: Settings, origin: float, ended_at: float, changes: Sequence[tuple[float, float]]
) -> dict[str, Any] | None:
    """Levels of a load that began at Unix s `origin`; `changes`: Unix s and rate set by hand. `None` of one load."""
    spans = [*_planned(settings, origin, changes[0][0] if changes else ended_at), *_changed(changes, ended_at)]
    if len({load for load, _, _ in spans}) < 2:
        return None
    return {
        "unit": USERS if settings.shape is not None else rate_unit(settings),
        "spans": [{"load": load, "begin": begin, "end": end} for load, begin, end in spans],
    }


class JudgedLevel(NamedTuple):
    """`n`: requests sent; `ok_rpm`: answers a minute; `breaks`: criteria that did not hold, in words."""

    load: float
    n: int
    ok_rpm: float
    breaks: tuple[str, ...]


def judge_levels(facts: Mapping[str, Any], criteria: Sequence[Criterion], samples: Samples) -> list[JudgedLevel]:
    """What each of the levels of run.json came to by itself, without its beginning; the lowest load first."""
    found = []
    for span in facts["spans"]:
        begin, end = span["begin"] + SETTLE_SHARE * (span["end"] - span["begin"]), span["end"]
        if begin < end:
            results = evaluate(criteria, samples, (begin, end))
            breaks = tuple(sentence(result) for result in results if result.state != "held")
            answered = samples.count("ok", None, (begin, end), by_end=True)
            sent = samples.count("sent", None, (begin, end))
            found.append(JudgedLevel(span["load"], sent, 60 * answered / (end - begin), breaks))
    return sorted(found, key=lambda level: level.load)


def rate_unit(settings: Settings) -> str:
    """What a rate of this run is of."""
    return SESSIONS if settings.traffic.sessions else RPM


def _planned(settings: Settings, origin: float, until: float) -> list[Span]:
    rate = settings.plan.rate if isinstance(settings.plan, RatePlan) else None
    if isinstance(rate, float | int):
        return [(float(rate), origin, until)]
    over_time = settings.shape if isinstance(settings.shape, Stages) else rate
    levels = levels_of(over_time) if isinstance(over_time, Stages) else []
    return [
        (level.load, origin + level.begin_s, min(origin + level.end_s, until))
        for level in levels
        if origin + level.begin_s < until
    ]


def _changed(changes: Sequence[tuple[float, float]], ended_at: float) -> list[Span]:
    begins = [*(at for at, _ in changes), ended_at]
    return [(rate, at, end) for (_, rate), (at, end) in zip(changes, pairwise(begins), strict=True) if end > at]
