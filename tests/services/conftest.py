from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulator_process import Simulator, running_simulator

DEPLOYMENTS = """
[deployments.'gpt-4.1-mini-200k']
tpm = 200_000
ttft_base_ms = 20
tbt_ms = 2
tbt_std_ms = 0

[deployments.'gpt-4.1-nano']
ttft_base_ms = 20
tbt_ms = 2
tbt_std_ms = 0
"""
"""Fast ones: what is tested here is not what they take."""


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """One simulator for all tests here."""
    with running_simulator(DEPLOYMENTS) as simulator:
        yield simulator


@pytest.fixture
def chat_target(simulator: Simulator) -> str:
    """Address of a chat target."""
    return simulator.chat_url
