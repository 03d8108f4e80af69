# mypy: ignore-errors
"""On PYTHONPATH of a master and its workers: as if each were on a machine of its own.

A worker's clock is `SKEW_S` ahead, it does not see the master's run directory, and nobody sees a worker's journal.
"""

import os
import pathlib
import time

_now, _skew_s = time.time, float(os.environ.get("SKEW_S", "0"))
_is_dir, _read_bytes, _read_text = pathlib.Path.is_dir, pathlib.Path.read_bytes, pathlib.Path.read_text


def _check(path):
    if "journals" in path.parts:
        raise FileNotFoundError(2, "on another machine")
    return path


time.time = lambda: _now() + _skew_s
pathlib.Path.read_bytes = lambda path: _read_bytes(_check(path))
pathlib.Path.read_text = lambda path, *args, **named: _read_text(_check(path), *args, **named)
if "SKEW_S" in os.environ:
    pathlib.Path.is_dir = lambda path: (path.name[:2] != "20" or "journals" in path.parts) and _is_dir(path)
