"""Sweeps of four slots of a second each, whose runs are written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.__main__ import main
from tests.analysis.findings.test_load_curve import LEVEL_S, closed_level
from tests.analysis.run_directories import T, write_run
from tokenswarm.sweep_file import FINISHED, SweepFile, SweepLevel


def written(directory: Path, axes: dict[str, list[str]], unfinished: str = "") -> Path:
    """A sweep over users, and a second axis that changes nothing."""
    other = next((axis for axis in axes if axis != "users"), None)
    levels = []
    for value in axes[other] if other else [""]:
        for users in axes["users"]:
            values = {"users": users, **({other: value} if other else {})}
            name = "-".join(values.values())
            records = closed_level(int(users), 0.0)
            sent = {"planned": None, "sent": len(records), "dropped": 0, "cancelled": 0, "rows": len(records)}
            meta = {
                "state": "finished", "started_at": T, "ended_at": T + LEVEL_S, "accounting": sent,
                "options": {"users": users, "failure-criteria": "p95(ttft_ms) > 150"},
            }  # fmt: skip
            write_run(directory / name, records, meta)
            level = SweepLevel(values, FINISHED, name, 0)
            levels.append(SweepLevel(values) if users == unfinished else level)
    SweepFile("1", "my.conf", "f", axes, levels).write(directory)
    return directory


def test_the_levels_of_one_axis_are_one_curve(tmp_path, capsys):
    directory = written(tmp_path, {"users": ["1", "2", "4", "8"]})
    assert main(["sweep-report", str(directory)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("the criteria held up to 4 users; the knee is at 4 users, between 2 and 8 users\n")
    [curve] = json.loads((directory / "sweep_summary.json").read_text())["curves"]
    assert [level["figures"]["rpm"] for level in curve["levels"]] == pytest.approx([60, 120, 240, 240], rel=0.05)
    assert [level["holds"] for level in curve["levels"]] == [True, True, True, False]
    page = (directory / "sweep.html").read_text()
    assert "criteria held up to 4 users" in page and "knee: 4 users" in page
    assert "the knee is at 4 users" in (directory / "sweep.md").read_text()


def test_a_second_axis_has_a_curve_each_and_one_front(tmp_path, capsys):
    directory = written(tmp_path, {"max-tokens": ["100", "400"], "users": ["1", "2", "4", "8"]})
    assert main(["sweep-report", str(directory)]) == 0
    out = capsys.readouterr().out
    assert "max-tokens=100: the criteria held up to 4 users" in out and "max-tokens=400: the criteria held" in out
    curves = json.loads((directory / "sweep_summary.json").read_text())["curves"]
    fronts = [[level["on_front"] for level in curve["levels"]] for curve in curves]
    assert fronts == [[False, False, True, False]] * 2  # equal points are both on it


def test_what_is_missing_is_said(tmp_path, capsys):
    directory = written(tmp_path, {"users": ["1", "2", "4"]}, unfinished="4")
    assert main(["sweep-report", str(directory)]) == 0
    assert "1 level is missing: users=4. Run the sweep again." in capsys.readouterr().out


def test_nothing_finished_is_no_report(tmp_path, capsys):
    assert main(["sweep-report", str(written(tmp_path, {"users": ["1"]}, unfinished="1"))]) == 2
    assert "expected a finished level" in capsys.readouterr().err
    assert not (tmp_path / "sweep.html").exists()
    assert main(["sweep-report", str(tmp_path / "none")]) == 2


def test_a_key_among_the_values_is_in_no_output(tmp_path, capsys):
    directory = written(tmp_path, {"deployment": ["sk-PLANTED0123456789abcdef", "b"], "users": ["1", "2", "4"]})
    assert main(["sweep-report", str(directory)]) == 0
    said = "".join(path.read_text() for path in directory.glob("sweep[._]*") if path.name != "sweep.json")
    assert said.count("deployment=***") > 4
    assert "PLANTED" not in said + capsys.readouterr().out
