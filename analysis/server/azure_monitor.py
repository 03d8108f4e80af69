"""What Azure Monitor counted during a run: asked for, stored in `server_metrics.csv`, over the minutes of the run.

The query reaches from the first request to the last answer; rows that were scraped during the run stay.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from analysis.figures.populations import ended
from analysis.server.client_and_server import (
    FRESH_S,
    ServerComparison,
    ServerCriterion,
    ServerCriterionResult,
    compare,
    count_client,
    parse_server_criteria,
)
from analysis.sources.run import Run
from tokenswarm.metrics.server_metrics import (
    FILE_NAME,
    AzureResource,
    ServerMetric,
    ServerSample,
    convert,
    parse_server_metrics,
    read_samples,
    write_samples,
)
from tokenswarm.userinput import BadInput, counted, format_number

INTERVAL_S = 60.0


MARGIN_S = 1.0
"""Asked for beyond both ends of a run: the service's clock is not ours, and it may count an answer after its end."""


MAX_NAMES = 20
"""Metric names in one query, the service's limit."""


MAX_SERIES = 1000
"""Series in one answer when split by a dimension; the SDK's default of 10 would cut them silently."""


def _of(aggregation: str, *names: str, split_by: str | None = None) -> tuple[ServerMetric, ...]:
    return tuple(ServerMetric(name, aggregation, split_by) for name in names)


METRICS: dict[str, tuple[ServerMetric, ...]] = {
    "microsoft.cognitiveservices/accounts": (
        *_of("total", "AzureOpenAIRequests", split_by="StatusCode"),
        *_of("total", "ProcessedPromptTokens", "GeneratedTokens"),
        *_of("average", "AzureOpenAIProvisionedManagedUtilizationV2", "AzureOpenAIAvailabilityRate"),
        *_of("maximum", "AzureOpenAIProvisionedManagedUtilizationV2"),
        *_of("average", "AzureOpenAITimeToResponse", "AzureOpenAINormalizedTTFTInMS", "AzureOpenAINormalizedTBTInMS"),
        *_of("average", "AzureOpenAITTLTInMS", "AzureOpenAITokenPerSecond"),
    ),
    "microsoft.web/sites": (
        *_of("total", "Requests", "Http2xx", "Http4xx", "Http5xx", "FunctionExecutionCount"),
        *_of("average", "HttpResponseTime", "MemoryWorkingSet", "RequestsInApplicationQueue", "InstanceCount"),
        *_of("total", "CpuTime"),
    ),
    "microsoft.app/containerapps": (
        *_of("total", "Requests", split_by="statusCode"),
        *_of("maximum", "Replicas", "RestartCount", "UsageNanoCores", "WorkingSetBytes"),
        *_of("average", "UsageNanoCores", "WorkingSetBytes"),
    ),
    "microsoft.search/searchservices": (
        *_of("average", "SearchLatency", "SearchQueriesPerSecond", "ThrottledSearchQueriesPercentage"),
    ),
    "microsoft.documentdb/databaseaccounts": (
        *_of("count", "TotalRequests", split_by="StatusCode"),
        *_of("total", "TotalRequestUnits"),
        *_of("maximum", "NormalizedRUConsumption"),
    ),
}
"""What is asked for when an entry names no metrics, by resource type. Source: Azure Monitor's supported metrics."""


OF_DEPLOYMENT = "microsoft.cognitiveservices/accounts"
"""The type whose metrics are restricted to the deployment of the run."""


@dataclass(slots=True)
class Gathered:
    """What the service gave. `missing`: metrics without a value, as resource/metric; `problems`: resources refused."""

    samples: list[ServerSample] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Span:
    """Whole minutes that cover a run, Unix s."""

    start: float
    end: float

    @classmethod
    def of(cls, started_at: float, ended_at: float) -> Span:
        return cls(math.floor(started_at / INTERVAL_S) * INTERVAL_S, math.ceil(ended_at / INTERVAL_S) * INTERVAL_S)

    @property
    def as_datetimes(self) -> tuple[datetime.datetime, datetime.datetime]:
        return _utc(self.start), _utc(self.end)


CREDENTIAL_NAMES = ("AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT", "MSI_ENDPOINT")
"""Variables that azure-identity looks for; one of them says that there is somebody to be."""


ClientOf = Callable[[str], Any]
"""Region to MetricsClient."""


def gather(
    resources: Iterable[AzureResource],
    span: Span,
    deployment: str | None,
    client_of: ClientOf,
    criteria: Sequence[ServerCriterion] = (),
) -> Gathered:
    """Ask for every resource's metrics. A resource that refuses is a problem, the others are still asked."""
    from azure.core.exceptions import AzureError

    gathered = Gathered()
    for resource in resources:
        try:
            for metrics in _queries(_wanted(resource, criteria)):
                _ask(gathered, resource, metrics, span, deployment, client_of(resource.region))
        except (AzureError, OSError) as error:
            gathered.problems.append(f"{resource.name}: expected its metrics, got: {_reason(error)}")
    return gathered


def _wanted(resource: AzureResource, criteria: Sequence[ServerCriterion]) -> list[ServerMetric]:
    metrics = list(resource.metrics or METRICS.get(resource.namespace.lower(), ()))
    if not metrics:
        raise BadInput([f"server-metrics: expected metrics=... for the type {resource.namespace}, got none"])
    for criterion in criteria:
        known = {(metric.name.lower(), metric.aggregation) for metric in metrics}
        if criterion.resource == resource.name and (criterion.metric.lower(), criterion.aggregation) not in known:
            split_by = criterion.dimension[0] if criterion.dimension else None
            metrics.append(ServerMetric(criterion.metric, criterion.aggregation, split_by))
    return metrics


def _queries(metrics: Sequence[ServerMetric]) -> Iterator[tuple[ServerMetric, ...]]:
    """Metrics that can be asked for together: same aggregation, split the same way."""

    def kind(metric: ServerMetric) -> tuple[str, str]:
        return metric.aggregation, metric.split_by or ""

    for _, group in groupby(sorted(metrics, key=kind), key=kind):
        together = tuple(group)
        for begin in range(0, len(together), MAX_NAMES):
            yield together[begin : begin + MAX_NAMES]


def _ask(
    gathered: Gathered,
    resource: AzureResource,
    metrics: tuple[ServerMetric, ...],
    span: Span,
    deployment: str | None,
    client: Any,
) -> None:
    """One query; when the service knows one of the names not at all (400), each name by itself."""
    from azure.core.exceptions import HttpResponseError

    try:
        results = _query(client, resource, metrics, span, deployment)
    except HttpResponseError as error:
        if error.status_code != 400:
            raise
        if len(metrics) == 1:
            gathered.missing.append(f"{resource.name}/{metrics[0].name}")
            return
        for metric in metrics:
            _ask(gathered, resource, (metric,), span, deployment, client)
        return
    samples = [sample for result in results for sample in _samples(resource, metrics[0].aggregation, result, span)]
    gathered.samples += samples
    found = {sample.metric.lower() for sample in samples}
    gathered.missing += [f"{resource.name}/{metric.name}" for metric in metrics if metric.name.lower() not in found]


def _query(
    client: Any, resource: AzureResource, metrics: tuple[ServerMetric, ...], span: Span, deployment: str | None
) -> list[Any]:
    clauses = []
    if deployment and resource.namespace.lower() == OF_DEPLOYMENT:
        clauses.append(f"ModelDeploymentName eq '{deployment}'")
    if metrics[0].split_by:
        clauses.append(f"{metrics[0].split_by} eq '*'")
    answer: list[Any] = client.query_resources(
        resource_ids=[resource.resource_id],
        metric_namespace=resource.namespace,
        metric_names=[metric.name for metric in metrics],
        timespan=span.as_datetimes,
        granularity=datetime.timedelta(seconds=INTERVAL_S),
        aggregations=[metrics[0].aggregation.capitalize()],
        filter=" and ".join(clauses) or None,
        max_results=MAX_SERIES if clauses else None,
    )
    return answer


def _samples(resource: AzureResource, aggregation: str, result: Any, span: Span) -> Iterator[ServerSample]:
    for metric in result.metrics:
        for series in metric.timeseries:
            dimensions = ";".join(f"{name.lower()}={value}" for name, value in sorted(series.metadata_values.items()))
            for point in series.data:
                given = getattr(point, aggregation)
                at = point.timestamp.timestamp()
                if given is None or not span.start <= at < span.end:
                    continue
                value, unit = convert(float(given), str(metric.unit))
                yield ServerSample(
                    at=at,
                    interval_s=INTERVAL_S,
                    source="azure",
                    resource=resource.name,
                    metric=metric.name,
                    dimensions=dimensions,
                    aggregation=aggregation,
                    value=value,
                    unit=unit,
                    service_unit=str(metric.unit),
                )


def _reason(error: Exception) -> str:
    if getattr(error, "status_code", None) == 403:
        return "forbidden: the role Monitoring Reader on the subscription is missing"
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return text[:300] or type(error).__name__


def metrics_clients(endpoint: str | None = None) -> ClientOf:
    """A client for each region, or one for `endpoint`. Without TLS (a stand-in on this machine) no real token is sent.

    Raises `BadInput` when the Azure packages are not installed.
    """
    try:
        from azure.core.pipeline.policies import HeadersPolicy
        from azure.identity import DefaultAzureCredential
        from azure.monitor.querymetrics import MetricsClient
    except ImportError as error:
        raise BadInput(
            [f"azure packages: expected them installed, got: {error} (pip install -r requirements-azure.txt)"]
        ) from error
    credential = DefaultAzureCredential()
    plain: dict[str, Any] = {}
    if endpoint and endpoint.startswith("http://"):
        plain["authentication_policy"] = HeadersPolicy({"Authorization": "Bearer none"})
    clients: dict[str, MetricsClient] = {}

    def client_of(region: str) -> MetricsClient:
        address = endpoint or f"https://{region}.metrics.monitor.azure.com"
        if address not in clients:
            clients[address] = MetricsClient(address, credential, retry_total=3, **plain)
        return clients[address]

    return client_of


def span_of(run: Run) -> Span:
    """The minutes from the start of the run to its last answer, from run.json and its rows. Raises `BadInput` when
    neither has any."""
    started_at = run.number("started_at")
    if started_at is None and len(run.rows):
        started_at = float(run.rows["started_at"].min())
    ended_at = _last_end(run)
    if started_at is None or ended_at is None or not math.isfinite(started_at + ended_at):
        raise BadInput([f"{run.path}: expected started_at and ended_at, or rows with instants, got neither"])
    return Span.of(started_at - MARGIN_S, max(started_at, ended_at) + MARGIN_S)


def _last_end(run: Run) -> float | None:
    """Unix s at which load and answers had ended: a run that drains gets answers after its end."""
    ends = [at for at in (run.number("ended_at"),) if at is not None]
    if len(run.rows):
        ends.append(float(np.nanmax(ended(run.rows))))
    return max(ends, default=None)


def check_run(run: Run, *, now: float) -> list[ServerComparison]:
    """Client against server for a run whose `server_metrics.csv` is there."""
    ended_at = _last_end(run)
    return compare(
        read_samples(run.path / FILE_NAME),
        {target: count_client(run.rows, target) for target in ("chat", "rag")},
        age_s=None if ended_at is None else now - ended_at,
    )


def store(
    run: Run, resources: Sequence[AzureResource], criteria: Sequence[ServerCriterion], client_of: ClientOf
) -> Gathered:
    """Ask, and replace what the run directory has from Azure, unless nothing came but refusals."""
    gathered = gather(resources, span_of(run), _one(run.setting("target", "deployment")), client_of, criteria)
    path = run.path / FILE_NAME
    kept = [sample for sample in read_samples(path) if sample.source != "azure"]
    if gathered.samples or not gathered.problems:
        write_samples(path, [*kept, *gathered.samples])
    return gathered


def complete(run: Run, environment: Mapping[str, str], now: float) -> list[str]:
    """For a report: ask Azure Monitor about the resources that the run names, as far as that has not been done.

    Not without credentials, and not again once the answers were asked for late enough to be whole. Returns what there
    is to say about it; a refusal is said too, since a report needs no server metrics.
    """
    try:
        resources, _ = parse_server_metrics(str(run.setting("options", "server-metrics") or ""))
        if not resources or _is_complete(run) or not _has_credentials(environment):
            return []
        criteria = parse_server_criteria(str(run.setting("options", "server-failure-criteria") or ""))
        gathered = store(run, resources, criteria, metrics_clients())
        return [*report_lines(gathered, check_run(run, now=now), []), *gathered.problems]
    except BadInput as error:
        return error.problems


def _is_complete(run: Run) -> bool:
    """Whether the run directory has values of Azure's that were stored when all of them could be there."""
    path = run.path / FILE_NAME
    if not any(sample.source == "azure" for sample in read_samples(path)):
        return False
    return bool(path.stat().st_mtime > (_last_end(run) or 0.0) + FRESH_S)


def _has_credentials(environment: Mapping[str, str]) -> bool:
    """A service principal, a managed identity or a login of the command line. Without one, asking is slow to fail."""
    profile = Path(environment.get("AZURE_CONFIG_DIR") or Path.home() / ".azure") / "azureProfile.json"
    return any(environment.get(name) for name in CREDENTIAL_NAMES) or profile.is_file()


def _one(deployment: Any) -> str | None:
    """The run's deployment, when it is a single one that may stand in a filter."""
    text = str(deployment or "")
    return text if text and not set(text) & set(",' ") else None


def report_lines(
    gathered: Gathered, comparisons: Sequence[ServerComparison], results: Sequence[ServerCriterionResult]
) -> Iterator[str]:
    by_resource = groupby(sorted(gathered.samples, key=lambda one: one.resource), key=lambda one: one.resource)
    for resource, samples in by_resource:
        found = list(samples)
        yield f"{resource}: {counted(len(found), 'value')} of {counted(len({one.metric for one in found}), 'metric')}"
    if gathered.missing:
        yield f"n/a (the service has no such series): {', '.join(dict.fromkeys(gathered.missing))}"
    if comparisons:
        yield f"{'':<30}{'client':>20}{'server':>14}"
    for one in comparisons:
        server = "n/a" if one.server is None else format_number(float(one.server))
        line = f"{one.what:<30}{'n/a' if one.client is None else one.client!s:>20}{server:>14}  {one.state}"
        yield line + (f": {one.note}" if one.note else "")
    for result in results:
        value = "no data" if result.value is None else f"{result.value:.6g} {result.unit} over {result.n} intervals"
        yield f"{result.state:<8}{result.criterion.text}  ({value})"


def _utc(instant: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(instant, datetime.UTC)
