from __future__ import annotations

from typing import Any

import pytest

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment, read_environment
from tokenswarm.config.settings import Settings
from tokenswarm.preflight.load_limits import check_bounds, check_load, check_search, check_start_up, is_loopback


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-of-somebody")
    return read_environment([])


def settings(environment: Environment, **options: Any) -> Settings:
    given = {"host": "https://x.openai.azure.com", "deployment": "d", **options}
    return build_settings(given, environment, {"chat"})


def test_a_load_of_another_machine_is_capped(environment: Environment) -> None:
    small = settings(environment, rate="3000")
    assert check_load(small, 500, 5_000_000.0) == []
    problems = check_load(settings(environment, rate="3001"), 501, 5_000_001.0)
    assert problems == [
        "load: expected at most 500 users for x.openai.azure.com unless confirmed, got 501 (confirm-load = yes)",
        "load: expected at most 3000 requests per minute for x.openai.azure.com unless confirmed, got 3001 "
        "(confirm-load = yes)",
        "load: expected at most 5000000 tokens in the forecast for x.openai.azure.com unless confirmed, got 5000001 "
        "(confirm-load = yes)",
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate_stages": "1m:10, 5m:4000, 1m:0"}, "got 4000"),
        ({"search": "10..9000", "failure_criteria": "p95(ttft_ms) > 1000"}, "got 9000"),
        ({"shape": "stages", "stages": "1m:10, 1m:600, 1m:0"}, "got 600"),
        ({"shape": "spike", "stages": "base=3, peak=700, at=2m, hold=30s, duration=5m"}, "got 700"),
        ({"shape": "thread-group", "stages": "threads=800, ramp=30s, duration=360s"}, "got 800"),
    ],
)
def test_the_highest_point_of_a_load_counts(environment: Environment, options: dict[str, str], words: str) -> None:
    (problem,) = check_load(settings(environment, **options), 10, None)
    assert words in problem


def test_what_is_confirmed_or_stays_here_is_not_capped(environment: Environment) -> None:
    assert check_load(settings(environment, rate="9000", confirm_load="yes"), 9000, 1e9) == []
    assert check_load(settings(environment, rate="9000", host="http://127.0.0.1:8000"), 9000, 1e9) == []


def test_an_open_load_whose_users_are_not_started_in_time_is_none(environment: Environment) -> None:
    (problem,) = check_start_up(settings(environment, rate="60"), 30, 2.0, 14.0)
    assert problem == (
        "spawn-rate: expected all users within the run time of 14 s, got 30 users at 2 a second, which takes 14 s "
        "(the load begins then)"
    )
    assert check_start_up(settings(environment, rate="60"), 30, 2.0, 15.0) == []
    assert check_start_up(settings(environment, rate="60"), 30, 2.0, None) == []
    assert check_start_up(settings(environment), 30, 2.0, 14.0) == [], "users of a closed load send as they come"


def test_a_load_without_users_is_none(environment: Environment) -> None:
    assert check_bounds(settings(environment), 0, 10.0) == ["users: expected 1 or more, got 0"]


def test_loopback() -> None:
    for host in ("localhost", "127.0.0.1", "127.8.8.8", "::1", "api.localhost"):
        assert is_loopback(host)
    for host in ("", "example.com", "localhost.example.com", "127.0.0.1.example.com", "10.0.0.1", "0.0.0.0", "*"):
        assert not is_loopback(host)


def test_slips_are_no_load(environment: Environment) -> None:
    found = settings(environment)
    assert check_bounds(found, 1_000_000, 10.0) == []
    assert check_bounds(found, 1_000_001, None) == ["users: expected at most 1000000, got 1000001"]
    for run_time_s in (0.0, 1e12):
        (problem,) = check_bounds(found, 1, run_time_s)
        assert problem.startswith("run-time: expected more than 0 seconds and at most 366 days")


def test_a_warm_up_that_leaves_nothing_is_refused(environment: Environment) -> None:
    found = settings(environment, warm_up="5s", cool_down="5s")
    assert check_bounds(found, 1, 11.0) == check_bounds(found, 1, None) == []
    (problem,) = check_bounds(found, 1, 10.0)
    assert problem.startswith("warm-up, cool-down: expected less than the run time of 10 s together, got 10 s")


HELD = "p95(ttft_ms) > 1000"


@pytest.mark.parametrize(
    ("options", "run_time_s", "words"),
    [
        ({"search": "10..120"}, 131.0, "expected more than the 132 s of the search's first level (10 RPM;"),
        ({"search": "100..120"}, 60.0, "expected more than the 60 s"),
        ({"search": "100..120", "quota_tpm": "90000", "search_hold": "90s"}, 119.0, "expected more than the 120 s"),
        ({"search": "1..8 users", "search_hold": "30s"}, 30.0, "expected more than the 30 s"),
    ],
)
def test_a_first_level_longer_than_the_run_is_refused(
    environment: Environment, options: dict[str, str], run_time_s: float, words: str
) -> None:
    given = settings(environment, failure_criteria=HELD, **options)
    (problem,) = check_search(given, run_time_s, 60.0)
    assert problem.startswith("run-time: ") and words in problem
    assert check_search(given, run_time_s + 2, 60.0) == []
    assert check_search(given, None, 60.0) == []


def test_a_search_over_users_needs_time_to_drain(environment: Environment) -> None:
    given = settings(environment, search="1..8 users", failure_criteria=HELD)
    (problem,) = check_search(given, None, 0.0)
    assert problem.startswith("stop-timeout: expected time for users to finish")
    assert check_search(settings(environment, rate="9"), 1.0, 0.0) == []
    assert check_load(settings(environment, search="1..600 users", failure_criteria=HELD), 1, None) == [
        "load: expected at most 500 users for x.openai.azure.com unless confirmed, got 600 (confirm-load = yes)"
    ]
