"""Every scenario that ships fails when most of its requests do: some had no criterion on that, some none at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from configargparse import DefaultConfigFileParser

from tests.simulator_process import ROOT
from tokenswarm.metrics.criteria import evaluate, parse_criteria
from tokenswarm.metrics.samples import Samples
from tokenswarm.metrics.verdict import Evidence, decide
from tokenswarm.record import Outcome, RequestRecord

SCENARIOS = sorted((ROOT / "scenarios").glob("*.conf"))


@pytest.mark.parametrize("outcome", [Outcome.HTTP_ERROR, Outcome.TIMEOUT, Outcome.CONNECTION_ERROR, Outcome.THROTTLED])
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_most_requests_fail(path: Path, outcome: Outcome) -> None:
    with path.open() as file:
        criteria = parse_criteria(DefaultConfigFileParser().parse(file)["failure-criteria"])
    bad = [RequestRecord(call_id="b", outcome=outcome, started_at=1.0 * n, e2e_ms=1.0) for n in range(60)]
    good = [
        RequestRecord(call_id="g", outcome=Outcome.OK, started_at=1.0 * n, e2e_ms=9.0, ttft_ms=1.0) for n in range(40)
    ]
    results = evaluate(criteria, Samples.from_records([*bad, *good]))
    assert decide(results, True, Evidence(sent=100, answered=40)).state == "failed"
