"""What this machine allows a process, against what a run will need: descriptors, ports, processors."""

from __future__ import annotations

import errno
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from tokenswarm.userinput import counted

SPARE_DESCRIPTORS = 64
"""Of Locust, its workers' messages, files and libraries."""

DESCRIPTORS_LOCUST_ASKS_FOR = 10_000
"""Locust raises a lower soft limit to this where the hard one lets it."""

USERS_PER_CORE = 1000
"""Streams that one process reads without being late by more than some ms: see docs/accuracy.md."""

PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True, slots=True)
class Machine:
    """Limits of one machine. `None`: it does not tell."""

    descriptors: int | None
    ports: int | None
    cores: int

    @classmethod
    def here(cls) -> Machine:
        return cls(_descriptors(), _ports(), _cores())


def check_limits(machine: Machine, users: int, processes: int) -> tuple[list[str], list[str]]:
    """(what cannot work, what may not) when `users` virtual users, each with a connection, run in `processes`."""
    asked = counted(users, "user")
    problems, warnings = [], []
    shared = f"{processes} process" + ("" if processes == 1 else "es")
    per_process = -(-users // processes) + SPARE_DESCRIPTORS
    if machine.descriptors is not None and per_process > machine.descriptors:
        problems.append(
            f"open files: expected at least {per_process} for {asked} in {shared}, "
            f"got {machine.descriptors} (raise it: ulimit -n {_round_up(per_process)})"
        )
    if machine.ports is not None and users > machine.ports:
        problems.append(
            f"local ports: expected at least {users} to one target, got {machine.ports} "
            '(raise it: sysctl -w net.ipv4.ip_local_port_range="1024 65535", or use more machines)'
        )
    elif machine.ports is not None and users > 0.8 * machine.ports:
        warnings.append(
            f"local ports: {asked} of {machine.ports} ports leave few for connections that are closed and made "
            'anew (raise it: sysctl -w net.ipv4.ip_local_port_range="1024 65535")'
        )
    if processes > machine.cores:
        warnings.append(
            f"processors: {shared} share {counted(machine.cores, 'core')} and will be late (--processes -1: one each)"
        )
    if users > USERS_PER_CORE * processes:
        more = -(-users // USERS_PER_CORE)
        warnings.append(
            f"processors: {asked} in {shared} may be too many to be measured on time "
            f"(--processes {min(more, machine.cores)}{', and more machines' if more > machine.cores else ''})"
        )
    return problems, warnings


def port_problems(host: str, port: int) -> list[str]:
    """What keeps the web UI from listening there; one line, or none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("" if host == "*" else host, port))
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        reason = "which is in use (end the other program, or give --web-port)" if in_use else str(error)
        return [f"web-port: expected a free port, got {port}, {reason}"]
    return []


def _descriptors() -> int | None:
    """The limit that holds once Locust has raised it."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    if soft < DESCRIPTORS_LOCUST_ASKS_FOR <= hard or hard == resource.RLIM_INFINITY:
        return max(soft, DESCRIPTORS_LOCUST_ASKS_FOR)
    return soft


def _ports() -> int | None:
    try:
        low, high = PORTS.read_text().split()
        return int(high) - int(low) + 1
    except (OSError, ValueError):
        return None


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _round_up(number: int) -> int:
    """To the next power of two, as such limits are usually given."""
    return 1 << (number - 1).bit_length()
