"""What Prometheus' own parser, and promtool where it is installed, make of our endpoint and dashboard."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.analysis.run_directories import worked_records
from tests.ports import free_port
from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.telemetry.instruments import MOST_NAMES, OTHER
from tokenswarm.telemetry.metrics_endpoint import ListenAddress, MetricsEndpoint, parse_address
from tokenswarm.userinput import BadInput

DASHBOARD = Path(__file__).resolve().parents[3] / "deploy" / "grafana" / "tokenswarm.json"


class Watched:
    in_flight, user_count = 3, 7


@pytest.fixture(scope="module")
def exposition() -> str:
    """The text that is served of the nine records of the worked run and of 150 names."""
    port = free_port()
    endpoint = MetricsEndpoint(ListenAddress("127.0.0.1", port))
    endpoint.open()
    observe = endpoint.follow("worked", Watched())
    for record in worked_records():
        observe(record)
    for number in range(150):
        observe(RequestRecord(call_id="x", name=f"page {number}", worker="w", outcome=Outcome.THROTTLED))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text: str = answer.read().decode()
    return text


@pytest.fixture
def samples(exposition: str) -> dict[tuple[str, str], float]:
    """Values by sample name and labels, as Prometheus reads them."""
    return {
        (sample.name, ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def test_counts_and_sums_are_those_of_the_rows(samples: dict[tuple[str, str], float]) -> None:
    chat = "name=chat,test_name=worked"
    assert samples["tokenswarm_requests_total", "name=chat,outcome=ok,test_name=worked"] == 4
    assert samples["tokenswarm_requests_total", "name=chat,outcome=dropped,test_name=worked"] == 1
    assert samples["tokenswarm_ttft_seconds_count", chat] == 4
    assert samples["tokenswarm_ttft_seconds_sum", chat] == pytest.approx((100 + 200 + 300 + 400) / 1000)
    assert samples["tokenswarm_tokens_total", "kind=completion,name=chat,test_name=worked"] == 50 + 50 + 100 + 80
    assert samples["tokenswarm_ttft_seconds_bucket", f"le=0.25,{chat}"] == 2
    assert (samples["tokenswarm_in_flight", ""], samples["tokenswarm_users", ""]) == (3, 7)


def test_names_without_end_do_not_make_series_without_end(samples: dict[tuple[str, str], float]) -> None:
    names = {labels for name, labels in samples if name == "tokenswarm_requests_total"}
    assert len({re.findall("name=([^,]*)", labels)[0] for labels in names}) == MOST_NAMES + 1
    assert (
        samples["tokenswarm_requests_total", f"name={OTHER},outcome=throttled,test_name=worked"] == 150 + 2 - MOST_NAMES
    )


def dashboard_queries() -> list[str]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def test_each_query_of_the_dashboard_reads_series_that_exist(samples: dict[tuple[str, str], float]) -> None:
    served = {name for name, _ in samples}
    named = {name for query in dashboard_queries() for name in re.findall(r"tokenswarm_\w+", query)}
    assert named <= served
    assert {"tokenswarm_ttft_seconds_bucket", "tokenswarm_requests_total", "tokenswarm_tokens_total"} <= named


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_metrics_and_queries(exposition: str, tmp_path: Path) -> None:
    checked = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    queries = [query.replace("$__rate_interval", "1m").replace("$test_name", ".*") for query in dashboard_queries()]
    rules = [{"record": f"query{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    checked = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.json"], capture_output=True, text=True)
    assert (checked.returncode, f"{len(rules)} rules found" in checked.stdout) == (0, True), checked.stderr


@pytest.mark.parametrize(
    ("text", "address"),
    [("9464", ("127.0.0.1", 9464)), ("0.0.0.0:9464", ("0.0.0.0", 9464)), ("[::1]:80", ("::1", 80))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "port", "0", "70000", "host:", "1.5", "²"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(BadInput, match="prometheus: expected PORT or HOST:PORT"):
        parse_address(text)


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadInput, match="prometheus: expected an address to listen on"):
            MetricsEndpoint(ListenAddress("127.0.0.1", taken.getsockname()[1])).open()
