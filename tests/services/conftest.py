from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fake_azure


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_azure.Azure]:
    """The fake, with this process's environment pointing to it."""
    azure, server = fake_azure.start(tmp_path)
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    yield azure
    server.shutdown()
    server.server_close()
