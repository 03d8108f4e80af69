"""The scenario of each load model, shortened by flags, against the target's own log."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from hashlib import sha256
from itertools import groupby, pairwise, takewhile
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from tests.load_models.load_run import LoadRun, are_apart, command, request_id, run_all
from tests.run_health import check_code
from tests.simulator_process import Simulator
from tokenswarm.exit_codes import ExitCode
from tokenswarm.record import Outcome, RequestRecord, SessionEnd
from tokenswarm.workload.prompts import build_prompt
from tokenswarm.workload.traces import read_trace

QUICK = ("--deployment", "quick")
SHORTENED = {
    "open-poisson": (*QUICK, "--rate", "900", "--run-time", "3s", "--warm-up", "0", "--cool-down", "1"),
    "rate-stages": (*QUICK, "--rate-stages", "0s:60, 1s:1200, 1s:1200, 1s:60"),
    "trace-replay": (*QUICK, "--trace-speed", "20"),
    "agents": QUICK,
    "recorded-requests": (*QUICK, "--trace-speed", "10"),
    "stages": (*QUICK, "--stages", "1s:4, 2s:4, 1s:0", "--think-time", "0.2", "--max-tokens", "20"),
    "spike": (*QUICK, "--stages", "base=1, peak=6, at=1s, hold=1s, duration=3s", "--think-time", "0.1"),
    "step": (*QUICK, "--stages", "by=2, every=1s, to=6", "--think-time", "0.1"),
    "soak": (
        *QUICK, "--stages", "users=3, ramp=1s, duration=600s", "--run-time", "3s", "--warm-up", "1",
        "--think-time", "0.2",
    ),
    "thread-group": (
        *QUICK, "--stages", "threads=5, ramp=2s, duration=60s, loops=3", "--think-time", "uniform(0.1, 0.2)",
        "--max-tokens", "20",
    ),
    "conversations": (*QUICK, "-u", "4", "-r", "4", "--run-time", "4s", "--think-time", "0.05"),
    "find-users": (
        "--deployment", "slots", "--search", "2..3 users", "--search-hold", "2s", "--max-tokens", "2",
        "--think-time", "0", "--failure-criteria", "avg(e2e_ms) > 750",
    ),
    "find-capacity": (
        "--deployment", "ptu", "--context-tokens", "100", "--max-tokens", "50", "--quota-tpm", "",
        "--search", "1400..2800", "--search-hold", "1.5s", "--search-precision", "10",
        "--failure-criteria", "percentage(throttled) > 1",
    ),
}  # fmt: skip
SEARCHES = ("find-capacity", "find-users")
SESSIONS = (
    *QUICK, "--arrivals-of", "sessions", "--rate-stages", "0s:300, 4s:300", "--arrival", "poisson", "--turns", "2..4",
    "--think-time", "0.2", "--context-tokens", "60", "--max-tokens", "10", "-u", "40", "-r", "40", "--processes", "2",
)  # fmt: skip
CUT_SEARCH = (
    *QUICK, "--search", "1..64 users", "--search-hold", "1.5s", "--max-tokens", "2",
    "--think-time", "0", "--failure-criteria", "avg(e2e_ms) > 500", "--run-time", "7s",
)  # fmt: skip
RECORDED_SESSIONS = (*QUICK, "--trace-speed", "10", "--arrivals-of", "sessions", "--think-time", "0.1")
SHARED_PREFIX = (
    *QUICK, "--rate-stages", "0s:900, 2s:900", "-u", "20", "-r", "20", "--context-tokens", "2000", "--max-tokens", "5",
    "--shared-prefix-tokens", "640", "--documents", "3", "--document-tokens", "1024",
)  # fmt: skip
RECORDED_PREFIX = (*QUICK, "--rate-stages", "0s:900, 2s:900", "-u", "20", "-r", "20", "--processes", "2")
FAN_OUT = (
    *QUICK, "--rate-stages", "0s:240, 2s:240", "--steps", "4..8", "--fan-out", "2..3", "--tool-time", "0.1",
    "--step-tokens", "20", "--context-tokens", "60", "--max-tokens", "10", "-u", "20", "-r", "20",
)  # fmt: skip
ENDLESS_SESSION = (*QUICK, "--arrivals-of", "sessions", "--rate", "120", "--run-time", "1s", "-u", "5", "-r", "5",
                   "--stop-timeout", "30", "--failure-criteria", "max(session_s) > 0.1")  # fmt: skip
WAITING_SESSIONS = (
    *QUICK, "--rate", "120", "--run-time", "2s", "--steps", "3", "--tool-time", "100", "--step-tokens", "20",
    "--max-tokens", "1", "-u", "8", "-r", "8", "--processes", "2", "--failure-criteria", "max(session_s) > 1",
)  # fmt: skip
CACHED = 640 + 1024
"""Tokens of a prefix and a document: what the simulator's cache, which goes by 128 from 1024 on, has of a prompt."""


@pytest.fixture(scope="module")
def runs(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadRun]:
    results = tmp_path_factory.mktemp("scenarios")
    longest_first = [*SEARCHES, *(name for name in SHORTENED if name not in SEARCHES)]
    commands = {name: command(*SHORTENED[name], scenario=name) for name in longest_first}
    by_four = (*SHORTENED["recorded-requests"], "--processes", "4")
    commands["four-processes"] = command(*by_four, scenario="recorded-requests")
    commands["sessions"] = command(*SESSIONS)
    commands["recorded-sessions"] = command(*RECORDED_SESSIONS, scenario="recorded-requests")
    commands["fan-out"] = command(*FAN_OUT)
    commands["shared-prefix"] = commands["shared-prefix-again"] = command(*SHARED_PREFIX)
    requests = recorded_prefixes(results / "prefixes.jsonl")
    commands["recorded-prefix"] = command(*RECORDED_PREFIX, "--requests", str(requests))
    endless = results / "endless.jsonl"
    line = {"session_id": "s", "body": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}}
    endless.write_text((json.dumps(line) + "\n") * 1000)
    commands["endless-session"] = command(*ENDLESS_SESSION, "--requests", str(endless))
    commands["waiting-sessions"] = command(*WAITING_SESSIONS)
    commands["cut-search"] = command(*CUT_SEARCH, scenario="find-users")
    return run_all(commands, simulator, results)


@pytest.mark.parametrize("name", SHORTENED)
def test_each_model_accounts_for_every_request(runs: dict[str, LoadRun], name: str) -> None:
    run = runs[name]
    run.check()
    assert len(run.of(Outcome.OK)) >= 5, run.output
    assert run.facts["state"] == "finished"
    assert run.directory.parent.name == name


@pytest.mark.parametrize("name", [name for name in SHORTENED if name not in SEARCHES])
def test_a_quick_target_holds_the_criteria(runs: dict[str, LoadRun], name: str) -> None:
    run = runs[name]
    assert run.facts["accounting"]["failed"] == 0
    failed = [each for each in run.facts["criteria"] if each["state"] != "held"]
    # A machine that is busy with other work answers late: the run then fails by its latencies, and by nothing else.
    for each in failed:
        assert (each["state"], each["unit"] in ("ms", "s")) == ("failed", True), run.output
        assert each["value"] > float(each["text"].rpartition(">")[2]), run.output
    assert run.code == check_code(run.facts, ExitCode.CRITERIA_FAILED if failed else ExitCode.OK), run.output


def test_a_trace_brings_its_own_instants_and_lengths(runs: dict[str, LoadRun]) -> None:
    recorded = read_trace("scenarios/traces/sample-azure.csv")
    rows = sorted(runs["trace-replay"].of(Outcome.OK), key=lambda row: row.scheduled_at or 0.0)
    assert [row.max_tokens for row in rows] == [each.max_tokens for each in recorded]
    assert [row.prompt_tokens for row in rows] == [each.context_tokens for each in recorded]
    first = rows[0].scheduled_at or 0.0
    due = [(row.scheduled_at or 0.0) - first for row in rows]
    assert due == pytest.approx([(each.offset_s - recorded[0].offset_s) / 20 for each in recorded], abs=1e-4)


@pytest.mark.parametrize("name", ["recorded-requests", "four-processes"])
def test_recorded_requests_arrive_as_they_were_in_their_order_at_their_instants(
    runs: dict[str, LoadRun], name: str
) -> None:
    lines = [json.loads(line) for line in Path("scenarios/traces/sample-requests.jsonl").read_text().splitlines()]
    # The file was written by json.dumps: so is what is expected of its bodies.
    expected = [sha256(json.dumps({**line["body"], "model": "quick"}).encode()).hexdigest() for line in lines]
    run = runs[name]
    rows = sorted(run.rows, key=lambda row: row.scheduled_at or 0.0)
    assert [run.truth[request_id(row)]["body_sha256"] for row in rows] == expected
    assert {row.worker for row in rows} == ({"local"} if name == "recorded-requests" else {"w0", "w1", "w2", "w3"})
    due = [(row.scheduled_at or 0.0) - (rows[0].scheduled_at or 0.0) for row in rows]
    assert due == pytest.approx([(line["timestamp"] - lines[0]["timestamp"]) / 10 for line in lines], abs=1e-4)
    assert [row.question_id for row in rows] == [str(number) for number in range(1, len(lines) + 1)]
    assert run.facts["traffic"]["requests"] == {
        "file": "sample-requests.jsonl", "count": len(lines), "first": 1, "skipped": 0,
    }  # fmt: skip


def by_session(run: LoadRun) -> dict[str, list[RequestRecord]]:
    ordered = sorted(run.rows, key=lambda row: (row.session_id or "", row.step or 0))
    return {str(key): list(part) for key, part in groupby(ordered, lambda row: row.session_id)}


@pytest.mark.parametrize("name", ["sessions", "recorded-sessions"])
def test_sessions_arrive_and_their_next_request_follows_the_answer(runs: dict[str, LoadRun], name: str) -> None:
    run, pause_s = runs[name], 0.2 if name == "sessions" else 0.1
    run.check()
    sessions = by_session(run)
    counts = run.facts["accounting"]
    assert counts["planned"] == counts["first_attempts"] == len(sessions) >= 10
    assert counts["sessions"] == {"begun": len(sessions), "done": len(sessions), "failed": 0, "unfinished": 0}
    for rows in sessions.values():
        assert [row.step for row in rows] == list(range(1, len(rows) + 1))
        assert [row.session_end for row in rows] == [*[None] * (len(rows) - 1), SessionEnd.DONE]
        assert len({row.worker for row in rows}) == 1
        assert [row.scheduled_at is not None for row in rows] == [row.step == 1 for row in rows]
        for before, after in pairwise(rows):
            # The pause lies between the last byte and the instant at which the next was due.
            due_at = (before.ended_at or 0.0) + pause_s
            assert after.due_at == pytest.approx(due_at, abs=0.002)
            assert run.truth[request_id(after)]["received_at"] >= due_at - 0.002
        begin = rows[0].scheduled_at or 0.0
        assert rows[-1].session_s == pytest.approx((rows[-1].ended_at or 0.0) - begin, abs=0.001)


def test_sessions_have_the_steps_that_they_should(runs: dict[str, LoadRun]) -> None:
    made_up = {len(rows) for rows in by_session(runs["sessions"]).values()}
    assert made_up <= {2, 3, 4} and len(made_up) > 1
    lines = [json.loads(line) for line in Path("scenarios/traces/sample-requests.jsonl").read_text().splitlines()]
    recorded: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        recorded.setdefault(line["session_id"], []).append(str(number))
    sent = [[row.question_id for row in rows] for rows in by_session(runs["recorded-sessions"]).values()]
    assert sorted(map(str, sent)) == sorted(map(str, recorded.values()))


def test_a_step_follows_the_answers_that_it_needs(runs: dict[str, LoadRun]) -> None:
    run = runs["agents"]
    graphs = [
        json.loads(line)["steps"] for line in Path("scenarios/traces/sample-agents.jsonl").read_text().splitlines()
    ]
    rows = {row.question_id: row for row in run.rows}
    assert len(rows) == len(run.rows) == sum(map(len, graphs))
    for number, steps in enumerate(graphs, start=1):
        by_id = {step["id"]: rows[f"{number}.{position}"] for position, step in enumerate(steps, start=1)}
        for step in steps:
            received_at = run.truth[request_id(by_id[step["id"]])]["received_at"]
            for parent in step["parents"]:
                before = by_id[parent]
                assert received_at >= (before.ended_at or 0.0) + step["tool_s"] - 0.0001
        (last,) = (row for row in by_id.values() if row.session_end == SessionEnd.DONE)
        late_s = sum(row.lag_ms or 0.0 for row in by_id.values()) / 1000
        assert 0 <= (last.session_s or 0.0) - (last.path_s or 0.0) + 0.002 <= late_s + 0.004
    assert any(len({step["tool_s"] for step in steps}) > 3 for steps in graphs)


@pytest.mark.parametrize("name", ["recorded-requests", "four-processes", "recorded-sessions", "agents"])
def test_no_text_and_no_id_of_a_log_reaches_a_result(runs: dict[str, LoadRun], name: str) -> None:
    file = "sample-agents" if name == "agents" else "sample-requests"
    said = set(texts_of([json.loads(line) for line in Path(f"scenarios/traces/{file}.jsonl").read_text().splitlines()]))
    run = runs[name]
    if name == "agents":  # it takes some time
        assert main(["report", str(run.directory)]) == 0
    written = {path: path.read_text(errors="replace") for path in run.directory.rglob("*") if path.is_file()}
    written[Path("output")] = run.output
    assert len(said) > 20 and len(written) > 5
    assert [(path, text) for path, content in written.items() for text in said if text in content] == []


def texts_of(value: object, key: str = "") -> Iterator[str]:
    """The ids and texts in a log: all of some length, but for what an API knows."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from texts_of(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from texts_of(each, key)
    elif isinstance(value, str) and len(value) > 8 and key not in ("url", "model", "role", "method", "type"):
        yield value


def test_a_session_without_pauses_ends_with_the_run(runs: dict[str, LoadRun]) -> None:
    run = runs["endless-session"]
    run.check()
    sessions = run.facts["accounting"]["sessions"]
    assert sessions["unfinished"] == sessions["begun"] >= 1
    assert len(run.of(Outcome.OK)) == len(run.rows) >= 5
    assert max(row.started_at or 0.0 for row in run.rows) < run.facts["ended_at"] + 10
    (criterion,) = run.facts["criteria"]
    assert criterion["state"] == "failed" and criterion["value"] > 0.1 and "had not ended" in criterion["note"]


def test_a_session_that_waits_for_a_tool_has_lasted_to_the_end_of_the_run(runs: dict[str, LoadRun]) -> None:
    run = runs["waiting-sessions"]
    run.check()
    assert run.facts["sessions_until"] == dict.fromkeys(("w0", "w1"), run.facts["ended_at"])
    sessions = by_session(run)
    assert run.facts["accounting"]["sessions"]["unfinished"] == len(sessions) >= 1
    to_end_s = run.facts["ended_at"] - min(row.due_at or 0.0 for row in run.rows)
    lasted_s = max(to_end_s, *(row.session_s or 0.0 for row in run.rows))
    (criterion,), (again,) = run.facts["criteria"], summarise(load_run(run.directory)).judgement.criteria
    for state, value in ((criterion["state"], criterion["value"]), (again.state, again.value)):
        assert (state, value) == ("failed", pytest.approx(lasted_s, abs=0.001))


def test_made_up_agents_part_and_come_together(runs: dict[str, LoadRun]) -> None:
    run = runs["fan-out"]
    run.check()
    sessions = by_session(run)
    assert len(sessions) == run.facts["accounting"]["planned"] >= 6
    assert {len(rows) for rows in sessions.values()} <= set(range(4, 9))
    widths = set()
    for rows in sessions.values():
        rows.sort(key=lambda row: row.turn or 0)
        levels = [list(level) for _, level in groupby(rows, lambda row: row.turn)]
        widths |= {len(level) for level in levels[1::2]}
        assert {len(level) for level in levels[::2]} == {1}
        for before, after in pairwise(levels):
            ended_at = max(row.ended_at or 0.0 for row in before)
            assert all(run.truth[request_id(row)]["received_at"] >= ended_at + 0.1 - 0.002 for row in after)
            assert min(row.prompt_tokens or 0 for row in after) > max(row.prompt_tokens or 0 for row in before)
        assert sum(row.session_end == SessionEnd.DONE for row in rows) == 1
    assert {2, 3} <= widths <= {1, 2, 3}


@pytest.mark.parametrize("name", ["shared-prefix", "shared-prefix-again"])
def test_a_cache_has_what_prompts_share_and_nothing_of_the_run_before(runs: dict[str, LoadRun], name: str) -> None:
    run = runs[name]
    run.check()
    rows = sorted(run.of(Outcome.OK), key=lambda row: row.started_at or 0.0)
    first = {row.question_id: row for row in reversed(rows)}
    assert set(first) == {"document-1", "document-2", "document-3"} and len(rows) >= 20
    cached = {row.call_id: row.cached_tokens for row in rows}
    # Two that were under way at once may have met in another order than they were sent.
    assert sorted(cached.values()) == [0] * len(first) + [CACHED] * (len(rows) - len(first))
    assert {row.shared_tokens for row in rows} == {CACHED}
    values = summarise(load_run(run.directory)).overall.values
    prompts = sum(row.prompt_tokens or 0 for row in rows)
    possible = sum(cached.values()) + 640 * (len(first) - 1)  # of the later documents' first prompts, the prefix
    assert values["cached_pct"] == pytest.approx(100 * sum(cached.values()) / prompts)
    assert values["cacheable_pct"] == pytest.approx(100 * possible / prompts)


def recorded_prefixes(path: Path) -> Path:
    """30 requests about three documents of 1,700 tokens, each with 300 of its own."""
    rng = random.Random(5)
    documents = [build_prompt(rng, 1700, True) for _ in range(3)]
    texts = [f"{documents[number % 3]} {build_prompt(rng, 300, True)}" for number in range(30)]
    bodies = [{"messages": [{"role": "user", "content": text}], "max_tokens": 5, "stream": True,
               "stream_options": {"include_usage": True}} for text in texts]  # fmt: skip
    path.write_text("".join(json.dumps({"body": body}) + "\n" for body in bodies))
    return path


def recorded_words(path: Path) -> list[list[str]]:
    """The words of each request, of one token each."""
    return [json.loads(line)["body"]["messages"][0]["content"].split() for line in path.read_text().splitlines()]


def in_common(rows: list[RequestRecord], texts: list[list[str]]) -> list[int]:
    """With how many of its words an earlier one of some rows began, too."""
    found: list[int] = []
    said = [texts[int(row.question_id or 0) - 1] for row in rows]
    for number, words in enumerate(said):
        alike = ((one == other for one, other in zip(words, each, strict=True)) for each in said[:number])
        found.append(max((sum(takewhile(bool, each)) for each in alike), default=0))
    return found


def test_a_cache_has_what_recorded_requests_share_whoever_of_the_workers_sends_them(runs: dict[str, LoadRun]) -> None:
    run = runs["recorded-prefix"]
    run.check()
    rows = sorted(run.of(Outcome.OK), key=lambda row: run.truth[request_id(row)]["received_at"])
    assert len(rows) >= 20 and len({row.worker for row in rows}) == 2
    assert sorted(row.shared_tokens or 0 for row in rows)[:3] == pytest.approx([0, 0, 0], abs=40)
    possible = in_common(rows, recorded_words(run.directory.parents[2] / "prefixes.jsonl"))
    known = [row.cached_tokens == (1024 + (common - 1024) // 128 * 128 if common >= 1024 else 0)
             for row, common in zip(rows, possible, strict=True)]  # fmt: skip
    assert known.count(False) <= 2  # sent at once, they may have met in another order
    values = summarise(load_run(run.directory)).overall.values
    possible_pct = 100 * sum(possible) / sum(row.prompt_tokens or 0 for row in rows)
    assert possible_pct - 2 <= values["cacheable_pct"] <= possible_pct + 1  # 128 bytes are 1.6 % of a prompt
    assert not (run.directory / "prefixes.bin").exists()


def test_each_run_has_a_salt_of_its_own(runs: dict[str, LoadRun]) -> None:
    salts = [run.facts["traffic"]["prompt_salt"] for run in runs.values()]
    assert len(set(salts)) == len(salts)
    assert all(len(salt) == 16 for salt in salts)


def test_threads_start_at_their_exact_instants_and_do_their_loops(runs: dict[str, LoadRun]) -> None:
    run = runs["thread-group"]
    by_user = {user: starts(rows) for user, rows in group_by_user(run.rows).items()}
    # Thread k of 5 starts k x 2 s / 5 after the first.
    assert are_apart([instants[0] for instants in by_user.values()], 0.4)
    assert [len(instants) for instants in by_user.values()] == [3] * 5
    # All threads are done long before the group's duration is over: so is the run.
    assert run.facts["ended_at"] - run.facts["started_at"] < 30


def test_conversations_send_what_was_said_before(runs: dict[str, LoadRun]) -> None:
    run = runs["conversations"]
    assert {row.turn for row in run.rows} >= {1, 2, 3}
    conversations = group_by_conversation(run.rows)
    grown = 0
    for rows in conversations.values():
        begin = rows[0].turn or 0
        assert [row.turn for row in rows] == list(range(begin, begin + len(rows)))
        assert len({row.question_id for row in rows}) == 1
        for before, after in pairwise(rows):
            # The next prompt holds the one before, its answer and a new text.
            assert before.prompt_tokens and after.prompt_tokens and before.completion_tokens
            assert after.prompt_tokens > before.prompt_tokens + before.completion_tokens
            grown += 1
    assert grown >= 5
    # Users join at different turns, with a history as long as if they had been there from the first.
    assert {rows[0].turn for rows in conversations.values()} != {1}


def test_a_capacity_search_finds_what_a_provisioned_deployment_sustains(runs: dict[str, LoadRun]) -> None:
    # 240 PTU drain 600,000 weighted tokens a minute; a request weighs 100 + 4 x 50: 2000 a minute are 100 %.
    search = runs["find-capacity"].facts["search"]
    assert search["answer"] <= 2200
    if max(row.lag_ms or 0.0 for row in runs["find-capacity"].rows) < 50:  # not sent in bursts by a busy machine
        assert search["answer"] >= 1800
    assert search["answer_tpm"] == pytest.approx(search["answer"] * 150, rel=0.05)
    assert search["levels"][-1]["purpose"] == "confirm"
    assert search["sentence"] in runs["find-capacity"].output
    assert runs["find-capacity"].facts["stop_reason"].startswith("capacity search finished: sustains")


def test_a_capacity_search_is_judged_on_the_level_that_was_confirmed(runs: dict[str, LoadRun]) -> None:
    run = runs["find-capacity"]
    assert [level["holds"] for level in run.facts["search"]["levels"]].count(False) >= 1
    (criterion,) = run.facts["criteria"]
    assert (criterion["state"], criterion["n"]) == ("held", run.facts["search"]["levels"][-1]["n"])
    assert run.trouble == []


def test_a_search_over_users_finds_as_many_as_there_are_slots(runs: dict[str, LoadRun]) -> None:
    """Two slots of 0.6 s: two users wait 0.6 s each, three 0.9 s on average, or in turn 0.6 and 1.2 s."""
    run = runs["find-users"]
    search = run.facts["search"]
    assert (search["unit"], search["answer"], search["is_over"]) == ("users", 2, True)
    assert [(level["load"], level["purpose"], level["holds"]) for level in search["levels"]] == [
        (2, "rise", True),
        (3, "rise", False),
        (2, "confirm", True),
    ]
    for level in search["levels"]:  # held, and drained: nobody of another level asks in it
        users = {row.user for row in run.rows if level["begin"] <= (row.started_at or 0.0) < level["end"]}
        assert len(users) == level["load"]
    assert not run.of(Outcome.CANCELLED)
    assert "Search: sustains 2 users" in run.output


def test_a_search_that_is_cut_says_what_held_so_far(runs: dict[str, LoadRun]) -> None:
    run = runs["cut-search"]
    search = run.facts["search"]
    assert (search["is_over"], search["answer"]) == (False, None)
    assert search["sentence"].startswith("the search was stopped before its end: ")
    assert search["held"] is None or f"{search['held']:g} user" in search["sentence"]
    assert run.code == ExitCode.UNTRUSTED
    assert search["sentence"] in [reason["text"] for reason in run.facts["verdict"]["reasons"]]
    assert "none was judged" not in run.output or search["held"] is None


@pytest.mark.parametrize(("name", "unit", "loads"), [("step", "users", [2, 4, 6]), ("stages", "users", None),
                                                     ("rate-stages", "RPM", None)])  # fmt: skip
def test_a_run_whose_load_changes_says_when_which_load_was_offered(
    runs: dict[str, LoadRun], name: str, unit: str, loads: list[float] | None
) -> None:
    levels, spans = runs[name].facts["levels"], runs[name].facts["levels"]["spans"]
    assert levels["unit"] == unit
    assert loads is None or [span["load"] for span in spans] == loads
    rows = runs[name].rows
    assert spans[0]["begin"] <= min(row.started_at or row.scheduled_at or 0.0 for row in rows)
    assert all(span["begin"] < span["end"] <= runs[name].facts["ended_at"] for span in spans)
    # Users of the second step are not there while the first is on.
    first = {row.user for row in rows if (row.started_at or 0.0) < spans[0]["end"]}
    assert loads is None or len(first) <= loads[0]


def test_a_trace_has_no_levels(runs: dict[str, LoadRun]) -> None:
    assert runs["trace-replay"].facts["levels"] is None


def group_by_user(rows: list[RequestRecord]) -> dict[object, list[RequestRecord]]:
    key = lambda row: (row.worker, row.user)  # noqa: E731
    return {user: list(part) for user, part in groupby(sorted(rows, key=key), key)}


def group_by_conversation(rows: list[RequestRecord]) -> dict[object, list[RequestRecord]]:
    ordered = sorted(rows, key=lambda row: (row.conversation_id or "", row.turn or 0))
    return {key: list(part) for key, part in groupby(ordered, lambda row: row.conversation_id)}


def starts(rows: list[RequestRecord]) -> list[float]:
    return sorted(row.started_at or 0.0 for row in rows)
