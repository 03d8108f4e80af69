from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from tests.analysis.synthetic import START, write_run
from tokenswarm.record import Outcome, RequestRecord, TokenSource


def row(
    at: float, document: int | None, shared: int | None = 600, cached: int | None = 0, **more: Any
) -> RequestRecord:
    given: dict[str, Any] = {
        "started_at": START + at, "e2e_ms": 100.0, "outcome": Outcome.OK, "prompt_tokens": 1000,
        "completion_tokens": 2, "token_source": TokenSource.USAGE, "shared_tokens": shared, "cached_tokens": cached,
        "question_id": None if document is None else f"document-{document}",
    }  # fmt: skip
    return RequestRecord(call_id=f"{at}", **(given | more))


def values(tmp_path: Path, rows: list[RequestRecord], **options: Any) -> dict[str, Any]:
    summary = summarise(load_run(write_run(tmp_path / "run", rows, options=options)))
    return {**summary.overall.values, "warnings": " ".join(summary.warnings)}


def test_what_was_sent_before_could_have_been_cached(tmp_path: Path) -> None:
    rows = [row(3, 2), row(1, 1), row(2, 1, cached=512), row(4, 2, cached=512), row(5, 1, cached=512)]
    found = values(tmp_path, rows, **{"shared-prefix-tokens": "100"})
    # By their instants: nothing, 600, 100 of a new document, 600, 600.
    assert found["cacheable_pct"] == pytest.approx(100 * (0 + 600 + 100 + 600 + 600) / 5000)
    assert found["cached_pct"] == pytest.approx(100 * 3 * 512 / 5000)
    assert "at most" not in found["warnings"]


def test_further_turns_and_attempts_count_in_full_and_no_more_than_their_prompt(tmp_path: Path) -> None:
    rows = [row(1, 1, turn=1), row(2, 1, 900, turn=2), row(3, 1, 5000, turn=3), row(4, 1, attempt=2, turn=1)]
    assert values(tmp_path, rows)["cacheable_pct"] == pytest.approx(100 * (0 + 900 + 1000 + 1000) / 4000)


def test_rows_without_a_figure_are_left_out(tmp_path: Path) -> None:
    rows = [row(1, None), row(2, None, shared=None, cached=900), row(3, None, cached=None), row(4, None, 0)]
    assert values(tmp_path, rows)["cacheable_pct"] == 0
    assert values(tmp_path / "other", [row(1, None, shared=None)])["cacheable_pct"] is None


def test_more_from_the_cache_than_the_prompts_allowed_is_told(tmp_path: Path) -> None:
    rows = [row(at, 1, 100, cached=900) for at in range(1, 9)]
    found = values(tmp_path, rows)
    assert "allowed 9 % at most: the cache had prompts from before" in found["warnings"]


def recorded(tmp_path: Path, *rows: RequestRecord) -> Any:
    more = {"traffic": {"requests": {"file": "requests.jsonl"}}}
    return summarise(load_run(write_run(tmp_path, rows, **more))).overall.values["cacheable_pct"]


def test_of_recorded_prompts_each_row_says_what_earlier_ones_had(tmp_path: Path) -> None:
    rows = [row(1, None, 0, question_id="1"), row(2, None, 700, question_id="2")]
    assert recorded(tmp_path / "one", *rows) == pytest.approx(100 * 700 / 2000)
    again = row(3, None, 0, question_id="3", attempt=2)
    assert recorded(tmp_path / "again", *rows, again) == pytest.approx(100 * 1700 / 3000)
    # A process that knew of no others: what it sent may have been seen, and what it saw is missing.
    assert recorded(tmp_path / "elsewhere", *rows, row(3, None, None, question_id="3")) is None
