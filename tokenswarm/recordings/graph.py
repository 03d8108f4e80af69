"""A session of steps that wait for one another: agents that fan out and join, and call tools in between. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenswarm.recordings.bodies import BadLine, check_body, figure, kind, line_asks

MAX_STEPS = 10_000
MAX_TOOL_S = 86400.0
_OTHER_NAMES = {
    **dict.fromkeys(("after", "dependencies", "depends_on", "deps", "needs", "parent", "parent_id", "parent_ids",
                     "predecessors", "wait_for", "waits_for"), "parents"),
    **dict.fromkeys(("at_s", "delay", "delay_ms", "delay_s", "start_time", "timestamp", "timestamp_ms", "tool_ms",
                     "tool_time", "tool_time_s", "wait_ms", "wait_s"), "tool_s"),
}  # fmt: skip
"""How other formats call what decides when a step is sent: passed over, the steps would be sent in another order."""


@dataclass(frozen=True, slots=True)
class AgentStep:
    """`parents`: positions of the steps whose answers it needs; `tool_s`: s between the last of those and it."""

    parents: tuple[int, ...]
    tool_s: float


def read_steps(value: Any, asks: str) -> list[AgentStep]:
    """The steps of a session, from position 0, each checked as a request is. A step without `parents` waits for the
    one before it. Raises `BadLine` for parents that do not exist, circles, and all else that is no step."""
    if not isinstance(value, list) or not 0 < len(value) <= MAX_STEPS:
        raise BadLine(f"steps: expected a list of 1 to {MAX_STEPS} steps, got {kind(value)}")
    positions: dict[str, int] = {}
    for number, entry in enumerate(value, start=1):
        _check_step(entry, number, asks)
        identity = entry.get("id", number)
        if isinstance(identity, bool) or not isinstance(identity, str | int):
            raise BadLine(f"step {number}: id: expected text or a whole number, got {kind(identity)}")
        identity = str(identity)
        if identity in positions:
            raise BadLine(f"step {number}: id: expected each once, got that of step {positions[identity] + 1}")
        positions[identity] = number - 1
    steps = [_step(entry, number, positions) for number, entry in enumerate(value, start=1)]
    _check_apis([line_asks(entry, asks) for entry in value])
    _check_order(steps)
    return steps


def _check_step(entry: Any, number: int, asks: str) -> None:
    if not isinstance(entry, dict):
        raise BadLine(f"step {number}: expected an object, got {kind(entry)}")
    try:
        if foreign := sorted(_OTHER_NAMES.keys() & entry.keys()):
            raise BadLine(f"{foreign[0]}: expected {_OTHER_NAMES[foreign[0]]}, as this format calls it")
        body = entry.get("body")
        if not isinstance(body, dict):
            raise BadLine(f"body: expected an object, got {kind(body)}")
        check_body(body, line_asks(entry, asks))
    except BadLine as error:
        raise BadLine(f"step {number}: {error}") from None


def _step(entry: Mapping[str, Any], number: int, positions: Mapping[str, int]) -> AgentStep:
    tool_s = entry.get("tool_s", 0)
    if isinstance(tool_s, bool) or not isinstance(tool_s, int | float) or not 0 <= tool_s <= MAX_TOOL_S:
        raise BadLine(f"step {number}: tool_s: expected seconds from 0 to {MAX_TOOL_S:.0f}, got {_got(tool_s)}")
    parents = entry.get("parents")
    if parents is None:
        return AgentStep(() if number == 1 else (number - 2,), float(tool_s))
    if not isinstance(parents, list):
        raise BadLine(f"step {number}: parents: expected a list of ids, got {kind(parents)}")
    missing = [position for position, parent in enumerate(parents, start=1) if not _is_id(parent, positions)]
    if missing:
        raise BadLine(f"step {number}: parents: expected ids of steps of this session, parent {missing[0]} is none")
    return AgentStep(tuple(sorted({positions[str(parent)] for parent in parents})), float(tool_s))


def _is_id(value: Any, positions: Mapping[str, int]) -> bool:
    return isinstance(value, str | int) and str(value) in positions


def _got(value: Any) -> str:
    return figure(value) if isinstance(value, float | int) and not isinstance(value, bool) else kind(value)


def _check_apis(asked: Sequence[str]) -> None:
    for number, each in enumerate(asked, start=1):
        if (each == "messages") != (asked[0] == "messages"):
            raise BadLine(f"step {number}: url: expected a request to {asked[0]} as step 1, which has other "
                          f"credentials, got one to {each}")  # fmt: skip


def _check_order(steps: Sequence[AgentStep]) -> None:
    children, waits_for = children_of(steps), [len(step.parents) for step in steps]
    ready = [position for position, count in enumerate(waits_for) if not count]
    while ready:
        for child in children[ready.pop()]:
            waits_for[child] -= 1
            if not waits_for[child]:
                ready.append(child)
    if any(waits_for):
        first = next(number for number, count in enumerate(waits_for, start=1) if count)
        raise BadLine(f"step {first}: parents: expected no circle, got one among steps that wait for each other")


def children_of(steps: Sequence[AgentStep]) -> list[list[int]]:
    """Of each step the positions of those that need its answer."""
    children: list[list[int]] = [[] for _ in steps]
    for position, step in enumerate(steps):
        for parent in step.parents:
            children[parent].append(position)
    return children


def ancestors_of(steps: Sequence[AgentStep], position: int) -> set[int]:
    """The positions of all steps that have to be answered before one is asked."""
    found: set[int] = set()
    left = list(steps[position].parents)
    while left:
        parent = left.pop()
        if parent not in found:
            found.add(parent)
            left += steps[parent].parents
    return found


def made_up_steps(count: int, fan_out: Callable[[], int], tool_s: Callable[[], float]) -> list[AgentStep]:
    """An agent's session of `count` steps: after each answer so many steps at once as `fan_out` draws, whose answers
    the next one needs; `tool_s` draws the pause before each step but the first."""
    steps = [AgentStep((), 0.0)]
    before = 0
    while (left := count - len(steps)) > 0:
        begin = len(steps)
        steps += [AgentStep((before,), tool_s()) for _ in range(min(left, max(1, fan_out())))]
        before = begin
        if len(steps) - begin > 1 and len(steps) < count:
            before = len(steps)
            steps.append(AgentStep(tuple(range(begin, before)), tool_s()))
    return steps
