from __future__ import annotations

import random
import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenswarm.recordings.test_index import BODY
from tokenswarm.recordings.bodies import BadLine
from tokenswarm.recordings.graph import (
    AgentStep,
    ancestors_of,
    children_of,
    made_up_steps,
    read_steps,
)


def step(identity: str | None = None, **more: Any) -> dict[str, Any]:
    return {**({"id": identity} if identity else {}), "body": BODY, **more}


def test_without_parents_a_step_waits_for_the_one_before() -> None:
    assert read_steps([step(), step(tool_s=0.5), step()], "chat") == [
        AgentStep((), 0),
        AgentStep((0,), 0.5),
        AgentStep((1,), 0),
    ]


@pytest.mark.parametrize("turn", [1, -1])
def test_a_chain_is_checked_in_the_time_of_its_length(turn: int) -> None:
    few, many = (lines_run_to_read(chain(count)[::turn]) for count in (200, 800))
    assert many < 5 * few, "looking through all for each would be 16 times as many"


def chain(count: int) -> list[dict[str, Any]]:
    return [step(str(at), parents=[str(at - 1)] if at else []) for at in range(count)]


def lines_run_to_read(entries: list[dict[str, Any]]) -> int:
    lines = 0

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        read_steps(entries, "chat")
    finally:
        sys.settrace(before)
    return lines


def test_a_fan_out_and_a_join_in_any_order_of_the_file() -> None:
    steps = read_steps([step("join", parents=["a", "b"]), step("a", parents=["root"]), step("root", parents=[]),
                        step("b", parents=["root"], tool_s=2)], "chat")  # fmt: skip
    assert [each.parents for each in steps] == [(1, 3), (2,), (), (2,)]
    assert children_of(steps) == [[], [0], [1, 3], [0]]


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ([], "steps: expected a list of 1 to 10000 steps, got an empty list"),
        (["Anna"], "step 1: expected an object, got text"),
        ([{}], "step 1: body: expected an object, got none"),
        ([step(body={"messages": "Anna"})], "step 1: messages: expected a list of messages, got text"),
        ([step("a"), step("a")], "step 2: id: expected each once, got that of step 1"),
        ([step("a"), step("b", parents=["a", "Anna"])],
         "step 2: parents: expected ids of steps of this session, parent 2 is none"),
        ([step("a"), step("b", parents="a")], "step 2: parents: expected a list of ids, got text"),
        ([step("a", parents=["a"])],
         "step 1: parents: expected no circle, got one among steps that wait for each other"),
        ([step("a"), step("b", parents=["c"]), step("c", parents=["b"])],
         "step 2: parents: expected no circle, got one among steps that wait for each other"),
        ([step(tool_s=-1)], "step 1: tool_s: expected seconds from 0 to 86400, got -1"),
        ([step(tool_s=10**400)], "step 1: tool_s: expected seconds from 0 to 86400, got a number of over 300 digits"),
        ([step("None"), step("b", parents=[None])], "step 2: parents: expected ids of steps of this session, parent 1 "
         "is none"),
        ([step(tool_s="1")], "step 1: tool_s: expected seconds from 0 to 86400, got text"),
        ([{**step(), "id": {"Anna": 1}}], "step 1: id: expected text or a whole number, got an object"),
        ([step("a"), step("b", depends_on=["a"])], "step 2: depends_on: expected parents, as this format calls it"),
        ([step(delay_ms=20)], "step 1: delay_ms: expected tool_s, as this format calls it"),
        ([step(), step(), step(url="/v1/messages")],
         "step 3: url: expected a request to chat as step 1, which has other credentials, got one to messages"),
    ],
)  # fmt: skip
def test_a_graph_that_is_none_is_named(steps: Any, what: str) -> None:
    with pytest.raises(BadLine) as caught:
        read_steps(steps, "chat")
    assert str(caught.value) == what


def random_steps(rng: random.Random) -> list[AgentStep]:
    """A random graph whose steps stand in no order."""
    count = rng.randrange(1, 12)
    order = rng.sample(range(count), count)
    place = {step: position for position, step in enumerate(order)}
    steps = []
    for step in range(count):
        before = [other for other in order if place[other] < place[step]]
        steps.append(AgentStep(tuple(sorted(rng.sample(before, min(len(before), rng.randrange(3))))), rng.random()))
    return steps


@given(count=st.integers(1, 60), widths=st.lists(st.integers(1, 6), min_size=1))
def test_made_up_sessions_part_and_come_together(count: int, widths: list[int]) -> None:
    drawn = iter(widths * 60)
    steps = made_up_steps(count, lambda: next(drawn), lambda: 0.5)
    assert len(steps) == count and steps[0] == AgentStep((), 0.0)
    for position, step in enumerate(steps[1:], start=1):
        assert step.parents and max(step.parents) < position and step.tool_s == 0.5
        if len(step.parents) > 1:  # they came from one answer
            assert len({steps[parent].parents for parent in step.parents}) == 1
    at_once = [len(children) for children in children_of(steps)]
    assert max(at_once) <= max(widths)
    joined = {parent for step in steps for parent in step.parents if len(step.parents) > 1}
    parted = {child for children in children_of(steps) if len(children) > 1 for child in children}
    last = [position for position, children in enumerate(children_of(steps)) if not children]
    assert parted - joined <= set(last)


def test_all_steps_before_one_are_its_ancestors() -> None:
    steps = [AgentStep(parents, 0.0) for parents in [(), (0,), (0,), (1, 2), ()]]
    assert [ancestors_of(steps, position) for position in range(5)] == [set(), {0}, {0}, {0, 1, 2}, set()]
