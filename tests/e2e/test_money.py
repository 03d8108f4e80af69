"""Money and spillover of a real run, against the log of the service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analysis.findings.summarise import summarise
from analysis.findings.summary import Summary
from analysis.report import tables
from analysis.sources.loading import load_run
from tests.e2e.locust_process import Run, Target, credentials, run_locust, scenario
from tests.simulator_process import running_simulator

QUICK = "ttft_base_ms = 20\nttft_std_ms = 1\nttft_per_token_ms = 0\ntbt_ms = 1\ntbt_std_ms = 0.2\n"
CONFIG = f"""
[deployments.reserved]
model = "gpt-4.1"
ptu = 1
input_tpm_per_ptu = 1500
bucket_s = 60
spills_to = "standard"
{QUICK}
[deployments.standard]
model = "gpt-4.1"
{QUICK}
"""
PROMPT, CACHED, COMPLETION, PTU_HOUR = 2.0, 0.5, 8.0, 3.6
BUDGET = 0.02


def test_targets_share_a_run_by_weight_and_the_report_has_each(tmp_path: Path) -> None:
    flags = ["-u", "4", "-r", "4", "-t", "2s", "--targets", "first = 3, second = 1", "--max-tokens", "5"]
    flags += ["--think-time", "0.05", "--price-prompt", "2", "--price-completion", "8"]
    config = f"[deployments.first]\n{QUICK}[deployments.second]\n{QUICK}"
    with running_simulator(config, seed=7) as simulator:
        target = Target(simulator, 0)
        run = run_locust(scenario("smoke", *flags), credentials(target), tmp_path).run()
        served = Counter(line["deployment"] for line in target.truth())
    assert Counter(row.deployment for row in run.rows) == served
    assert run.facts["target"]["deployment"] == "first, second"
    assert abs(served["first"] - 3 * served["second"]) <= 4
    summary = summarise(load_run(run.directory))
    assert {name: group.counts.sent for name, group in summary.by_target.items()} == served
    made, cost = tables.by_target(summary), summary.cost
    assert made is not None and [row.label for row in made.rows] == ["first", "second"]
    assert cost is not None and cost.run == pytest.approx(sum(part or 0.0 for part in cost.by_target.values()))


@dataclass
class Spilled:
    """A run of a provisioned deployment that passes on, stopped by its budget."""

    run: Run
    summary: Summary
    truth: list[dict[str, Any]]


@pytest.fixture(scope="module")
def spilled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spilled]:
    folder = tmp_path_factory.mktemp("money")
    flags = ["-u", "4", "-r", "4", "-t", "60s", "--deployment", "reserved", "--ptu", "1", "--max-cost", str(BUDGET)]
    for name, price in (("prompt", PROMPT), ("cached", CACHED), ("completion", COMPLETION), ("ptu-hour", PTU_HOUR)):
        flags += [f"--price-{name}", str(price)]
    with running_simulator(CONFIG, seed=7) as simulator:
        target = Target(simulator, 0)
        run = run_locust(scenario("smoke", *flags), credentials(target), folder).run()
        yield Spilled(
            run, summarise(load_run(run.directory)), [line for line in target.truth() if line["status"] == 200]
        )


def test_what_was_passed_on_is_what_the_service_passed_on(spilled: Spilled) -> None:
    passed_on = {line["client_request_id"]: line["spilled_from"] for line in spilled.truth}
    assert {f"{row.call_id}-{row.attempt}": row.spilled_from for row in spilled.run.rows} == passed_on
    found = spilled.summary.spillover
    assert found is not None
    assert (found.spilled, found.answered) == (
        sum(name == "reserved" for name in passed_on.values()),
        len(passed_on),
    )
    assert 0 < found.spilled < found.answered


def test_the_cost_is_that_of_the_services_log(spilled: Spilled) -> None:
    lines = [line for line in spilled.truth if line["spilled_from"]]
    prompt, cached, completion = (
        sum(line[name] for line in lines) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
    )
    of_tokens = ((prompt - cached) * PROMPT + cached * CACHED + completion * COMPLETION) / 1e6
    of_units = PTU_HOUR * (spilled.run.facts["ended_at"] - spilled.run.facts["started_at"]) / 3600
    cost = spilled.summary.cost
    assert cost is not None
    assert (cost.of_units, cost.run) == (pytest.approx(of_units), pytest.approx(of_units + of_tokens))


def test_the_budget_ended_the_run(spilled: Spilled) -> None:
    reason = spilled.run.facts["stop_reason"]
    assert reason.startswith(f"budget: max-cost of {BUDGET:g} USD reached (0.02")
    cost = spilled.summary.cost
    assert cost is not None and cost.run is not None
    assert BUDGET <= cost.run < 1.5 * BUDGET
