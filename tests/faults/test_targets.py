"""Targets that go away, redirect or lie about themselves; a wall clock that is set; loads refused or stopped."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.certificates import Authority
from tests.faults.locust_run import check_identity, headless, run_locust, running_locust
from tests.scripted_server import close, scripted_server
from tests.simulator_process import ROOT, fixed_times, running_simulator
from tokenswarm.apis.chat_completions import ChatStream
from tokenswarm.transport.exchange import Transport

TOKEN = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("arguments", [(), ("--rate", "1200", "--max-lag", "1")], ids=["closed", "open"])
def test_an_outage_is_rows_and_the_run_goes_on_when_the_target_is_back(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with running_simulator(fixed_times(5, 2)) as simulator:
        flags = [*arguments, *(() if arguments else ("--think-time", "0.05"))]
        with running_locust(tmp_path, *headless(simulator.chat_url, *flags, users=4, run_time="60s")) as run:
            run.wait_until(lambda: run.rows_on_disk() > 10)

            def down() -> bool:
                """An outage in which somebody asks: a busy machine may stand still during a whole one."""
                simulator.admin("POST", "/admin/outage", {"seconds": 1.5})
                return any(row["outcome"] == "connection_error" for row in run.rows)

            def back() -> bool:
                outcomes = [row["outcome"] for row in run.rows]
                down = [position for position, outcome in enumerate(outcomes) if outcome == "connection_error"]
                return bool(down) and outcomes[down[-1] :].count("ok") > 20

            run.wait_until(down)
            run.wait_until(back)
            run.process.terminate()
            run.wait()
        check_identity(run, simulator.truth())
    failed = [row for row in run.rows if row["outcome"] == "connection_error"]
    assert {row["user"] for row in failed} <= {"1", "2", "3", "4"}
    assert len({row["user"] for row in run.rows[-20:]}) > 1
    assert run.facts["accounting"]["lost"] == []


def test_a_redirect_takes_no_key_to_another_host(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with scripted_server([answer]) as other:
        where = f"HTTP/1.1 307 Moved\r\nLocation: http://localhost:{other.port}/\r\nContent-Length: 0\r\n\r\n"
        with scripted_server([where.encode()]) as target:
            run = run_locust(tmp_path, *headless(target.url, users=1, run_time="1s"))
    refused = f"HTTP 307: redirect not followed, to http://localhost:{other.port}/"
    assert {row["error"] for row in run.rows} <= {refused, "cancelled: the run was stopped"}
    assert run.rows
    assert other.accepted == 0


def test_tls_without_verification_works_and_every_report_says_so(tmp_path: Path) -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(TOKEN + FINISH)
    context = Authority("nobody").server_context(tmp_path, "example.invalid")
    with scripted_server([body + TOKEN + FINISH, close], tls=context) as server:
        url = f"https://127.0.0.1:{server.port}"
        run = run_locust(tmp_path, *headless(url, "--tls-verify", "no", users=1, run_time="1s"))
    assert "ok" in {row["outcome"] for row in run.rows}
    for report in reports(tmp_path, run.directory):
        assert "certificate" in report.lower()


def test_a_run_reads_metrics_with_a_credential_over_the_runs_tls_and_shows_it_nowhere(tmp_path: Path) -> None:
    secret = "scrape-token-4711"
    authority = Authority("company")
    context = authority.server_context(tmp_path, "127.0.0.1")
    ca_file = authority.write(tmp_path / "ca.pem")
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 33\r\nConnection: close\r\n\r\nllamacpp:prompt_tokens_total 1000"
    with (
        running_simulator(fixed_times(5, 2)) as simulator,
        scripted_server([page], tls=context, read_request=True) as server,
    ):
        entry = f"https://127.0.0.1:{server.port}/metrics every=500ms name=gpu bearer=${{SCRAPE_TOKEN}}"
        flags = ["--server-metrics", entry, "--ca-file", str(ca_file)]
        arguments = headless(simulator.chat_url, *flags, users=1, run_time="2s")
        run = run_locust(tmp_path, *arguments, env={"SCRAPE_TOKEN": secret})
    assert "uncached_prompt_tokens" in (run.directory / "server_metrics.csv").read_text()
    assert secret not in run.output
    assert secret not in "".join(
        path.read_text(errors="replace") for path in run.directory.rglob("*") if path.is_file()
    )


def reports(folder: Path, directory: Path) -> list[str]:
    """The run's report in every format."""
    command = [sys.executable, "-m", "analysis", "report", str(directory), "--output", str(folder / "report")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [
        path.read_text() for path in sorted((folder / "report").iterdir()) if path.suffix in (".md", ".html", ".json")
    ]


class _SetClock:
    """A wall clock that can be set while the kernel's stamps stay: those of bytes that came before that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._true = time.time_ns
        self.step_ns = 0
        self.steps_seen: set[int] = set()
        monkeypatch.setattr(time, "time_ns", self)

    def __call__(self) -> int:
        self.steps_seen.add(self.step_ns)
        return self._true() + self.step_ns


@pytest.mark.parametrize("step_s", [-3600.0, -0.5, -0.02, 0.02, 0.5, 5.0, 3600.0])
def test_a_step_of_the_wall_clock_bends_no_offset(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n"
    whole = TOKEN * 3 + FINISH
    clock, step_ns = _SetClock(monkeypatch), int(step_s * 1e9)

    def pause(_: Any) -> None:
        time.sleep(0.05)  # between tokens, as a model does: what is measured

    def set_clock(_: Any) -> None:
        clock.step_ns = step_ns - clock.step_ns

    script = [head % len(whole), pause, TOKEN, pause, set_clock, TOKEN, pause, set_clock, TOKEN, FINISH]
    with scripted_server(script) as server:
        transport, stream = Transport(), ChatStream()
        exchange = transport.send(("http", "127.0.0.1", server.port), b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
                                  lambda _status, _headers: stream, 5.0)  # fmt: skip
        transport.close()
    assert clock.steps_seen == {0, step_ns}
    times = list(stream.times.at_ms)
    assert len(times) == 3
    assert times[0] >= 45.0
    assert all(later - earlier >= 25.0 for earlier, later in itertools.pairwise(times))
    assert exchange.end_ms is not None and times[-1] <= exchange.end_ms


def test_a_load_that_nobody_confirmed_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    run = run_locust(tmp_path, *headless("http://host.invalid", "--rate", "100000", users=501))
    assert run.process.returncode == 2
    assert "users for host.invalid unless confirmed" in run.output
    assert "requests per minute for host.invalid unless confirmed" in run.output
    assert not list(tmp_path.glob("results/*/*"))


def test_stop_really_stops_within_the_stop_timeout(tmp_path: Path) -> None:
    config = fixed_times(5, 2) + 'faults = [{ fault = "stall", share = 1 }]\n'
    with running_simulator(config) as simulator:
        arguments = headless(simulator.chat_url, "--timeout", "300", "-s", "2", users=4, run_time="2s")
        with running_locust(tmp_path, *arguments) as run:
            run.wait_until(lambda: simulator.admin("POST", "/admin/flush")["in_flight"] >= 4)
            run.wait(60)
        facts = run.facts
        assert run.rows and {row["outcome"] for row in run.rows} == {"cancelled"}
        ends = [float(row["started_at"]) + float(row["e2e_ms"]) / 1000 for row in run.rows]
        assert 1.5 <= max(ends) - facts["ended_at"] <= 30, "far from the 300 s of the timeout"
        check_identity(run, simulator.truth(30))
        received = max(line["received_at"] for line in simulator.truth())
        assert received <= facts["ended_at"]
