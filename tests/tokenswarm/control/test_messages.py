from __future__ import annotations

import dataclasses
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.control.messages import (
    ClockAsked,
    ClockTold,
    ControlMessage,
    Drain,
    IllFormed,
    PlanStart,
    Rows,
    SeenBlocks,
    ThreadGiven,
    ThreadParked,
    ThreadWanted,
    decode,
    encode,
)
from tokenswarm.generator.heartbeat import HeartbeatWindow

WINDOW = HeartbeatWindow("w0", 100.0, 1.0, 2.0, 3.0, 20.0)
MESSAGES: list[ControlMessage] = [
    Rows("w0"),
    Rows(
        "w0",
        "run/1",
        1,
        "a,b\n",
        9,
        7,
        7,
        6,
        "/tmp/j.csv",
        "full",
        [WINDOW.to_message()],
        [[100.5, 12.0]],
        4,
        1,
        "checked",
        "beyond",
        120.5,
        [0.0, 0.001, 0.002],
        True,
    ),
    ClockAsked(1.5),
    ClockTold(1.5, 2.5),
    PlanStart(12.5, [0, 1, 2]),
    PlanStart(12.5, [0, 1, 2], [60.0, 0, 10.0]),
    Drain(99, "run/1"),
    SeenBlocks("run/1", b"\xff\x00345678", True),
    ThreadWanted(),
    ThreadGiven(1.0, None, -1),
    ThreadParked(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_way_locust_sends_it(message: ControlMessage) -> None:
    data = msgpack.loads(msgpack.dumps(encode(message)), raw=False)
    assert decode(type(message), data) == message


def test_a_window_survives_a_message() -> None:
    assert decode(Rows, encode(Rows("w0", health=[WINDOW.to_message()]))).windows == [WINDOW]


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"rows": 1},
        {"worker": None},
        {"worker": "w0", "rows": "1"},
        {"worker": "w0", "rows": True},
        {"worker": "w0", "text": b"x"},
        {"worker": "w0", "health": [["w0", None]]},
        {"worker": "w0", "surprise": 1},
        {1: 2},
    ],
)
def test_what_is_no_message_is_refused(data: object) -> None:
    with pytest.raises(IllFormed, match="tokenswarm_rows"):
        decode(Rows, data)


@pytest.mark.parametrize("until", [float("inf"), float("nan"), "9", None, False])
def test_an_instant_is_a_finite_number(until: Any) -> None:
    with pytest.raises(IllFormed, match=r"tokenswarm_drain\.until: expected"):
        decode(Drain, {"until": until, "run": ""})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)
FIELDS = [field.name for field in dataclasses.fields(Rows)]


@given(ANYTHING | st.dictionaries(st.sampled_from(FIELDS), ANYTHING))
def test_nothing_but_a_refusal_comes_of_garbage(data: Any) -> None:
    for kind in (Rows, PlanStart, Drain, SeenBlocks, ThreadGiven):
        try:
            found = decode(kind, data)
            if isinstance(found, Rows):
                _ = found.windows
        except IllFormed:
            continue
