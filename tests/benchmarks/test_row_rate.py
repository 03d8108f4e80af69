from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from benchmarks import row_rate
from benchmarks.process_tree import Sample


def test_the_answers_are_what_the_sdk_reads() -> None:
    assert ChatCompletion.model_validate_json(row_rate.whole_answer()).choices[0].message.content == "yes"
    *events, end = row_rate.streamed_answer().strip().split("\n\n")
    chunks = [ChatCompletionChunk.model_validate(json.loads(event.removeprefix("data: "))) for event in events]
    assert [choice.delta.content for chunk in chunks for choice in chunk.choices] == ["", "yes", None]
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 1
    assert end == "data: [DONE]"


def test_rows_and_answers_are_counted_one_against_the_other() -> None:
    ids = ("a", "b", "b", "c")
    rows = [
        {"call_id": name, "attempt": "1", "started_at": str(10.0 + at), "outcome": "ok", "lag_ms": "2"}
        for at, name in enumerate(ids)
    ]
    rows.append({"call_id": "d", "attempt": "1", "started_at": "", "outcome": "dropped", "lag_ms": ""})
    server = row_rate.Nginx(0, Counter(["a-1", "b-1", "z-1"]), 1.5)
    run = {"accounting": {"planned": 5, "dropped": 1, "lost": [{"rows": 3}]}, "verdict": {"exit_code": 4}}
    samples = [Sample(at, 2.0 * at, 0, 1) for at in (9.0, 10.0, 12.0, 14.0)]
    found = row_rate.figures(rows, run, server, samples)
    assert found["rows/s"] == 1.0
    assert (found["rows"], found["ok"], found["answered by nginx"], found["rows lost"]) == (5, 4, 3, 3)
    assert (found["answers without their row"], found["rows without their answer"]) == (1, 2)
    assert (found["workers and master, cores"], found["nginx, cores"]) == (2.0, 0.5)


def test_without_nginx_it_says_that_it_was_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(row_rate, "_BESIDE_PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["row_rate"])
    assert row_rate.main() == 0
    assert capsys.readouterr().out.startswith("skipped: nginx")
