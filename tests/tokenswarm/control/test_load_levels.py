from __future__ import annotations

from typing import Any

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.config.settings import Settings
from tokenswarm.control.load_levels import judge_levels, level_facts
from tokenswarm.live.terminal_lines import level_lines
from tokenswarm.metrics.criteria import parse_criteria
from tokenswarm.metrics.samples import Samples
from tokenswarm.record import Outcome, RequestRecord, TokenSource


def settings(**options: str) -> Settings:
    given = {"host": "http://127.0.0.1:1", "deployment": "m", **options}
    return build_settings(given, Environment({"OPENAI_API_KEY": "k"}, {}), {"chat"})


def spans(found: dict[str, Any] | None) -> list[tuple[float, float, float]]:
    assert found is not None
    return [(span["load"], span["begin"], span["end"]) for span in found["spans"]]


def test_steps_are_levels_of_users_and_a_stop_cuts_the_last() -> None:
    found = level_facts(settings(shape="step", stages="by=5, every=60s, to=15"), 1000.0, 1090.0, [])
    assert found is not None and found["unit"] == "users"
    assert spans(found) == [(5, 1000, 1060), (10, 1060, 1090)]


def test_stages_of_a_rate_are_levels_of_it() -> None:
    found = level_facts(settings(rate_stages="0s:60, 10s:60, 0s:120, 10s:120"), 50.0, 99.0, [])
    assert found is not None and found["unit"] == "RPM"
    assert spans(found) == [(60, 50, 60), (120, 60, 70)]


def test_rates_set_by_hand_are_levels_from_then_on() -> None:
    changes = [(20.0, 120.0), (30.0, 60.0)]
    assert spans(level_facts(settings(rate="60"), 10.0, 40.0, changes)) == [(60, 10, 20), (120, 20, 30), (60, 30, 40)]


def test_one_load_is_no_levels() -> None:
    assert level_facts(settings(rate="60"), 10.0, 40.0, []) is None
    assert level_facts(settings(), 10.0, 40.0, []) is None


def answer(at: float, e2e_ms: float) -> RequestRecord:
    return RequestRecord(
        call_id=f"{at}", worker="w", name="chat", started_at=at, e2e_ms=e2e_ms, outcome=Outcome.OK,
        token_source=TokenSource.USAGE,
    )  # fmt: skip


def test_each_level_is_judged_by_itself_and_without_its_beginning() -> None:
    facts = {"unit": "users", "spans": [{"load": 2, "begin": 0, "end": 10}, {"load": 4, "begin": 10, "end": 20}]}
    slow_at_first = [answer(0.5, 900.0), *(answer(1 + at / 3, 100.0) for at in range(26))]
    samples = Samples.from_records([*slow_at_first, *(answer(11 + at / 3, 900.0) for at in range(26))])
    low, high = judge_levels(facts, parse_criteria("p95(e2e_ms) > 500"), samples)
    assert (low.load, low.n, low.breaks) == (2, 26, ())
    assert low.ok_rpm == 60 * 27 / 9 and "was 900 ms" in high.breaks[0]  # an answer counts where it ends
    said, titles, *lines = level_lines("users", [low, high])
    assert said.startswith("Levels: the criteria held up to 2 users; at 4 users p95(e2e_ms) must be at most 500 ms")
    assert titles.split() == ["load", "holds", "requests", "ok/min"]
    assert lines[0].split() == ["2", "users", "yes", "26", "180.0"]
    assert "requests: started in it" in lines[-1] and "ok/min: answers that ended in it" in lines[-1]
