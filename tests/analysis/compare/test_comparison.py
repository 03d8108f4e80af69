from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from analysis.commands import compare as command
from analysis.compare.comparison import SAME, TOO_FEW, WORSE, Comparison, compare, judge
from analysis.compare.gate import deciding_n, parse_gates
from analysis.compare.measures import Side, load_side, measure, save_side
from analysis.compare.text import to_text
from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run, load_runs
from tests.analysis import run_directories
from tests.analysis.run_directories import T, worked_meta, worked_records
from tests.analysis.synthetic import make_records, write_run
from tokenswarm.record import Outcome
from tokenswarm.userinput import BadInput


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a and again are the same service, slow is 1.6 times slower, few has 15 requests."""
    root = tmp_path_factory.mktemp("runs")
    write_run(root / "a", list(make_records(seed=1)))
    write_run(root / "again", list(make_records(seed=11)))
    write_run(root / "slow", list(make_records(seed=2, slower=1.6)))
    write_run(root / "throttled", list(make_records(seed=3, throttled=0.1, retries=True)))
    write_run(root / "few", list(make_records(seed=4))[:15])
    write_run(root / "faster", list(make_records(seed=5, rpm=100)), options={"rate": 100})
    return root


@functools.cache
def side(runs: Path, *names: str) -> Side:
    return measure("side", [load_run(runs / name) for name in names or (".",)])


def figure(comparison: Comparison, metric: str, aggregation: str = "") -> Any:
    [found] = [f for f in comparison.figures if (f.name, f.metric, f.aggregation) == ("", metric, aggregation)]
    return found


def call(*words: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args([str(word) for word in words]))


def test_same_service_is_not_distinguishable(runs):
    comparison = compare(side(runs, "a"), side(runs, "again"))
    assert [f.title for f in comparison.figures if f.verdict == WORSE] == []
    assert figure(comparison, "ttft_ms", "p95").verdict == SAME


def test_slower_service_is_worse_with_an_interval_around_the_truth(runs):
    comparison = compare(side(runs, "a", "again"), side(runs, "slow"))
    ttft = figure(comparison, "ttft_ms", "avg")
    assert ttft.verdict == WORSE
    assert ttft.relative[1] < 60 < ttft.relative[2]
    assert figure(comparison, "tokens_per_s_per_user", "avg").verdict == WORSE


def test_values_are_those_of_the_report(runs):
    comparison = compare(side(runs, "a"), side(runs, "throttled"))
    for name, which in (("a", "a"), ("throttled", "b")):
        overall = summarise(load_run(runs / name)).overall
        for metric in (
            "rpm",
            "rpm_started",
            "rpm_offered",
            "tpm",
            "tpm_prompt",
            "tpm_estimated",
            "error_pct",
            "throttled_pct",
        ):
            assert getattr(figure(comparison, metric), which) == pytest.approx(overall.values[metric]), metric
        for metric in ("ttft_ms", "tbt_ms", "e2e_ms", "response_time_ms"):
            spread = overall.distribution(metric)
            assert getattr(figure(comparison, metric, "avg"), which) == pytest.approx(spread.avg.value)
            assert getattr(figure(comparison, metric, "p95"), which) == pytest.approx(spread.percentile("p95").value)


def test_retries_bring_the_figures_of_calls(runs):
    comparison = compare(side(runs, "throttled"), side(runs, "throttled"))
    overall = summarise(load_run(runs / "throttled")).overall
    assert figure(comparison, "calls_ok_pct").a == pytest.approx(overall.values["calls_ok_pct"])
    assert figure(comparison, "call_e2e_ms", "p50").a == pytest.approx(
        overall.distribution("call_e2e_ms").percentile("p50").value
    )


def test_a_run_without_a_request_in_its_window_is_compared_without_a_traceback(tmp_path):
    """The last run of a history was stopped in its warm-up, say."""
    some = run_directories.write_run(tmp_path / "some", worked_records(), worked_meta())
    other = run_directories.write_run(
        tmp_path / "other", worked_records(), worked_meta(started_at=T - 60, ended_at=T - 1)
    )
    before, latest = measure("before", load_runs([some])), measure("latest", load_runs([other]))
    assert compare(before, latest, gates=parse_gates(["p95(ttft_ms) worse > 10 %"]), force=True).exit_code != 0


def test_percentile_that_is_not_carried_has_no_value(runs):
    p95 = figure(compare(side(runs, "a"), side(runs, "few")), "ttft_ms", "p95")
    assert (p95.b, p95.interval, p95.verdict) == (None, None, TOO_FEW)
    assert p95.a is not None


def test_a_run_with_itself_differs_in_nothing(runs):
    assert {f.verdict for f in compare(side(runs, "a"), side(runs, "a")).figures} == {SAME}


def test_unlike_runs_are_refused_by_name(runs):
    with pytest.raises(BadInput) as caught:
        compare(side(runs, "a"), side(runs, "faster"))
    assert "rate: expected the same in all runs, got 50 (synthetic/a), 100 (synthetic/faster)" in str(caught.value)


def test_another_port_of_this_machine_is_the_same_target(tmp_path):
    sides = []
    for port in (4711, 4712):
        target = {"kind": "chat", "host": f"http://127.0.0.1:{port}", "api": "azure", "deployment": "gpt-4o"}
        sides.append(side(write_run(tmp_path / str(port), list(make_records(seed=port))[:30], target=target)))
    assert compare(*sides).differences == []


def test_what_varies_can_be_named_or_forced(runs):
    named = compare(side(runs, "a"), side(runs, "faster"), vary=["rate"])
    forced = compare(side(runs, "a"), side(runs, "faster"), force=True)
    assert len(named.differences) == len(forced.differences) == 1
    assert figure(named, "rpm_started").b > 1.5 * figure(named, "rpm_started").a


def test_baseline_file_says_the_same_as_its_run(runs, tmp_path):
    save_side(side(runs, "a"), tmp_path / "a.json")
    from_file = compare(load_side(tmp_path / "a.json"), side(runs, "slow"))
    from_run = compare(side(runs, "a"), side(runs, "slow"))
    for one, other in zip(from_file.figures, from_run.figures, strict=True):
        assert (one.name, one.metric, one.aggregation, one.verdict) == (
            other.name,
            other.metric,
            other.aggregation,
            other.verdict,
        )
        assert one.a == pytest.approx(other.a, rel=1e-5)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "JSON"),
        ("[]", "--save-baseline"),
        ('{"kind": "tokenswarm-baseline", "schema_version": 9}', "schema_version 1"),
        ('{"kind": "tokenswarm-baseline", "schema_version": 1}', "complete"),
    ],
)
def test_broken_baseline_is_named(tmp_path, content, expected):
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(BadInput, match=expected):
        load_side(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("gate", "state"),
    [
        ("avg(ttft_ms) worse > 10 %", "failed"),
        ("avg(ttft_ms) worse > 400", "held"),
        ("avg(ttft_ms) worse > 1000 %", "held"),
        ("p50(ttft_ms) different > 5%", "failed"),
        ("avg(ttft_ms) better > 5 %", "held"),
        ("avg(tokens_per_s_per_user) worse > 1 %", "failed"),
        ("error_pct worse > 0", "held"),
        ("percentage(error) worse > 0", "held"),
        ("p9999(ttft_ms) worse > 10 %", "no_data"),
        ("goodput_pct worse > 1", "no_data"),
        ("nobody: avg(ttft_ms) worse > 1 %", "no_data"),
    ],
)
def test_gates(runs, gate, state):
    [parsed] = parse_gates([gate])
    assert judge(parsed, side(runs, "a", "again"), side(runs, "slow"), confidence=0.95, seed=1).state == state


@pytest.mark.parametrize(("gate", "code"), [("avg(ttft_ms) worse > 10 %", 3), ("avg(ttft_ms) worse > 400", 0)])
def test_a_failed_gate_is_the_exit_code(runs, gate, code):
    assert compare(side(runs, "a"), side(runs, "slow"), gates=parse_gates([gate])).exit_code == code


def test_a_gate_that_chance_explains_is_inconclusive_and_says_which_n_would_decide(runs):
    first = compare(side(runs, "a"), side(runs, "again"))
    change = figure(first, "rpm").relative[0]
    direction = "worse" if change < 0 else "better"
    judged = compare(side(runs, "a"), side(runs, "again"), gates=parse_gates([f"rpm {direction} > 0.01 %"]))
    [result] = judged.gates
    assert result.state == "inconclusive"
    assert re.search(r"n = [\d,]+ on each side would decide", result.note)
    assert judged.exit_code == 4  # no proof either way: it does not pass
    assert "INCONCLUSIVE" in to_text(judged, judged.figures)


def test_the_n_that_would_decide_by_hand():
    # a difference of 10 with an interval of +- 20 at n = 100 needs half the width: four times the requests
    assert deciding_n(100, 10.0, -10.0, 30.0) == 400
    assert deciding_n(100, -10.0, -30.0, 10.0) == 400
    assert deciding_n(100, 3.0, -1.0, 7.0) == 180  # 177.8, to two digits
    assert deciding_n(100, 0.0, -1.0, 1.0) is None
    assert deciding_n(100, 1.0, -math.inf, math.inf) is None


def test_untrusted_run_makes_gates_untrusted(runs):
    doubtful = dataclasses.replace(side(runs, "again"), warnings=["again is not to be trusted: generator saturated"])
    gates = parse_gates(["avg(ttft_ms) worse > 10 %"])
    assert compare(side(runs, "a"), doubtful, gates=gates).exit_code == 4
    assert compare(side(runs, "a"), doubtful).exit_code == 0


def test_gate_problems_are_listed_together():
    with pytest.raises(BadInput) as caught:
        parse_gates(
            [
                "p95(ttft_ms) > 10 %; p95(nothing) worse > 1; avg(error_pct) worse > 1",
                "rpm worse > much",
                "max(e2e_ms) worse > 1",
            ]
        )
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize("text", ["", " ", ";", "\n"])
def test_a_blank_gate_is_refused(text):
    with pytest.raises(BadInput, match=r"--fail-if: expected a gate such as .* got none"):
        parse_gates(["p95(ttft_ms) worse > 10 %", text])


def test_a_run_on_both_sides_is_refused(tmp_path):
    for name in ("first", "copy"):
        write_run(tmp_path / name / "20261128T120000Z", list(make_records(seed=1)))
    a, b = (measure("side", [load_run(tmp_path / name / "20261128T120000Z")]) for name in ("first", "copy"))
    with pytest.raises(BadInput, match="20261128T120000Z: expected each run once, got it twice"):
        compare(a, b)
    assert compare(a, b, force=True).figures
    of_another_host = dataclasses.replace(b, settings=[{**b.settings[0], "host": "http://b"}])
    assert compare(a, of_another_host, vary=["host"]).figures, "began in the same second, elsewhere"


def test_command_prints_a_table_and_fails_on_a_gate(runs, capsys):
    assert call(runs / "a", runs / "slow", "--fail-if", "avg(ttft_ms) worse > 10 %") == 3
    out = capsys.readouterr().out
    assert "B is worse in" in out
    assert "FAILED  avg(ttft_ms) worse > 10 %" in out
    assert "TTFT p95" in out and "Lag" not in out


def test_command_takes_repeats_and_json(runs, capsys):
    assert call(runs / "a", runs / "again", "vs", runs / "slow", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["a"]["runs"] == ["synthetic/a", "synthetic/again"]
    assert {"metric", "difference", "low", "high", "verdict", "n_a"} <= set(found["figures"][0])


def test_command_keeps_a_baseline_for_the_next_build(runs, capsys, tmp_path):
    assert call(runs / "a", runs / "again", "--save-baseline", tmp_path / "base.json") == 0
    assert call(runs / "slow", "--baseline", tmp_path / "base.json", "--fail-if", "avg(ttft_ms) worse > 10 %") == 3
    assert (tmp_path / "base.json").stat().st_size < 200_000


def test_markdown_escapes_what_a_run_brings(runs, capsys, tmp_path):
    write_run(tmp_path / "x", list(make_records(seed=1)), test_name="a|<b>")
    assert call(tmp_path / "x", runs / "a", "--format", "markdown", "--all") == 0
    assert "| TTFT p95 |" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["one"], ["a", "b", "c"], ["a", "vs"], ["a", "vs", "b", "--baseline", "c"]])
def test_sides_must_be_clear(words):
    with pytest.raises(BadInput, match="two sides"):
        call(*words)


def test_problems_of_both_sides_are_listed(tmp_path):
    with pytest.raises(BadInput) as caught:
        call(tmp_path / "no", tmp_path / "neither")
    assert len(caught.value.problems) == 2


def test_run_without_requests_is_refused(runs, tmp_path):
    write_run(tmp_path / "empty", [])
    with pytest.raises(BadInput, match="expected a run with requests"):
        call(tmp_path / "empty", runs / "a")


def test_mixed_traffic_is_compared_by_name(tmp_path):
    chat, rag = list(make_records(seed=1)), list(make_records(seed=2, rag=True))
    write_run(tmp_path / "mixed", chat + rag)
    mixed = measure("side", [load_run(tmp_path / "mixed")])
    assert list(mixed.groups) == ["", "chat", "orchestrator"]
    sent = [record for record in rag if record.outcome is not Outcome.DROPPED]
    assert mixed.groups["orchestrator"].shares["error_pct"].n == len(sent)
    gates = parse_gates(["orchestrator: avg(e2e_ms) different > 0"])
    assert compare(mixed, mixed, gates=gates).gates[0].state == "held"
