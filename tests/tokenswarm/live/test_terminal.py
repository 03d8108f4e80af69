"""The terminal's lines by hand, and a real headless run in both forms."""

from __future__ import annotations

import dataclasses
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pyte
import pytest
from rich.console import Console
from rich.text import Text

from tests.run_health import code_of_run
from tests.simulator_process import API_KEY, FUNCTIONS_KEY, ROOT, Simulator, running_simulator
from tokenswarm.live.last_minute import Figures, Quantiles, Tally
from tokenswarm.live.terminal_lines import (
    clock_time,
    columns_for,
    failure_lines,
    header_line,
    interval_lines,
    progress_line,
    status_lines,
)
from tokenswarm.metrics.criteria import CriterionResult, parse_criteria
from tokenswarm.metrics.criterion_words import criterion_lines, sentence


def figures(name: str | None, p95: float | None) -> Figures:
    return Figures(
        name=name, seconds=60.0, ok_rpm=48.25, throttled_rpm=3.0, failed_rpm=0.0, aborted_rpm=0.0, dropped_rpm=0.0,
        prompt_tpm=20000.0, generated_tpm=10000.0, total_tpm=30000.0, estimated_tpm=40000.0, tokens_per_s_user=50.0,
        ttft_ms=Quantiles(48, 321.4, 300.0, p95, None), tbt_ms=Quantiles(48, 20.04, 20.0, 31.66, None),
        e2e_ms=Quantiles(48, 1500.0, 1400.0, 2345.6, None), tally=Tally(),
    )  # fmt: skip


SNAPSHOT = {
    "workers": [{"lag_p95_ms": 1.23}, {"lag_p95_ms": 4.56}],
    "service": {"utilization_pct": 83.6},
    "in_flight": 7,
    "offered_rpm": 50.0,
    "so_far": {"state": "untrusted", "reasons": ["w1 has not been heard of for 7 s: what it sent last may be missing"]},
}


@pytest.mark.parametrize("width", [80, 120])
def test_a_line_says_what_there_is_under_its_title(width: int) -> None:
    (line,) = interval_lines(0.0, [figures(None, 876.5)], SNAPSHOT, width)
    header = header_line(width)
    columns = columns_for(width)
    begins = [sum(size + 1 for _, size in columns[:position]) for position in range(len(columns))]
    cells = {title: line[at : at + size].strip() for (title, size), at in zip(columns, begins, strict=True)}
    assert cells["name"] == "all"
    assert (cells["due/min"], cells["ok/min"], cells["429/min"], cells["fail/min"]) == ("50.0", "48.2", "3", "0")
    assert (cells["TTFT p95"], cells["TBT p95"], cells["E2E p95"]) == ("876", "31.7", "2346")
    if width == 120:
        assert (cells["tokens/min"], cells["open"], cells["util"], cells["lag p95"]) == ("30000", "7", "84%", "4.6")
    assert len(line) <= len(header) <= width


def test_one_line_for_each_name_and_a_dash_for_what_is_not_carried() -> None:
    lines = interval_lines(
        0.0, [figures(None, 1.0), figures("chat", None), figures("orchestrator-long", 2.0)], SNAPSHOT, 120
    )
    assert [line.split()[1] for line in lines] == ["all", "chat", "orchestrator"]
    assert lines[1].split()[5] == "-"
    assert lines[0].split()[-1] == "4.6" and lines[1].split()[-1] == "30000", "what is the process's stands once"


CRITERIA = parse_criteria("percentage(error) > 5; p95(ttft_ms) > 1000; chat: avg(rpm) < 40; p99(e2e_ms) > 9000")
RESULTS = [
    CriterionResult(CRITERIA[0], "failed", 100 * 15 / 27, 27),
    CriterionResult(CRITERIA[1], "held", 876.54, 27),
    CriterionResult(CRITERIA[2], "failed", 39.996, 27),
    CriterionResult(CRITERIA[3], "no_data", None, 0, "a note"),
]


def test_a_criterion_is_said_in_words() -> None:
    assert [sentence(result) for result in RESULTS] == [
        "percentage(error) must be at most 5 %, was 55.6 % (15 of 27)",
        "p95(ttft_ms) must be at most 1000 ms, was 876.5 ms (n = 27)",
        "chat: avg(rpm) must be at least 40 /min, was 39.996 /min (n = 27)",
        "p99(e2e_ms) must be at most 9000 ms, there is no data",
    ]
    assert criterion_lines(RESULTS[3]) == [f"  NO DATA {sentence(RESULTS[3])}", "          a note"]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("duration_s", [None, 600.0, 86_400.0])
def test_the_status_fits(width: int, duration_s: float | None) -> None:
    """Drawn on a console of that width no line is broken, however large the figures."""
    large = dataclasses.replace(figures(None, 123_456.0), ok_rpm=12345.6, throttled_rpm=1234.5)
    status = status_lines("a-scenario-of-a-long-name-indeed", 599.0, duration_s, large, SNAPSHOT, RESULTS, width)
    console = Console(width=width, file=io.StringIO(), force_terminal=True)
    drawn = console.render_lines(Text("\n".join(status), no_wrap=True, overflow="ellipsis"), pad=False)
    assert len(drawn) == len(status) == 4 + len(RESULTS)
    assert all(len(line) <= width for line in status)
    if duration_s == 600.0:
        assert "100 %  9:59 of 10:00, 0:01 left" in status[0]
    assert "answered 12345.6, throttled 1234.5, failed 0.0; 7 open" in status[1]
    assert "TTFT p50 300 p95 123456" in status[2]
    assert status[3].startswith("not to be trusted so far: w1 has not been heard of for 7 s")
    assert status[4].startswith("failed so far: percentage(error) must be at most 5 %, is 55.6 %")


def test_of_a_search_its_level_is_said_and_nothing_of_the_whole() -> None:
    snapshot = {**SNAPSHOT, "so_far": {"state": "searching", "reasons": []}}
    level = "search, rise: 10 RPM, begins in 19 s"
    status = status_lines("find", 5.0, None, figures(None, 1.0), snapshot, RESULTS, 80, level)
    assert (status[0], status[3:]) == ("find  0:05, until the search is over", [level])


def test_times_are_short() -> None:
    assert [clock_time(seconds) for seconds in (0, 59.6, 65, 3725)] == ["0:00", "1:00", "1:05", "1:02:05"]
    assert "waiting for the last answers" in progress_line("smoke", 11.0, 10.0, 80)
    assert progress_line("smoke", 11.0, None, 80) == "smoke  0:11, until it is stopped"


def test_failures_are_counted_and_cut() -> None:
    errors = [SimpleNamespace(name="chat", error=f"HTTP 50{n}", occurrences=n) for n in range(1, 8)]
    lines = failure_lines(errors)
    assert lines[1] == "  7 x chat: HTTP 507"
    assert lines[-1].startswith("  and 2 other kinds")
    assert failure_lines([]) == []
    (_, long) = failure_lines([SimpleNamespace(name="chat", error="x" * 400, occurrences=1)])
    assert len(long) == 154 and long.endswith("x..."), "the whole text is in locust_failures.csv"


def headless(simulator: Simulator, results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "locust", "-f", "locustfiles/mixed_traffic.py", "--headless", "-u", "4", "-r", "4"]
    command += ["-H", simulator.chat_url, "--rag-host", simulator.rag_url, "--deployment", "gpt-4.1-nano", "-t", "5s"]
    command += ["--dataset", "scenarios/dataset.csv", "--max-tokens", "10", "--results-dir", str(results)]
    command += ["--output-interval", "2", "--report", "no", "--failure-criteria", "percentage(error) > 50", *arguments]
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
    assert people.stdout.startswith(header_line(80)), people.stdout + people.stderr
    code = code_of_run(tmp_path / "human", 0)
    assert f"Verdict: {'UNTRUSTED' if code else 'PASSED'} (exit code {code})" in people.stdout
    assert "percentage(error) must be at most 50 %, was 0 % (0 of " in people.stdout
    assert "Next: python -m tokenswarm report " in people.stdout or "Next: tokenswarm report " in people.stdout
    sentences = ("must be", "/", "load generator saturated")  # which a terminal folds; the last is of a busy machine
    rows = [line for line in people.stdout.splitlines() if not any(part in line for part in sentences)]
    assert max(map(len, rows)) <= 80
    assert "\x1b" not in people.stdout, "no colours and no bar where nobody looks on"
    assert "Aggregated" not in people.stdout + people.stderr, "Locust's tables are left out"
    *intervals, end = [json.loads(line) for line in programs.stdout.splitlines()]
    assert intervals
    assert {each["type"] for each in intervals} == {"interval"}
    assert end["type"] == "end"
    assert {each["kind"] for each in end["verdict"]["reasons"]} <= {"saturated"}
    assert end["verdict"]["state"] == ("untrusted" if end["verdict"]["reasons"] else "passed")
    assert sum(each["sent"] for each in end["figures"].values()) == end["accounting"]["sent"]
    assert "Aggregated" in own.stdout + own.stderr
    assert header_line(80) not in own.stdout


def seen_in_a_terminal(command: list[str], columns: int, **variables: str) -> tuple[str, list[list[str]]]:
    """All that a command writes into a terminal of so many columns, and how its screen looked after each write."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": ".", **variables}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, close_fds=True
    )
    os.close(slave)
    screen = pyte.Screen(columns, 40)
    stream = pyte.ByteStream(screen)
    written, looks = b"", []
    with os.fdopen(master, "rb", buffering=0) as terminal:
        while True:
            try:
                data = terminal.read(65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            written += data
            stream.feed(data)
            looks.append([line.rstrip() for line in screen.display])
    process.wait()
    return written.decode("utf-8", "replace"), looks


def test_the_status_stands_below_the_log(tmp_path: Path) -> None:
    with running_simulator(seed=5) as simulator:
        command = [sys.executable, "-m", "locust", "-f", "locustfiles/chat_completions.py", "--headless"]
        command += ["-u", "2", "-r", "1", "-t", "6s", "-H", simulator.chat_url, "--deployment", "gpt-4.1-nano"]
        command += ["--max-tokens", "10", "--results-dir", str(tmp_path), "--failure-criteria", "percentage(error) > 5"]
        written, looks = seen_in_a_terminal(command, 80, AZURE_OPENAI_API_KEY=API_KEY)
    whole = [look for look in looks if any(line.startswith("ms: TTFT") for line in look)]
    assert whole, written
    for look in whole:
        begins = [position for position, line in enumerate(look) if line.startswith("run  [")]
        assert len(begins) == 1, "the status stands once:\n" + "\n".join(look)
        status = look[begins[0] : begins[0] + 4]
        assert not any("INFO" in line for line in status), "\n".join(look)
        below = [line for line in look[begins[0] + 3 :] if line and " so far: " not in line]
        assert not below, "nothing is below it:\n" + "\n".join(look)
    assert any(" left" in line for look in whole for line in look)
    assert any("held so far: percentage(error)" in line for look in whole for line in look)
    last = looks[-1]
    assert not any(line.startswith("run  [") for line in last), "it is gone at the end"
    assert any("must be at most 5 %, was 0 % (0 of" in line for line in last)
    assert any(line.startswith("Report: ") for line in last) and any("Next: " in line for line in last)
    assert list(tmp_path.glob("run/*/report.html"))
