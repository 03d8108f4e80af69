"""Server metrics of a run: compared with what the client saw, judged by criteria, arranged as curves. Pure.

The samples come from `server_metrics.csv` (`tokenswarm.metrics.server_metrics`). The comparison asks whether two
independent counts of the same run agree: a difference is either explained by what the client cannot know (requests
that it gave up on may or may not have been served) or flagged, with what usually causes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from tokenswarm.metrics.server_metrics import AGGREGATIONS, ServerSample, convert
from tokenswarm.userinput import BadInput, counted, format_number, read_number

TOKEN_TOLERANCE = 0.01
"""Share by which token totals may differ and still agree; requests must agree exactly."""

FRESH_S = 300.0
"""A query sooner than this after the end may miss the last minutes: Azure Monitor gathers them with a delay."""


@dataclass(frozen=True, slots=True)
class Range:
    """What the service may have counted, as far as the client knows: from `low` to `high`, without end when `None`."""

    low: float
    high: float | None

    def __str__(self) -> str:
        if self.high == self.low:
            return format_number(self.low)
        return f"{format_number(self.low)} to {'?' if self.high is None else format_number(self.high)}"


@dataclass(frozen=True, slots=True)
class ClientCounts:
    """Totals of one target over the whole run. `unanswered`: sent, but no status came (given up, cut, cancelled)."""

    requests: Range
    served: Range
    throttled: int
    prompt_tokens: Range
    uncached_prompt_tokens: Range
    completion_tokens: Range
    unanswered: int
    without_usage: int


def count_client(rows: pd.DataFrame, target: str) -> ClientCounts | None:
    """Count the rows (table of `analysis.sources.rows`) of a target; `None` when the run sent nothing to it."""
    sent = rows[(rows["target"] == target) & (rows["outcome"] != "dropped")]
    if sent.empty:
        return None
    unanswered = sent["status"].isna()
    served = (sent["outcome"] == "ok").to_numpy()
    maybe_served = unanswered | (sent["status"].between(200, 299).fillna(False) & ~served)
    unknown = sent["prompt_tokens"].isna() & (maybe_served | served | (sent["outcome"] == "content_filter").to_numpy())
    return ClientCounts(
        requests=Range(int((~unanswered).sum()), len(sent)),
        served=Range(int(served.sum()), int(served.sum() + (maybe_served & ~served).sum())),
        throttled=int((sent["status"] == 429).fillna(False).sum()),
        prompt_tokens=_tokens(sent, "prompt_tokens", unknown, "context_tokens"),
        uncached_prompt_tokens=_uncached(sent, unknown),
        completion_tokens=_tokens(sent, "completion_tokens", unknown, "max_tokens"),
        unanswered=int(unanswered.sum()),
        without_usage=int(unknown.sum()),
    )


def _tokens(sent: pd.DataFrame, column: str, unknown: pd.Series[bool], bound: str) -> Range:
    low = float(sent[column].sum())
    bounds = sent.loc[unknown, bound]
    return Range(low, None if bounds.isna().any() else low + float(bounds.sum()))


def _uncached(sent: pd.DataFrame, unknown: pd.Series[bool]) -> Range:
    """Prompt tokens that no cache had; where the service did not say how many it had, all or none of them."""
    prompt = _tokens(sent, "prompt_tokens", unknown, "context_tokens")
    told = sent["cached_tokens"].notna()
    low = float((sent["prompt_tokens"] - sent["cached_tokens"])[told].sum())
    cached = float(sent["cached_tokens"].sum())
    return Range(low, None if prompt.high is None else prompt.high - cached)


@dataclass(frozen=True, slots=True)
class ServerComparison:
    """One count of both sides. `state`: agrees, explained, differs, or n/a when either side has none."""

    what: str
    client: Range | None
    server: float | None
    state: str
    note: str = ""


class _Check(NamedTuple):
    what: str
    target: str
    source: str
    metric: str
    client: Callable[[ClientCounts], Range]
    always: bool = True
    """Whether it is told too when the service has others of the compared metrics, but not this one."""


_CHECKS = (
    _Check("requests", "chat", "azure", "AzureOpenAIRequests", lambda counts: counts.requests),
    _Check("answers 429", "chat", "azure", "429", lambda counts: Range(counts.throttled, counts.throttled)),
    _Check("prompt tokens", "chat", "azure", "ProcessedPromptTokens", lambda counts: counts.prompt_tokens),
    _Check("generated tokens", "chat", "azure", "GeneratedTokens", lambda counts: counts.completion_tokens),
    _Check("requests", "rag", "azure", "Requests", lambda counts: counts.requests),
    _Check("requests", "chat", "prometheus", "requests", lambda counts: counts.served),
    _Check("prompt tokens", "chat", "prometheus", "prompt_tokens", lambda counts: counts.prompt_tokens),
    _Check(
        "uncached prompt tokens",
        "chat",
        "prometheus",
        "uncached_prompt_tokens",
        lambda counts: counts.uncached_prompt_tokens,
        always=False,
    ),
    _Check("generated tokens", "chat", "prometheus", "generated_tokens", lambda counts: counts.completion_tokens),
)


def compare(
    samples: Sequence[ServerSample], counts: Mapping[str, ClientCounts | None], *, age_s: float | None = None
) -> list[ServerComparison]:
    """Client against server for every count that both know; `counts` by target.

    `age_s`: seconds from the end of the run to the query; `None` when unknown.
    """
    return [
        _compare(check, counts.get(check.target), _server_count(check, samples), age_s)
        for check in _CHECKS
        if _is_there(check, samples)
    ]


def _is_there(check: _Check, samples: Sequence[ServerSample]) -> bool:
    """Whether the file has any of the metrics that are compared for the target and the source of `check`."""
    alike = [other for other in _CHECKS if (other.target, other.source) == (check.target, check.source)]
    metrics = {other.metric for other in alike if check.always or other is check}
    return any(sample.source == check.source and sample.metric in metrics for sample in samples)


def _server_count(check: _Check, samples: Sequence[ServerSample]) -> float | None:
    if check.metric == "429":
        return _throttled(samples)
    return _total([one for one in samples if one.source == check.source], check.metric)


def _total(samples: Iterable[ServerSample], metric: str) -> float | None:
    values = [one.value for one in samples if one.metric == metric and one.aggregation == "total"]
    return sum(values) if values else None


def _throttled(samples: Sequence[ServerSample]) -> float | None:
    """429s of a series split by status; none of them is 0, because the other statuses are there."""
    split = [one for one in samples if one.metric == "AzureOpenAIRequests" and one.dimension("statuscode")]
    if not split:
        return None
    return sum(one.value for one in split if one.dimension("statuscode") == "429")


def _compare(check: _Check, counts: ClientCounts | None, server: float | None, age_s: float | None) -> ServerComparison:
    what = f"{check.target} {check.what}" + (" (scraped)" if check.source == "prometheus" else "")
    if counts is None:
        return ServerComparison(what, None, server, "n/a", f"this run sent no {check.target} requests itself")
    client = check.client(counts)
    if server is None:
        return ServerComparison(what, client, None, "n/a", "the service has no such series for this resource and time")
    slack = TOKEN_TOLERANCE * client.low if "tokens" in what else 0.0
    if abs(server - client.low) <= slack:
        return ServerComparison(what, client, server, "agrees")
    if client.low - slack <= server and (client.high is None or server <= client.high + slack):
        return ServerComparison(what, client, server, "explained", _unknowns(what, counts))
    return ServerComparison(what, client, server, "differs", _suspicion(server, client, age_s))


def _unknowns(what: str, counts: ClientCounts) -> str:
    if "tokens" in what:
        requests = counted(counts.without_usage, "request")
        return f"{requests} ended without usage (cut, given up or cancelled) and may be in it"
    requests = counted(counts.unanswered, "request")
    return f"{requests} got no answer here (given up or cancelled) and may have reached the service"


def _suspicion(server: float, client: Range, age_s: float | None) -> str:
    if server < client.low:
        fewer = _rounded(client.low - server)
        note = f"{fewer} fewer at the service: refused before it (gateway, firewall), or not gathered"
        if age_s is not None and age_s < FRESH_S:
            note += f" yet: asked {max(0.0, age_s) / 60:.0f} min after the end, ask again in some minutes"
        return note
    excess = _rounded(server - (client.high or client.low))
    return f"{excess} more at the service than this run accounts for: other traffic there in the same minutes?"


def _rounded(value: float) -> str:
    return format_number(float(round(value)))


@dataclass(frozen=True, slots=True)
class ServerCurve:
    """One metric over time, in `unit`; totals are summed over what the metric is split by, the rest averaged."""

    resource: str
    metric: str
    aggregation: str
    unit: str
    points: list[tuple[float, float]]
    interval_s: float


def curves(samples: Sequence[ServerSample]) -> list[ServerCurve]:
    """The samples as one curve for each resource, metric and aggregation, in the order of their names."""
    groups: dict[tuple[str, str, str], list[ServerSample]] = {}
    for sample in samples:
        groups.setdefault((sample.resource, sample.metric, sample.aggregation), []).append(sample)
    return [_curve(key, group) for key, group in sorted(groups.items())]


def _curve(key: tuple[str, str, str], group: list[ServerSample]) -> ServerCurve:
    at: dict[float, list[float]] = {}
    for sample in group:
        at.setdefault(sample.at, []).append(sample.value)
    points = [(instant, _fold(key[2], values)) for instant, values in sorted(at.items())]
    return ServerCurve(*key, group[0].unit, points, group[0].interval_s)


def _fold(aggregation: str, values: Sequence[float]) -> float:
    if aggregation in ("total", "count"):
        return sum(values)
    if aggregation == "minimum":
        return min(values)
    return max(values) if aggregation == "maximum" else sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class ServerCriterion:
    """A failure criterion on a server metric; true means the run failed. `threshold` is in the service's own unit."""

    text: str
    resource: str | None
    aggregation: str
    metric: str
    dimension: tuple[str, str] | None
    operator: str
    threshold: float


@dataclass(frozen=True, slots=True)
class ServerCriterionResult:
    """`state`: held, failed or no_data; `value` in `unit`, over `n` intervals."""

    criterion: ServerCriterion
    state: str
    value: float | None = None
    unit: str = ""
    n: int = 0


_CRITERION = re.compile(
    r"(?:(?P<resource>[^:(]+?)\s*:\s*)?(?P<aggregation>\w+)\s*\(\s*(?P<metric>[^(){}]+?)\s*"
    r"(?:\{\s*(?P<dimension>\w+)\s*=\s*(?P<value>[^{}]*?)\s*\})?\s*\)\s*(?P<operator>[<>])\s*(?P<threshold>\S+)"
)


def parse_server_criteria(text: str) -> list[ServerCriterion]:
    """`[resource:] aggregation(Metric{Dimension=value}) > value`, separated by ';' or line ends.

    The parts of Azure Load Testing's `serverMetrics` criteria in one line. Raises `BadInput` listing every problem.
    """
    criteria = []
    problems = []
    for entry in filter(None, (part.strip() for part in re.split(r"[;\n]", text))):
        match = _CRITERION.fullmatch(entry)
        threshold = read_number(match["threshold"]) if match else None
        if match is None or threshold is None or match["aggregation"].lower() not in AGGREGATIONS:
            problems.append(
                "server-failure-criteria: expected [resource:] aggregation(Metric) > value with "
                f"{', '.join(AGGREGATIONS)}, got {entry!r}"
            )
            continue
        dimension = (match["dimension"], match["value"]) if match["dimension"] else None
        aggregation, metric, operator = match["aggregation"].lower(), match["metric"], match["operator"]
        criteria.append(ServerCriterion(entry, match["resource"], aggregation, metric, dimension, operator, threshold))
    if problems:
        raise BadInput(problems)
    return criteria


def judge(criteria: Iterable[ServerCriterion], samples: Sequence[ServerSample]) -> list[ServerCriterionResult]:
    """Evaluate criteria over all intervals of the run: totals summed, averages averaged, extremes taken."""
    return [_judge(criterion, samples) for criterion in criteria]


def _judge(criterion: ServerCriterion, samples: Sequence[ServerSample]) -> ServerCriterionResult:
    found = [one for one in samples if _is_about(criterion, one)]
    if not found:
        return ServerCriterionResult(criterion, "no_data")
    value = _fold(criterion.aggregation, [one.value for one in found])
    threshold, unit = convert(criterion.threshold, found[0].service_unit)
    failed = value > threshold if criterion.operator == ">" else value < threshold
    return ServerCriterionResult(criterion, "failed" if failed else "held", value, unit, len(found))


def _is_about(criterion: ServerCriterion, sample: ServerSample) -> bool:
    return (
        criterion.metric.lower() == sample.metric.lower()
        and criterion.aggregation == sample.aggregation
        and criterion.resource in (None, sample.resource)
        and (criterion.dimension is None or sample.dimension(criterion.dimension[0]) == criterion.dimension[1])
    )
