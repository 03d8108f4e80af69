"""Who is admitted: the pay-as-you-go limiter and the provisioned bucket. Pure: the caller has the clock and the state.

The state is a plain dict of numbers (empty at first), so that several processes can share it as JSON.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from simulator.config.settings import Deployment

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """`refusal`: why, and after how many seconds to come back; None: admitted. `headers` go with either answer."""

    refusal: tuple[str, float] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    utilization_pct: float | None = None


def admit(deployment: Deployment, state: State, now: float, charge: Charge) -> Decision:
    """Decide on one request at `now` (Unix s) and charge it to `state`."""
    if deployment.tpm is not None:
        return _admit_paygo(deployment, state, now, charge)
    if deployment.ptu is not None:
        return _admit_provisioned(deployment, state, now, charge)
    return Decision()


@dataclass(frozen=True, slots=True)
class Charge:
    """The tokens that an admission estimate or a correction is made of."""

    prompt: int
    cached: int
    output: int
    """Before the answer: max_tokens times n. After it: what was generated."""

    @property
    def total(self) -> int:
        """What the pay-as-you-go limiter counts: caching gives no discount."""
        return self.prompt + self.output

    def weighted(self, deployment: Deployment) -> float:
        """What the provisioned bucket counts, in input tokens."""
        return self.prompt - self.cached + self.output * deployment.output_weight


def _admit_paygo(deployment: Deployment, state: State, now: float, charge: Charge) -> Decision:
    """Token estimate in a counter that starts anew each minute; request rate in short slices.

    Both are the clock's, or are counted from the first request (`minute_from`). A request is refused when the
    counter had reached the limit before it, so the request that crosses the limit is still served. Refused requests
    are counted like the others.
    """
    assert deployment.tpm is not None and deployment.rpm is not None
    now = _no_step_back(now, state)
    origin = state.setdefault("origin", now if deployment.minute_from == "first-request" else 0.0)
    minute = math.floor((now - origin) / 60)
    if state.get("minute") != minute:
        state.update(minute=minute, tokens=0, requests=0)
    tokens_before = state["tokens"]
    state["tokens"] += charge.total
    state["requests"] += 1
    slice_end = _count_in_slices(deployment, state, now, origin)
    minute_end = origin + (minute + 1) * 60
    headers = {
        "x-ratelimit-limit-requests": str(math.floor(deployment.rpm)),
        "x-ratelimit-limit-tokens": str(deployment.tpm),
        "x-ratelimit-remaining-requests": str(max(0, math.floor(deployment.rpm) - state["requests"])),
        "x-ratelimit-remaining-tokens": str(max(0, deployment.tpm - state["tokens"])),
        "x-ratelimit-reset-requests": str(math.ceil((slice_end or minute_end) - now)),
        "x-ratelimit-reset-tokens": str(math.ceil(minute_end - now)),
    }
    if tokens_before >= deployment.tpm:
        return _refused("tokens", minute_end - now, headers)
    if slice_end is not None:
        return _refused("requests", slice_end - now, headers)
    return Decision(headers=headers)


def _count_in_slices(deployment: Deployment, state: State, now: float, origin: float) -> float | None:
    """Count one request in every slice from `origin` on. Returns the end of the last that is overfull, or None."""
    assert deployment.rpm is not None
    slices = state.setdefault("slices", {})
    overfull_until: float | None = None
    for seconds in deployment.rpm_slices_s:
        number = math.floor((now - origin) / seconds)
        count = slices[str(seconds)][1] + 1 if slices.get(str(seconds), (None,))[0] == number else 1
        slices[str(seconds)] = [number, count]
        if count > math.ceil(deployment.rpm * seconds / 60):
            overfull_until = max(overfull_until or 0.0, origin + (number + 1) * float(seconds))
    return overfull_until


def _refused(reason: str, seconds: float, headers: dict[str, str], utilization_pct: float | None = None) -> Decision:
    retry = {"retry-after-ms": str(max(1, math.ceil(seconds * 1000))), "retry-after": str(max(1, math.ceil(seconds)))}
    return Decision((reason, seconds), headers | retry, utilization_pct)


def _admit_provisioned(deployment: Deployment, state: State, now: float, charge: Charge) -> Decision:
    """A leaky bucket: refuse above 100 % utilization, otherwise add the estimate (which may lead above 100 %)."""
    capacity = _capacity(deployment)
    level = _drained(deployment, state, now)
    utilization_pct = 100 * level / capacity
    if level > capacity:
        seconds = (level - capacity) / (capacity / deployment.bucket_s)
        return _refused("utilization", seconds, utilization_header(utilization_pct), utilization_pct)
    state["level"] = level + charge.weighted(deployment)
    utilization_pct = 100 * state["level"] / capacity
    return Decision(None, utilization_header(utilization_pct), utilization_pct)


def settle(deployment: Deployment, state: State, now: float, estimate: Charge, actual: Charge) -> None:
    """At the end of an admitted request: replace its estimate in the provisioned bucket by what it really used."""
    if deployment.ptu is None:
        return
    level = _drained(deployment, state, now)
    state["level"] = max(0.0, level + actual.weighted(deployment) - estimate.weighted(deployment))


def utilization_header(utilization_pct: float) -> dict[str, str]:
    return {"azure-openai-deployment-utilization": f"{utilization_pct:.1f}%"}


def _capacity(deployment: Deployment) -> float:
    """Weighted input tokens in the bucket at 100 %."""
    assert deployment.ptu is not None
    return deployment.ptu * deployment.input_tpm_per_ptu / 60 * deployment.bucket_s


def _drained(deployment: Deployment, state: State, now: float) -> float:
    """Let the bucket drain until `now` and return its level."""
    now = _no_step_back(now, state)
    elapsed = max(0.0, now - state.get("at", now))
    level: float = max(0.0, state.get("level", 0.0) - elapsed * _capacity(deployment) / deployment.bucket_s)
    state.update(level=level, at=now)
    return level


def _no_step_back(now: float, state: State) -> float:
    """The latest instant that the limiter has seen, so that requests out of order do not start a counter anew.

    A clock that was set back by more than a minute is believed.
    """
    latest = state.get("latest", now)
    state["latest"] = max(now, latest) if latest - now < 60 else now
    return float(state["latest"])
