"""The counts as Prometheus text, under the names that vLLM uses, so that what scrapes the one can scrape the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from simulator.truth.tally import Cell, Spread, Tally

_COUNTERS = {
    "vllm:prompt_tokens_total": ("prompt_tokens", "Prompt tokens of all requests that were answered."),
    "vllm:generation_tokens_total": ("completion_tokens", "Tokens generated, reasoning included."),
    "vllm:prefix_cache_queries_total": ("prompt_tokens", "Prompt tokens looked up in the prompt cache."),
    "vllm:prefix_cache_hits_total": ("cached_tokens", "Prompt tokens found in the prompt cache."),
}

_LATENCIES = {
    "vllm:time_to_first_token_seconds": ("ttft_ms", "From the request read to the first token written."),
    "vllm:inter_token_latency_seconds": ("tbt_ms", "Mean time between two tokens, one value for each request."),
    "vllm:e2e_request_latency_seconds": ("e2e_ms", "From the request read to the last byte written."),
}


def render_metrics(tally: Tally, gauges: Mapping[str, Sequence[int]]) -> str:
    """`gauges`: by deployment, requests at work and requests waiting."""
    return "\n".join([*_gauges(gauges), *_served(tally), *_latencies(tally), *_answered(tally), *_left(tally)]) + "\n"


def _gauges(gauges: Mapping[str, Sequence[int]]) -> Iterator[str]:
    for position, (state, doc) in enumerate((("running", "at work"), ("waiting", "waiting for a place"))):
        name = f"vllm:num_requests_{state}"
        yield from _heading(name, "gauge", f"Requests {doc}.")
        for deployment, values in sorted(gauges.items()):
            yield _line(name, values[position], model_name=deployment)


def _served(tally: Tally) -> Iterator[str]:
    """Of requests that were answered with 200."""
    served = _by_deployment(tally, status=200)
    name = "vllm:request_success_total"
    yield from _heading(name, "counter", "Requests answered completely.")
    for deployment, cell in _by_deployment(tally, status=200, outcome="ok").items():
        yield _line(name, cell.requests, model_name=deployment)
    for name, (tokens, doc) in _COUNTERS.items():
        yield from _heading(name, "counter", doc)
        for deployment, cell in served.items():
            yield _line(name, cell.tokens[tokens], model_name=deployment)


def _latencies(tally: Tally) -> Iterator[str]:
    served = _by_deployment(tally, status=200)
    for name, (latency, doc) in _LATENCIES.items():
        yield from _heading(name, "summary", doc)
        for deployment, cell in served.items():
            spread: Spread = getattr(cell, latency)
            yield _line(f"{name}_sum", spread.total / 1e3, model_name=deployment)
            yield _line(f"{name}_count", spread.count, model_name=deployment)


def _answered(tally: Tally) -> Iterator[str]:
    """Every request on every target, by what became of it."""
    total: dict[tuple[str, str, str, str, str], int] = {}
    for (_, target, deployment, status, outcome, reason, *_), cell in tally.cells.items():
        key = (target, deployment, str(status), outcome, reason)
        total[key] = total.get(key, 0) + cell.requests
    name = "simulator_requests_total"
    yield from _heading(name, "counter", "Requests received, by what became of them.")
    labels = ("target", "model_name", "status", "outcome", "reason")
    for values, requests in sorted(total.items()):
        yield _line(name, requests, **dict(zip(labels, values, strict=True)))


def _left(tally: Tally) -> Iterator[str]:
    """What was done for clients that had left."""
    total: dict[tuple[str, str], Cell] = {}
    for (_, target, deployment, _, _, _, internal, _), cell in tally.cells.items():
        if internal:  # its caller's own time has it
            continue
        total.setdefault((target, deployment), Cell()).merge(cell)
    of = {key: cell for key, cell in sorted(total.items()) if cell.after_left_ms.count}
    for name, doc, read in _LEFT:
        yield from _heading(name, "counter", doc)
        for (target, deployment), cell in of.items():
            yield _line(name, read(cell), target=target, model_name=deployment)


_LEFT: tuple[tuple[str, str, Callable[[Cell], float]], ...] = (
    ("simulator_clients_left_total", "Clients that left before their answer had ended.",
     lambda cell: cell.after_left_ms.count),
    ("simulator_unheard_seconds_total", "Seconds for which answers were generated after their clients had left.",
     lambda cell: cell.after_left_ms.total / 1e3),
    ("simulator_unheard_tokens_total", "Tokens generated after their clients had left.",
     lambda cell: cell.tokens["tokens_after_left"]),
)  # fmt: skip


def _by_deployment(tally: Tally, status: int, outcome: str | None = None) -> dict[str, Cell]:
    """One cell for each chat deployment."""
    cells: dict[str, Cell] = {}
    for (_, target, deployment, its_status, its_outcome, *_), cell in tally.cells.items():
        if target == "chat" and its_status == status and outcome in (None, its_outcome):
            cells.setdefault(deployment, Cell()).merge(cell)
    return dict(sorted(cells.items()))


def _heading(name: str, kind: str, doc: str) -> Iterator[str]:
    yield f"# HELP {name} {doc}"
    yield f"# TYPE {name} {kind}"


def _line(name: str, value: float, **labels: str) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{shown}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
