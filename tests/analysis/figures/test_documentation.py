from __future__ import annotations

import json
from pathlib import Path

from analysis.figures.metrics import markdown_table
from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run
from tests.analysis.run_directories import worked_run

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_metrics_page_has_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8").endswith(markdown_table())


def test_the_metrics_page_names_every_key_of_summary_json(tmp_path: Path) -> None:
    summary = summarise(load_run(worked_run(tmp_path))).as_json()
    text = PAGE.read_text(encoding="utf-8")
    for key in summary:
        assert f"`{key}`" in text, key
    assert json.loads(json.dumps(summary)) == summary
