from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from simulator.known_timing.timing_wheel import TimingWheel


@dataclass
class Item:
    due: float


def test_hands_out_an_item_in_the_tick_after_its_due() -> None:
    wheel: TimingWheel[Item] = TimingWheel(100.0, tick_s=0.001)
    item = Item(100.0105)
    wheel.put(item)
    assert list(wheel.take(100.0104)) == []
    assert list(wheel.take(100.0106)) == []  # due, but its tick ends at 100.011
    assert list(wheel.take(100.0111)) == [item]
    assert wheel.items == 0


def test_an_item_that_is_due_already_comes_with_the_next_tick() -> None:
    wheel: TimingWheel[Item] = TimingWheel(100.0, tick_s=0.001)
    assert list(wheel.take(100.5)) == []
    item = Item(100.2)
    wheel.put(item)
    assert list(wheel.take(100.502)) == [item]


def test_items_beyond_the_horizon_wait_for_their_due() -> None:
    wheel: TimingWheel[Item] = TimingWheel(0.0, tick_s=0.01, slots=8)
    item = Item(1.0)
    wheel.put(item)
    seen = [(now / 100, got) for now in range(120) for got in wheel.take(now / 100)]
    assert [got for _, got in seen] == [item]
    assert 1.0 <= seen[0][0] <= 1.03


def test_waits_until_the_next_item_and_no_longer_than_told() -> None:
    wheel: TimingWheel[Item] = TimingWheel(0.0, tick_s=0.001)
    assert wheel.wait_s(0.0, 0.5) == 0.5
    wheel.put(Item(0.0205))
    assert abs(wheel.wait_s(0.0, 0.5) - 0.021) < 1e-9
    assert wheel.wait_s(0.0, 0.01) == 0.01
    assert wheel.wait_s(0.4, 0.5) == 0.0


@given(st.lists(st.floats(0.0, 3.0), max_size=50), st.lists(st.floats(0.0, 0.2), min_size=1, max_size=60))
def test_every_item_comes_once_and_never_early(dues: list[float], steps: list[float]) -> None:
    wheel: TimingWheel[Item] = TimingWheel(0.0, tick_s=0.01, slots=64)
    items = [Item(due) for due in dues]
    for item in items:
        wheel.put(item)
    now, taken = 0.0, []
    for step in [*steps, *[0.05] * 100]:
        now += step
        for item in wheel.take(now):
            assert item.due <= now + 1e-9
            taken.append(id(item))
    assert sorted(taken) == sorted(id(item) for item in items)
