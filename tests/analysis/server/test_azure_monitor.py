"""`azure-metrics` against a fake Azure Monitor, with the real SDKs: addresses, tokens, query and answer on the wire."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from analysis.__main__ import main as analyse
from analysis.server.azure_monitor import CREDENTIAL_NAMES
from tests.services.fake_azure import Azure, Seen
from tokenswarm.metrics.server_metrics import FILE_NAME, ServerSample, append_samples, read_samples
from tokenswarm.record import COLUMNS, Outcome, RequestRecord, TokenSource

START = 1_800_000_000.0  # a whole minute
GROUP = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers"
AOAI = f"{GROUP}/Microsoft.CognitiveServices/accounts/aoai"
COSMOS = f"{GROUP}/Microsoft.DocumentDB/databaseAccounts/cosmos"
RESOURCES = f"{AOAI} region=swedencentral; {COSMOS} region=westeurope"


def azure_metrics(arguments: list[str]) -> int:
    """The command, as `python -m analysis azure-metrics ...` runs it."""
    return analyse(["azure-metrics", *arguments])


def write_run(folder: Path, server_metrics: str | None = RESOURCES, criteria: str = "") -> Path:
    """A run directory with three answers and one 429 within 90 s."""
    run = folder / "run"
    run.mkdir()
    options = {"server-metrics": server_metrics, "server-failure-criteria": criteria}
    meta = {
        "schema_version": 1,
        "test_name": "t",
        "state": "finished",
        "started_at": START + 10,
        "ended_at": START + 100,
        "target": {"kind": "chat", "deployment": "gpt-4o"},
        "options": options,
    }
    (run / "run.json").write_text(json.dumps(meta))
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "token_source": TokenSource.USAGE}
    with (run / "requests.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(3):
            started_at = START + 20 + number
            record = RequestRecord(
                call_id=f"c{number}", started_at=started_at, e2e_ms=900.0, status=200, outcome=Outcome.OK, **usage
            )
            writer.writerow(record.to_row())
        throttled = RequestRecord(
            call_id="c9", started_at=START + 30, e2e_ms=20.0, status=429, outcome=Outcome.THROTTLED
        )
        writer.writerow(throttled.to_row())
    return run


def answer(seen: Seen, values: dict[str, tuple[str, list[tuple[dict[str, str], list[float | None]]]]]) -> Any:
    """A metrics:getBatch answer: metric to unit and series, each with its dimensions and one value a minute."""
    aggregation = seen.query["aggregation"][0].lower()
    metrics = []
    for name in seen.query["metricnames"][0].split(","):
        if name not in values:
            continue
        unit, series = values[name]
        timeseries = [
            {
                "metadatavalues": [{"name": {"value": key}, "value": value} for key, value in dimensions.items()],
                "data": [
                    {"timeStamp": datetime.fromtimestamp(START + 60 * minute, UTC).isoformat().replace("+00:00", "Z")}
                    | ({} if value is None else {aggregation: value})
                    for minute, value in enumerate(points)
                ],
            }
            for dimensions, points in series
        ]
        metrics.append({"id": name, "name": {"value": name}, "unit": unit, "timeseries": timeseries})
    return {
        "values": [
            {
                "starttime": seen.query["starttime"][0],
                "endtime": seen.query["endtime"][0],
                "interval": seen.query["interval"][0],
                "namespace": seen.query["metricnamespace"][0],
                "resourceregion": "swedencentral",
                "resourceid": json.loads(seen.body)["resourceids"][0],
                "value": metrics,
            }
        ]
    }


VALUES = {
    "AzureOpenAIRequests": ("Count", [({"statuscode": "200"}, [2.0, 1.0]), ({"statuscode": "429"}, [1.0, None])]),
    "ProcessedPromptTokens": ("Count", [({}, [200.0, 100.0])]),
    "GeneratedTokens": ("Count", [({}, [40.0, 20.0])]),
    "AzureOpenAITimeToResponse": ("MilliSeconds", [({}, [250.0, None])]),
    "AzureOpenAITokenPerSecond": ("Unspecified", []),
    "NormalizedRUConsumption": ("Percent", [({}, [12.0, 95.0])]),
}


def good(seen: Seen) -> tuple[int, Any]:
    return 200, answer(seen, VALUES)


def test_stores_compares_and_says_what_is_missing(
    azure: Azure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.metrics = good
    run = write_run(tmp_path)
    assert azure_metrics([str(run)]) == 0
    printed = capsys.readouterr().out
    for what in ("chat requests", "chat answers 429", "chat prompt tokens", "chat generated tokens"):
        (line,) = (line for line in printed.splitlines() if line.startswith(f"{what} "))
        assert line.endswith("agrees")
    assert "n/a (the service has no such series): " in printed
    assert "aoai/AzureOpenAIProvisionedManagedUtilizationV2" in printed
    assert "aoai/AzureOpenAITokenPerSecond" in printed
    samples = read_samples(run / FILE_NAME)
    throttled = [one for one in samples if one.dimension("StatusCode") == "429"]
    assert [(one.at, one.value, one.unit) for one in throttled] == [(START, 1.0, "count")]
    assert [one.value for one in samples if one.metric == "NormalizedRUConsumption"] == [12.0, 95.0]


def test_the_query_is_for_the_minutes_and_the_deployment_of_the_run(azure: Azure, tmp_path: Path) -> None:
    azure.metrics = good
    azure_metrics([str(write_run(tmp_path))])
    queries = azure.requests_to(".metrics.monitor.azure.com")
    assert {one.host for one in queries} == {
        "swedencentral.metrics.monitor.azure.com",
        "westeurope.metrics.monitor.azure.com",
    }
    (requests,) = (one for one in queries if one.query["metricnames"] == ["AzureOpenAIRequests"])
    assert requests.path.endswith("/subscriptions/00000000-0000-0000-0000-000000000001/metrics:getBatch")
    assert requests.query["filter"] == ["ModelDeploymentName eq 'gpt-4o' and StatusCode eq '*'"]
    assert requests.query["interval"] == ["PT1M"]
    times = [datetime.fromisoformat(requests.query[name][0]).timestamp() for name in ("starttime", "endtime")]
    assert times == [START, START + 120]
    assert requests.headers["authorization"].startswith("Bearer token-")
    assert json.loads(requests.body) == {"resourceids": [AOAI]}
    (cosmos,) = (one for one in queries if one.query["metricnames"] == ["NormalizedRUConsumption"])
    assert "filter" not in cosmos.query


@pytest.mark.parametrize(
    ("ended_at", "e2e_ms", "until"),
    [(58.0, 500.0, 60.0), (58.0, 4000.0, 120.0), (59.9, 500.0, 120.0), (100.0, 500.0, 120.0)],
    ids=["within-the-minute", "answered-while-draining", "on-the-edge", "nothing-at-the-end"],
)
def test_the_minutes_reach_to_the_last_answer(
    azure: Azure, tmp_path: Path, ended_at: float, e2e_ms: float, until: float
) -> None:
    azure.metrics = good
    run = write_run(tmp_path)
    meta = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(meta | {"ended_at": START + ended_at}))
    last = RequestRecord(call_id="last", started_at=START + 57, e2e_ms=e2e_ms, status=200, outcome=Outcome.OK)
    with (run / "requests.csv").open("a", newline="") as file:
        csv.writer(file).writerow(last.to_row())
    azure_metrics([str(run)])
    queries = azure.requests_to(".metrics.monitor.azure.com")
    assert {datetime.fromisoformat(one.query["endtime"][0]).timestamp() for one in queries} == {START + until}


def test_a_metric_the_service_does_not_know_does_not_lose_the_others(azure: Azure, tmp_path: Path) -> None:
    def picky(seen: Seen) -> tuple[int, Any]:
        if "AzureOpenAINormalizedTBTInMS" in seen.query["metricnames"][0]:
            return 400, {"error": {"code": "BadRequest", "message": "Failed to find metric configuration"}}
        return good(seen)

    azure.metrics = picky
    run = write_run(tmp_path)
    assert azure_metrics([str(run)]) == 0
    assert "AzureOpenAITimeToResponse" in {one.metric for one in read_samples(run / FILE_NAME)}


def test_a_forbidden_resource_is_one_line_and_the_others_are_kept(
    azure: Azure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def partly(seen: Seen) -> tuple[int, Any]:
        forbidden = seen.host.startswith("westeurope")
        return (403, {"error": {"code": "AuthorizationFailed", "message": "x"}}) if forbidden else good(seen)

    azure.metrics = partly
    run = write_run(tmp_path)
    assert azure_metrics([str(run)]) == 2
    assert capsys.readouterr().err.strip() == (
        "cosmos: expected its metrics, got: forbidden: the role Monitoring Reader on the subscription is missing"
    )
    assert {one.resource for one in read_samples(run / FILE_NAME)} == {"aoai"}


def test_a_second_query_replaces_the_first_and_keeps_what_was_scraped(azure: Azure, tmp_path: Path) -> None:
    azure.metrics = good
    run = write_run(tmp_path)
    scraped = ServerSample(
        at=START, interval_s=5, source="prometheus", resource="gpu", metric="ttft", dimensions="",
        aggregation="average", value=9, unit="ms", service_unit="Seconds",
    )  # fmt: skip
    append_samples(run / FILE_NAME, [scraped])
    azure_metrics([str(run)])
    once = read_samples(run / FILE_NAME)
    azure_metrics([str(run)])
    assert read_samples(run / FILE_NAME) == once
    assert scraped in once


def test_a_report_asks_by_itself_until_the_answers_are_whole(
    azure: Azure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.metrics = good
    run = write_run(tmp_path)
    assert analyse(["report", str(run)]) == 0
    printed = capsys.readouterr().out
    (line,) = (line for line in printed.splitlines() if line.startswith("chat requests "))
    assert line.endswith("agrees")
    assert "NormalizedRUConsumption" in (run / "report.html").read_text()
    asked = len(azure.requests_to(".metrics.monitor.azure.com"))
    assert asked > 0
    os.utime(run / FILE_NAME, (START + 200, START + 200))  # stored at once after the run: minutes may have been missing
    assert analyse(["report", str(run), "--no-html"]) == 0
    again = len(azure.requests_to(".metrics.monitor.azure.com"))
    assert again == 2 * asked
    os.utime(run / FILE_NAME, (START + 1000, START + 1000))
    assert analyse(["report", str(run), "--no-html"]) == 0
    assert len(azure.requests_to(".metrics.monitor.azure.com")) == again


def test_a_report_does_without_what_is_refused(
    azure: Azure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.metrics = lambda _seen: (403, {"error": {"code": "AuthorizationFailed", "message": "x"}})
    run = write_run(tmp_path)
    assert analyse(["report", str(run), "--no-html"]) == 0
    assert "cosmos: expected its metrics, got: forbidden" in capsys.readouterr().out
    assert (run / "report.md").is_file()


@pytest.mark.parametrize("how", ["without credentials", "not wanted"])
def test_a_report_asks_nobody(azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    azure.metrics = good
    if how == "without credentials":
        for name in CREDENTIAL_NAMES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AZURE_CONFIG_DIR", str(tmp_path / "none"))
    flags = ["--no-azure"] if how == "not wanted" else []
    assert analyse(["report", str(write_run(tmp_path)), "--no-html", *flags]) == 0
    assert azure.requests_to(".metrics.monitor.azure.com") == []


@pytest.mark.parametrize(("limit", "code"), [("90", 3), ("96", 0)])
def test_server_criteria_decide_the_exit_code(azure: Azure, tmp_path: Path, limit: str, code: int) -> None:
    azure.metrics = good
    run = write_run(tmp_path, criteria=f"cosmos: maximum(NormalizedRUConsumption) > {limit}")
    assert azure_metrics([str(run)]) == code


def test_a_criterion_brings_its_own_metric_into_the_query(azure: Azure, tmp_path: Path) -> None:
    def more(seen: Seen) -> tuple[int, Any]:
        return 200, answer(seen, {**VALUES, "ServerSideLatency": ("MilliSeconds", [({}, [7.0])])})

    azure.metrics = more
    run = write_run(tmp_path, criteria="cosmos: average(ServerSideLatency) > 6")
    assert azure_metrics([str(run)]) == 3


@pytest.mark.parametrize(
    ("server_metrics", "message"),
    [
        (None, "server-metrics: expected resources in the scenario or in --server-metrics, got none"),
        (f"{GROUP}/Microsoft.Foo/bars/b region=x", "expected metrics=... for the type Microsoft.Foo/bars, got none"),
        ("nonsense", "got 'nonsense'"),
    ],
)
def test_a_users_mistake_is_one_line(
    azure: Azure, tmp_path: Path, capsys: pytest.CaptureFixture[str], server_metrics: str | None, message: str
) -> None:
    assert azure_metrics([str(write_run(tmp_path, server_metrics))]) == 2
    assert message in capsys.readouterr().err


class Monitor(BaseHTTPRequestHandler):
    """Azure Monitor without TLS, as the simulator serves it."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        parts = urlsplit(self.path)
        assert self.headers["Authorization"] == "Bearer none"
        seen = Seen("", "POST", parts.path, parse_qs(parts.query), {}, body)
        content = json.dumps(answer(seen, VALUES)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def stand_in() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Monitor)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_stand_in_without_tls_gets_no_real_token(stand_in: str, tmp_path: Path) -> None:
    run = write_run(tmp_path)
    assert azure_metrics([str(run), "--endpoint", stand_in]) == 0
    assert len(read_samples(run / FILE_NAME)) > 5


def test_as_a_process_with_nothing_but_the_environment(azure: Azure, tmp_path: Path) -> None:
    azure.metrics = good
    run = write_run(tmp_path)
    command = [sys.executable, "-m", "analysis", "azure-metrics", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "chat requests" in done.stdout
