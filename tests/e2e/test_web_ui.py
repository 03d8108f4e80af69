"""Runs started as the web form starts them: each leaves a run directory of its own."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.locust_process import (
    Run,
    Target,
    check_against_truth,
    credentials,
    locust_process,
    scenario,
)
from tests.ports import free_port
from tests.simulator_process import API_KEY
from tests.waiting import wait_until
from tokenswarm.record import Outcome


class Web:
    """Locust with its web UI."""

    def __init__(self, url: str, results: Path, log: Path) -> None:
        self.url = url
        self.results = results
        self.log = log

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=20) as response:
            text: str = response.read().decode()
        return text

    def answers(self) -> bool:
        try:
            return bool(self.get("/"))
        except OSError:
            return False

    def start(self, **fields: str) -> dict[str, object]:
        """Send the form."""
        return self.post("/swarm", **{"user_count": "2", "spawn_rate": "2", "run_time": "", **fields})

    def post(self, path: str, **form: str) -> dict[str, object]:
        token = json.loads(self.get("/llm/form"))["token"]
        data = urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(self.url + path, data, {"X-Tokenswarm-Token": token})
        with urllib.request.urlopen(request, timeout=20) as response:
            answer: dict[str, object] = json.load(response)
        return answer

    def states(self) -> list[str]:
        """State of each run so far, oldest first."""
        found = sorted(self.results.glob("*/*/run.json"), key=lambda path: path.stat().st_ctime)
        return [json.loads(path.read_text())["state"] for path in found]


@pytest.fixture
def web(target: Target, tmp_path: Path) -> Iterator[Web]:
    port, results, log = free_port(), tmp_path / "results", tmp_path / "locust.log"
    flags = ["--web-host", "127.0.0.1", "--web-port", str(port), "--results-dir", str(results)]
    with locust_process(scenario("smoke", *flags), credentials(target), log):
        web = Web(f"http://127.0.0.1:{port}", results, log)
        wait_until(web.answers, "the web UI")
        yield web


def test_the_form_starts_with_the_scenarios_values(web: Web) -> None:
    page = web.get("/")
    form, _ = json.JSONDecoder().raw_decode(page, page.index("{", page.index("templateArgs")))
    assert form["num_users"] == 2
    extra = form["extra_options"]
    assert (extra["context_tokens"]["default_value"], extra["max_tokens"]["default_value"]) == ("100", "50")
    assert API_KEY not in page


def test_two_runs_from_the_form_leave_two_run_directories(web: Web, target: Target) -> None:
    assert web.start(context_tokens="120", max_tokens="30", test_name="mine")["success"] is True
    wait_until(lambda: target.answered >= 4, "requests of the first run")
    web.post("/stop")
    wait_until(lambda: web.states() == ["interrupted"], "the end of the first run, which somebody stopped")
    assert web.start(context_tokens="120", max_tokens="30", test_name="mine", run_time="2s")["success"] is True
    wait_until(lambda: web.states() == ["interrupted", "finished"], "the end of the second run")
    first, second = (Run(path.parent) for path in sorted(web.results.glob("mine/*/run.json")))
    assert (first.facts["stop_reason"], second.facts["stop_reason"]) == ("Stop was pressed in the web UI", None)
    one_after_the_other = [row for run in (first, second) for row in run.rows]
    assert {row.outcome for row in one_after_the_other} == {Outcome.OK}
    assert {(row.prompt_tokens, row.completion_tokens) for row in one_after_the_other} == {(120, 30)}
    received = {line["client_request_id"] for line in target.truth()}
    assert {f"{row.call_id}-{row.attempt}" for row in one_after_the_other} == received
    for run in (first, second):
        expected = {"run.json", "requests.csv", "locust.html", "locust_stats.csv", "locust_stats_history.csv"}
        assert expected <= {path.name for path in run.directory.iterdir()}
        assert int(run.locust_totals()["Request Count"]) == len(run.rows)


def test_a_wrong_entry_starts_nothing_and_a_right_one_after_it_does(web: Web, target: Target) -> None:
    refused = web.start(rate="-1", context_tokens="lots")
    assert refused["success"] is False
    assert "rate: expected" in str(refused["message"])
    assert "context-tokens: expected" in str(refused["message"])
    refused = web.start(deployment="gone")
    assert refused["success"] is False
    assert "'gone'" in str(refused["message"])
    assert target.truth() == []
    assert web.states() == []
    web.start(deployment="gpt-4.1-nano", rate="", run_time="1s")
    wait_until(lambda: web.states() == ["finished"], "the end of the run")
    assert "Traceback" not in web.log.read_text()
    (path,) = web.results.glob("*/*/run.json")
    check_against_truth(Run(path.parent), target)
