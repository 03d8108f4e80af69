"""What a run has cost so far, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tokenswarm.metrics.prices import Prices, PriceTable
from tokenswarm.metrics.spending import Spending
from tokenswarm.record import Outcome, RequestRecord

TABLE = PriceTable(ptu_hour=2.0, models={"m": Prices(prompt=2, cached=0.5, completion=8), "n": Prices(prompt=1)})


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
