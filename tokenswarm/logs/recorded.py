"""Recorded requests themselves, read as a log: to put them in order, or to take a sample. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from tokenswarm.logs.logged import LoggedRequest, objects_of, url_of
from tokenswarm.recordings.bodies import BadLine
from tokenswarm.recordings.lines import Form, read_line


def read_recorded(data: bytes) -> Iterator[LoggedRequest]:
    """The requests of a line, each with a timestamp. Raises `BadLine`."""
    for entry in objects_of(data):
        line = read_line(json.dumps(entry).encode(), "chat")
        if line.form is not Form.REQUEST:
            raise BadLine(f"expected single requests, got {line.form}, which have an order of their own")
        if math.isnan(line.timestamp_s):
            raise BadLine("timestamp: expected one in each line, got none")
        body = entry.get("body") or {name: value for name, value in entry.items() if name != "timestamp"}
        yield LoggedRequest(line.timestamp_s, url_of(line.asks), body, session=line.session or None)
