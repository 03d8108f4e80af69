"""Runs of which nothing but refusals come, and runs that end while something waits to be sent again."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.locust_process import run_locust, scenario
from tests.scripted_server import scripted_server
from tokenswarm.record import Outcome


def answer(status: str, body: object, *headers: str) -> bytes:
    data = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def test_a_wrong_path_backs_off_and_stops_the_run(tmp_path: Path) -> None:
    given = ["--deployment", "m", "-u", "1", "-r", "1", "-t", "60s", "--think-time", "0"]
    with scripted_server([answer("404 Not Found", {"detail": "Not Found"}), lambda each: each.close()]) as server:
        url = f"{server.url}/v1/wrong"
        finished = run_locust(scenario("smoke", *given), {"OPENAI_BASE_URL": url}, tmp_path)
    run = finished.run()
    assert finished.code == run.code(3)
    assert len(run.rows) == 10
    error = f"HTTP 404: Not Found (POST {url}/chat/completions)"
    assert {row.error for row in run.rows} == {error}
    assert run.facts["stop_reason"] == f"refused: 10 times in a row and no answer before: {error}"
    assert run.facts["verdict"]["has_failed"]
    assert "Users who are refused or throttled wait" in finished.output


def test_the_stop_can_be_turned_off_and_users_back_off_all_the_same(tmp_path: Path) -> None:
    given = ["--deployment", "m", "-u", "1", "-r", "1", "-t", "7s", "--think-time", "0", "--max-refusals", "0"]
    with scripted_server([answer("405 No", {"error": {"message": "no"}}), lambda each: each.close()]) as server:
        finished = run_locust(scenario("smoke", *given), {"OPENAI_BASE_URL": f"{server.url}/v1"}, tmp_path)
    run = finished.run()
    assert finished.code == run.code(3)  # nothing was answered
    assert run.facts["stop_reason"] is None
    assert 1 <= len(run.rows) <= 12


def test_users_over_a_quota_do_not_ask_a_thousand_times_a_second(tmp_path: Path) -> None:
    given = ["--deployment", "m", "-u", "1", "-r", "1", "-t", "2s", "--think-time", "0", "--stream", "no"]
    limited = answer("429 Too Many", {"error": {"code": "429", "message": "slow"}})
    with scripted_server([limited, lambda each: each.close()]) as server:
        finished = run_locust(scenario("smoke", *given), {"OPENAI_BASE_URL": f"{server.url}/v1"}, tmp_path)
    rows = finished.run().rows
    assert 1 <= len(rows) <= 20 and {row.outcome for row in rows} == {Outcome.THROTTLED}
    assert "Users who are refused or throttled wait" in finished.output


def test_what_waits_to_be_sent_again_does_not_outlive_the_run(tmp_path: Path) -> None:
    given = ["--deployment", "m", "-u", "3", "-r", "3", "-t", "2s", "--stop-timeout", "300", "--retry", "exponential"]
    slow = answer("429 Too Many", {"error": {"message": "slow"}}, "Retry-After: 250")
    with scripted_server([slow, lambda each: each.close()]) as server:
        finished = run_locust(scenario("smoke", *given), {"OPENAI_BASE_URL": f"{server.url}/v1"}, tmp_path)
    run = finished.run()
    assert run.rows and {(row.outcome, row.attempt) for row in run.rows} == {(Outcome.THROTTLED, 1)}
