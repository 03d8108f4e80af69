"""The levels of a load that changes as planned: spans of time in which it is one value."""

from __future__ import annotations

from typing import NamedTuple

from tokenswarm.workload.stages import Stages

PARTS = 5
"""A ramp is cut into so many levels, each with its mean load."""


class LoadSpan(NamedTuple):
    """`load` (users or requests per minute) from `begin_s` to `end_s` after the start."""

    load: float
    begin_s: float
    end_s: float


def levels_of(stages: Stages) -> list[LoadSpan]:
    """Every stage that lasts and offers something; neighbours of one load are one level."""
    found: list[LoadSpan] = []
    begin_s, before = 0.0, stages.start
    for duration_s, target in stages.stages:
        if duration_s > 0:
            found += _of_stage(begin_s, duration_s, before, target)
        begin_s, before = begin_s + duration_s, target
    return _joined([level for level in found if level.load > 0])


def _of_stage(begin_s: float, duration_s: float, before: float, target: float) -> list[LoadSpan]:
    if before == target:
        return [LoadSpan(target, begin_s, begin_s + duration_s)]
    return [
        LoadSpan(
            before + (target - before) * (number + 0.5) / PARTS,
            begin_s + duration_s * number / PARTS,
            begin_s + duration_s * (number + 1) / PARTS,
        )
        for number in range(PARTS)
    ]


def _joined(levels: list[LoadSpan]) -> list[LoadSpan]:
    joined: list[LoadSpan] = []
    for level in levels:
        last = joined[-1] if joined else None
        if last is not None and last.load == level.load and last.end_s == level.begin_s:
            joined[-1] = last._replace(end_s=level.end_s)
        else:
            joined.append(level)
    return joined
