"""The LLM page over HTTP, on a real Locust: starts that cannot be, the rate, files, strangers, several workers."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.run_health import check_code
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


@pytest.fixture(autouse=True)
def stopped(request: pytest.FixtureRequest) -> None:
    """No test begins while the run of another is on."""
    if "locust" in request.fixturenames:
        process: WebProcess = request.getfixturevalue("locust")
        process.post("/stop")
        process.await_live(lambda live: not live["is_on"])


EMPTY = {
    "run_time": "",
    "rate": "",
    "test_name": "",
    "max_total_requests": "",
    "failure_criteria": "",
    "max_tokens": "10",
}


def start(locust: WebProcess, **form: str) -> dict[str, object]:
    status, text = locust.post("/swarm", {"user_count": "10", "spawn_rate": "10", **EMPTY, **form})
    assert status == 200
    answer: dict[str, object] = json.loads(text)
    return answer


def test_a_start_that_cannot_be_says_everything_and_starts_nothing(locust: WebProcess) -> None:
    before = locust.live()["state"], sorted(locust.results.glob("*/*"))
    answer = start(locust, rate="fast", max_tokens="-3", failure_criteria="p95(nonsense) > 1", user_count="0")
    assert answer["success"] is False
    problems = answer["problems"]
    assert isinstance(problems, list)
    for word in ("rate", "max-tokens", "nonsense", "users"):
        assert any(word in problem for problem in problems), problems
    assert all(problem in str(answer["message"]) for problem in problems)
    fields = answer["fields"]
    assert isinstance(fields, dict)
    assert set(fields) == {"rate", "max_tokens", "failure_criteria", "user_count"}, "each is told at its field"
    assert (locust.live()["state"], sorted(locust.results.glob("*/*"))) == before


def test_options_that_write_or_read_files_are_not_the_forms(locust: WebProcess) -> None:
    for name in ("results_dir", "env_file", "ca_file", "run_directory"):
        assert "not from a form" in str(start(locust, **{name: "/tmp/elsewhere"})["message"])


def test_a_wrong_deployment_is_told_in_the_page(locust: WebProcess) -> None:
    answer = start(locust, deployment="nobody")
    assert answer["success"] is False
    assert "nobody" in str(answer["message"])
    assert start(locust, deployment="gpt-4.1-nano", max_total_requests="1")["success"] is True
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


def run_once(locust: WebProcess, requests: int = 3, **form: str) -> dict[str, Any]:
    """A run from its start to its report."""
    known = len(locust.live()["runs"])
    assert start(locust, max_total_requests=str(requests), **form)["success"] is True
    return locust.await_live(
        lambda live: len(live["runs"]) > known and live["runs"][-1]["report"] in ("ready", "failed")
    )


def test_a_run_is_named_after_the_scenario_that_filled_the_form(locust: WebProcess) -> None:
    values = json.loads(locust.get("/llm/scenarios/smoke.conf")[1])["values"]
    host = json.loads(locust.get("/llm/form")[1])["locust"]["host"]
    run_once(locust, **{**values, "host": host, "scenario": "smoke.conf"})
    run = locust.live()["run"]
    assert run["test_name"] == "smoke"
    facts = json.loads((Path(run["directory"]) / "run.json").read_text())
    assert facts["scenario"] == {"path": "scenarios/smoke.conf", "text": Path("scenarios/smoke.conf").read_text()}
    assert json.loads(locust.get("/llm/form")[1])["scenario"] == "smoke.conf", "and is what Run again starts"


@pytest.mark.parametrize("blank", [" ", "\n", ";", " ; ;"])
def test_criteria_of_blanks_start_nothing(locust: WebProcess, blank: str) -> None:
    answer = start(locust, failure_criteria=blank)
    assert answer["success"] is False and "failure criteria: expected" in str(answer["message"]).replace("-", " ")
    assert set(answer["fields"]) == {"failure_criteria"}  # type: ignore[call-overload]


def test_criteria_that_a_form_takes_out_of_its_scenario_are_said(locust: WebProcess) -> None:
    form = {"scenario": "smoke.conf", "failure_criteria": "", "max_total_requests": "3", "test_name": "taken-out"}
    assert start(locust, **form)["success"] is True
    ended = locust.await_live(lambda live: not live["is_on"] and (live["run"] or {}).get("test_name") == "taken-out")
    run = ended["run"]
    said = "percentage(error) > 1 (scenarios/smoke.conf) was replaced by nothing"
    facts = json.loads((Path(run["directory"]) / "run.json").read_text())
    state = "untrusted" if check_code(facts, 0) == 4 else "none"
    assert run["verdict"]["state"] == state and said in run["criteria_replaced"]
    assert {each["by"] for each in facts["criteria_replaced"]} == {None}


def test_a_form_is_filled_from_no_file_outside_the_scenarios(locust: WebProcess) -> None:
    before = json.loads(locust.get("/llm/form")[1])["scenario"]
    assert "scenario: expected one of" in str(start(locust, scenario="../.env")["message"])
    assert json.loads(locust.get("/llm/form")[1])["scenario"] == before


def test_an_empty_run_time_is_none(locust: WebProcess) -> None:
    assert start(locust, run_time="100s")["success"] is True
    progress = locust.await_live(lambda live: live["progress"] is not None)["progress"]
    assert progress["duration_s"] == 100
    assert 0 <= progress["elapsed_s"] < 100
    locust.post("/stop")
    locust.await_live(lambda live: not live["is_on"])
    assert start(locust)["success"] is True
    assert locust.await_live(lambda live: live["progress"] is not None)["progress"]["duration_s"] is None


def test_the_run_time_is_that_of_the_load(locust: WebProcess, simulator: Simulator) -> None:
    """Locust counts from the button; the first request, which comes before the load, may take long."""
    simulator.admin("PATCH", "/admin/config", {"deployments": {"gpt-4.1-nano": {"ttft_base_ms": 1200}}})
    try:
        assert start(locust, run_time="2s", test_name="slow-first")["success"] is True
        live = locust.await_live(
            lambda live: not live["is_on"] and (live["run"] or {}).get("test_name") == "slow-first"
        )
    finally:
        simulator.admin("PATCH", "/admin/config", {"deployments": {"gpt-4.1-nano": {"ttft_base_ms": 150}}})
    assert live["run"]["stop_reason"] is None
    assert live["run"]["ended_at"] - live["run"]["started_at"] > 1.9


def test_no_point_is_later_than_the_end_nor_before_another(locust: WebProcess) -> None:
    assert start(locust, rate="600")["success"] is True
    locust.await_live(lambda live: len(live["points"]) >= 2)
    locust.post("/stop")
    live = locust.await_live(lambda live: not live["is_on"] and live["run"]["ended_at"] is not None)
    instants = [point["at"] for point in live["points"]]
    assert instants == sorted(set(instants))
    assert instants[-1] == pytest.approx(live["run"]["ended_at"], abs=0.06)


def test_what_the_run_would_come_to_is_said_in_words(locust: WebProcess) -> None:
    assert start(locust, rate="600", failure_criteria="avg(e2e_ms) > 1; percentage(throttled) > 5")["success"] is True
    live = locust.await_live(lambda live: live["is_on"] and live["run"]["counts"]["ok"] >= 3)
    assert live["run"]["so_far"]["state"] in ("failing", "untrusted")  # a busy machine is said, too
    reasons = live["run"]["so_far"]["reasons"]
    assert any(reason.startswith("avg(e2e_ms) must be at most 1 ms, is ") for reason in reasons), reasons
    (throttled,) = [each for each in live["run"]["criteria"] if each["metric"] == "throttled"]
    assert re.fullmatch(r"must be at most 5 %, is 0 % \(0 of \d+\)", throttled["words"])


def test_a_run_is_compared_with_the_one_before(locust: WebProcess) -> None:
    run_once(locust, test_name="compared")
    live = run_once(locust, test_name="compared")
    last = live["runs"][-1]
    assert last["previous"] == live["runs"][-2]["name"]
    assert locust.post(f"/llm/runs/{last['number']}/compare")[0] == 200
    live = locust.await_live(lambda live: live["runs"][-1]["comparison"] in ("ready", "failed"))
    assert live["runs"][-1]["comparison"] == "ready", live["runs"][-1]
    assert "<html" in locust.get(f"/llm/runs/{last['number']}/comparison.html")[1]
    refused = json.loads(locust.post("/llm/runs/99/compare")[1])
    assert refused["problems"] == ["comparison: expected a run with another one before it, got run 99"]


def test_only_the_files_of_a_run_are_served(locust: WebProcess) -> None:
    if not locust.live()["runs"]:  # by itself
        run_once(locust)
    live = locust.await_live(lambda live: live["runs"][-1]["report"] in ("ready", "failed"))
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


EVERY_ROUTE = (
    *(("GET", path) for path in ("/", "/stats/requests", "/stats/report", "/stats/requests/csv", "/stats/failures/csv",
      "/stats/requests_full_history/csv", "/exceptions", "/exceptions/csv", "/tasks", "/logs", "/worker-count",
      "/login",
      "/assets/favicon-light.png", "/llm", "/llm/form", "/llm/live", "/llm/web/llm.js", "/llm/scenarios/smoke.conf",
      "/nothing/here")),
    *(("POST", path) for path in ("/swarm", "/stop", "/stats/reset", "/user", "/llm/rate", "/llm/runs/1/compare",
      "/nothing/here")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("case", "headers"),
    [
        ("another site", {"Origin": "http://evil.example"}),
        ("another site, plain http", {"Origin": "http://evil.example", "Sec-Fetch-Site": ""}),
        ("a sandboxed page", {"Origin": "null"}),
        ("another port", {"Origin": "http://127.0.0.1:1"}),
        ("another scheme", {"Origin": "https://{host}"}),
        ("a rebound name", {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"}),
        ("a rebound name that reads", {"Host": "evil.example"}),
        ("a name that begins like ours", {"Host": "localhost.evil.example"}),
        ("credentials in the name", {"Origin": "http://{host}@evil.example"}),
        ("the browser tells", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}),
        ("the browser tells of another port", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}),
        ("a frame", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
    ],
)
def test_another_site_passes_no_route(locust: WebProcess, case: str, headers: dict[str, str]) -> None:
    parts = urlsplit(locust.url)
    sent = {name: text.format(host=parts.netloc, port=parts.port) for name, text in headers.items()}
    for method, path in EVERY_ROUTE:
        token = locust.token() if method == "POST" else {}
        assert asked(locust, method, path, {**token, **sent}).status == 403, (case, method, path)
    assert locust.live()["state"] != "running"


def test_what_changes_something_needs_the_token(locust: WebProcess) -> None:
    own = {"Origin": locust.url, "Sec-Fetch-Site": "same-origin"}
    for method, path in EVERY_ROUTE:
        for headers in ({}, own, {**own, "X-Tokenswarm-Token": "guessed"}):
            assert (asked(locust, method, path, headers).status == 403) == (method == "POST"), (path, headers)
    field = {"tokenswarm_token": locust.token()["X-Tokenswarm-Token"]}
    assert asked(locust, "POST", "/stats/reset", own, urllib.parse.urlencode(field)).status == 200
    assert asked(locust, "POST", "/stats/reset", own | locust.token()).status == 200


def test_our_own_pages_and_people_who_follow_a_link_pass(locust: WebProcess) -> None:
    port = urlsplit(locust.url).port
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", "localhost", "LOCALHOST:9", "[::1]:9"):
        assert asked(locust, "GET", "/llm/live", {"Host": host, "Origin": f"http://{host}"}).status == 200, host
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert asked(locust, "GET", "/llm", followed).status == 200


def test_no_answer_may_be_framed_or_read_by_another_page(locust: WebProcess) -> None:
    for method, path in EVERY_ROUTE:
        answer = asked(locust, method, path, {"Origin": locust.url})
        headers = {name.lower(): value for name, value in answer.getheaders()}
        assert headers["x-frame-options"] == "DENY", path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["cross-origin-resource-policy"] == "same-origin", path
        assert not [name for name in headers if name.startswith("access-control-")], path


def asked(
    locust: WebProcess, method: str, path: str, headers: dict[str, str], body: str = ""
) -> http.client.HTTPResponse:
    """One answer to exactly these headers."""
    parts = urlsplit(locust.url + path)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        form = {"Content-Type": "application/x-www-form-urlencoded"} if method == "POST" else {}
        connection.request(method, parts.path, body or None, {**form, **headers})
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


def test_a_form_chooses_no_file_of_this_machine(locust: WebProcess) -> None:
    for name in ("dataset", "trace"):
        for path in ("/etc/passwd", "/dev/zero", "../secrets.csv", str(locust.log)):
            message = str(start(locust, **{name: path})["message"])
            assert f"{name}: expected a file of scenarios/" in message, message
            assert "root:" not in message, "a file that may not be chosen is not read"
    fields = [each for group in json.loads(locust.get("/llm/form")[1])["groups"] for each in group["fields"]]
    (dataset,) = [field for field in fields if field["name"] == "dataset"]
    assert "scenarios/dataset.csv" in dataset["choices"]


def test_behind_a_proxy_its_name_is_said_once(simulator: Simulator, tmp_path: Path) -> None:
    allowed = "https://load.example.com, gateway.example.com:8443"
    with running_locust(tmp_path, simulator.chat_url, *SHORT, "--web-allowed-hosts", allowed, base="/load") as locust:
        for host, origin, status in (
            ("load.example.com", "https://load.example.com", 200),  # the proxy hands the name on
            (urlsplit(locust.url).netloc, "https://load.example.com", 200),  # the proxy says its own name for us
            ("gateway.example.com:8443", "https://gateway.example.com:8443", 200),
            ("load.example.com", "https://evil.example", 403),
            ("load.example.com", "https://load.example.com:8443", 403),
            ("evil.example", "https://load.example.com", 403),
        ):
            headers = {"Host": host, "Origin": origin, **locust.token()}
            assert asked(locust, "POST", "/stats/reset", headers).status == status, (host, origin)


def test_a_name_that_is_none_starts_nothing(simulator: Simulator, tmp_path: Path) -> None:
    expected = r"web-allowed-hosts: expected a name as load\.example\.com, got '\*'"
    flags = (*SHORT, "--web-allowed-hosts", "*")
    with pytest.raises(RuntimeError, match=expected), running_locust(tmp_path, simulator.chat_url, *flags):
        pass


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
        assert answered(locust, "POST", "/llm/rate") == 403
        assert answered(locust, "POST", "/swarm") == 403, "validation must not talk to strangers"


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
