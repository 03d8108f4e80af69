"""Which faults can be asked for, how they are written, and which one a request gets. Pure.

A fault is `name[:parameter[:after]]`. `after` is the number of pieces of content that are sent before a fault in
mid-answer strikes (3 unless given). It is asked for by the request header `x-simulate-fault`, or by a deployment's
`faults`: a share of its requests, in a window of time.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FAULT_HEADER = "x-simulate-fault"

STATUSES = (401, 403, 404, 408, 413, 429, 500, 503)

FOREVER_S = 86_400.0

INSTEAD: dict[str, str] = {f"http_{status}": f"status {status} with a JSON error" for status in STATUSES} | {
    "http_429": "status 429; parameter: retry-after in seconds",
    "http_503": "status 503; parameter: retry-after in seconds",
    "html_502": "a gateway's HTML page with status 502",
    "empty_200": "status 200 without a body",
    "redirect": "status 307 to the same path on another host name",
    "reset": "connection reset before the headers",
    "close": "connection closed before the headers",
}
"""Faults that take the place of an answer."""

FRAMING: dict[str, str] = {
    "stall_before": "nothing for the parameter's seconds (unless given: for ever), then the answer",
    "slow_headers": "the headers byte by byte over the parameter's seconds (2 unless given)",
    "one_byte": "the whole answer in writes of one byte",
    "wrong_length": "a Content-Length that is 1000 more than what comes",
}
"""Faults of a whole answer's form."""

MIDWAY: dict[str, str] = {
    "reset_midway": "connection reset in mid-answer",
    "close_midway": "connection closed in mid-answer, the framing left open",
    "end_midway": "a well-framed end in mid-answer: no finish reason, no [DONE]",
    "stall": "nothing for the parameter's seconds (unless given: for ever), then the rest",
    "bad_chunk": "chunked framing that is wrong",
    "invalid_utf8": "an event with bytes that are not UTF-8",
    "invalid_json": "an event whose JSON is cut off",
    "error_event": "an error object as the last event",
    "failed_event": "the answer is reported as failed (Responses API; elsewhere as error_event)",
    "filter_midway": "the content filter ends the answer",
    "huge_line": "a line of the parameter's megabytes (100 unless given)",
}
"""Faults after some content."""

ALL: Mapping[str, str] = INSTEAD | FRAMING | MIDWAY

_DEFAULTS = {"stall_before": FOREVER_S, "stall": FOREVER_S, "slow_headers": 2.0, "huge_line": 100.0}


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    parameter: float | None = None
    after: int = 3

    @property
    def value(self) -> float:
        """The parameter, or what it is unless given."""
        return _DEFAULTS.get(self.name, 0.0) if self.parameter is None else self.parameter


def parse_fault(text: str) -> Fault:
    """Raises ValueError saying what was expected."""
    name, _, rest = text.strip().partition(":")
    parameter, _, after = rest.partition(":")
    if name not in ALL:
        raise ValueError(f"expected a fault of {', '.join(ALL)}, got {name!r}")
    try:
        fault = Fault(name, float(parameter) if parameter else None, int(after) if after else 3)
    except ValueError:
        raise ValueError(f"expected name[:number[:whole number]], got {text!r}") from None
    if not 0 <= fault.value <= FOREVER_S or fault.after < 0:
        raise ValueError(f"expected a parameter from 0 to {FOREVER_S:.0f}, got {text!r}")
    return fault


def check_spec(spec: Mapping[str, Any]) -> str | None:
    """What is wrong with one entry of a deployment's `faults`, or None."""
    unknown = spec.keys() - {"fault", "share", "from_s", "to_s"}
    if unknown:
        return f"expected fault, share, from_s, to_s, got {', '.join(sorted(unknown))}"
    try:
        parse_fault(str(spec.get("fault")))
    except ValueError as error:
        return str(error)
    for name in ("share", "from_s", "to_s"):
        value = spec.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            return f"{name}: expected a number from 0, got {value!r}"
    return None if spec.get("share", 1) <= 1 else "share: expected a number from 0 to 1"


def pick_fault(specs: Iterable[Mapping[str, Any]], rng: random.Random, uptime_s: float) -> Fault | None:
    """The first entry whose window is open and whose share hits."""
    for spec in specs:
        if spec.get("from_s", 0) <= uptime_s < spec.get("to_s", float("inf")) and rng.random() < spec.get("share", 1):
            return parse_fault(spec["fault"])
    return None
