from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.metrics.server_metrics import (
    AzureResource,
    PrometheusEndpoint,
    ServerMetric,
    ServerSample,
    append_samples,
    convert,
    parse_server_metrics,
    read_samples,
    write_samples,
)
from tokenswarm.userinput import BadInput

ACCOUNT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/aoai"

samples = st.builds(
    ServerSample,
    at=st.floats(1.6e9, 2e9).map(lambda value: round(value, 1)),
    interval_s=st.sampled_from([5.0, 60.0]),
    source=st.sampled_from(["azure", "prometheus"]),
    resource=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1),
    metric=st.sampled_from(["AzureOpenAIRequests", "ttft"]),
    dimensions=st.sampled_from(["", "statuscode=429", "statuscode=200;region=Sweden Central"]),
    aggregation=st.sampled_from(["total", "average"]),
    value=st.floats(0, 1e9).map(lambda value: float(f"{value:.12g}")),
    unit=st.sampled_from(["ms", "%", "count"]),
    service_unit=st.sampled_from(["Seconds", "Percent", "Count"]),
)


@given(st.lists(samples, max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, written: list[ServerSample]) -> None:
    path = tmp_path_factory.mktemp("run") / "server_metrics.csv"
    write_samples(path, written)
    assert sorted(map(str, read_samples(path))) == sorted(map(str, written))
    append_samples(path, written)
    assert len(read_samples(path)) == 2 * len(written)


def test_no_file_is_no_samples(tmp_path: Path) -> None:
    assert read_samples(tmp_path / "server_metrics.csv") == []


def test_a_broken_file_names_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "server_metrics.csv"
    path.write_text("at,interval_s\n1,2\n")
    with pytest.raises(BadInput, match=r"columns: expected at, .* got no source"):
        read_samples(path)
    path.write_text(
        "at,interval_s,source,resource,metric,dimensions,aggregation,value,unit,service_unit\n"
        "1,60,azure,aoai,X,,total,many,count,Count\n"
    )
    with pytest.raises(BadInput, match=r"got .*many.*csv:2"):
        read_samples(path)


@pytest.mark.parametrize(
    ("value", "service_unit", "expected"),
    [
        (1.5, "Seconds", (1500, "ms")),
        (7, "MilliSeconds", (7, "ms")),
        (3 * 2**20, "Bytes", (3, "MiB")),
        (42, "Percent", (42, "%")),
        (0.42, "Ratio", (42, "%")),
        (250_000_000, "NanoCores", (0.25, "cores")),
        (9, "Count", (9, "count")),
        (9, "Furlongs", (9, "Furlongs")),
    ],
)
def test_units_become_ours(value: float, service_unit: str, expected: tuple[float, str]) -> None:
    converted, unit = convert(value, service_unit)
    assert (converted, unit) == (pytest.approx(expected[0]), expected[1])


def test_dimensions_are_read_by_name() -> None:
    sample = ServerSample(
        at=0, interval_s=60, source="azure", resource="r", metric="m", dimensions="statuscode=429;region=West",
        aggregation="total", value=1, unit="count", service_unit="Count",
    )  # fmt: skip
    assert (sample.dimension("StatusCode"), sample.dimension("Region"), sample.dimension("x")) == ("429", "West", None)


def test_the_option_names_azure_resources_and_prometheus_endpoints() -> None:
    resources, endpoints = parse_server_metrics(
        f"{ACCOUNT} region=Sweden-Central; http://127.0.0.1:8000/metrics every=2s name=vllm metrics=vllm:x_total\n"
        f"{ACCOUNT}/deployments/d region=x name=other metrics=SearchLatency:maximum,Foo"
    )
    assert resources == [
        AzureResource("aoai", ACCOUNT, "swedencentral"),
        AzureResource(
            "other", f"{ACCOUNT}/deployments/d", "x", (ServerMetric("SearchLatency", "maximum"), ServerMetric("Foo"))
        ),
    ]
    assert [one.namespace for one in resources] == [
        "Microsoft.CognitiveServices/accounts",
        "Microsoft.CognitiveServices/accounts/deployments",
    ]
    assert endpoints == [
        PrometheusEndpoint("vllm", "http://127.0.0.1:8000/metrics", 2.0, (ServerMetric("vllm:x_total"),))
    ]


def test_every_mistake_in_the_option_is_listed() -> None:
    text = f"{ACCOUNT}; /subscriptions/x region=y; http://h/m every=soon; http://h/m evry=5s; http://h/a; http://h/b"
    with pytest.raises(BadInput) as caught:
        parse_server_metrics(text)
    assert [problem.split(", got")[1].split(" (")[0].strip() for problem in caught.value.problems] == [
        "none",
        "'/subscriptions/x'",
        "'soon'",
        "'evry'",
        "'h' 2 times",
    ]
