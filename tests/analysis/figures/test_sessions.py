from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.figures.row_samples import RowSamples
from analysis.figures.sessions import run_end, session_figures
from analysis.findings.summarise import summarise
from analysis.report import tables
from analysis.sources.loading import load_run
from tests.analysis.synthetic import write_run
from tokenswarm.metrics.criteria import evaluate, parse_criteria
from tokenswarm.metrics.open_sessions import OpenSession, RunEnd, unfinished_s
from tokenswarm.metrics.samples import Samples
from tokenswarm.record import Outcome, RequestRecord, SessionEnd, TokenSource

BEGIN = 1_750_000_020.0


def row(at: float, step: int, session_s: float, end: SessionEnd | None = None, **more: Any) -> RequestRecord:
    """A request of 1 s that starts `at` s after the begin, 0.5 s of which were lag where it is the first. Its session
    is named by when it was due."""
    given: dict[str, Any] = {
        "started_at": BEGIN + at, "e2e_ms": 1000.0, "step": step, "session_s": session_s, "session_end": end,
        "path_s": session_s - 0.5,
        "session_id": f"{at + 1 - session_s}", "outcome": Outcome.OK, "prompt_tokens": 10, "completion_tokens": 2,
        "token_source": TokenSource.USAGE,
    }  # fmt: skip
    if step == 1:
        given |= {"scheduled_at": BEGIN + at - 0.5, "lag_ms": 500.0}
    return RequestRecord(call_id=f"{at}-{step}-{more.get('attempt', 1)}", **(given | more))


ROWS = [
    row(0.5, 1, 1.5), row(2.0, 2, 3.0, SessionEnd.DONE),
    row(1.5, 1, 1.5), row(3.0, 2, 3.0), row(5.0, 3, 5.0, SessionEnd.DONE),
    row(2.5, 1, 1.5, SessionEnd.FAILED, outcome=Outcome.TIMEOUT, prompt_tokens=None, completion_tokens=None),
    row(8.5, 1, 1.5),
    RequestRecord(call_id="d", scheduled_at=BEGIN + 9, outcome=Outcome.DROPPED),
]  # fmt: skip


def written(tmp_path: Path, rows: list[RequestRecord], **meta: Any) -> Path:
    return write_run(tmp_path / "run", rows, **meta)


def test_sessions_by_hand(tmp_path: Path) -> None:
    options = {"price-prompt": 1, "price-completion": 2}
    found = session_figures(load_run(written(tmp_path, ROWS, options=options)))
    assert found is not None
    assert (found.begun, found.done, found.failed, found.unfinished) == (4, 2, 1, 1)
    assert (found.duration_s.n, found.duration_s.avg.value, found.duration_s.max) == (2, 4.0, 5.0)
    assert {n: (each.n, each.avg.value) for n, each in found.to_answer_s.items()} == {
        "1": (3, 1.5), "2": (2, 3.0), "3": (1, 5.0),
    }  # fmt: skip
    # Due at 0, 1, 2 and 8; over at 3, 6 and 3.5; the last one is still on when the last answer ends, at 9.5.
    assert found.most_at_once == 3
    assert found.mean_at_once == pytest.approx((3 + 5 + 1.5 + 1.5) / 9.5)
    assert (found.requests, found.tokens) == (7 / 4, 6 * 12 / 4)
    assert (found.path_s.n, found.path_s.max) == (2, 4.5)
    assert (found.model_s.n, found.model_s.avg.value, found.model_s.max) == (2, 2.5, 3.0)
    cost = summarise(load_run(tmp_path / "run")).cost
    assert cost is not None and cost.per_session == pytest.approx((60 * 1 + 12 * 2) / 1e6 / 4)


def test_a_graph_by_hand(tmp_path: Path) -> None:
    """A step of 1 s, two at once of which the one that was sent first ends last, and one that needs both. Another
    session ends with a step that is not on its longest chain."""
    graph = [
        row(0.5, 1, 1.5, session_id="a"),
        row(2.0, 2, 5.0, e2e_ms=3000.0, session_id="a"), row(2.0, 3, 4.0, e2e_ms=2000.0, session_id="a"),
        row(5.5, 4, 6.5, SessionEnd.DONE, session_id="a"),
        row(0.5, 1, 4.0, e2e_ms=3500.0, session_id="b", path_s=3.5),
        row(3.2, 2, 4.2, SessionEnd.DONE, session_id="b", path_s=1.0),
    ]  # fmt: skip
    found = session_figures(load_run(written(tmp_path, graph)))
    assert found is not None
    assert {n: (each.n, each.avg.value) for n, each in found.to_answer_s.items()} == {
        "1": (2, 2.75), "2": (2, 4.1), "3": (1, 5.0), "4": (1, 6.5),
    }  # fmt: skip
    assert found.model_s.avg.value == (1 + 3 + 2 + 1 + 3.5 + 1) / 2
    assert (found.path_s.avg.value, found.path_s.max) == ((6.0 + 3.5) / 2, 6.0)


def test_only_first_steps_are_arrivals(tmp_path: Path) -> None:
    accounting = {"planned": 5, "sent": 7, "first_attempts": 4, "dropped": 1, "lost": []}
    summary = summarise(load_run(written(tmp_path, ROWS, accounting=accounting)))
    assert summary.accounting.holds, summary.accounting.problems
    assert (summary.accounting.first_attempts, summary.accounting.sent) == (4, 7)


def test_a_run_without_sessions_has_none(tmp_path: Path) -> None:
    plain = [RequestRecord(call_id="a", started_at=BEGIN, e2e_ms=5.0, outcome=Outcome.OK)]
    run = load_run(written(tmp_path, plain))
    assert session_figures(run) is None
    assert tables.sessions(summarise(run)) is None


def test_a_criterion_on_sessions_is_judged_again(tmp_path: Path) -> None:
    directory = written(tmp_path, ROWS, options={"failure-criteria": "max(session_s) > 4"})
    result = summarise(load_run(directory)).judgement.criteria
    assert [(item.text, item.state, item.value, item.n) for item in result] == [
        ("max(session_s) > 4", "failed", 5.0, 2)
    ]


def test_a_session_that_was_cut_when_it_had_taken_too_long_counts(tmp_path: Path) -> None:
    """Of three sessions of 3, 5 and more than 7 s the last one is the longest, though it has no end; of one that was
    cut after 1.5 s nothing is known."""
    slow = {"session_id": "cut", "name": "slow"}
    cut = [row(9.0, 1, 1.5, **slow), row(14.7, 2, 7.2, outcome=Outcome.CANCELLED, **slow)]
    criteria = parse_criteria(
        "max(session_s) > 6; p50(session_s) > 2.5; avg(session_s) > 7.2; min(session_s) < 2; slow: max(session_s) > 6"
    )
    expected = [("failed", 7.2, 3), ("failed", 5.0, 3), ("held", 4.0, 2), ("held", 3.0, 2), ("failed", 7.2, 1)]
    rows = load_run(written(tmp_path, [*ROWS, *cut])).rows
    for samples in (RowSamples(rows), Samples.from_records([*ROWS, *cut])):
        found = evaluate(criteria, samples, (BEGIN, BEGIN + 20))
        assert [(each.state, each.value, each.n) for each in found] == expected
        assert found[0].note == "of these 1 session had not ended with the run: took so long at least"
        (before,) = evaluate(criteria[:1], samples, (BEGIN, BEGIN + 14))
        assert (before.state, before.value) == ("held", 5.0)


WAITS = [
    # Due at 0 and 50, in a pause when the run ends at 60; due at 20, its last answer came at 63, while the run drained;
    # due at 2, of another worker; due at 30, failed: nothing more was sent.
    row(0.5, 1, 1.5, worker="w0", session_id="a"),
    row(50.5, 1, 1.5, worker="w0", session_id="c"),
    row(20.5, 1, 1.5, worker="w0", session_id="d"), row(58.0, 2, 43.0, worker="w0", session_id="d", e2e_ms=5000.0),
    row(2.5, 1, 1.5, worker="w1", session_id="b"),
    row(30.5, 1, 1.5, SessionEnd.FAILED, worker="w0", session_id="e", outcome=Outcome.TIMEOUT),
    row(5.5, 1, 1.5, worker="w0", session_id="f"), row(6.5, 2, 2.5, SessionEnd.DONE, worker="w0", session_id="f"),
]  # fmt: skip


def both(tmp_path: Path, *, cool_down_s: float = 0.0, until_s: dict[str, float] | None = None) -> list[Samples]:
    """The samples of a run of 60 s as it ended, and those of its directory."""
    as_it_ended = Samples.from_records(WAITS)
    until = {worker: BEGIN + at_s for worker, at_s in ({"w0": 60} if until_s is None else until_s).items()}
    as_it_ended.run_end = RunEnd(BEGIN + 60, BEGIN + 60 - cool_down_s, until)
    times = {"started_at": BEGIN, "ended_at": BEGIN + 60, "window": {"warm_up_s": 0, "cool_down_s": cool_down_s}}
    run = load_run(written(tmp_path, WAITS, sessions_until=until, **times))
    return [as_it_ended, RowSamples(run.rows, run_end=run_end(run))]


@pytest.mark.parametrize(
    ("window", "cool_down_s", "until_s", "expected_s"),
    [
        ((0, 60), 0, None, [1.5, 10, 43, 60]),
        ((0, 60), 0, {}, [1.5, 1.5, 1.5, 43]),
        ((0, 60), 0, {"w0": 60, "w1": 60}, [10, 43, 58, 60]),
        ((0, 60), 0, {"w0": 40, "w1": 30}, [1.5, 28, 40, 43]),  # a user was stopped in the middle of a session at 40
        ((5, 60), 0, None, [10, 43, 60]),  # what began in the warm-up and went on through all that was measured
        ((5, 60), 0, {"w0": 4, "w1": 40}, [1.5, 38, 43]),
        ((5, 60), 0, {}, [1.5, 43]),
        ((0, 40), 20, None, [1.5, 60]),  # what asked again in the cool-down is not measured
        ((5, 40), 20, None, [60]),
        ((0, 20), 0, None, [1.5, 60]),  # levels: where its last row is, or in the last one
        ((20, 40), 0, None, []),
        ((40, 60), 0, None, [10, 43, 60]),
        ((60, 50), 10, None, []),  # nothing was measured
    ],
)
def test_a_session_that_was_still_on_has_lasted_to_the_end_of_the_run(
    window: tuple[float, float],
    cool_down_s: float,
    until_s: dict[str, float] | None,
    expected_s: list[float],
    tmp_path: Path,
) -> None:
    span = BEGIN + window[0], BEGIN + window[1]
    for samples in both(tmp_path, cool_down_s=cool_down_s, until_s=until_s):
        assert sorted(samples.unfinished_s(None, span)) == pytest.approx(expected_s, abs=1e-6)


def test_a_session_that_asked_again_while_the_run_was_stopped_is_not_left_out() -> None:
    """Its last request went out 2 ms after the end of the window, which is that of the run."""
    session = OpenSession(10.0, 50.1, 60.002, "chat", "w0")
    assert unfinished_s([session], None, (0.0, 60.0), RunEnd(60.0, 60.0, {"w0": 60.0})) == [50.1]
    assert (
        unfinished_s([session], None, (0.0, 40.0), RunEnd(60.0, 40.0, {"w0": 60.0})) == []
    )  # it asked in the cool-down


def test_a_run_does_not_pass_because_its_longest_sessions_wait(tmp_path: Path) -> None:
    """Their last answers came in time; the one that ended is short."""
    criteria = parse_criteria("max(session_s) > 45; max(session_s) < 1; p50(session_s) > 9")
    for samples in both(tmp_path):
        found = evaluate(criteria, samples, (BEGIN, BEGIN + 60))
        assert [(each.state, each.value, each.n) for each in found] == [
            ("failed", pytest.approx(60.0), 2), ("held", 2.5, 1), ("failed", pytest.approx(26.5), 4),
        ]  # fmt: skip


def test_without_word_of_the_end_nobody_is_known_to_have_gone_on(tmp_path: Path) -> None:
    assert run_end(load_run(written(tmp_path / "earlier", WAITS))) is None
    crashed = {"sessions_until": {"w0": BEGIN}, "ended_at": None, "state": "running"}
    assert run_end(load_run(written(tmp_path / "crashed", WAITS, **crashed))) is None


def test_a_least_value_does_not_make_a_percentile_hold() -> None:
    """Of twelve sessions p10 lies between two, at 100 s. With a thirteenth of 61 s at least it would lie at 12."""
    rows = [row(10.0 + number, 1, took_s, SessionEnd.DONE, session_id=str(number))
            for number, took_s in enumerate([0.0, 0.0, *[1000.0] * 10])]  # fmt: skip
    (criterion,) = parse_criteria("p10(session_s) > 60")
    for cut in ([], [row(30.0, 1, 61.0, session_id="cut")]):
        (found,) = evaluate([criterion], Samples.from_records([*rows, *cut]))
        assert (found.state, found.value, found.n) == ("failed", pytest.approx(100.0), 12 + len(cut))


def test_the_report_shows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accounting = {"planned": 5, "sent": 7, "first_attempts": 4, "dropped": 1, "lost": []}
    traffic = {"arrivals_of": "sessions"}
    main(["report", str(written(tmp_path, ROWS, accounting=accounting, traffic=traffic))])
    shown = " ".join(capsys.readouterr().out.split())
    assert "4 begun = 2 done + 1 failed + 1 unfinished" in shown
    assert "5 sessions planned = 4 begun + 1 dropped" in shown
    assert "1 of 4 sessions had not ended when the run did" in shown
