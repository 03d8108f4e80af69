"""The run that a run is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenswarm.live.run_list import RunList, find_previous
from tokenswarm.userinput import BadInput


def run(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "run.json").write_text("{}")
    return directory


def test_the_run_before_is_of_the_same_test_where_there_is_one(tmp_path: Path) -> None:
    first, second = run(tmp_path / "smoke" / "20260101-000000"), run(tmp_path / "smoke" / "20260102-000000")
    third, other = run(tmp_path / "smoke" / "20260103-000000"), run(tmp_path / "peak" / "20260102-120000")
    (tmp_path / "smoke" / "20260102-999999").mkdir()
    assert find_previous(third, [first, other]) == second
    assert find_previous(second, []) == first
    assert find_previous(other, [first, second]) == second
    assert find_previous(first, []) is None


@pytest.mark.parametrize("number", [-1, 0, 1])
def test_only_a_run_of_the_list_is_compared(number: int) -> None:
    with pytest.raises(BadInput, match=f"comparison: expected a run with another one before it, got run {number}"):
        RunList().compare(number)
