"""Master and workers share a token; whoever has it not changes nothing. Real processes, and a raw ZeroMQ socket."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgpack  # type: ignore[import-untyped]
import pytest
import zmq

from tests.e2e.locust_process import Target, credentials, locust_process, run_locust, scenario
from tests.ports import free_port
from tests.waiting import wait_until
from tokenswarm.control.cluster_token import VARIABLE, bind_host, check_bind_host, read_cluster_token
from tokenswarm.userinput import BadInput

TOKEN = "canary-cluster-token-51f0"


def listening(port: int) -> bool:
    with contextlib.suppress(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/llm", timeout=30).close()
        return True
    return False


def workers(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/worker-count", timeout=30) as response:
        return int(json.load(response)["worker_count"])


@contextlib.contextmanager
def master(target: Target, folder: Path, token: str) -> Iterator[tuple[int, int, Path]]:
    """Its web port, its port for workers, its log."""
    web, port, log = free_port(), free_port(), folder / "master.log"
    flags = ["--master", "--web-port", str(web), "--master-bind-port", str(port), "--results-dir", str(folder / "r")]
    with locust_process(scenario("smoke", *flags), {**credentials(target), VARIABLE: token}, log):
        wait_until(lambda: listening(web), "the master")
        yield web, port, log


def speak(port: int, identity: str, *messages: tuple[str, object], within_s: float) -> bool:
    """Say something to the master as a worker without a token would; whether anything comes back."""
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.IDENTITY, identity.encode())
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(f"tcp://127.0.0.1:{port}")
    try:
        for kind, data in messages:
            socket.send(msgpack.dumps((kind, data, identity)))
        return bool(socket.poll(1000 * within_s))
    finally:
        socket.close()


FORGED: tuple[tuple[str, object], ...] = (
    ("client_ready", -1),
    ("stats", {"stats": [], "errors": {}}),
    ("tokenswarm_rows", {"worker": "w9", "rows": 1}),
    ("quit", None),
)


def test_a_worker_without_the_token_changes_nothing(target: Target, tmp_path: Path) -> None:
    with master(target, tmp_path, TOKEN) as (web, port, log):
        assert speak(port, "stranger", *FORGED, within_s=1.5) is False
        variables = {**credentials(target), VARIABLE: TOKEN + "-another"}
        flags = ["--worker", "--master-port", str(port)]
        with (
            locust_process(scenario("smoke", *flags), variables, tmp_path / "other.log"),
            locust_process(
                scenario("smoke", *flags), {**credentials(target), VARIABLE: TOKEN}, tmp_path / "worker.log"
            ),
        ):
            wait_until(lambda: workers(web) == 1, "the worker with the token")
        assert "stranger" not in log.read_text()
        assert "canary" not in log.read_text() + (tmp_path / "worker.log").read_text()


def test_without_a_token_the_same_words_are_heard(target: Target, tmp_path: Path) -> None:
    """That the test above would see a stranger who gets through."""
    with master(target, tmp_path, "") as (_, port, log):
        assert speak(port, "stranger", FORGED[0], within_s=60.0) is True
        wait_until(lambda: "stranger" in log.read_text(), "the stranger in the log")


def test_a_run_with_the_token_is_whole(target: Target, tmp_path: Path) -> None:
    variables = {**credentials(target), VARIABLE: TOKEN}
    finished = run_locust(scenario("smoke", "--processes", "2", "--run-time", "2s"), variables, tmp_path)
    run = finished.run()
    assert run.facts["workers"] == 2
    assert len(run.rows) == len(target.truth()) > 0
    assert "canary" not in finished.output + (run.directory / "run.json").read_text()


@pytest.mark.parametrize(
    ("flags", "token", "message"),
    [
        (["--master", "--master-bind-host", "0.0.0.0"], "", f"{VARIABLE}: expected it in the environment of a master"),
        (["--master"], "short", f"{VARIABLE}: expected 16 characters or more, got 5"),
    ],
)
def test_a_master_that_anybody_could_talk_to_does_not_start(
    target: Target, tmp_path: Path, flags: list[str], token: str, message: str
) -> None:
    finished = run_locust(scenario("smoke", *flags), {**credentials(target), VARIABLE: token}, tmp_path)
    assert finished.code == 2
    assert message in finished.output
    assert "Traceback" not in finished.output


def test_where_a_master_listens() -> None:
    assert (bind_host(None), bind_host(TOKEN)) == ("127.0.0.1", "*")
    assert check_bind_host("127.0.0.1", None) == check_bind_host("::1", None) == check_bind_host("*", TOKEN) == []
    for host in ("*", "0.0.0.0", "192.0.2.1", "load.example"):
        assert check_bind_host(host, None)
    with pytest.raises(BadInput):
        read_cluster_token({VARIABLE: "fifteen-letters"})
