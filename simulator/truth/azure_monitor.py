"""A stand-in for Azure Monitor's `metrics:getBatch`, fed by the counts of the chat target, minute by minute.

It answers for `Microsoft.CognitiveServices/accounts` whatever resource is asked for. Unlike the real one it has no
ingestion delay. A minute holds the requests whose answer ended in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from simulator.truth.log import TruthLog
from simulator.truth.tally import Cell, Key, Spread, Tally

NAMESPACE = "microsoft.cognitiveservices/accounts"

DIMENSIONS: dict[str, Callable[[Key], str]] = {
    "modeldeploymentname": lambda key: key[2],
    "statuscode": lambda key: str(key[3]),
    "isspillover": lambda key: str(bool(key[7])),
}
"""Dimensions by lower-case name, which is how Azure Monitor returns them."""

_CLAUSE = re.compile(r"\s*(\w+)\s+eq\s+'([^']*)'\s*", re.IGNORECASE)


def _tokens(*names: str) -> Callable[[Cell], Spread]:
    def of(cell: Cell) -> Spread:
        total = float(sum(cell.tokens[name] for name in names))
        return Spread(cell.requests, total, total, total)

    return of


def _requests(cell: Cell) -> Spread:
    return Spread(cell.requests, float(cell.requests), 1.0, 1.0)


def _active(cell: Cell) -> Spread:
    active = float(cell.tokens["prompt_tokens"] + cell.tokens["completion_tokens"] - cell.tokens["cached_tokens"])
    return Spread(cell.requests, active, active, active)


@dataclass(frozen=True, slots=True)
class Metric:
    """`served`: only requests with status 200 count. `counts`: minutes without any are 0 rather than unknown."""

    unit: str
    of: Callable[[Cell], Spread]
    served: bool = True
    counts: bool = False


METRICS: dict[str, Metric] = {
    "AzureOpenAIRequests": Metric("Count", _requests, served=False, counts=True),
    "ProcessedPromptTokens": Metric("Count", _tokens("prompt_tokens"), counts=True),
    "GeneratedTokens": Metric("Count", _tokens("completion_tokens"), counts=True),
    "TokenTransaction": Metric("Count", _tokens("prompt_tokens", "completion_tokens"), counts=True),
    "ActiveTokens": Metric("Count", _active, counts=True),
    "AzureOpenAITimeToResponse": Metric("MilliSeconds", lambda cell: cell.ttft_ms),
    "AzureOpenAINormalizedTTFTInMS": Metric("MilliSeconds", lambda cell: cell.ttft_ms),
    "AzureOpenAINormalizedTBTInMS": Metric("MilliSeconds", lambda cell: cell.tbt_ms),
    "AzureOpenAITTLTInMS": Metric("MilliSeconds", lambda cell: cell.e2e_ms),
    "AzureOpenAIProvisionedManagedUtilizationV2": Metric("Percent", lambda cell: cell.utilization_pct, served=False),
}


class BadQuery(ValueError):
    """What Azure Monitor would answer 400 to."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed `metrics:getBatch` request."""

    start: datetime
    end: datetime
    interval: timedelta
    namespace: str
    metrics: list[str]
    aggregations: list[str]
    clauses: list[tuple[str, str]]
    resources: list[str]


class Monitor:
    """The route. Any bearer token will do; none is 401."""

    def __init__(self, truth: TruthLog) -> None:
        self._truth = truth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if not request.headers.get("authorization", "").lower().startswith("bearer "):
            response = _error(401, "AuthenticationFailed", "Authentication failed: expected a bearer token.")
        else:
            try:
                query = parse_query(request.query_params, await request.json(), datetime.now(UTC))
                response = JSONResponse(answer(query, self._truth.total()))
            except ValueError as error:
                response = _error(400, "BadRequest", str(error))
        await response(scope, receive, send)


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def parse_query(parameters: Mapping[str, str], body: Any, now: datetime) -> Query:
    """Raises BadQuery. The default timespan is the last hour, the default interval a minute."""
    resources = body.get("resourceids") if isinstance(body, dict) else None
    if not isinstance(resources, list) or not resources or not all(isinstance(one, str) for one in resources):
        raise BadQuery("resourceids: expected a list of resource ids in the body")
    end = _instant(parameters.get("endtime"), "endtime", now)
    names = [name for name in parameters.get("metricnames", "").split(",") if name]
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise BadQuery(f"metricnames: expected some of {', '.join(METRICS)}, got {', '.join(unknown) or 'none'}")
    if parameters.get("metricnamespace", "").lower() != NAMESPACE:
        raise BadQuery(f"metricnamespace: expected {NAMESPACE}, got {parameters.get('metricnamespace')}")
    return Query(
        start=_instant(parameters.get("starttime"), "starttime", end - timedelta(hours=1)),
        end=end,
        interval=_interval(parameters.get("interval", "PT1M")),
        namespace=parameters["metricnamespace"],
        metrics=names,
        aggregations=[name.strip().lower() for name in parameters.get("aggregation", "Average").split(",")],
        clauses=_clauses(parameters.get("filter", "")),
        resources=resources,
    )


def _instant(text: str | None, name: str, default: datetime) -> datetime:
    if text is None:
        return default
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise BadQuery(f"{name}: expected an ISO 8601 instant, got {text}") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _interval(text: str) -> timedelta:
    found = re.fullmatch(r"PT(\d+)([MH])", text)
    if found is None or not 0 < int(found[1]) <= 1440:
        raise BadQuery(f"interval: expected PT1M, PT5M, PT1H or the like, got {text}")
    return timedelta(minutes=int(found[1]) * (60 if found[2] == "H" else 1))


def _clauses(text: str) -> list[tuple[str, str]]:
    """`Dimension eq 'value' and ...`; the value `*` asks for a series for each value."""
    clauses = []
    for part in re.split(r"\band\b", text, flags=re.IGNORECASE) if text.strip() else []:
        found = _CLAUSE.fullmatch(part)
        if found is None or found[1].lower() not in DIMENSIONS:
            raise BadQuery(f"filter: expected dimensions of {', '.join(DIMENSIONS)} with eq and and, got {text}")
        clauses.append((found[1].lower(), found[2]))
    return clauses


def answer(query: Query, tally: Tally) -> dict[str, Any]:
    """The body of the answer."""
    value = [
        {
            "id": f"/providers/Microsoft.Insights/metrics/{name}",
            "type": "Microsoft.Insights/metrics",
            "name": {"value": name, "localizedValue": name},
            "unit": METRICS[name].unit,
            "timeseries": _series(query, METRICS[name], tally),
            "errorCode": "Success",
        }
        for name in query.metrics
    ]
    interval = f"PT{query.interval // timedelta(minutes=1)}M"
    times = {"starttime": _shown(query.start), "endtime": _shown(query.end), "interval": interval}
    return {
        "values": [
            {
                **times,
                "namespace": query.namespace,
                "resourceregion": "swedencentral",
                "resourceid": resource,
                "value": value,
            }
            for resource in query.resources
        ]
    }


def _series(query: Query, metric: Metric, tally: Tally) -> list[dict[str, Any]]:
    """One series for each combination of the dimensions in the filter; one in all without a filter."""
    groups: dict[tuple[str, ...], dict[int, Spread]] = {} if query.clauses else {(): {}}
    for key, cell in tally.cells.items():
        values = tuple(DIMENSIONS[name](key) for name, _ in query.clauses)
        wanted = all(asked in ("*", value) for (_, asked), value in zip(query.clauses, values, strict=True))
        if key[1] != "chat" or not wanted or (metric.served and key[3] != 200):
            continue
        bins = groups.setdefault(values, {})
        slot = int((key[0] - query.start.timestamp()) // query.interval.total_seconds())
        bins.setdefault(slot, Spread()).merge(metric.of(cell))
    names = [name for name, _ in query.clauses]
    return [
        {
            "metadatavalues": [
                {"name": {"value": name, "localizedValue": name}, "value": value}
                for name, value in zip(names, values, strict=True)
            ],
            "data": _points(query, metric, bins),
        }
        for values, bins in sorted(groups.items())
    ]


def _points(query: Query, metric: Metric, bins: Mapping[int, Spread]) -> list[dict[str, Any]]:
    points = []
    for slot in range(max(0, -((query.start - query.end) // query.interval))):
        spread = bins.get(slot, Spread(0, 0.0, 0.0, 0.0) if metric.counts else Spread())
        points.append({"timeStamp": _shown(query.start + slot * query.interval), **_aggregated(query, metric, spread)})
    return points


def _aggregated(query: Query, metric: Metric, spread: Spread) -> dict[str, float]:
    known = spread.least is not None
    values: dict[str, float | None] = {
        "total": spread.total if known else None,
        "count": float(spread.count) if known else None,
        "average": spread.total / spread.count if spread.count else (0.0 if metric.counts else None),
        "minimum": spread.least,
        "maximum": spread.greatest,
    }
    return {name: value for name in query.aggregations if (value := values.get(name)) is not None}


def _shown(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
