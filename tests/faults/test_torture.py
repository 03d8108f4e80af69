"""A few of the seeded schedules of `make torture`; each new seed that shows a fault is added here."""

from __future__ import annotations

import pytest

from tests.faults.torture import outcomes, table


@pytest.mark.timeout(300)
def test_no_schedule_makes_a_false_pass_or_an_uncounted_request() -> None:
    found = list(outcomes(range(5)))
    print(table(found))
    assert [(outcome.seed, outcome.wrong) for outcome in found if outcome.wrong] == []
