"""The stand-in Azure Monitor: hand-worked counts, and the SDK as its client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from azure.core.credentials import AccessToken
from azure.monitor.querymetrics import MetricAggregationType, MetricsClient

from simulator.truth.azure_monitor import BadQuery, answer, parse_query
from simulator.truth.tally import Tally
from tests.simulator_process import API_KEY, Simulator, running_simulator

MINUTE = 1_795_515_600
START = datetime.fromtimestamp(MINUTE, UTC)
RESOURCE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a"


def entry(at: float, status: int = 200, deployment: str = "d", **more: Any) -> dict[str, Any]:
    base = {"target": "chat", "deployment": deployment, "status": status, "finished_at": MINUTE + at}
    return base | {"outcome": "ok" if status == 200 else "throttled"} | more


@pytest.fixture
def tally() -> Tally:
    tally = Tally()
    received = {"received_at": MINUTE + 1.0, "first_token_at": MINUTE + 1.3, "last_token_at": MINUTE + 1.5}
    tally.add(entry(2, prompt_tokens=100, completion_tokens=11, cached_tokens=40, **received))
    tally.add(entry(50, prompt_tokens=50, completion_tokens=5, received_at=MINUTE + 49.0, first_token_at=MINUTE + 49.1))
    tally.add(entry(61, status=429, prompt_tokens=70, utilization_pct=104.0))
    tally.add(entry(62, deployment="e", prompt_tokens=1, completion_tokens=1))
    tally.add({"target": "orc", "status": 200, "finished_at": MINUTE + 3.0, "outcome": "ok"})
    return tally


def ask(tally: Tally, metric: str, aggregation: str = "Total", minutes: int = 3, **more: str) -> list[dict[str, Any]]:
    parameters = {
        "metricnames": metric,
        "metricnamespace": "Microsoft.CognitiveServices/accounts",
        "aggregation": aggregation,
        "starttime": START.isoformat(),
        "endtime": (START + timedelta(minutes=minutes)).isoformat(),
    }
    query = parse_query(parameters | more, {"resourceids": [RESOURCE]}, START)
    (value,) = answer(query, tally)["values"][0]["value"]
    return value["timeseries"]


def points(series: dict[str, Any], name: str) -> list[float | None]:
    return [point.get(name) for point in series["data"]]


def test_totals_by_minute(tally):
    (requests,) = ask(tally, "AzureOpenAIRequests")
    assert requests["metadatavalues"] == []
    assert requests["data"][0]["timeStamp"] == START.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert points(requests, "total") == [2, 2, 0]
    assert points(ask(tally, "ProcessedPromptTokens")[0], "total") == [150, 1, 0]
    assert points(ask(tally, "GeneratedTokens")[0], "total") == [16, 1, 0]
    assert points(ask(tally, "TokenTransaction")[0], "total") == [166, 2, 0]
    assert points(ask(tally, "ActiveTokens")[0], "total") == [126, 2, 0]
    assert points(ask(tally, "AzureOpenAIRequests", interval="PT2M", minutes=2)[0], "total") == [4]


def test_throttled_is_the_requests_with_status_429(tally):
    (series,) = ask(tally, "AzureOpenAIRequests", filter="StatusCode eq '429'")
    assert series["metadatavalues"][0]["name"]["value"] == "statuscode"
    assert series["metadatavalues"][0]["value"] == "429"
    assert points(series, "total") == [0, 1, 0]
    split = ask(tally, "AzureOpenAIRequests", filter="StatusCode eq '*' and ModelDeploymentName eq 'd'")
    assert [[one["value"] for one in series["metadatavalues"]] for series in split] == [["200", "d"], ["429", "d"]]
    assert ask(tally, "AzureOpenAIRequests", filter="ModelDeploymentName eq 'nobody'") == []


def test_what_spilled_over_is_told_apart(tally):
    tally.add(entry(63, deployment="standard", spilled_from="d", prompt_tokens=1))
    split = ask(tally, "AzureOpenAIRequests", filter="IsSpillover eq '*' and ModelDeploymentName eq 'standard'")
    assert [[one["value"] for one in series["metadatavalues"]] for series in split] == [["True", "standard"]]
    assert points(ask(tally, "AzureOpenAIRequests", filter="IsSpillover eq 'False'")[0], "total") == [2, 2, 0]


def test_latencies_have_no_value_where_nothing_happened(tally):
    (series,) = ask(tally, "AzureOpenAITimeToResponse", "Average,Minimum,Maximum,Count")
    assert points(series, "average") == [pytest.approx(200), None, None]
    assert points(series, "minimum")[0] == pytest.approx(100)
    assert points(series, "maximum")[0] == pytest.approx(300)
    assert points(series, "count") == [2, None, None]
    assert points(ask(tally, "AzureOpenAINormalizedTBTInMS", "Average")[0], "average")[0] == pytest.approx(20)
    assert points(ask(tally, "AzureOpenAIProvisionedManagedUtilizationV2", "Maximum")[0], "maximum") == [
        None,
        104,
        None,
    ]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"metricnames": "Nonsense"}, "metricnames"),
        ({"metricnames": ""}, "metricnames"),
        ({"metricnamespace": "Microsoft.Web/sites"}, "metricnamespace"),
        ({"interval": "1 minute"}, "interval"),
        ({"starttime": "noon"}, "starttime"),
        ({"filter": "Colour eq 'red'"}, "filter"),
        ({"filter": "StatusCode ne '200'"}, "filter"),
    ],
)
def test_a_query_that_cannot_be_answered(tally, change, names):
    with pytest.raises(BadQuery, match=f"^{names}: expected"):
        ask(tally, **({"metric": "AzureOpenAIRequests"} | change))


def test_old_minutes_are_kept_as_sums(tally):
    before = tally.summary()
    tally.fold(MINUTE + 60)
    assert tally.summary() == before
    assert points(ask(tally, "AzureOpenAIRequests")[0], "total") == [0, 2, 0]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator("[deployments.d]\nttft_base_ms = 1\nttft_std_ms = 0\ntbt_ms = 1\n") as simulator:
        for tokens in (3, 4):
            body = {"model": "d", "messages": [{"role": "user", "content": "hi"}], "max_tokens": tokens}
            url = simulator.chat_url + "/v1/chat/completions"
            assert httpx2.post(url, json=body, headers={"api-key": API_KEY}).status_code == 200
        yield simulator


def test_the_sdk_reads_it(simulator):
    this_minute = datetime.now(UTC).replace(second=0, microsecond=0)
    credential = SimpleNamespace(get_token=lambda *scopes, **_: AccessToken("any", int(time.time()) + 3600))
    with MetricsClient(simulator.chat_url, credential) as client:  # type: ignore[arg-type]
        (result,) = client.query_resources(
            resource_ids=[RESOURCE],
            metric_namespace="Microsoft.CognitiveServices/accounts",
            metric_names=["AzureOpenAIRequests", "GeneratedTokens"],
            timespan=(this_minute - timedelta(minutes=10), this_minute + timedelta(minutes=1)),
            granularity=timedelta(minutes=1),
            aggregations=[MetricAggregationType.TOTAL],
            filter="ModelDeploymentName eq 'd'",
            enforce_https=False,
        )
    totals = {
        metric.name: sum(point.total or 0 for point in series.data)
        for metric in result.metrics
        for series in metric.timeseries
    }
    assert totals == {"AzureOpenAIRequests": 2, "GeneratedTokens": 7}


def test_without_a_token_it_is_401(simulator):
    answer = httpx2.post(f"{simulator.chat_url}/subscriptions/s/metrics:getBatch", json={"resourceids": [RESOURCE]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "AuthenticationFailed")


def test_prometheus_text(simulator):
    lines = httpx2.get(simulator.chat_url + "/metrics").text.splitlines()
    assert 'vllm:generation_tokens_total{model_name="d"} 7' in lines
    assert 'vllm:request_success_total{model_name="d"} 2' in lines
    assert 'vllm:num_requests_running{model_name="d"} 0' in lines
    assert 'vllm:time_to_first_token_seconds_count{model_name="d"} 2' in lines
    wanted = 'simulator_requests_total{target="chat",model_name="d",status="200",outcome="ok",reason=""} 2'
    assert wanted in lines
    names = {line.split("{")[0] for line in lines if not line.startswith("#")}
    declared = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {name.removesuffix("_sum").removesuffix("_count") for name in names} <= declared
