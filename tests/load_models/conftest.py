from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.load_models.load_run import CONFIG
from tests.simulator_process import Simulator, running_simulator


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG, seed=5) as simulator:
        yield simulator
