"""What a load may be without being asked for twice, where the target is not this machine. No I/O, no clock.

A slip of a digit in a scenario can cost money or take a shared service down, so a load beyond these has to be
confirmed by `confirm-load = yes`.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from tokenswarm.config.settings import Settings
from tokenswarm.userinput import MAX_DURATION_S, counted
from tokenswarm.workload.arrivals import RatePlan
from tokenswarm.workload.stages import Stages, ThreadGroup

MAX_USERS = 500
MOST_USERS = 1_000_000
"""That no number of machines is likely to be meant for; Locust plans each user before it starts the first."""
MAX_RATE_RPM = 3000.0
MAX_TOKENS = 5_000_000.0
SHAPE_STEPS = 1000
"""Instants at which a shape is asked for its users."""


def check_bounds(settings: Settings, users: int, run_time_s: float | None) -> list[str]:
    """Which numbers are no load at all but slips, wherever the target is."""
    most = _most_users(settings, users) or 0
    problems = [f"users: expected 1 or more, got {users}"] if users < 1 else []
    if most > MOST_USERS:
        problems.append(f"users: expected at most {MOST_USERS}, got {most:.0f}")
    if run_time_s is not None and not 0 < run_time_s <= MAX_DURATION_S:
        problems.append(f"run-time: expected more than 0 seconds and at most 366 days, got {run_time_s:.0f}")
    left_out_s = settings.warm_up_s + settings.cool_down_s
    if run_time_s and left_out_s >= run_time_s:
        expected = f"warm-up, cool-down: expected less than the run time of {run_time_s:.0f} s together"
        problems.append(f"{expected}, got {left_out_s:g} s (no request would be in the figures)")
    return problems


def check_start_up(settings: Settings, users: int, spawn_rate: float, run_time_s: float | None) -> list[str]:
    """Whether an open load would begin at all: it does when all users have been started."""
    start_up_s = (users - 1) / spawn_rate
    if not settings.open_load or not run_time_s or start_up_s < run_time_s:
        return []
    took = f"{counted(users, 'user')} at {spawn_rate:g} a second, which takes {start_up_s:.0f} s"
    return [
        f"spawn-rate: expected all users within the run time of {run_time_s:.0f} s, got {took} (the load begins then)"
    ]


def check_search(settings: Settings, run_time_s: float | None, stop_timeout_s: float) -> list[str]:
    """Whether a search could judge its first level at all, and lets users finish what they are about."""
    search = settings.search
    if search is None:
        return []
    problems = []
    least_s = settings.first_level_s
    if run_time_s and run_time_s <= least_s:
        problems.append(
            f"run-time: expected more than the {least_s:.0f} s of the search's first level ({search.text(search.low)}; "
            f"search-hold, or the requests that its percentiles need), or none, got {run_time_s:.0f} s"
        )
    if settings.searches_users and stop_timeout_s <= 0:
        problems.append("stop-timeout: expected time for users to finish, as each level is drained (60s), got none")
    return problems


def check_load(settings: Settings, users: int | None, forecast_tokens: float | None) -> list[str]:
    """Which limits a load exceeds that was not confirmed; none for targets on this machine."""
    chat, rag = settings.chat, settings.rag
    urls = [chat.endpoint if chat else None, rag.url if rag else None, settings.host]
    hosts = [urlsplit(url).hostname or "" for url in urls if url]
    if settings.confirm_load or all(is_loopback(host) for host in hosts):
        return []
    host = next(host for host in hosts if not is_loopback(host))
    highest: list[tuple[str, float | None, float]] = [
        ("users", _most_users(settings, users), MAX_USERS),
        ("requests per minute", _highest_rate(settings), MAX_RATE_RPM),
        ("tokens in the forecast", forecast_tokens, MAX_TOKENS),
    ]
    return [
        f"load: expected at most {limit:.0f} {what} for {host} unless confirmed, got {value:.0f} (confirm-load = yes)"
        for what, value, limit in highest
        if value is not None and value > limit
    ]


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _most_users(settings: Settings, users: int | None) -> float | None:
    shape = settings.shape
    if settings.search is not None and settings.searches_users:
        return settings.search.high
    if shape is None:
        return users
    if isinstance(shape, ThreadGroup):
        return shape.threads
    if isinstance(shape, Stages):
        return shape.peak
    return max((shape.users(shape.duration_s * step / SHAPE_STEPS) or 0 for step in range(SHAPE_STEPS)), default=0)


def _highest_rate(settings: Settings) -> float | None:
    if settings.search is not None:
        return settings.search.high if not settings.searches_users else None
    plan = settings.plan
    if isinstance(plan, RatePlan):
        return plan.rate.peak if isinstance(plan.rate, Stages) else plan.rate
    if plan is None or not plan.duration_s:
        return None
    return float(plan.expected_count(plan.duration_s)) / plan.duration_s * 60
