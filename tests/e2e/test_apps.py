"""An application in its own format, loaded by a scenario, against what the simulator's front end really sent."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from tests.e2e.locust_process import Target, run_locust, scenario
from tests.simulator_process import API_KEY
from tokenswarm.record import Outcome

LOAD = ("-u", "3", "-r", "3", "-t", "60s", "--think-time", "0.05", "--max-total-requests", "9")
KEY = ("--headers", "api-key: ${APP_KEY}", "--preflight", "full")


def test_a_scenario_of_an_application(target: Target, tmp_path: Path) -> None:
    flags = scenario("app-own-format", *LOAD, *KEY, "-H", target.url)
    finished = run_locust(flags, {"APP_KEY": API_KEY}, tmp_path)
    run = finished.run()
    assert not run.facts["verdict"]["has_failed"], finished.output
    truth = {line["client_request_id"]: line for line in target.truth()}
    rows = run.outcomes(Outcome.OK)
    assert len(rows) >= 9 and len(rows) == len(run.sent)
    assert len(truth) == len(rows) + 1  # the first question, before the start
    turns = defaultdict(list)
    for row in rows:
        line = truth[f"{row.call_id}-{row.attempt}"]
        assert line["outcome"] == "ok"
        assert (row.chunks, row.conversation_id) == (line["chunks"], line["conversation_id"])
        assert row.first_progress_ms is not None and row.ttft_ms is not None and row.first_progress_ms < row.ttft_ms
        turns[row.conversation_id].append(row.turn)
    assert all(each == list(range(1, len(each) + 1)) for each in turns.values())
    assert max(map(len, turns.values())) == 3
    summary = summarise(load_run(run.directory))
    assert summary.overall.distributions["first_progress_ms"].n == len(rows)
    written = [path.read_text(errors="replace") for path in run.directory.iterdir() if path.is_file()]
    assert not any(API_KEY in text for text in [*written, finished.output])


def test_a_wrong_key_is_one_message_after_one_question(target: Target, tmp_path: Path) -> None:
    flags = scenario("smoke", *LOAD, *KEY, "-H", target.url, "--endpoint", "app", "--app-preset", "ag-ui")
    finished = run_locust(flags, {"APP_KEY": "not-the-key-1"}, tmp_path)
    assert finished.code == 2 and "Traceback" not in finished.output
    assert finished.output.count("  - ") == 1 and "  - key: expected one that" in finished.output
    assert [line["status"] for line in target.truth()] == [401]
    assert "not-the-key-1" not in finished.output
