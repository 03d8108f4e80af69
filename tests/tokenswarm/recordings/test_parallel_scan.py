from __future__ import annotations

import io
import json
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenswarm.recordings.test_index import batch, write
from tokenswarm.recordings.bodies import BadLine
from tokenswarm.recordings.parallel_scan import _bounds, _joined, _read, _write, scan_in_parallel
from tokenswarm.recordings.scan import Index, scan, scan_part


def in_parts(path: Path, count: int) -> Index | None:
    """What processes do, in this one."""
    with path.open("rb") as file:
        bounds = _bounds(file, path.stat().st_size, count)
    parts = []
    for begin, end in pairwise(bounds):
        output = io.BytesIO()
        _write(output, *scan_part(path, "chat", begin, end))
        parts.append(_read(output, path, "chat"))
    return _joined(path, "chat", parts)


def line(at: int, session: str | None, **more: Any) -> dict[str, Any]:
    return {**batch(at), **({} if session is None else {"session_id": session}), **more}


SESSIONS = st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=1, max_size=30)


@given(sessions=SESSIONS, count=st.integers(1, 6), blank=st.integers(0, 30), bom=st.booleans())
def test_parts_come_to_the_same_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[str | None], count: int, blank: int, bom: bool
) -> None:
    lines: list[Any] = [line(at, session) for at, session in enumerate(sessions)]
    lines.insert(min(blank, len(lines)), " \r")
    lines[0] = ("\ufeff" if bom else "") + (lines[0] if isinstance(lines[0], str) else json.dumps(lines[0]))
    path = write(tmp_path_factory.mktemp("parts") / "r.jsonl", *lines)
    assert in_parts(path, count) == scan(path, "chat", 0)


@pytest.mark.parametrize(
    "lines",
    [
        [batch(5)] * 20 + [batch(4)] * 20,  # backwards between two parts
        [batch(1)] * 20 + [batch()] * 20,
        [batch()] * 20 + [batch(url="/v1/messages")] * 20,
        [batch()] * 20 + [{"conversations": [{"from": "human", "value": "a" * 180}]}] * 20,
    ],
)
def test_parts_that_do_not_fit_are_left_to_the_whole(tmp_path: Path, lines: list[Any]) -> None:
    path = write(tmp_path / "r.jsonl", *lines)
    with suppress(BadLine):  # where the bound lies elsewhere
        assert in_parts(path, 2) is None


def test_processes_make_the_same_index(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", *[line(at, f"s{at % 7}") for at in range(200)])
    assert scan_in_parallel(path, "chat", path.stat().st_size, 2) == scan(path, "chat", 0)


def test_a_line_that_is_none_is_left_to_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", *[batch(at) for at in range(20)], "x", *[batch(at) for at in range(20, 40)])
    assert scan_in_parallel(path, "chat", path.stat().st_size, 2) is None


def test_a_list_and_a_single_processor_are_left_to_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", [{"conversations": [{"from": "human", "value": "a"}]}])
    assert scan_in_parallel(path, "chat", path.stat().st_size, 2) is None
    assert scan_in_parallel(path, "chat", path.stat().st_size, 1) is None
