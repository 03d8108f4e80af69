"""Curves of four slots of a second each: every figure of a level is known."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from analysis.findings.answer import answer_of
from analysis.findings.load_curve import LoadCurve
from analysis.findings.summarise import summarise
from analysis.findings.summary import Summary
from analysis.report import exports, markdown
from analysis.report.html import render as render_html
from analysis.report.terminal import print_report
from analysis.sources.loading import load_run
from tests.analysis.run_directories import T, answered, write_run
from tokenswarm.record import RequestRecord

SLOTS, LEVEL_S = 4, 40.0
USERS = (1, 2, 4, 8)


def closed_level(users: int, begin: float) -> list[RequestRecord]:
    """Users that ask again at once; four are served at a time, a second each, the others wait. 20 tokens an answer."""
    e2e_s = max(1.0, users / SLOTS)
    return [
        answered(
            f"u{users}-{user}-{turn}", begin + turn * e2e_s + user * e2e_s / users, 100.0 * e2e_s, 999.0 * e2e_s, 20
        )
        for user in range(users)
        for turn in range(int(LEVEL_S / e2e_s))
    ]


def stepped(tmp_path: Path, **more: Any) -> Summary:
    records = [record for at, users in enumerate(USERS) for record in closed_level(users, at * LEVEL_S)]
    spans = [
        {"load": float(users), "begin": T + at * LEVEL_S, "end": T + (at + 1) * LEVEL_S}
        for at, users in enumerate(USERS)
    ]
    sent = {"planned": None, "sent": len(records), "dropped": 0, "cancelled": 0, "rows": len(records)}
    meta = {
        "state": "finished", "started_at": T, "ended_at": T + len(USERS) * LEVEL_S, "accounting": sent,
        "levels": {"unit": "users", "spans": spans},
        "options": {"shape": "step", "failure-criteria": "p95(ttft_ms) > 150"},
    } | more  # fmt: skip
    return summarise(load_run(write_run(tmp_path / "run", records, meta)))


def curve(summary: Summary) -> LoadCurve:
    assert summary.curve is not None
    return summary.curve


def test_a_stepped_run_has_a_line_a_level_with_hand_worked_figures(tmp_path):
    levels = curve(stepped(tmp_path)).levels
    assert [level.label for level in levels] == ["1 user", "2 users", "4 users", "8 users"]
    assert [level.figures.rpm for level in levels] == pytest.approx([60, 120, 240, 240], rel=0.05)
    assert [level.figures.tokens_per_s for level in levels] == pytest.approx([20, 40, 80, 80], rel=0.05)
    assert [level.figures.ttft_p95.value for level in levels] == pytest.approx([100, 100, 100, 200])
    assert [level.figures.e2e_p95.value for level in levels] == pytest.approx([999, 999, 999, 1998])
    assert [level.figures.per_user.value for level in levels] == pytest.approx([100, 100, 100, 50])


def test_the_first_tenth_of_a_level_is_left_out(tmp_path):
    [first, *_] = curve(stepped(tmp_path)).levels
    assert (first.figures.span.begin, first.figures.span.end) == (T + 4, T + 40)
    assert first.figures.sent == 36


def test_its_knee_is_at_the_slots_and_the_answer_is_where_criteria_held(tmp_path):
    found = curve(stepped(tmp_path))
    assert found.knee is not None and (found.knee.load, found.knee.low, found.knee.high) == (4, 2, 8)
    assert found.knee_sentence.startswith("the knee is at 4 users, between 2 and 8 users (power: ")
    assert [level.holds for level in found.levels] == [True, True, True, False]
    assert found.levels[-1].breaks == ["p95(ttft_ms) must be at most 150 ms, was 200 ms (n = 144)"]
    assert found.carried == 4
    assert [level.on_front for level in found.levels] == [False, False, True, False]


def test_of_which_requests_the_figures_of_a_level_are_is_said(tmp_path):
    page = markdown.render([stepped(tmp_path)])
    assert "not ok are of the requests that were started in a level; RPM and tokens/s of the answers that ended" in page


def test_what_was_carried_and_the_knee_are_the_headline(tmp_path):
    found = answer_of(stepped(tmp_path))
    assert found.why.startswith(
        "the criteria held up to 4 users; the knee is at 4 users, between 2 and 8 users; "
        "p95(ttft_ms) must be at most 150 ms, was 200 ms over all levels together (n = "
    )
    [capacity, *_] = found.tiles
    assert (capacity.name, capacity.value) == ("Capacity", "4 users")


def test_cost_is_of_the_level(tmp_path):
    """100 prompt tokens at 2 and 20 of completion at 10 a million: 0.0004 an answer."""
    prices = {"format": "tokenswarm prices 1", "given": {"prompt": 2.0, "completion": 10.0}}
    levels = curve(stepped(tmp_path, prices=prices)).levels
    assert [level.cost_per_1000 for level in levels] == pytest.approx([0.4] * 4)


def test_a_provisioned_level_costs_its_hours_whatever_it_answers(tmp_path):
    """10 units at 1 an hour, 60 answers a minute: 10 for 3,600 answers; at capacity a quarter of it."""
    prices = {"format": "tokenswarm prices 1", "given": {"ptu_hour": 1.0}}
    levels = curve(stepped(tmp_path, prices=prices, quota={"ptu": 10})).levels
    assert levels[0].cost_per_1000 == pytest.approx(1000 * 10 / 3600, rel=0.05)
    assert levels[2].cost_per_1000 == pytest.approx(1000 * 10 / 14400, rel=0.05)


def test_an_unknown_price_is_no_cost_and_no_column(tmp_path):
    summary = stepped(tmp_path)
    assert {level.cost_per_1000 for level in curve(summary).levels} == {None}
    assert "USD a 1,000" not in markdown.render([summary])


def test_a_run_of_before_levels_were_written_has_them_from_its_plan(tmp_path):
    stages = ", ".join(f"0s:{users}, {LEVEL_S}s:{users}" for users in USERS)
    old = curve(stepped(tmp_path / "old", levels=None, options={"shape": "stages", "stages": stages}))
    new = curve(stepped(tmp_path / "new", options={}))
    assert old == new and len(old.levels) == len(USERS)


def test_one_load_is_no_curve(tmp_path):
    one = {"unit": "users", "spans": [{"load": 1.0, "begin": T, "end": T + 40}]}
    assert stepped(tmp_path, levels=one).curve is None


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        7,
        {"unit": "users"},
        {"unit": 3, "spans": "x"},
        {"unit": "users", "spans": [3, {}, {"load": "1", "begin": 2, "end": 1}]},
    ],
)
def test_levels_that_are_damaged_are_none(tmp_path, damaged):
    assert stepped(tmp_path, levels=damaged).curve is None


def test_every_medium_has_the_table_and_the_page_the_plots(tmp_path):
    summary = stepped(tmp_path)
    out = io.StringIO()
    print_report([summary], out)
    page = render_html([load_run(tmp_path / "run")], [summary])
    for text in (out.getvalue(), markdown.render([summary]), page):
        assert "By level of load" in text and "8 users" in text
        assert "nee is at 4 users, between 2 and 8 users" in text
    assert "criteria held up to 4 users" in page and "Speed per user against the system" in page
    told = json.loads(exports.summary_json([summary]))
    assert told["curve"]["knee"]["load"] == 4 and len(told["curve"]["levels"]) == 4
