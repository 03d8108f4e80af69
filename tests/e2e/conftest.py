from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.locust_process import Target
from tests.simulator_process import Simulator, running_simulator

QUICK = "ttft_base_ms = 30\nttft_std_ms = 2\nttft_per_token_ms = 0.01\ntbt_ms = 2\ntbt_std_ms = 0.3\n"
CONFIG = f"""
[deployments.'gpt-4.1-mini-20k']
tpm = 20_000
minute_from = "first-request"
{QUICK}
[deployments.'gpt-4.1-mini-200k']
tpm = 200_000
minute_from = "first-request"
{QUICK}
[deployments.'gpt-4.1-nano']
{QUICK}
[deployments.gpt-5-mini]
model = "gpt-5-mini"
reasoning = true
ttft_base_ms = 60
tbt_ms = 1
[deployments."gpt-4.1-mini"]
{QUICK}
[deployments.slow]
ttft_base_ms = 50
tbt_ms = 20
"""


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """One for all tests here: deployments as in the scenarios, ten times as fast."""
    with running_simulator(CONFIG, seed=3) as simulator:
        yield simulator


@pytest.fixture
def target(simulator: Simulator) -> Target:
    """The simulator with its limiters at rest."""
    simulator.admin("POST", "/admin/reset")
    return Target(simulator, len(simulator.truth()))
