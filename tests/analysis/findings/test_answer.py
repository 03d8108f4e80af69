"""The answer of a report: a stranger must find in one sentence whether it passed, why, and what to do."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from analysis.findings.answer import RunAnswer, answer_of
from analysis.findings.kind import Kind, kind_of, largest
from analysis.findings.summarise import summarise
from analysis.findings.summary import Summary
from analysis.report import exports, markdown
from analysis.report.terminal import print_report
from analysis.sources.loading import load_run
from tests.analysis.run_directories import T, answered, refused, worked_meta, write_run
from tokenswarm.record import Outcome

CRITERIA = "p95(ttft_ms) > 1000; percentage(error) > 1; percentage(throttled) > 1"


def summary_of(directory: Path, records: list[Any], criteria: str = CRITERIA, **meta: Any) -> Summary:
    options = {"rate": 60, "failure-criteria": criteria, **meta.pop("options", {})}
    target = {"deployment": "gpt-x", "host": "https://example.openai.azure.com"}
    sent = {"planned": len(records), "sent": len(records), "dropped": 0, "cancelled": 0, "rows": len(records)}
    made = worked_meta(**{"ended_at": T + 60, "options": options, "target": target, "accounting": sent, **meta})
    return summarise(load_run(write_run(directory / "run", records, made)))


def good(n: int = 60) -> list[Any]:
    return [answered(f"c{number}", float(number), 400.0, 1000.0, 50) for number in range(n)]


def throttled(n: int = 12) -> list[Any]:
    return [refused(f"r{number}", number + 0.5) for number in range(n)]


def answer(*args: Any, **meta: Any) -> RunAnswer:
    return answer_of(summary_of(*args, **meta))


def test_a_run_that_passed(tmp_path):
    found = answer(tmp_path, good())
    assert (found.word, found.tested) == ("Passed", "60 RPM for 60 s against gpt-x")
    assert found.sentence == (
        "60 RPM for 60 s against gpt-x: all 3 criteria held, the nearest to its limit: p95(ttft_ms) must be at most "
        "1000 ms, was 400 ms (n = 60). This load can be relied on; scenario find-capacity tells how much more would "
        "hold."
    )


def test_a_run_that_failed_by_429_says_what_to_ask_for(tmp_path):
    found = answer(tmp_path, good() + throttled(), quota={"tpm": 6000})
    assert found.word == "Failed"
    assert "percentage(throttled) must be at most 1 %, was 16.7 % (12 of 72)" in found.why
    assert found.to_do and found.to_do != found.why
    assert [item.state for item in found.criteria] == ["failed", "held", "held"]  # the failed one first


def test_a_run_that_is_untrusted_gives_the_reason_not_the_criteria(tmp_path):
    reasons = [{"kind": "saturated", "text": "load generator saturated: latencies contain its own delay"}]
    found = answer(tmp_path, good(), verdict={"state": "untrusted", "reasons": reasons})
    assert found.word == "Not to be trusted"
    assert found.why == reasons[0]["text"]
    assert found.to_do == "Run it again with more processes or machines, or less load."


def test_an_untrusted_run_that_failed_too_says_both(tmp_path):
    reasons = [{"kind": "clock", "text": "clocks differ"}]
    found = answer(tmp_path, good() + throttled(), verdict={"state": "untrusted", "reasons": reasons})
    assert found.word == "Not to be trusted, and failed"


def test_a_run_that_was_interrupted(tmp_path):
    found = answer(tmp_path, good(), state="interrupted")
    assert (found.word, found.why) == ("Interrupted", "ended before its time; 3 of 3 criteria held until then")
    assert found.to_do == "Run it to its end before you decide."


def test_a_budget_that_ended_the_run_is_said(tmp_path):
    found = answer(tmp_path, good(), stop_reason="budget: max-cost of 5 USD reached (5.01 USD spent)")
    assert found.word == "Passed"
    assert found.why.endswith("; stopped early, budget: max-cost of 5 USD reached (5.01 USD spent)")


def test_a_run_without_criteria_does_not_pass(tmp_path):
    found = answer(tmp_path, good(), criteria="")
    assert found.word == "No verdict"
    assert found.to_do == "Give failure-criteria to have a verdict."


def test_a_run_that_passed_with_refusals_that_no_criterion_is_about_is_not_called_reliable(tmp_path):
    found = answer(tmp_path, good() + throttled(), criteria="p95(ttft_ms) > 1000")
    assert found.word == "Passed"
    assert "relied on" not in found.to_do.split(":")[0] and "12 refused with 429" in found.to_do


def test_nothing_answered_is_why(tmp_path):
    records = [refused(f"e{n}", float(n), Outcome.HTTP_ERROR, status=401) for n in range(20)]
    found = answer(tmp_path, records)
    assert found.why.startswith("no request was answered")
    assert "doctor" in found.to_do


def test_tiles_have_limit_and_headroom(tmp_path):
    tiles = {tile.name: tile for tile in answer(tmp_path, good(), quota={"rpm": 100}).tiles}
    assert (tiles["Answered"].limit, tiles["Answered"].headroom) == ("quota 100 RPM", "headroom 40 %")
    ttft = tiles["TTFT p95"]
    assert (ttft.value, ttft.limit, ttft.headroom, ttft.state) == (
        "400 ms",
        "p95 at most 1,000 ms",
        "headroom 60 %",
        "good",
    )
    assert tiles["Speed per user"].note == "no limit given"


def test_a_tile_beyond_its_limit_is_bad(tmp_path):
    tiles = {tile.name: tile for tile in answer(tmp_path, good(), criteria="p95(ttft_ms) > 200").tiles}
    assert (tiles["TTFT p95"].headroom, tiles["TTFT p95"].state) == ("over by 100 %", "bad")


def test_tiles_of_a_search_are_of_its_level_not_of_all_levels_mixed(tmp_path):
    search = {"answer_rpm": 240.0, "answer_tpm": 9000.0, "sentence": "sustains 240 RPM", "levels": []}
    judged = [{"text": "p95(ttft_ms) > 1000", "state": "held", "value": 250.0, "n": 40}]
    more: dict[str, Any] = {"search": search, "criteria": judged, "options": {"search": "60..600"}}
    records = [answered(f"c{n}", float(n), 400.0, 1000.0, 50) for n in range(60)]
    sent = {"planned": 60, "sent": 60, "dropped": 0, "cancelled": 0, "rows": 60}
    more["options"]["failure-criteria"] = "p95(ttft_ms) > 1000"
    more["target"] = {"deployment": "gpt-x"}
    run = write_run(tmp_path / "run", records, worked_meta(**{"ended_at": T + 60, "accounting": sent, **more}))
    found = answer_of(summarise(load_run(run)))
    assert found.tested == "a search over 60 to 600 RPM against gpt-x"
    tiles = {tile.name: tile for tile in found.tiles}
    assert tiles["Capacity"].value == "240 RPM"
    assert tiles["TTFT p95"].value == "250 ms"  # 400 ms over all levels
    assert tiles["Speed per user"].value == "–"


@pytest.mark.parametrize(
    ("options", "length", "kind"),
    [
        ({}, 60, Kind.CONSTANT),
        ({"rate-stages": "1m:10,1m:20"}, 60, Kind.STEPS),
        ({"shape": "step", "stages": "10"}, 60, Kind.STEPS),
        ({}, 3600, Kind.SOAK),
        ({"shape": "soak"}, 60, Kind.SOAK),
    ],
)
def test_kinds_of_runs(tmp_path, options, length, kind):
    assert kind_of(summary_of(tmp_path, good(), options=options, ended_at=T + length)) is kind


def test_every_medium_begins_with_the_same_answer(tmp_path):
    summary = summary_of(tmp_path, good() + throttled(), quota={"tpm": 6000})
    found = answer_of(summary)
    out = io.StringIO()
    print_report([summary], out)
    flat = " ".join(out.getvalue().split())
    assert flat.startswith("FAILED") and found.sentence[:60] in flat[:200]
    text = markdown.render([summary])
    assert text.index(markdown.escape(found.sentence)) < text.index("### Overview")
    told = json.loads(exports.summary_json([summary]))["answer"]
    assert told["sentence"] == f"Failed: {found.sentence}"
    assert [item["text"] for item in told["criteria"]] == [str(item) for item in found.criteria]


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ("20s:60,20s:360", "up to 360"),
        ("threads=10, delay=3s, ramp=5s", "up to 10"),
        ("threads=4;threads=6", "up to 10"),
        ("by=5, every=1m, to=40", "up to 40"),
        ("base=5, peak=50, at=2m, hold=30s, duration=6m", "up to 50"),
    ],
)
def test_the_most_users_of_a_shape_are_said_as_a_number(stages: str, said: str) -> None:
    assert largest(stages) == said


def test_a_percentile_of_too_few_is_nothing_to_rely_on(tmp_path):
    found = answer(tmp_path, good()[:12])
    assert found.word == "Passed"
    assert found.to_do == "Too few values for p95(ttft_ms), 12 of 20: run it for longer before you rely on it."
