# mypy: ignore-errors
"""On PYTHONPATH of a process: a clock or a disk that is not as it should be, or a machine that is another one.

`SKEW_S`: its clock is ahead; it is on a machine of its own, and does not see the master's run directory. Nobody sees
the journal of such a worker. `STEP_S`: its clock is set ahead by so much when it gets SIGUSR1. `SLOW_WRITES_S`:
writes to its disk take that long.
"""

import os
import pathlib
import signal
import time

_now, _ahead_s = time.time, [float(os.environ.get("SKEW_S", "0"))]
_is_dir, _read_bytes, _read_text = pathlib.Path.is_dir, pathlib.Path.read_bytes, pathlib.Path.read_text


def _check(path):
    if "journals" in path.parts:
        raise FileNotFoundError(2, "on another machine")
    return path


def _step(*_):
    _ahead_s[0] += float(os.environ["STEP_S"])


time.time = lambda: _now() + _ahead_s[0]
pathlib.Path.read_bytes = lambda path: _read_bytes(_check(path))
pathlib.Path.read_text = lambda path, *args, **named: _read_text(_check(path), *args, **named)
if "SKEW_S" in os.environ:
    pathlib.Path.is_dir = lambda path: (path.name[:2] != "20" or "journals" in path.parts) and _is_dir(path)
if "STEP_S" in os.environ:
    signal.signal(signal.SIGUSR1, _step)
if "SLOW_WRITES_S" in os.environ:
    _write, _slow_s = os.write, float(os.environ["SLOW_WRITES_S"])

    def _slow_write(descriptor, data):
        if len(data) > 100:
            time.sleep(_slow_s)
        return _write(descriptor, data)

    os.write = _slow_write
