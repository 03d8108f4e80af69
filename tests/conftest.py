from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import run_health
from tests.services import fake_azure

# How long an example takes is the machine's matter: one that was held up by other work is no fault.
settings.register_profile("whatever-the-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whatever-the-machine")

# Requests that a run sends before its load are tested by themselves; the others count what a service saw.
os.environ.setdefault("LOCUST_PREFLIGHT", "reach")


# A shell starts what is to run behind it with this signal ignored, and all processes of ours would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

LONG = ("webui/", "e2e/", "faults/", "load_models/", "services/", "docs/")
LONG += ("tokenswarm/cli/", "tokenswarm/live/", "tokenswarm/selfcheck/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders whose files take longest come first, so that no process is left with a long one at the end."""
    here = Path(__file__).parent
    items.sort(key=lambda item: not item.path.relative_to(here).as_posix().startswith(LONG))


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_azure.Azure]:
    """The fake, with this process's environment pointing to it."""
    azure, server = fake_azure.start(tmp_path)
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    yield azure
    server.shutdown()
    server.server_close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if said := run_health.summary():
        terminalreporter.write_line(said)
