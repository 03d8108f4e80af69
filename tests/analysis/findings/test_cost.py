"""Money: sums worked by hand, and what is not known is a dash with its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.figures.window import Window
from analysis.findings.answer import answer_of
from analysis.findings.break_even import BreakEven, MinuteTokens, break_even, minutes_of
from analysis.findings.summarise import summarise
from analysis.findings.summary import Summary
from analysis.report import load_tables
from analysis.sources.loading import load_run
from tests.analysis.run_directories import T, answered, refused, write_run
from tokenswarm.metrics.prices import Prices, PriceTable
from tokenswarm.record import Outcome

TABLE = PriceTable(currency="EUR", as_of="2026-11", models={"m": Prices(prompt=2, cached=0.5, completion=8)})


def summary_of(directory: Path, records: list[Any], table: PriceTable | None = TABLE, **meta: Any) -> Summary:
    made = {"state": "finished", "started_at": T, "ended_at": T + 120, "target": {"deployment": "m"}, **meta}
    return summarise(load_run(write_run(directory / "run", records, made)), prices=table)


def test_the_costs_of_a_run_by_hand(tmp_path):
    # 60 answers of 100 prompt (40 cached) and 50 completion: 60 x 2 + 40 x 0.5 + 50 x 8 = 540 per million each
    records = [answered(f"a{n}", n, 10, 100, 50, cached_tokens=40, model="m-2026-01-01") for n in range(60)]
    records.append(refused("f", 70, Outcome.HTTP_ERROR, status=500))
    cost = summary_of(tmp_path, records).cost
    assert cost is not None
    assert cost.run == pytest.approx(60 * 540e-6)
    assert cost.per_request == pytest.approx(540e-6)
    assert cost.per_1000_answers == pytest.approx(0.54)
    # two minutes: 30 times as much an hour, 730 hours a month
    assert cost.per_month == pytest.approx(60 * 540e-6 * 30 * 730)
    assert (cost.currency, cost.as_of, cost.missing, cost.of_answers, cost.answers) == ("EUR", "2026-11", [], 60, 60)


def test_models_are_billed_each_by_its_own_price(tmp_path):
    table = PriceTable(models={"m": Prices(prompt=2, completion=8), "n": Prices(prompt=1, completion=1)})
    records = [answered("a", 0, 10, 100, 50, model="m"), answered("b", 1, 10, 100, 50, model="n")]
    cost = summary_of(tmp_path, records, table).cost
    assert cost is not None and cost.run == pytest.approx((100 * 2 + 50 * 8 + 150) / 1e6)


def test_a_missing_price_is_a_dash_that_names_the_model(tmp_path):
    summary = summary_of(tmp_path, [answered("a", 0, 10, 100, 50, model="x-large")], target={"deployment": "mine"})
    cost, made = summary.cost, load_tables.cost(summary)
    assert cost is not None and made is not None
    assert (cost.run, cost.per_month, cost.missing) == (None, None, ["x-large"])
    assert {row.cells[0].text for row in made.rows} == {"–"}
    assert any("no price is known of x-large" in note for note in made.notes)
    tile = next(tile for tile in answer_of(summary).tiles if tile.name == "Cost of 1,000 answers")
    assert (tile.value, tile.note) == ("–", "no price of x-large is known")


def test_answers_without_usage_are_said_and_not_billed_as_nothing(tmp_path):
    records = [answered("a", 0, 10, 100, 50), answered("b", 1, 10, 100, 50, token_source="none")]
    summary = summary_of(tmp_path, records)
    made = load_tables.cost(summary)
    assert made is not None and any("Of 1 of 2 answers" in note for note in made.notes)
    assert summary.cost is not None and summary.cost.per_request == pytest.approx((100 * 2 + 50 * 8) / 1e6)


def test_the_run_beside_its_budget(tmp_path):
    summary = summary_of(tmp_path, [answered("a", 0, 10, 100, 50)], options={"max-cost": 0.0012})
    tile = next(tile for tile in answer_of(summary).tiles if tile.name == "Cost of 1,000 answers")
    assert (tile.limit, tile.headroom) == ("the run: 0.000600 EUR of 0.00120 EUR", "headroom 50 %")


def test_damaged_prices_of_run_json_are_named(tmp_path):
    summary = summary_of(tmp_path, [answered("a", 0, 10, 100, 50)], None, prices={"format": "something else"})
    assert summary.cost is not None and "expected format" in summary.cost.missing[0]


def test_whole_minutes_from_the_start_of_the_window(tmp_path):
    records = [
        answered("a", 10, 10, 100, 50),
        answered("b", 70, 10, 100, 20, cached_tokens=30),
        answered("c", 130, 1, 2, 9),
    ]
    run = load_run(write_run(tmp_path / "r", records, {"state": "finished", "started_at": T}))
    assert minutes_of(run.rows, Window(T, T + 125)) == [MinuteTokens(100, 0, 50), MinuteTokens(100, 30, 20)]
    assert minutes_of(run.rows, Window(T, T + 59)) == []


def test_three_ways_to_buy_by_hand():
    """gpt-4.1: 3000 input tokens a minute and PTU, an output token weighs 4, at least 15 PTUs in steps of 5."""
    prices = Prices(prompt=2, completion=8, ptu_hour=1.0)
    # 40,000 + 4 x 5,000 = 60,000 a minute: 20 PTUs; one minute in ten is 3 times as full: 180,000: 60 PTUs
    quiet, busy = MinuteTokens(40_000, 0, 5_000), MinuteTokens(120_000, 0, 15_000)
    found = break_even([quiet] * 9 + [busy], "gpt-4.1", prices)
    assert isinstance(found, BreakEven)
    # a quiet minute is 0.08 + 0.04 = 0.12, the busy one 0.36: 1.44 in ten minutes, 8.64 an hour
    assert found.pay_as_you_go == pytest.approx(8.64 * 730)
    assert (found.units, found.provisioned) == (60, pytest.approx(60 * 730))
    # with 15 PTUs (45,000): 15,000 of 60,000 and 135,000 of 180,000 spill: (9 x 0.03 + 0.27) / 1.44 = 37.5 %
    assert found.spill_units == 15
    assert found.spilled_pct == pytest.approx(37.5)
    assert found.with_spillover == pytest.approx((15 + 8.64 * 0.375) * 730)
    assert found.provisioned_from_h == pytest.approx(60 * 730 / 8.64)
    assert found.cheapest == "pay-as-you-go"


@pytest.mark.parametrize(
    ("minutes", "model", "prices", "lacks"),
    [
        ([], "gpt-4.1", Prices(prompt=2, completion=8, ptu_hour=1), "no whole minute"),
        ([MinuteTokens(1, 0, 1)], "unheard-of", Prices(prompt=2, completion=8, ptu_hour=1), "has no unheard-of"),
        ([MinuteTokens(1, 0, 1)], "gpt-4.1", Prices(prompt=2, completion=8), "no price of a provisioned unit"),
        ([MinuteTokens(1, 0, 1)], "gpt-4.1", Prices(prompt=2, ptu_hour=1), "a price of gpt-4.1 is not known"),
        ([MinuteTokens(0, 0, 0)], "gpt-4.1", Prices(prompt=2, completion=8, ptu_hour=1), "no whole minute"),
    ],
)
def test_no_ways_without_what_they_need(minutes, model, prices, lacks):
    assert lacks in break_even(minutes, model, prices)


def provisioned(directory: Path, **meta: Any) -> Summary:
    """Two minutes of 3 units: 30 answers from them and 10 that were passed on, 100 prompt and 50 completion each."""
    table = PriceTable(ptu_hour=2.0, models={"m": Prices(prompt=2, completion=8)})
    records = [answered(f"a{n}", n, 10, 100, 50, model="m", utilization_pct=40.0) for n in range(30)]
    records += [answered(f"s{n}", 30 + n, 10, 100, 50, model="m", spilled_from="m-ptu", route="m-s") for n in range(10)]
    return summary_of(directory, records, meta.pop("table", table), **meta)


def test_the_costs_of_provisioned_units_by_hand(tmp_path):
    cost = provisioned(tmp_path, quota={"ptu": 3.0}).cost
    assert cost is not None
    # 3 units of 2.00 an hour for 120 s: 0.20; the ten passed on: 10 x (100 x 2 + 50 x 8) per million = 0.006
    assert (cost.units, cost.of_units) == (3.0, pytest.approx(0.2))
    assert cost.run == pytest.approx(0.206)
    assert cost.per_request == pytest.approx(0.206 / 40)
    assert cost.per_month == pytest.approx((3 * 2.0 + 0.006 * 30) * 730)
    assert not cost.says_provisioned


def test_units_have_a_row_and_a_note_of_their_own(tmp_path):
    made = load_tables.cost(provisioned(tmp_path, quota={"ptu": 3.0}))
    assert made is not None
    assert [row.label for row in made.rows][:2] == ["the run", "its provisioned units"]
    assert any(note.startswith("3 provisioned units are paid for by the hour") for note in made.notes)


def test_units_without_a_price_are_a_dash_that_says_so(tmp_path):
    table = PriceTable(models={"m": Prices(prompt=2, completion=8)})
    summary = provisioned(tmp_path, quota={"ptu": 3.0}, table=table)
    cost, made = summary.cost, load_tables.cost(summary)
    assert cost is not None and made is not None
    assert (cost.run, cost.per_request, cost.per_month) == (None, None, None)
    assert {row.cells[0].text for row in made.rows} == {"–"}
    assert any("no price is known of a provisioned unit and hour" in note for note in made.notes)


def test_answers_of_units_that_nobody_gave_are_said(tmp_path):
    summary = provisioned(tmp_path)
    made = load_tables.cost(summary)
    assert summary.cost is not None and summary.cost.run == pytest.approx(40 * 600e-6) and made is not None
    assert any("give their number (ptu)" in note for note in made.notes)
