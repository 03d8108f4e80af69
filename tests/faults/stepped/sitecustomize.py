# mypy: ignore-errors
"""On PYTHONPATH of a run: a clock that is set ahead by `STEP_S`, a disk whose writes take `SLOW_WRITES_S`."""

import os
import time

if "STEP_S" in os.environ:
    _now, _step_s = time.time, float(os.environ["STEP_S"])
    _at = time.monotonic() + float(os.environ["STEP_AFTER_S"])
    time.time = lambda: _now() + (_step_s if time.monotonic() > _at else 0.0)
if "SLOW_WRITES_S" in os.environ:
    _write, _slow_s = os.write, float(os.environ["SLOW_WRITES_S"])

    def _slow_write(descriptor, data):
        if len(data) > 100:
            time.sleep(_slow_s)
        return _write(descriptor, data)

    os.write = _slow_write
