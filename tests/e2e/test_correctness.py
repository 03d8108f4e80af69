"""Answers that are fast and wrong: a deployment that answers wrong above a load, judged against its own log."""

from __future__ import annotations

import json
from pathlib import Path

from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from tests.e2e.locust_process import Target, credentials, run_locust, scenario
from tests.simulator_process import running_simulator

CONFIG = """
[deployments.'gpt-4.1-nano']
ttft_base_ms = 100
tbt_ms = 2
wrong_above = 4
"""


def test_wrong_answers_are_those_of_the_service_and_at_its_level(tmp_path: Path) -> None:
    dataset = tmp_path / "questions.csv"
    dataset.write_text("question,expect\n[[simulate answer: Paris]] capital of France?,contains: Paris\n")
    flags = ["-u", "8", "-r", "4", "-t", "4s", "--context-tokens", "dataset", "--dataset", str(dataset)]
    flags += ["--answers-sample", "100"]
    flags += ["--failure-criteria", "percentage(wrong) > 2", "--think-time", "0"]
    with running_simulator(CONFIG, seed=5) as simulator:
        target = Target(simulator, 0)
        finished = run_locust(scenario("smoke", *flags), credentials(target), tmp_path)
        run = finished.run()
        truth = {line["client_request_id"]: line["wrong"] for line in target.truth()}
    judged = [row for row in run.rows if row.answer_check is not None]
    assert len(judged) > 50
    assert all((row.answer_check != "right") == truth[f"{row.call_id}-{row.attempt}"] for row in judged)
    assert run.facts["verdict"]["has_failed"]
    answers = [json.loads(line) for line in (run.directory / "answers.jsonl").read_text().splitlines()]
    assert {line["call_id"]: line["answer_check"] for line in answers} == {
        row.call_id: row.answer_check for row in judged
    }
    assert all(("Paris" in line["answer"]) == (line["answer_check"] == "right") for line in answers)
    levels = summarise(load_run(run.directory)).by_load
    assert all(level.wrong == 0 for level in levels if level.high < 4)
    assert all(level.wrong > level.judged / 2 for level in levels if level.low > 5)
    assert {True, False} == {level.wrong > level.judged / 2 for level in levels}
