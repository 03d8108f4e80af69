from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import true_figures
from benchmarks.peers import Measured, ratio_rows, row_of
from benchmarks.runs import run_pinned
from benchmarks.tools import TOOLS, Job, Reported, Work, read_rows
from tests.known_target import answered

# The same two requests in each tool's own form: TTFT 200 and 300 ms, TBT 20 ms, E2E 2180 and 2280 ms.
FILES: dict[str, dict[str, Any]] = {
    "locust": {
        "rows.jsonl": [
            {"ttft_ms": 200.0, "tbt_ms": 20.0, "e2e_ms": 2180.0, "tokens": 100},
            {"ttft_ms": 300.0, "tbt_ms": 20.0, "e2e_ms": 2280.0, "tokens": 100},
        ]
    },
    "genai-bench": {
        "results/D100_100_text-to-text_num_concurrency_2_time_5s.json": {
            "individual_request_metrics": [
                {"ttft": 0.2, "tpot": 0.02, "e2e_latency": 2.18},
                {"ttft": 0.3, "tpot": 0.02, "e2e_latency": 2.28},
            ]
        }
    },
    "guidellm": {
        "guidellm.json": {
            "benchmarks": [
                {
                    "metrics": {
                        "time_to_first_token_ms": {
                            "successful": {"count": 2, "mean": 250.0, "percentiles": {"p95": 295.0}}
                        },
                        "inter_token_latency_ms": {"successful": {"mean": 20.0}},
                        "request_latency": {"successful": {"percentiles": {"p95": 2.275}}},
                        "prompt_token_count": None,
                    },
                    "requests": {
                        "successful": [
                            {"request_start_time": 2.0, "time_to_first_token_ms": 300.0},
                            {"request_start_time": 1.0, "time_to_first_token_ms": 200.0},
                        ]
                    },
                }
            ]
        }
    },
    "aiperf": {
        "aiperf/profile_export_aiperf.json": {
            "request_count": {"avg": 2.0},
            "time_to_first_token": {"avg": 250.0, "p95": 295.0},
            "inter_token_latency": {"avg": 20.0},
            "request_latency": {"p95": 2275.0},
        },
        "aiperf/profile_export.jsonl": [
            {"metadata": {"request_start_ns": 2}, "metrics": {"time_to_first_token": {"value": 300.0}}},
            {"metadata": {"request_start_ns": 1}, "metrics": {"time_to_first_token": {"value": 200.0}}},
        ],
    },
    "servebench": {
        "servebench.json": {
            "levels": [
                {
                    "requests": [
                        {"ok": True, "start": 2.0, "ttft": 0.3, "e2e": 2.28, "output_tokens": 100},
                        {"ok": True, "start": 1.0, "ttft": 0.2, "e2e": 2.18, "output_tokens": 100},
                        {"ok": False, "start": 0.0},
                    ]
                }
            ]
        }
    },
}


def lay_out(folder: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = content if isinstance(content, list) else [content]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("name", FILES)
def test_reads_what_each_tool_leaves(tmp_path: Path, name: str) -> None:
    lay_out(tmp_path, FILES[name])
    job = TOOLS[name].job(Work(Path("/env/bin/python"), tmp_path, "http://127.0.0.1:1", 2, 5.0))
    found = job.read(tmp_path)
    assert found.requests == 2
    assert found.ttft_mean_ms == pytest.approx(250.0)
    assert found.ttft_p95_ms == pytest.approx(295.0)
    assert found.tbt_mean_ms == pytest.approx(20.0)
    assert found.e2e_p95_ms == pytest.approx(2275.0)
    assert found.ttfts_ms == [pytest.approx(200.0), pytest.approx(300.0)]
    assert any("http://127.0.0.1:1" in word for word in job.command)


def test_our_rows_are_read_from_the_one_run_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected one requests\.csv"):
        list(read_rows(tmp_path))
    run = tmp_path / "results" / "smoke" / "20261124T000000Z"
    run.mkdir(parents=True)
    row = "outcome,started_at,ttft_ms,tbt_ms,e2e_ms\nok,2,300,20,2280\nok,1,200,20,2180\ntimeout,3,,,\n"
    (run / "requests.csv").write_text(row)
    job = TOOLS["tokenswarm"].job(Work(Path("/env/bin/python"), tmp_path, "http://127.0.0.1:1", 2, 5.0))
    assert job.read(tmp_path) == Reported(2, 250.0, 295.0, 20.0, 2275.0, [200.0, 300.0])


def measured(tool: str, ttft_p95_ms: float, cpu: float) -> Measured:
    return Measured(
        tool=tool,
        version="1",
        streams=10,
        reported=Reported(2, 250.0, ttft_p95_ms, 20.0, None),
        true=true_figures([answered(100.0, 100.2, 100.38)]),
        after_start_ms=None,
        peak=10,
        cpu_us_per_chunk=cpu,
        cpu_pct=50.0,
        rss_mb=100.0,
        processes=1,
    )


def test_ratios_are_to_our_own_run_at_the_same_streams() -> None:
    ours, theirs = measured("tokenswarm", 200.5, 20.0), measured("peer", 205.0, 60.0)
    (row,) = ratio_rows([ours, theirs], "tokenswarm")
    assert row == {
        "tool": "peer 1",
        "streams": 10,
        "TTFT p95 error": "10.0 x",
        "CPU per chunk": "3.0 x",
        "memory": "1.0 x",
    }
    assert ratio_rows([theirs], "tokenswarm") == []


def test_a_row_has_errors_with_their_sign() -> None:
    row = row_of(measured("peer", 195.0, 60.0))
    assert row["TTFT p95 err ms"] == pytest.approx(-5.0)
    assert row["E2E p95 err ms"] is None


def test_a_tool_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    job = Job(["sh", "-c", "echo no such model; exit 3"], read=lambda _: Reported(0, 0.0, 0.0, 0.0, None))
    with pytest.raises(RuntimeError, match=r"(?s)exit 3.*no such model"):
        run_pinned(job, tmp_path, timeout=10)
