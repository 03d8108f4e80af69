from __future__ import annotations

import pytest

from tokenswarm.preflight.engines import Engines, read_engines
from tokenswarm.userinput import BadInput


@pytest.mark.parametrize(
    ("environment", "engines"),
    [
        ({}, Engines(1, 0)),
        ({"TOKENSWARM_ENGINE_COUNT": "1", "TOKENSWARM_ENGINE_INDEX": ""}, Engines(1, 0)),
        ({"TOKENSWARM_ENGINE_COUNT": "4", "TOKENSWARM_ENGINE_INDEX": " 3 "}, Engines(4, 3)),
        ({"TOKENSWARM_ENGINE_COUNT": "4"}, Engines(4, 2, known=False)),
    ],
)
def test_reads_the_place(environment: dict[str, str], engines: Engines) -> None:
    assert read_engines(environment, lambda count: count // 2) == engines


@pytest.mark.parametrize(
    ("count", "index", "problems"),
    [("0", "", 1), ("many", "-1", 2), ("4", "4", 1), ("", "2", 1), ("1001", "0", 1), ("²", "", 1)],
)
def test_lists_what_is_wrong(count: str, index: str, problems: int) -> None:
    with pytest.raises(BadInput) as caught:
        read_engines({"TOKENSWARM_ENGINE_COUNT": count, "TOKENSWARM_ENGINE_INDEX": index})
    assert len(caught.value.problems) == problems


def test_engines_and_their_workers_share_one_plan_without_gap_or_overlap() -> None:
    places = [Engines(3, index).place(position, 2) for index in range(3) for position in range(2)]
    assert places == [(0, 6), (1, 6), (2, 6), (3, 6), (4, 6), (5, 6)]


def test_a_drawn_place_is_below_the_count() -> None:
    engines = read_engines({"TOKENSWARM_ENGINE_COUNT": "4"})
    assert 0 <= engines.index < 4
    assert (engines.count, engines.known) == (4, False)
