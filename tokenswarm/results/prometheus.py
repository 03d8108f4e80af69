"""Prometheus endpoints of inference servers, read while a run goes on.

vLLM, llama.cpp and Text Generation Inference name the same things differently; `NAMES` says how they become the
metrics of `server_metrics.csv`. Counters are stored as their increase since the previous reading, histograms as the
mean of what came since then, gauges as they are. The first reading is the baseline and is taken before the load.
"""

from __future__ import annotations

import logging
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenswarm.metrics.server_metrics import PrometheusEndpoint, ServerMetric, ServerSample, append_samples, convert

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Name:
    """How one metric of a server is stored: under which name, of which kind, in which unit the server gives it.

    kind: gauge, counter, mean (histogram: mean of the observations since the last reading) or sum (histogram: their
    sum, for servers that count tokens in a histogram).
    """

    metric: str
    kind: str
    unit: str = "Count"
    split_by: str | None = None


NAMES: dict[str, Name] = {
    "vllm:num_requests_running": Name("requests_running", "gauge"),
    "vllm:num_requests_waiting": Name("requests_waiting", "gauge"),
    "vllm:kv_cache_usage_perc": Name("kv_cache_usage", "gauge", "Ratio"),
    "vllm:gpu_cache_usage_perc": Name("kv_cache_usage", "gauge", "Ratio"),
    "vllm:request_success_total": Name("requests", "counter", split_by="finished_reason"),
    "vllm:num_preemptions_total": Name("preemptions", "counter"),
    "vllm:prompt_tokens_total": Name("prompt_tokens", "counter"),
    "vllm:generation_tokens_total": Name("generated_tokens", "counter"),
    "vllm:prefix_cache_queries_total": Name("prefix_cache_query_tokens", "counter"),
    "vllm:prefix_cache_hits_total": Name("prefix_cache_hit_tokens", "counter"),
    "vllm:time_to_first_token_seconds": Name("ttft", "mean", "Seconds"),
    "vllm:inter_token_latency_seconds": Name("tbt", "mean", "Seconds"),
    "vllm:time_per_output_token_seconds": Name("tbt", "mean", "Seconds"),
    "vllm:e2e_request_latency_seconds": Name("e2e", "mean", "Seconds"),
    "vllm:request_queue_time_seconds": Name("queue_time", "mean", "Seconds"),
    "llamacpp:requests_processing": Name("requests_running", "gauge"),
    "llamacpp:requests_deferred": Name("requests_waiting", "gauge"),
    "llamacpp:kv_cache_usage_ratio": Name("kv_cache_usage", "gauge", "Ratio"),
    "llamacpp:prompt_tokens_total": Name("uncached_prompt_tokens", "counter"),
    "llamacpp:prompt_tokens_cached_total": Name("cached_prompt_tokens", "counter"),
    "llamacpp:tokens_predicted_total": Name("generated_tokens", "counter"),
    "llamacpp:prompt_tokens_seconds": Name("prompt_tokens_per_s", "gauge", "CountPerSecond"),
    "llamacpp:predicted_tokens_seconds": Name("generated_tokens_per_s", "gauge", "CountPerSecond"),
    "llamacpp:n_busy_slots_per_decode": Name("busy_slots_per_decode", "gauge"),
    "tgi_batch_current_size": Name("requests_running", "gauge"),
    "tgi_queue_size": Name("requests_waiting", "gauge"),
    "tgi_request_count": Name("requests", "counter"),
    "tgi_request_failure": Name("requests_failed", "counter", split_by="err"),
    "tgi_request_input_length": Name("prompt_tokens", "sum"),
    "tgi_request_generated_tokens": Name("generated_tokens", "sum"),
    "tgi_request_duration": Name("e2e", "mean", "Seconds"),
    "tgi_request_queue_duration": Name("queue_time", "mean", "Seconds"),
    "tgi_request_mean_time_per_token_duration": Name("tbt", "mean", "Seconds"),
    "simulator_clients_left_total": Name("clients_left", "counter"),
    "simulator_unheard_seconds_total": Name("unheard_time", "counter", "Seconds"),
    "simulator_unheard_tokens_total": Name("unheard_tokens", "counter"),
}
"""Name at the server to ours. Source: the metrics pages of vLLM (v0 and v1), llama.cpp server and TGI."""

_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+\d+)?")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Scrape:
    """The wanted values of one scrape: (metric name at the server, part, split value) to the sum over all labels."""

    at: float
    values: dict[tuple[str, str, str], float]


def names_of(endpoint: PrometheusEndpoint) -> dict[str, Name]:
    """The table, with the metrics the endpoint's entry adds: ..._total is a counter, anything else a gauge."""
    return NAMES | {one.name: _named(one) for one in endpoint.metrics}


def _named(metric: ServerMetric) -> Name:
    return Name(metric.name, "counter" if metric.name.endswith("_total") or metric.aggregation == "total" else "gauge")


def parse_exposition(text: str, at: float, names: dict[str, Name]) -> Scrape:
    """Read Prometheus' text format, keeping the metrics in `names`.

    Series that differ in other labels (engines, models) are summed; shares of something are averaged.
    """
    values: dict[tuple[str, str, str], list[float]] = {}
    for line in text.splitlines():
        match = None if line.startswith("#") else _LINE.fullmatch(line.strip())
        if match is None:
            continue
        full_name, labels, number = match.groups()
        series, part = _series(full_name, names)
        if series is None:
            continue
        split_by = names[series].split_by
        split = dict(_LABEL.findall(labels or "")).get(split_by, "") if split_by else ""
        try:
            value = float(number)
        except ValueError:
            continue
        if value == value:
            values.setdefault((series, part, split), []).append(value)
    return Scrape(at, {key: _joined(found, names[key[0]]) for key, found in values.items()})


def _joined(values: list[float], name: Name) -> float:
    return sum(values) / len(values) if name.unit == "Ratio" else sum(values)


def _series(full_name: str, names: dict[str, Name]) -> tuple[str | None, str]:
    if full_name in names:
        return (full_name, "value") if names[full_name].kind in ("gauge", "counter") else (None, "")
    for part in ("sum", "count"):
        base = full_name.removesuffix(f"_{part}")
        if base != full_name and base in names and names[base].kind in ("mean", "sum"):
            return base, part
    if f"{full_name}_total" in names:  # some exporters leave the suffix out
        return f"{full_name}_total", "value"
    return None, ""


def samples_between(before: Scrape, after: Scrape, names: dict[str, Name], resource: str) -> Iterator[ServerSample]:
    """What happened between two readings of one endpoint. A counter that fell was reset: it counts from zero."""
    for (series, part, split), value in after.values.items():
        name = names[series]
        increase = _increase(before, after, (series, part, split))
        if name.kind == "gauge":
            yield _sample(before, after, name, resource, split, "average", value)
        elif name.kind == "counter" or (name.kind == "sum" and part == "sum"):
            yield _sample(before, after, name, resource, split, "total", increase)
        elif name.kind == "mean" and part == "count" and increase > 0:
            total = _increase(before, after, (series, "sum", split))
            yield _sample(before, after, name, resource, split, "average", total / increase)


def _increase(before: Scrape, after: Scrape, key: tuple[str, str, str]) -> float:
    now = after.values.get(key, 0.0)
    increase = now - before.values.get(key, 0.0)
    return now if increase < 0 else increase


def _sample(
    before: Scrape, after: Scrape, name: Name, resource: str, split: str, aggregation: str, value: float
) -> ServerSample:
    converted, unit = convert(value, name.unit)
    return ServerSample(
        at=before.at,
        interval_s=after.at - before.at,
        source="prometheus",
        resource=resource,
        metric=name.metric,
        dimensions=f"{name.split_by}={split}" if split else "",
        aggregation=aggregation,
        value=converted,
        unit=unit,
        service_unit=name.unit,
    )


def read_endpoint(endpoint: PrometheusEndpoint, tls: ssl.SSLContext | None = None, timeout_s: float = 4.0) -> str:
    """The text of a /metrics page. `tls`: for https; `None` trusts the system's authorities. Raises `OSError`."""
    request = urllib.request.Request(endpoint.url)
    for name, value in endpoint.headers:
        request.add_unredirected_header(name, value)  # a redirect may lead to somebody else
    with urllib.request.urlopen(request, timeout=timeout_s, context=tls) as response:  # nosec B310: http or https
        return str(response.read().decode("utf-8", "replace"))


class Scraper:
    """Reads one endpoint until stopped and appends to `path`; in the process that owns the run directory, only there.

    The thread is a greenlet under Locust's monkey patching. Gaps are no rows: an endpoint that does not answer is
    warned about once and tried again at the next turn, and the increase over the gap is counted when it is back.
    """

    def __init__(
        self,
        endpoint: PrometheusEndpoint,
        path: Path,
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.failures = 0
        self._endpoint = endpoint
        self._names = names_of(endpoint)
        self._path = path
        self._tls = tls
        self._clock = clock
        self._before: Scrape | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._scrape_until_stopped, name="server-metrics", daemon=True)

    def start(self) -> None:
        """Take the baseline, waiting for it, then go on in the background."""
        self.scrape()
        self._thread.start()

    def stop(self) -> None:
        """Take the last reading: what came until now is counted."""
        self._stopped.set()
        self._thread.join(timeout=5)
        self.scrape()
        if self._before is not None and not self._before.values:
            logger.warning("server-metrics: %s has none of the metrics that are known here", self._endpoint.url)

    def scrape(self) -> None:
        """One reading; from the second on it adds rows."""
        try:
            after = parse_exposition(read_endpoint(self._endpoint, self._tls), self._clock(), self._names)
        except (OSError, ValueError) as error:
            self.failures += 1
            if self.failures == 1:
                logger.warning("server-metrics: no answer from %s: %s", self._endpoint.url, error)
            return
        if self._before is not None:
            append_samples(self._path, samples_between(self._before, after, self._names, self._endpoint.name))
        self._before = after

    def _scrape_until_stopped(self) -> None:
        while not self._stopped.wait(self._endpoint.interval_s):
            self.scrape()
