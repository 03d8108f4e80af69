from __future__ import annotations

from typing import Any

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.config.settings import Settings
from tokenswarm.control.load_levels import level_facts


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
