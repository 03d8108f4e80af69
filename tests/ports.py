"""Ports for processes that have to be told one before they start."""

from __future__ import annotations

import os
import socket
from itertools import cycle

FIRST, PER_PROCESS, PROCESSES = 16_000, 2_000, 8
"""Below those that the system gives to connections (ip(7): from 32768 on), which would take one in the meantime; each
process of pytest has its own part of them, so that no other test is told the same."""

_part = FIRST + PER_PROCESS * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % PROCESSES)
_begin = os.getpid() % PER_PROCESS
_ports = cycle([*range(_part + _begin, _part + PER_PROCESS), *range(_part, _part + _begin)])


def free_port() -> int:
    """One that nobody listens at, and that no other test will be told for long."""
    for port in _ports:
        try:
            with socket.create_server(("", port)):
                return port
        except OSError:
            continue
    raise AssertionError("a cycle has no end")
