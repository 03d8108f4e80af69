"""Where a run is: time left, level, rate now, for every way to offer a load."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.control.capacity_search import Step
from tokenswarm.live.progress import Course


def course(
    run_time_s: float | None = None,
    rate_changes: Sequence[tuple[float, float]] = (),
    step: Step | None = None,
    **options: str,
) -> Course:
    """A run that began at Unix s 1000."""
    given = {"host": "http://127.0.0.1:1", "deployment": "a", **options}
    settings = build_settings(given, Environment({"AZURE_OPENAI_API_KEY": "k"}, {}), {"chat"}, None, None)
    return Course(
        settings=settings, begun_at=1000.0, run_time_s=run_time_s, rate_changes=tuple(rate_changes), step=step
    )


def test_a_run_time_ends_the_run() -> None:
    facts = course(rate="120", run_time_s=60).facts(1015.0)
    assert facts == {"elapsed_s": 15.0, "duration_s": 60.0, "left_s": 45.0, "rate_rpm": 120.0, "level": ""}
    assert course(rate="120", run_time_s=60).facts(2000.0)["left_s"] == 0.0


def test_nothing_but_a_stop_ends_a_run_without_a_time() -> None:
    facts = course().facts(1015.0)
    assert (facts["duration_s"], facts["left_s"], facts["rate_rpm"], facts["level"]) == (None, None, None, "")


@pytest.mark.parametrize(
    ("now", "level", "rate"),
    [(1000.0, "stage 1 of 3", 0.0), (1030.0, "stage 1 of 3", 50.0), (1090.0, "stage 2 of 3", 100.0),
     (1150.0, "stage 3 of 3", 50.0), (1999.0, "stage 3 of 3", 0.0)],
)  # fmt: skip
def test_stages_of_a_rate(now: float, level: str, rate: float) -> None:
    facts = course(rate_stages="1m:100, 1m:100, 1m:0").facts(now)
    assert (facts["level"], facts["rate_rpm"], facts["duration_s"]) == (level, rate, 180.0)


def test_stages_of_users() -> None:
    facts = course(shape="stages", stages="1m:10, 1m:0").facts(1070.0)
    assert (facts["level"], facts["rate_rpm"], facts["left_s"]) == ("stage 2 of 2", None, 50.0)


def test_a_rate_set_by_hand_holds_from_its_instant_and_ends_the_stages() -> None:
    changed = course(rate_stages="1m:100, 1m:0", rate_changes=[(1010.0, 30.0)])
    assert (changed.rate_rpm(1005.0), changed.rate_rpm(1011.0)) == (pytest.approx(100 * 5 / 60), 30.0)
    assert (changed.level(1011.0), changed.duration_s) == ("", None)


def test_a_search_names_its_level() -> None:
    facts = course(search="10..100", failure_criteria="p95(e2e_ms) > 9000", step=Step(40.0, "bisect")).facts(1001.0)
    assert (facts["level"], facts["rate_rpm"]) == ("search, bisect: 40 RPM", 40.0)


def test_a_level_that_waits_for_its_minute_is_not_asked_for_yet() -> None:
    step = Step(10.0, "rise", begins_at=1020.0)
    waiting, on = (
        course(search="10..100", failure_criteria="p95(e2e_ms) > 9000", step=step).facts(at) for at in (1001.0, 1020.0)
    )
    assert (waiting["rate_rpm"], waiting["level"]) == (0.0, "search, rise: 10 RPM, begins in 19 s")
    assert (on["rate_rpm"], on["level"]) == (10.0, "search, rise: 10 RPM")
