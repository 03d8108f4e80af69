"""The tools that are measured: how each is run closed-loop with N streams, and where it leaves its figures."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import mean, percentile
from benchmarks.target import E2E_MS, ROOT, TOKENS

PROMPT_TOKENS = 100
REQUEST_S = E2E_MS / 1000.0


@dataclass(frozen=True, slots=True)
class Work:
    """One run: interpreter of the tool's environment, folder for its files, target, streams, seconds."""

    python: Path
    folder: Path
    url: str
    streams: int
    seconds: float

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"

    @property
    def run_time(self) -> str:
        """For Locust, which takes whole seconds only."""
        return f"{math.ceil(self.seconds)}s"

    def program(self, name: str) -> str:
        """A console script of the tool's environment."""
        return str(self.python.parent / name)


@dataclass(frozen=True, slots=True)
class Reported:
    """What a tool reports of a run, ms. `ttfts_ms`: per request, in order of start or end, where it keeps them."""

    requests: int
    ttft_mean_ms: float
    ttft_p95_ms: float
    tbt_mean_ms: float
    e2e_p95_ms: float | None
    ttfts_ms: list[float] | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A command, its environment, and the reader of what it leaves in its folder."""

    command: list[str]
    read: Callable[[Path], Reported]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool. Without a `requirement` it runs in this interpreter."""

    name: str
    package: str
    requirement: str
    job: Callable[[Work], Job]
    needs_tokenizer: bool = False


def from_requests(ttft: list[float], tbt: list[float], e2e: list[float]) -> Reported:
    """Figures from a tool's own figures per request, ms."""
    return Reported(len(ttft), mean(ttft), percentile(ttft, 95), mean(tbt), percentile(e2e, 95), ttft)


# Tokenswarm


def tokenswarm_job(work: Work) -> Job:
    command = [work.program("locust"), "--config", str(ROOT / "scenarios" / "smoke.conf"), "--headless", "-H", work.url]
    command += ["-f", str(ROOT / "locustfiles" / "chat_completions.py")]
    command += ["-u", str(work.streams), "-r", str(work.streams), "-t", work.run_time, "--only-summary"]
    command += ["--api", "openai", "--deployment", "gpt-4o", "--context-tokens", str(PROMPT_TOKENS)]
    command += ["--max-tokens", str(TOKENS), "--results-dir", str(work.folder / "results")]
    return Job(command, _read_tokenswarm, {"OPENAI_API_KEY": "none", "PYTHONPATH": str(ROOT)})


def read_rows(folder: Path) -> Iterator[dict[str, str]]:
    """Rows of the one run directory under `folder`. Raises `ValueError` unless there is exactly one."""
    found = sorted(folder.glob("results/*/*/requests.csv"))
    if len(found) != 1:
        said = folder / "output.txt"
        end = said.read_text(errors="replace")[-1500:] if said.exists() else ""
        raise ValueError(f"expected one requests.csv under {folder}, got {len(found)}; the run said: {end}")
    with open(found[0], newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _read_tokenswarm(folder: Path) -> Reported:
    rows = sorted(
        (row for row in read_rows(folder) if row["outcome"] == "ok"), key=lambda row: float(row["started_at"])
    )
    columns = [[float(row[name]) for row in rows] for name in ("ttft_ms", "tbt_ms", "e2e_ms")]
    return from_requests(*columns)


# plain Locust


def locust_job(work: Work) -> Job:
    command = [work.program("locust"), "-f", str(ROOT / "benchmarks" / "plain_locustfile.py"), "--headless"]
    command += ["-H", work.url, "-u", str(work.streams), "-r", str(work.streams), "-t", work.run_time]
    return Job([*command, "--only-summary"], _read_locust, {"PLAIN_ROWS": str(work.folder / "rows.jsonl")})


def _read_locust(folder: Path) -> Reported:
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    return from_requests(*([row[name] for row in rows] for name in ("ttft_ms", "tbt_ms", "e2e_ms")))


# genai-bench


def genai_bench_job(work: Work) -> Job:
    requests = math.ceil(work.streams * work.seconds / REQUEST_S)
    command = [work.program("genai-bench"), "benchmark", "--api-backend", "openai", "--api-base", work.url]
    command += ["--api-key", "none", "--api-model-name", "gpt-4o", "--task", "text-to-text"]
    command += ["--traffic-scenario", f"D({PROMPT_TOKENS},{TOKENS})", "--num-concurrency", str(work.streams)]
    command += ["--max-requests-per-run", str(requests), "--max-time-per-run", "1"]
    command += ["--model-tokenizer", str(work.tokenizer)]
    command += ["--experiment-base-dir", str(work.folder), "--experiment-folder-name", "results"]
    return Job(command, _read_genai_bench)


def _read_genai_bench(folder: Path) -> Reported:
    (path,) = folder.glob("results/D*_num_concurrency_*.json")
    rows = json.loads(path.read_text())["individual_request_metrics"]
    return from_requests(*([row[name] * 1000.0 for row in rows] for name in ("ttft", "tpot", "e2e_latency")))


# guidellm


def guidellm_job(work: Work) -> Job:
    command = [work.program("guidellm"), "run", "--backend", f"kind=openai_http,target={work.url},model=gpt-4o"]
    command += ["--profile", f"kind=concurrent,streams={work.streams}"]
    command += ["--constraint", f"kind=max_duration,seconds={work.seconds:g}"]
    command += ["--tokenizer", f"kind=huggingface_auto,model={work.tokenizer}"]
    command += ["--data", f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={TOKENS}"]
    command += ["--output", "kind=json,path=guidellm.json", "--disable-console"]
    return Job(command, _read_guidellm, {"HF_HUB_OFFLINE": "1"})


def _read_guidellm(folder: Path) -> Reported:
    (benchmark,) = json.loads((folder / "guidellm.json").read_text())["benchmarks"]
    metrics = benchmark["metrics"]
    ttft = metrics["time_to_first_token_ms"]["successful"]
    rows = sorted(benchmark["requests"]["successful"], key=lambda row: row["request_start_time"])
    return Reported(
        requests=ttft["count"],
        ttft_mean_ms=ttft["mean"],
        ttft_p95_ms=ttft["percentiles"]["p95"],
        tbt_mean_ms=metrics["inter_token_latency_ms"]["successful"]["mean"],
        e2e_p95_ms=metrics["request_latency"]["successful"]["percentiles"]["p95"] * 1000.0,
        ttfts_ms=[row["time_to_first_token_ms"] for row in rows],
    )


# aiperf


def aiperf_job(work: Work) -> Job:
    command = [work.program("aiperf"), "profile", "-m", "gpt-4o", "--url", work.url, "--endpoint-type", "chat"]
    command += ["--streaming", "--concurrency", str(work.streams), "--benchmark-duration", f"{work.seconds:g}"]
    command += ["--prompt-input-tokens-mean", str(PROMPT_TOKENS), "--prompt-output-tokens-mean", str(TOKENS)]
    command += ["--tokenizer", str(work.tokenizer), "--ui", "none", "--no-server-metrics", "--no-gpu-telemetry"]
    return Job([*command, "--artifact-dir", str(work.folder / "aiperf")], _read_aiperf)


def _read_aiperf(folder: Path) -> Reported:
    summary = json.loads((folder / "aiperf" / "profile_export_aiperf.json").read_text())
    lines = (folder / "aiperf" / "profile_export.jsonl").read_text().splitlines()
    rows = sorted((json.loads(line) for line in lines), key=lambda row: row["metadata"]["request_start_ns"])
    return Reported(
        requests=int(summary["request_count"]["avg"]),
        ttft_mean_ms=summary["time_to_first_token"]["avg"],
        ttft_p95_ms=summary["time_to_first_token"]["p95"],
        tbt_mean_ms=summary["inter_token_latency"]["avg"],
        e2e_p95_ms=summary["request_latency"]["p95"],
        ttfts_ms=[row["metrics"]["time_to_first_token"]["value"] for row in rows if "metrics" in row],
    )


# servebench


def servebench_job(work: Work) -> Job:
    command = [work.program("servebench"), "run", "--url", work.url, "--model", "gpt-4o"]
    command += ["--concurrency", str(work.streams), "--duration", f"{work.seconds:g}", "--warmup", "0"]
    command += ["--input-len", str(PROMPT_TOKENS), "--output-len", str(TOKENS), "--out", "servebench.json"]
    return Job(command, _read_servebench)


def _read_servebench(folder: Path) -> Reported:
    (level,) = json.loads((folder / "servebench.json").read_text())["levels"]
    rows = sorted((row for row in level["requests"] if row["ok"]), key=lambda row: row["start"])
    return from_requests(
        [row["ttft"] * 1000.0 for row in rows],
        [_servebench_tbt_ms(row) for row in rows],
        [row["e2e"] * 1000.0 for row in rows],
    )


def _servebench_tbt_ms(row: dict[str, Any]) -> float:
    return float((row["e2e"] - row["ttft"]) / (row["output_tokens"] - 1) * 1000.0)


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("tokenswarm", "tokenswarm", "", tokenswarm_job),
        Tool("locust", "locust", "locust", locust_job),
        Tool("servebench", "servebench", "servebench", servebench_job),
        Tool("genai-bench", "genai-bench", "genai-bench", genai_bench_job, needs_tokenizer=True),
        Tool("guidellm", "guidellm", "guidellm", guidellm_job, needs_tokenizer=True),
        Tool("aiperf", "aiperf", "aiperf", aiperf_job, needs_tokenizer=True),
    )
}
