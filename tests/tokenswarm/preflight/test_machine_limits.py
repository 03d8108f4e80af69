from __future__ import annotations

import socket

from tests.ports import free_port
from tokenswarm.preflight.machine_limits import Machine, check_limits, port_problems


def test_a_machine_that_can_carry_the_load() -> None:
    assert check_limits(Machine(10_000, 28_232, 4), 1000, 1) == ([], [])
    assert check_limits(Machine(None, None, 4), 4000, 4) == ([], [])


def test_too_few_descriptors_name_the_command() -> None:
    (problem,), _ = check_limits(Machine(1024, None, 8), 1000, 1)
    assert problem == (
        "open files: expected at least 1064 for 1000 users in 1 process, got 1024 (raise it: ulimit -n 2048)"
    )
    assert check_limits(Machine(1024, None, 8), 1000, 2)[0] == []


def test_too_few_ports_are_refused_and_few_are_warned_of() -> None:
    (problem,), _ = check_limits(Machine(None, 28_232, 64), 30_000, 64)
    assert "ip_local_port_range" in problem
    _, (warning,) = check_limits(Machine(None, 28_232, 64), 25_000, 64)
    assert "leave few" in warning


def test_processors() -> None:
    _, (shared,) = check_limits(Machine(None, None, 2), 100, 4)
    assert shared.startswith("processors: 4 processes share 2 cores")
    _, (late,) = check_limits(Machine(None, None, 2), 3000, 1)
    assert "(--processes 2, and more machines)" in late


def test_this_machine_is_read() -> None:
    here = Machine.here()
    assert here.cores >= 1
    assert here.descriptors is None or here.descriptors > 0


def test_a_port_in_use_is_one_line() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert port_problems("127.0.0.1", port) == [
            f"web-port: expected a free port, got {port}, which is in use (end the other program, or give --web-port)"
        ]
    assert port_problems("127.0.0.1", port) == []
