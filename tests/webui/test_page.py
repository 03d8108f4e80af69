"""The LLM page over HTTP, on a real Locust: starts that cannot be, the rate, files, strangers, several workers."""

from __future__ import annotations

import http.client
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.simulator_process import Simulator, running_simulator
from tests.webui.web_process import WebProcess, running_locust

SHORT = ("--context-tokens", "50", "--max-tokens", "10", "-u", "10", "-r", "10")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(seed=3) as running:
        yield running


@pytest.fixture(scope="module")
def locust(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    directory = tmp_path_factory.mktemp("locust")
    canary = directory / "keys.env"
    canary.write_text("AZURE_OPENAI_API_KEY=simulator-key\nOTHER_API_KEY=canary-73a1f0c2d9\n")
    with running_locust(directory, simulator.chat_url, *SHORT, "--env-file", str(canary)) as process:
        yield process


def start(locust: WebProcess, **form: str) -> dict[str, object]:
    status, text = locust.post("/swarm", {"user_count": "10", "spawn_rate": "10", "run_time": "", **form})
    assert status == 200
    answer: dict[str, object] = json.loads(text)
    return answer


def test_a_start_that_cannot_be_says_everything_and_starts_nothing(locust: WebProcess) -> None:
    answer = start(locust, rate="fast", max_tokens="-3", failure_criteria="p95(nonsense) > 1", user_count="0")
    assert answer["success"] is False
    problems = answer["problems"]
    assert isinstance(problems, list)
    for word in ("rate", "max-tokens", "nonsense", "users"):
        assert any(word in problem for problem in problems), problems
    assert all(problem in str(answer["message"]) for problem in problems)
    assert locust.live()["state"] == "ready"
    assert list(locust.results.glob("*/*")) == []


def test_options_that_write_or_read_files_are_not_the_forms(locust: WebProcess) -> None:
    for name in ("results_dir", "env_file", "ca_file", "run_directory"):
        assert "not from a form" in str(start(locust, **{name: "/tmp/elsewhere"})["message"])


def test_a_wrong_deployment_is_told_in_the_page(locust: WebProcess) -> None:
    answer = start(locust, deployment="nobody")
    assert answer["success"] is False
    assert "nobody" in str(answer["message"])
    assert start(locust, deployment="gpt-35-turbo", max_total_requests="1")["success"] is True
    locust.await_live(lambda live: not live["is_on"] and live["run"] is not None)


def test_the_rate_is_changed_and_written_down(locust: WebProcess, simulator: Simulator) -> None:
    assert locust.post_json("/llm/rate", {"rate": "100"})["success"] is False, "nothing is running"
    start(locust, rate="60", max_total_requests="", test_name="rates")
    locust.await_live(lambda live: live["is_on"] and live["run"]["figures"][0]["tally"]["ok"] >= 1)
    assert "expected" in locust.post_json("/llm/rate", {"rate": "quick"})["message"]
    began = time.time()
    change = locust.post_json("/llm/rate", {"rate": "1200"})
    assert change["success"] is True
    assert began < change["at"] < time.time() + 1
    locust.await_live(lambda live: live["run"]["counts"]["ok"] >= 60)
    live = locust.live()["run"]
    assert live["rate"] == {"rpm": 1200.0, "can_change": True}
    locust.post("/stop")
    locust.await_live(lambda live: not live["is_on"])
    (run,) = (locust.results / "rates").iterdir()
    facts = json.loads((run / "run.json").read_text())
    assert facts["rate_changes"] == [{"at": change["at"], "rate_rpm": 1200.0}]
    accounting = facts["accounting"]
    assert accounting["planned"] == accounting["first_attempts"] + accounting["dropped"]
    rows = [line.split(",") for line in (run / "requests.csv").read_text().splitlines()]
    due = sorted(float(row[rows[0].index("scheduled_at")]) for row in rows[1:])
    changed_at = change["at"] - 1e-5  # rows hold microseconds
    before = [at for at in due if at < changed_at]
    after = [at for at in due if at >= changed_at]
    assert gaps(before) == pytest.approx([1.0] * (len(before) - 1), abs=0.001)
    assert gaps(after) == pytest.approx([0.05] * (len(after) - 1), abs=0.001)
    assert after[0] == pytest.approx(change["at"], abs=0.001)


def gaps(instants: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(instants)]


def test_only_the_files_of_a_run_are_served(locust: WebProcess) -> None:
    live = locust.await_live(lambda live: bool(live["runs"]) and live["runs"][-1]["report"] != "making")
    assert live["runs"][-1]["report"] == "ready", live["runs"]
    number = live["runs"][-1]["number"]
    assert "<html" in locust.get(f"/llm/runs/{number}/report.html")[1]
    assert locust.get(f"/llm/runs/{number}/requests.csv")[1].startswith("call_id,")
    for path in (
        f"/llm/runs/{number}/../../../keys.env",
        f"/llm/runs/{number}/..%2f..%2f..%2fkeys.env",
        f"/llm/runs/{number}/%2e%2e/run.json",
        f"/llm/runs/{number}/locust_stats.csv",
        "/llm/runs/0/run.json",
        "/llm/runs/99/run.json",
        "/llm/web/../webui.py",
        "/llm/scenarios/..%2f.env",
    ):
        status, text = locust.get(path)
        assert status == 404 or '"success": false' in text, path


def test_another_site_can_neither_start_nor_read(locust: WebProcess) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    assert locust.post("/swarm", {"user_count": "1", "spawn_rate": "1"}, **foreign)[0] == 403
    assert locust.get("/llm/live", **foreign)[0] == 403
    assert locust.get("/llm", **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})[0] == 200
    assert locust.get("/llm/live", **{"Sec-Fetch-Site": "same-origin"})[0] == 200


def test_no_key_reaches_the_browser(locust: WebProcess) -> None:
    for path in ("/", "/llm", "/llm/live", "/llm/form", "/stats/requests", "/logs", "/llm/scenarios/smoke.conf"):
        text = locust.get(path)[1]
        assert "simulator-key" not in text, path
        assert "canary-73a1f0c2d9" not in text, path


def test_the_page_listens_on_this_machine_only(locust: WebProcess) -> None:
    connections = psutil.Process(locust.process.pid).net_connections("tcp")
    listening = [connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]


def test_without_a_login_nothing_is_said_or_checked(simulator: Simulator, tmp_path: Path) -> None:
    file = "tests/webui/login_locustfile.py"
    with running_locust(tmp_path, simulator.chat_url, *SHORT, "--web-login", base="/load", file=file) as locust:
        for path in ("/llm", "/llm/live", "/llm/form", "/llm/web/llm.js", "/llm/runs/1/run.json"):
            assert answered(locust, "GET", path) == 302, path
        assert answered(locust, "POST", "/llm/rate") == 302
        assert answered(locust, "POST", "/swarm") == 302, "validation must not talk to strangers"


def answered(locust: WebProcess, method: str, path: str) -> int:
    """The status, without following a redirect."""
    parts = urlsplit(locust.url + path)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request(method, parts.path, headers={"Content-Type": "application/x-www-form-urlencoded"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_four_workers_are_one_run(simulator: Simulator, tmp_path: Path) -> None:
    with running_locust(tmp_path, simulator.chat_url, *SHORT, "--processes", "4", "--stop-timeout", "10") as locust:
        locust.await_live(lambda _: json.loads(locust.get("/worker-count")[1])["worker_count"] == 4)
        assert start(locust, rate="300", user_count="20", spawn_rate="20")["success"] is True
        locust.await_live(lambda live: live["run"] is not None and live["run"]["counts"]["ok"] >= 10)
        assert locust.post_json("/llm/rate", {"rate": "900"})["success"] is True
        live = locust.await_live(lambda live: live["run"]["counts"]["ok"] >= 80 and len(live["run"]["workers"]) == 4)
        assert {each["worker"] for each in live["run"]["workers"]} == {"w0", "w1", "w2", "w3"}
        locust.post("/stop")
        live = locust.await_live(lambda live: not live["is_on"] and live["run"]["verdict"] is not None)
        run = live["run"]
        truth = [row for row in simulator.truth() if row["received_at"] >= run["started_at"] and row["outcome"] == "ok"]
        assert run["counts"]["ok"] == len(truth), "every answer of every worker is in the figures"
        accounting = json.loads((Path(run["directory"]) / "run.json").read_text())["accounting"]
        assert accounting["planned"] == accounting["first_attempts"] + accounting["dropped"]
        assert accounting["lost"] == []
