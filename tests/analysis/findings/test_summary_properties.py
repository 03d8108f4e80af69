"""Properties of a summary, over random runs."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.figures.group import group
from analysis.figures.window import Window
from analysis.sources.rows import read_rows
from tests.analysis.run_directories import (
    T,
    answered,
    dropped,
    refused,
    write_rows,
)
from tokenswarm.metrics.criteria import evaluate, parse_criteria
from tokenswarm.metrics.goodput import parse_goodput
from tokenswarm.metrics.samples import Samples
from tokenswarm.record import Doubt, Outcome, RequestRecord


def _random_records(seed: int, n: int = 120) -> list[RequestRecord]:
    """Records whose numbers have the three decimals that a CSV keeps."""
    source = random.Random(seed)

    def uniform(low: float, high: float) -> float:
        return round(source.uniform(low, high), 3)

    records = []
    for number in range(n):
        at = uniform(0, 240)
        kind = source.random()
        if kind < 0.6:
            ttft = uniform(10, 500)
            name = source.choice(["chat", "rag"])
            lag = source.choice([None, uniform(0, 900)])
            records.append(answered(f"c{number}", at, ttft, ttft + uniform(1, 9000), source.randint(1, 100),
                                    name=name, lag_ms=lag, attempt=source.choice([1, 1, 2])))  # fmt: skip
            if source.random() < 0.2:
                records[-1] = replace(records[-1], ttft_ms=None, tbt_ms=None, doubts=str(Doubt.WHOLE))
        elif kind < 0.9:
            records.append(
                refused(
                    f"c{number}",
                    at,
                    source.choice([Outcome.THROTTLED, Outcome.TIMEOUT, Outcome.CANCELLED, Outcome.ABORTED]),
                )
            )
        else:
            records.append(dropped(f"c{number}", at))
    return records


def _group_of(records: list[RequestRecord], path: Path, window: Window) -> dict[str, float | None]:
    found = group(read_rows(write_rows(path, records)).rows, window)
    averages = {name: item.avg.value for name, item in found.distributions.items()}
    return dict(found.values) | averages


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.randoms())
def test_the_order_of_rows_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, seed: int, order: random.Random
) -> None:
    records = _random_records(seed)
    shuffled = records[:]
    order.shuffle(shuffled)
    directory = tmp_path_factory.mktemp("order")
    window = Window(T, T + 260)
    one, other = _group_of(records, directory / "a.csv", window), _group_of(shuffled, directory / "b.csv", window)
    assert one == pytest.approx(other, nan_ok=True)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(5, 235))
def test_windows_add_up_to_the_whole(tmp_path_factory: pytest.TempPathFactory, seed: int, cut: float) -> None:
    records = _random_records(seed)
    rows = read_rows(write_rows(tmp_path_factory.mktemp("cut") / "a.csv", records)).rows
    whole = group(rows, Window(T - 10, T + 300))
    parts = [group(rows, Window(T - 10, T + cut)), group(rows, Window(float(np.nextafter(T + cut, np.inf)), T + 300))]
    for name in ("requests", "ok", "failed", "throttled", "cancelled", "aborted", "dropped", "tokens"):
        assert whole.values[name] == pytest.approx(sum(part.values[name] or 0 for part in parts)), name


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_the_report_and_the_criteria_see_the_same_run(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """The criteria on `Samples` fed record by record, as live, against the columns and against the summary."""
    from analysis.figures.row_samples import RowSamples

    records = _random_records(seed)
    rows = read_rows(write_rows(tmp_path_factory.mktemp("same") / "a.csv", records)).rows
    text = ";".join(
        [f"{agg}({metric}) > 1" for metric in ("ttft_ms", "e2e_from_due_ms", "response_time_ms", "latency", "lag_ms")
         for agg in ("avg", "min", "max", "p50", "p95", "p99")]
        + [f"{agg}({metric}) > 1" for metric in ("tpm", "rpm") for agg in ("avg", "min", "max")]
        + [f"{agg}({metric}) > 1" for metric in ("throttled", "dropped", "goodput") for agg in ("percentage", "count")]
        + ["percentage(error) > 1", "avg(requests_per_sec) > 1", "count(requests) > 1", "rag: p50(tbt_ms) > 1"]
        + ["chat: p50(ttft_from_due_ms) > 1"]
    )  # fmt: skip
    limits = parse_goodput("ttft_ms<300, e2e_from_due_ms<5000, lag_ms<500, tbt_ms<40")
    window = (T + 13.0, T + 200.5)
    live = evaluate(parse_criteria(text), Samples.from_records(records, limits), window)
    ours = evaluate(parse_criteria(text), RowSamples(rows, limits), window)
    for one, other in zip(live, ours, strict=True):
        assert (one.state, one.n, one.note) == (other.state, other.n, other.note), one.criterion.text
        assert one.value == pytest.approx(other.value, rel=1e-9), one.criterion.text
    found = group(rows, Window(*window), goodput=limits)
    by_text = {result.criterion.text: result.value for result in live}
    assert found.values["tpm"] == pytest.approx(by_text["avg(tpm) > 1"])
    assert found.values["tpm_max_minute"] == pytest.approx(by_text["max(tpm) > 1"])
    assert found.values["rpm"] == pytest.approx(by_text["avg(rpm) > 1"])
    assert found.values["error_pct"] == pytest.approx(by_text["percentage(error) > 1"])
    assert found.values["dropped_pct"] == pytest.approx(by_text["percentage(dropped) > 1"])
    assert found.values["goodput_pct"] == pytest.approx(by_text["percentage(goodput) > 1"])
    assert found.distribution("e2e_from_due_ms").avg.value == pytest.approx(by_text["avg(e2e_from_due_ms) > 1"])
