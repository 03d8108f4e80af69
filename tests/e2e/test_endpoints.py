"""Every API that can be asked, streamed and not, row by row against what the simulator really sent."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from analysis.__main__ import main as analysis
from tests.e2e.locust_process import Run, Target, run_locust
from tests.simulator_process import API_KEY, Simulator, running_simulator
from tokenswarm.record import Outcome

CONFIG = """
[deployments.fast]
ttft_base_ms = 40
ttft_std_ms = 4
tbt_ms = 6
tbt_std_ms = 1
[deployments.vectors]
embedding_dimensions = 64
ttft_base_ms = 20
"""
NEAR_MS = 5.0


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG, seed=5) as simulator:
        yield simulator


@pytest.fixture
def target(simulator: Simulator) -> Target:
    return Target(simulator, len(simulator.truth()))


def flags(target: Target, endpoint: str, *more: str) -> list[str]:
    deployment = "vectors" if endpoint == "embeddings" else "fast"
    load = ["-u", "8", "-r", "8", "-t", "3s", "--stop-timeout", "5s", "--think-time", "0.05"]
    asked = ["--endpoint", endpoint, "--deployment", deployment, "--context-tokens", "uniform(40, 90)"]
    where = ["-f", "locustfiles/chat_completions.py", "-H", target.url + "/v1", "--max-tokens", "20"]
    return [*where, *load, *asked, *more]


Served = tuple[Run, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def served(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Served]:
    """A run of an endpoint, streamed or not, and the truth of it by request: made when first asked for."""

    @cache
    def run(endpoint: str, streamed: str) -> Served:
        target = Target(simulator, len(simulator.truth()))
        variables = {"OPENAI_API_KEY": API_KEY, "LOCUST_PREFLIGHT": "none" if streamed == "yes" else "reach"}
        asked = flags(target, endpoint, "--stream", streamed)
        found = run_locust(asked, variables, tmp_path_factory.mktemp("run")).run()
        return found, {line["client_request_id"]: line for line in target.truth()}

    return run


@pytest.mark.parametrize("streamed", ["yes", "no"])
@pytest.mark.parametrize("endpoint", ["chat", "responses", "completions", "messages", "embeddings"])
def test_rows_are_what_was_served(served: Callable[[str, str], Served], endpoint: str, streamed: str) -> None:
    run, known = served(endpoint, streamed)
    truth = dict(known)
    rows = [row for row in run.rows if row.outcome is not Outcome.CANCELLED]
    assert len(rows) > 5 and {row.outcome for row in rows} == {Outcome.OK}
    for row in rows:
        line = truth.pop(f"{row.call_id}-{row.attempt}")
        assert line["outcome"] == "ok"
        assert (row.prompt_tokens, row.context_tokens) == (line["prompt_tokens"], line["prompt_tokens"])
        if endpoint == "embeddings":
            assert (row.completion_tokens, row.ttft_ms, row.tbt_ms) == (None, None, None)
            continue
        assert row.completion_tokens == line["completion_tokens"]
        assert (row.chunks if streamed == "yes" else None) == (line["chunks"] if streamed == "yes" else row.ttft_ms)
    assert len(truth) == len(run.rows) - len(rows)


@pytest.mark.parametrize("endpoint", ["responses", "completions", "messages"])
def test_times_are_what_was_sent(served: Callable[[str, str], Served], endpoint: str) -> None:
    run, truth = served(endpoint, "yes")
    assert run.facts["verdict"]["state"] != "interrupted", "its run time is as asked, though nothing ran before it"
    answered = [row for row in run.rows if row.outcome is Outcome.OK]
    late_ms = [
        (row.ttft_ms or 0.0) - (truth[f"{row.call_id}-1"]["first_token_at"] - (row.started_at or 0.0)) * 1000.0
        for row in answered
    ]
    assert abs(median(late_ms)) < 1.0
    # What a busy machine had this process read late is in the row itself.
    own_ms = sorted(late - (row.read_lag_ms or 0.0) for late, row in zip(late_ms, answered, strict=True))
    assert own_ms[int(len(own_ms) * 0.95)] < NEAR_MS


def test_batches_and_fields_of_embeddings(target: Target, tmp_path: Path) -> None:
    more = ["--batch-size", "uniform(2, 4)", "--extra-body", '{"dimensions": 16}']
    run = run_locust(flags(target, "embeddings", *more), {"OPENAI_API_KEY": API_KEY}, tmp_path).run()
    assert {row.outcome for row in run.rows} <= {Outcome.OK, Outcome.CANCELLED}
    assert min(row.prompt_tokens or 80 for row in run.rows) >= 80
    assert run.facts["options"]["batch-size"] == "uniform(2, 4)"


def test_a_gateways_headers_and_parameters(target: Target, tmp_path: Path) -> None:
    """The key by a header of one's own, from the environment: it reaches the service, and nothing that is written."""
    key = ["--headers", "api-key: ${GATEWAY_KEY}; X-Team: blue", "--query", "tenant=blue", "--preflight", "full"]
    variables = {"OPENAI_API_KEY": "not-this-one-1", "GATEWAY_KEY": API_KEY}
    finished = run_locust(flags(target, "chat", *key), variables, tmp_path)
    run = finished.run()
    assert run.facts["accounting"]["ok"] > 5
    written = [path.read_text(errors="replace") for path in run.directory.iterdir() if path.is_file()]
    assert not any(API_KEY in text or "not-this-one-1" in text for text in [*written, finished.output])


def test_a_literal_key_in_a_header_is_not_written(target: Target, tmp_path: Path) -> None:
    given = ["--headers", f"api-key: {API_KEY}", "--preflight", "full"]
    finished = run_locust(flags(target, "chat", *given), {}, tmp_path)
    run = finished.run()
    assert run.facts["accounting"]["ok"] > 5
    written = [path.read_text(errors="replace") for path in run.directory.iterdir() if path.is_file()]
    assert not any(API_KEY in text for text in [*written, finished.output])


def test_users_who_leave_are_counted_apart_everywhere(target: Target, tmp_path: Path) -> None:
    """In the rows, run.json, Locust's statistics, the report, JUnit and the check; the server's side is told."""
    more = ["--abort", "50 % after uniform(0.02, 0.12) s", "--failure-criteria", "percentage(error) > 0"]
    more += ["--server-metrics", f"{target.url}/metrics every=500ms"]
    finished = run_locust(flags(target, "chat", *more), {"OPENAI_API_KEY": API_KEY}, tmp_path)
    run = finished.run()
    left = run.outcomes(Outcome.ABORTED)
    truth = {line["client_request_id"]: line for line in target.truth()}
    assert finished.code == run.code(0)
    assert len(left) > 1
    assert all(truth[f"{row.call_id}-1"]["client_left_at"] for row in left)
    accounting = run.facts["accounting"]
    assert (accounting["aborted"], accounting["failed"]) == (len(left), 0)
    assert accounting["sent"] == accounting["ok"] + accounting["cancelled"] + accounting["aborted"]
    with (run.directory / "locust_stats.csv").open(newline="") as file:
        stats = {row["Name"]: row for row in csv.DictReader(file)}
    assert (stats["chat (aborted)"]["Request Count"], stats["chat (aborted)"]["Failure Count"]) == (str(len(left)), "0")
    assert analysis(["report", str(run.directory), "--no-html"]) == 0
    report = (run.directory / "report.md").read_text()
    assert f"{len(left)} aborted" in report and f"{len(left)} requests were left by their users" in report
    assert "went on generating for nobody for" in report
    assert f'name="aborted" value="{len(left)}"' in (run.directory / "junit.xml").read_text()
    (told,) = re.findall(r"^(\d+) of chat aborted by their users", finished.output, re.MULTILINE)
    assert len(left) - int(told) == sum((row.started_at or 0.0) > run.facts["ended_at"] for row in left)


def tool_of(endpoint: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
    if endpoint == "messages":
        return {"name": "get_weather", "input_schema": schema}
    function = {"name": "get_weather", "parameters": schema}
    return {"type": "function", **({"function": function} if endpoint == "chat" else function)}


@pytest.mark.parametrize("endpoint", ["chat", "responses", "messages"])
def test_tools_are_answered_from_a_file_and_the_session_goes_on(target: Target, endpoint: str, tmp_path: Path) -> None:
    """Each call is a row; the second of a session follows the first by the tool's time, and holds what was said."""
    results = tmp_path / "tools.json"
    results.write_text('{"get_weather": {"result": {"celsius": 18}, "time_s": 0.2}}')
    more = ["--tool-results", str(results), "--extra-body", json.dumps({"tools": [tool_of(endpoint)]}), "-t", "2s"]
    more += ["--earlier-turns", "previous_response_id", "--stream", "no"] if endpoint == "responses" else []
    run = run_locust(flags(target, endpoint, *more), {"OPENAI_API_KEY": API_KEY}, tmp_path).run()
    assert {row.outcome for row in run.rows} <= {Outcome.OK, Outcome.CANCELLED}
    truth = {line["client_request_id"]: line for line in target.truth()}
    sessions = [
        sorted((row for row in run.rows if row.session_id == one), key=lambda row: row.step or 0)
        for one in {row.session_id for row in run.rows}
    ]
    whole = [rows for rows in sessions if rows[-1].session_end == "done"]
    assert len(whole) > 5 and all([row.step for row in rows] == [1, 2] for rows in whole)
    for first, second in whole:
        assert {first.turn, second.turn} == {1} and first.conversation_id == second.conversation_id
        assert first.finish_reason in ("tool_calls", "completed", "tool_use") and first.doubts is None
        assert (second.started_at or 0) - (first.ended_at or 0) >= 0.19
        assert (second.prompt_tokens or 0) > (first.prompt_tokens or 0)
        assert all(row.completion_tokens == truth[f"{row.call_id}-1"]["completion_tokens"] for row in (first, second))
    sessions_told = run.facts["accounting"]["sessions"]
    assert (sessions_told["done"], sessions_told["failed"]) == (len(whole), 0)


def test_conversations_by_the_last_answers_id(target: Target, tmp_path: Path) -> None:
    """The service counts the whole conversation as the prompt, though only the new turn is sent; rows have names by
    what is asked, and one id for each conversation."""
    more = ["--turns", "3", "--earlier-turns", "previous_response_id"]
    run = run_locust(flags(target, "responses", *more), {"OPENAI_API_KEY": API_KEY}, tmp_path).run()
    rows = run.outcomes(Outcome.OK)
    assert {row.name for row in run.rows} == {"responses"}
    assert {row.outcome for row in run.rows} <= {Outcome.OK, Outcome.CANCELLED}
    whole = [
        [row.prompt_tokens or 0 for row in sorted(rows, key=lambda row: row.turn or 0) if row.conversation_id == one]
        for one in {row.conversation_id for row in rows}
    ]
    assert [tokens for tokens in whole if len(tokens) == 3]
    assert all(tokens == sorted(set(tokens)) for tokens in whole)
