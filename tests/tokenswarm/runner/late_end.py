"""Run by `test_stopping`: prints when a closed load ended of a process that wakes late, in s after its run time; and
that of a run time that was over."""

from __future__ import annotations

from locust import User  # noqa: F401  (it patches the standard library before that is imported)

import json
import time
from typing import Any, cast
from unittest.mock import patch

from tokenswarm.runner import run_part

LATE_S = 0.05


def main() -> list[float | None]:
    part = run_part.RunPart(cast(Any, None), 0.0)
    ends_at = time.time() + 0.01
    with patch.object(run_part.gevent, "sleep", lambda seconds: time.sleep(seconds + LATE_S)):
        ended_at = part.last_until(ends_at)
    assert ended_at is not None
    return [ended_at - ends_at, part.last_until(ends_at)]


print(json.dumps(main()))
