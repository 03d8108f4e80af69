"""Users over time inside Locust: ticks, threads, the web form; conversations with an orchestrator; shared prefixes."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.parse
import urllib.request
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from tests.load_models.load_run import LoadRun, are_apart, command, read_run, read_truth, run_all, start
from tests.ports import free_port
from tests.simulator_process import ROOT, Simulator
from tests.waiting import wait_until
from tokenswarm.record import Outcome
from tokenswarm.workload.prompts import block_text
from tokenswarm.workload.stages import ThreadGroup
from tokenswarm.workload.thread_group import LEAD_S, PARKED_S, Thread, Threads

QUICK = ("--deployment", "quick", "--context-tokens", "50", "--max-tokens", "20")
MOONCAKE = [
    {"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [1, 2, 3]},
    {"timestamp": 200, "input_length": 1100, "output_length": 5, "hash_ids": [1, 2, 4]},
    {"timestamp": 400, "input_length": 1100, "output_length": 5, "hash_ids": [5, 6, 7]},
]


@pytest.fixture(scope="module")
def runs(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadRun]:
    results = tmp_path_factory.mktemp("shapes")
    trace = results / "mooncake.jsonl"
    trace.write_text("".join(json.dumps(row) + "\n" for row in MOONCAKE))
    threads = ("--shape", "thread-group", "--stages", "threads=5, delay=1s, ramp=2s, duration=60s, loops=2")
    rag = ("--dataset", "scenarios/dataset.csv", "--turns-per-conversation", "3", "-u", "2", "-r", "2", "-t", "4s")
    commands = {
        "threads": command(*QUICK, *threads, "--processes", "2", "--think-time", "0.2"),
        "run-time": command(*QUICK, "--shape", "soak", "--stages", "users=3, duration=600s", "-t", "2s",
                            "--think-time", "0.2"),
        "orchestrator": command(*rag, "--stop-timeout", "10", locustfile="rag_orchestrator"),
        "mooncake": command("--deployment", "quick", "--trace", str(trace), "-u", "3", "-r", "3"),
    }  # fmt: skip
    return run_all(commands, simulator, results)


def test_threads_of_several_processes_start_at_exact_instants(runs: dict[str, LoadRun]) -> None:
    run = runs["threads"]
    run.check()
    key = lambda row: (row.worker, row.user)  # noqa: E731
    starts = [min(row.started_at or 0.0 for row in rows) for _, rows in groupby(sorted(run.rows, key=key), key)]
    assert len(starts) == 5 and are_apart(starts, 0.4)
    assert len(run.rows) == 5 * 2
    assert {row.worker for row in run.rows} == {"w0", "w1"}


def test_the_run_time_ends_a_shape(runs: dict[str, LoadRun]) -> None:
    facts = runs["run-time"].facts
    assert facts["state"] == "finished"
    assert facts["ended_at"] - facts["started_at"] < 20
    assert "have no impact" not in runs["run-time"].output


def test_an_orchestrator_gets_its_own_conversation_id_back(runs: dict[str, LoadRun]) -> None:
    run = runs["orchestrator"]
    rows = sorted(run.of(Outcome.OK), key=lambda row: (row.worker, row.user or 0, row.started_at or 0.0))
    turns = [row.turn for row in rows]
    assert {1, 2, 3} >= set(turns) and turns.count(2) >= 1
    for before, after in pairwise(rows):
        if after.turn != 1:
            assert (after.conversation_id, after.turn) == (before.conversation_id, (before.turn or 0) + 1)
    received = {line["client_request_id"]: line["conversation_id"] for line in run.truth.values()}
    for row in rows:
        assert received[f"{row.call_id}-{row.attempt}"] == row.conversation_id


def test_shared_blocks_of_a_trace_are_shared_at_the_target(runs: dict[str, LoadRun]) -> None:
    rows = sorted(runs["mooncake"].of(Outcome.OK), key=lambda row: row.scheduled_at or 0.0)
    assert [row.prompt_tokens for row in rows] == [1100, 1100, 1100]
    # Two blocks of 512 came before: the target serves what it has in blocks of 128, from 1024 tokens on.
    cached = [runs["mooncake"].truth[f"{row.call_id}-1"]["cached_tokens"] for row in rows]
    assert cached[0] == 0 and cached[1] >= 1024 and cached[2] == 0
    assert [row.shared_tokens for row in rows] == pytest.approx([0, 1024, 0], abs=1024 / 20)
    values = summarise(load_run(runs["mooncake"].directory)).overall.values
    assert values["cacheable_pct"] == pytest.approx(100 * 1024 / 3300, abs=2)
    assert block_text(1) == block_text(1) != block_text(5)


def test_the_web_form_chooses_the_shape(simulator: Simulator, tmp_path: Path) -> None:
    port = str(free_port())
    arguments = [part for part in command(*QUICK) if part not in ("--headless", "--only-summary")]
    flags = ["--web-host", "127.0.0.1", "--web-port", port, "--think-time", "0.1"]
    started = start([*arguments, *flags], tmp_path, simulator.chat_url)
    try:
        form = {"user_count": 1, "spawn_rate": 1, "shape": "step", "stages": "by=1, every=1s, to=2"}
        post(f"http://127.0.0.1:{port}", form)
        wait_until(lambda: has_ended(tmp_path), "the end of the run")
    finally:
        started.process.terminate()
        code, output = started.end()
    run = read_run(tmp_path, code, output, read_truth(simulator))
    run.check()
    assert {row.user for row in run.rows} == {1, 2}
    assert run.facts["options"]["shape"] == "step"


def post(url: str, form: dict[str, object]) -> None:
    answer = wait_until(lambda: urllib.request.urlopen(f"{url}/llm/form", timeout=10), "the web UI")
    with answer as response:
        token = json.load(response)["token"]
    data = urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(f"{url}/swarm", data, {"X-Tokenswarm-Token": token})
    with urllib.request.urlopen(request, timeout=10) as response:
        assert json.load(response)["success"]


def has_ended(results: Path) -> bool:
    return any(json.loads(path.read_text())["state"] == "finished" for path in results.glob("*/*/run.json"))


TICKS = """
import json, time, types
from tokenswarm.runner.shapes import UsersOverTime, choose_shape
from tokenswarm.workload.stages import parse_shape

def tick(shape, seconds):
    shape.start_time = time.perf_counter() - seconds
    return shape.tick()

ramps = UsersOverTime(parse_shape("stages", "10s:10, 10s:10, 10s:0"))
soak = UsersOverTime(parse_shape("soak", "users=5, duration=1h"), lambda: 60.0)
seen = {"ramps": [tick(ramps, t) for t in (0, 5, 12, 13, 25, 30)], "run time": [tick(soak, t) for t in (59, 60, 1)]}
soak.end()
seen["told to end"] = tick(soak, 1)
environment = types.SimpleNamespace(parsed_options=types.SimpleNamespace(run_time=None), runner=None)
seen["chosen"] = []
for kind, stages in (("step", "by=0"), ("soak", "users=5, duration=1h"), (None, None)):
    choose_shape(environment, kind, stages, None)
    seen["chosen"].append(type(environment.shape_class).__name__)
print(json.dumps(seen))
"""


def test_ticks() -> None:
    # In a process of its own: importing Locust changes the standard library for all other tests.
    done = subprocess.run([sys.executable, "-c", TICKS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        # The same twice means that Locust starts nothing anew.
        "ramps": [[0, 1.0], [5, 5.0], [10, 5.0], [10, 5.0], [5, 5.0], None],
        "run time": [[5, 5.0], None, [5, 5.0]],
        "told to end": None,
        # What is no shape is left to the start, which says what is wrong with it.
        "chosen": ["NoneType", "UsersOverTime", "NoneType"],
    }


def test_threads_are_asked_for_ahead_of_their_start() -> None:
    threads = Threads(ThreadGroup(4, delay_s=10, ramp_s=8, duration_s_after_delay=20), begins_at=100)
    assert [threads.users(now, LEAD_S) for now in (100, 106.9, 107, 109, 113, 129, 130)] == [0, 0, 1, 2, 4, 4, None]


def test_a_thread_waits_for_its_instant_loops_and_parks() -> None:
    threads = Threads(ThreadGroup(2, delay_s=1, ramp_s=4, duration_s_after_delay=20, loops=2), begins_at=100)
    first, second = threads.take("w0"), threads.take("w1")
    assert (first.start_at, second.start_at, second.ends_at) == (101, 103, 121)
    assert second.pause_s(0.5, 100.25) == 2.75
    assert second.pause_s(0.5, 104) == 0.5
    assert second.pause_s(0.5, 105) == PARKED_S and second.parked
    assert Thread(1, 10, -1).pause_s(2, 11) == PARKED_S


def test_a_group_is_over_when_all_have_parked_or_are_lost() -> None:
    threads = Threads(ThreadGroup(3, loops=1), begins_at=0)
    for client in ("w0", "w0", "w1"):
        assert not threads.over({"w0", "w1"})
        threads.take(client)
    threads.park("w0")
    threads.park("w0")
    assert not threads.over({"w0", "w1"})
    assert threads.over({"w0"})
    threads.park("w1")
    assert threads.over({"w0", "w1"})
