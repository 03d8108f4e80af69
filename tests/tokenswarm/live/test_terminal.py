"""The terminal's lines by hand, and a real headless run in both forms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from tests.simulator_process import API_KEY, FUNCTIONS_KEY, ROOT, Simulator, running_simulator
from tokenswarm.live.last_minute import Figures, Quantiles, Tally
from tokenswarm.live.terminal import failure_lines, header_line, interval_lines


def figures(name: str | None, p95: float | None) -> Figures:
    return Figures(
        name=name, seconds=60.0, ok_rpm=48.25, throttled_rpm=3.0, failed_rpm=0.0, dropped_rpm=0.0, prompt_tpm=20000.0,
        generated_tpm=10000.0, total_tpm=30000.0, estimated_tpm=40000.0, tokens_per_s_user=50.0,
        ttft_ms=Quantiles(48, 321.4, 300.0, p95, None), tbt_ms=Quantiles(48, 20.04, 20.0, 31.66, None),
        e2e_ms=Quantiles(48, 1500.0, 1400.0, 2345.6, None), tally=Tally(),
    )  # fmt: skip


SNAPSHOT = {
    "workers": [{"lag_p95_ms": 1.23}, {"lag_p95_ms": 4.56}],
    "service": {"utilization_pct": 83.6},
    "in_flight": 7,
}


def test_a_line_says_what_there_is_under_its_title() -> None:
    (line,) = interval_lines(0.0, [figures(None, 876.5)], SNAPSHOT)
    cells = dict(zip(header_line().split(), line.split(), strict=False))
    assert cells["name"] == "all"
    assert cells["rpm"] == "48.2"
    assert cells["tpm"] == "30000"
    assert cells["ttft/p95"] == "321/876"
    assert cells["tbt/p95"] == "20.0/31.7"
    assert line.split()[-6:] == ["2346", "3", "0", "7", "84%", "4.6"]
    assert len(line) == len(header_line()) <= 100


def test_one_line_for_each_name_and_a_dash_for_what_is_not_carried() -> None:
    lines = interval_lines(
        0.0, [figures(None, 1.0), figures("chat", None), figures("orchestrator-long", 2.0)], SNAPSHOT
    )
    assert [line.split()[1] for line in lines] == ["all", "chat", "orchestrator"]
    assert "321/-" in lines[1]
    assert "7" not in lines[1].split()[-1], "what belongs to the process stands once"


def test_failures_are_counted_and_cut() -> None:
    errors = [SimpleNamespace(name="chat", error=f"HTTP 50{n}", occurrences=n) for n in range(1, 8)]
    lines = failure_lines(errors)
    assert lines[1] == "  7 x chat: HTTP 507"
    assert lines[-1].startswith("  and 2 other kinds")
    assert failure_lines([]) == []


def headless(simulator: Simulator, results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "locust", "-f", "locustfiles/mixed_traffic.py", "--headless", "-u", "4", "-r", "4"]
    command += ["-H", simulator.chat_url, "--rag-host", simulator.rag_url, "--deployment", "gpt-35-turbo", "-t", "5s"]
    command += ["--dataset", "scenarios/dataset.csv", "--max-tokens", "10", "--results-dir", str(results)]
    command += ["--output-interval", "2", "--failure-criteria", "percentage(error) > 50", *arguments]
    keys = {"AZURE_OPENAI_API_KEY": API_KEY, "ORCHESTRATOR_FUNCTION_KEY": FUNCTIONS_KEY, "PYTHONPATH": "."}
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | keys, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_run_told_to_people_and_to_programs(tmp_path: Path) -> None:
    with running_simulator(seed=5) as simulator:
        forms = ("human", "jsonl", "locust")
        with ThreadPoolExecutor() as pool:
            runs = pool.map(lambda form: headless(simulator, tmp_path / form, "--output-format", form), forms)
        people, programs, own = runs
    assert people.stdout.startswith(header_line()), people.stdout + people.stderr
    assert "Verdict: PASSED (exit code 0)" in people.stdout
    assert "\x1b" not in people.stdout, "no colours and no bar where nobody looks on"
    assert "Aggregated" not in people.stdout + people.stderr, "Locust's tables are left out"
    *intervals, end = [json.loads(line) for line in programs.stdout.splitlines()]
    assert intervals
    assert {each["type"] for each in intervals} == {"interval"}
    assert end["type"] == "end"
    assert end["verdict"]["state"] == "passed"
    assert sum(each["sent"] for each in end["figures"].values()) == end["accounting"]["sent"]
    assert "Aggregated" in own.stdout + own.stderr
    assert header_line() not in own.stdout
