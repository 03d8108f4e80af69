"""The price table: hand-worked sums; a missing price is none, never 0; damaged tables are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tokenswarm.metrics.prices import Prices, PriceTable, Spending, built_in, parse_table, price_problem, read_table
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.userinput import BadInput

GOOD = """format = "tokenswarm prices 1"
as_of = "2026-11"
currency = "EUR"
[models]
"m" = { prompt = 2, completion = 8 }
"""
TABLE = PriceTable(ptu_hour=2.0, models={"m": Prices(prompt=2, cached=0.5, completion=8), "n": Prices(prompt=1)})


def test_tokens_cost_by_the_million():
    # 1,000,000 prompt, a quarter of it cached: 750,000 x 2 + 250,000 x 0.5, and 100,000 x 8, per million
    assert Prices(prompt=2, cached=0.5, completion=8).cost(1_000_000, 250_000, 100_000) == 1.5 + 0.125 + 0.8
    assert Prices(prompt=2, completion=8).cost(1_000_000, 250_000, 100_000) == 2.8  # cached ones as any other


def test_a_missing_price_is_none_never_0():
    assert Prices().cost(10, 0, 10) is None
    assert Prices(prompt=2).cost(10, 0, 1) is None
    assert Prices(prompt=2).cost(1_000_000, 0, 0) == 2.0  # embeddings have no completion
    assert Prices(completion=2).cost(10, 0, 10) is None


def test_an_edition_has_the_prices_of_its_model_unless_it_has_its_own():
    table = PriceTable(models={"gpt-4o": Prices(prompt=1), "gpt-4o-2024-05-13": Prices(prompt=5)})
    assert table.of("gpt-4o-2024-11-20").prompt == 1
    assert table.of("gpt-4o-2024-05-13").prompt == 5
    assert table.of("gpt-4o-mini").prompt is None and table.of("").prompt is None


def test_single_prices_stand_in_place_of_the_tables():
    table = PriceTable(models={"m": Prices(prompt=1, completion=3)}).with_given({"prompt": 7.0, "cached": None})
    assert (table.of("m").prompt, table.of("m").completion, table.of("other").prompt) == (7.0, 3, 7.0)


def test_a_table_survives_run_json():
    table = built_in().with_given({"prompt": 2.5})
    again = parse_table(table.facts(), "run.json")
    assert again.of("gpt-4.1-2025-04-14") == table.of("gpt-4.1-2025-04-14")
    assert (again.as_of, again.source) == (table.as_of, table.source)


def test_a_table_of_ones_own(tmp_path: Path):
    path = tmp_path / "prices.toml"
    path.write_text(GOOD)
    table = read_table(path)
    assert (table.of("m").completion, table.currency, table.as_of) == (8.0, "EUR", "2026-11")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected format = 'tokenswarm prices 1', got None"),
        ('format = "tokenswarm prices 2"', "got 'tokenswarm prices 2'"),
        ("model,price\nm,2\n", "expected TOML with format"),
        ("\x00\xff", "expected TOML with format"),
        (GOOD + '"n" = { promt = 1 }', "expected cached, completion, prompt, ptu_hour, got 'promt'"),
        (GOOD + '"n" = { prompt = -1 }', "n: prompt: expected a price of 0 or more per million tokens, got -1"),
        (GOOD + '"n" = { prompt = "2" }', "n: prompt: expected a price of 0 or more"),
        (GOOD + '"n" = { prompt = nan }', "n: prompt: expected a price of 0 or more"),
        (GOOD + '"n" = 2', "expected prices such as"),
    ],
)
def test_a_damaged_or_foreign_table_is_named_with_what_was_expected(tmp_path: Path, text: str, expected: str):
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(BadInput) as caught:
        read_table(path)
    assert expected in str(caught.value) and str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(BadInput, match=r"price-table .*none.toml: expected a readable file"):
        read_table(tmp_path / "none.toml")


def test_a_price_per_1000_of_earlier_versions_is_refused_with_what_to_give():
    problem = price_problem("price-prompt", 0.0025)
    assert problem is not None and problem.endswith("Then give 2.5")
    assert price_problem("price-prompt", 2.5) is None and price_problem("price-prompt", 0) is None


def record(**values: Any) -> RequestRecord:
    used = {"prompt_tokens": 100, "cached_tokens": 40, "completion_tokens": 50, "model": "m-2026-01-01"}
    return RequestRecord(call_id="a", outcome=Outcome.OK, **{**used, **values})


def test_tokens_by_the_model_that_answered() -> None:
    spending = Spending(TABLE, "m")
    assert spending.so_far(10) is None
    spending.add(record(prompt_tokens=None, completion_tokens=None))
    assert spending.so_far(10) is None
    spending.add(record())
    spending.add(record(model="unheard-of"))  # counts as the one that was asked
    assert spending.so_far(10) == pytest.approx(2 * 540e-6)


def test_units_by_the_hour_and_tokens_only_of_what_they_passed_on() -> None:
    spending = Spending(TABLE, "m", 3.0)
    assert spending.so_far(120) == pytest.approx(0.2)
    spending.add(record())
    spending.add(record(spilled_from="m-ptu"))
    assert spending.so_far(120) == pytest.approx(0.2 + 540e-6)


def test_units_without_a_price_have_no_cost() -> None:
    assert Spending(PriceTable(), "m", 3.0).so_far(120) is None
