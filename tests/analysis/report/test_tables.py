"""Report tables: one definition, and the same figures in terminal, Markdown and HTML."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from analysis.figures.formats import ABSENT, format_figure
from analysis.findings.summarise import summarise
from analysis.findings.summary import Summary
from analysis.report import markdown, tables
from analysis.report.html_tables import render_groups, render_table
from analysis.report.table import BAD, Cell, Column, Row, Table, text_rows
from analysis.report.terminal import LONG_TABLE, print_report, print_table
from analysis.sources.loading import load_run
from tests.analysis.synthetic import make_records, write_run


def summary_of(directory: Path, **meta: object) -> Summary:
    records = list(make_records(seed=3, rag=True, turns=3, failed=0.1))
    return summarise(load_run(write_run(directory / "rag", records, **meta)), "p95(ttft_ms) > 100; avg(rpm) < 1")


def cells_of_html(page: str) -> list[list[str]]:
    lines = re.findall(r"<tr[^>]*>(.*?)</tr>", page.split("<tbody>")[1])
    cells = [re.findall(r"<(?:td|th)[^>]*>(.*?)</(?:td|th)>", line) for line in lines]
    return [
        [re.sub(r"<[^>]+>", " ", re.sub("<small>.*?</small>", "", cell)).strip() for cell in line] for line in cells
    ]


def without_notes(table: Table) -> list[list[str]]:
    return [[row.label, *(cell.text for cell in row.cells)] for row in table.rows]


@pytest.mark.parametrize("name", ["latencies", "by_turn", "by_stage", "rates"])
def test_three_media_show_the_cells_of_one_table(tmp_path, name):
    summary = summary_of(tmp_path)
    made = {
        "latencies": lambda: tables.latencies([summary], [""]),
        "rates": lambda: Table("Rates", *_without_groups(tables.rates([summary], ["run"]))),
        "by_turn": lambda: tables.by_turn(summary),
        "by_stage": lambda: tables.by_stage(summary),
    }[name]()
    assert cells_of_html(render_table(made)) == without_notes(made)
    lines = [line for line in markdown.table(made) if line.startswith("| ")][1:]
    assert lines == ["| " + " | ".join(markdown.escape(cell) for cell in row) + " |" for row in text_rows(made)]


def _without_groups(table: Table) -> tuple[list[Column], list[Row]]:
    return list(table.columns), [Row(row.label, row.cells) for row in table.rows]


def test_terminal_shows_the_share_of_each_stage_that_the_page_shows(tmp_path):
    """The page divided by the sum of the stages and called it the share of E2E."""
    summary = summary_of(tmp_path)
    made = tables.by_stage(summary)
    assert made is not None
    whole = summary.overall.distribution("e2e_ms").avg.value
    average = summary.by_stage["retrieval"].avg.value
    assert whole and average
    share = f"{100 * average / whole:.1f} %"
    out = io.StringIO()
    print_report([summary], out)
    assert re.search(rf"^  retrieval .* {share} *$", out.getvalue(), flags=re.MULTILINE)
    assert f"</span> {share}</td>" in render_table(made)


def test_the_slow_end_of_a_speed_is_named_in_every_medium(tmp_path):
    summary = summary_of(tmp_path)
    speed = summary.overall.distribution("tokens_per_s_per_user")
    made = tables.latencies([summary], [""])
    [row] = [row for row in made.rows if row.label.startswith("Tokens/s per user")]
    *_, p95, p99, extreme = (cell.text for cell in row.cells)
    assert (p95[:4], p99[:4]) == ("p5: ", "p1: ")
    assert extreme == f"min: {format_figure(speed.min)}"
    assert "p5 and p1 are the slow end" in "".join(made.notes)


def test_a_rate_of_zero_is_shown_and_an_absent_one_is_not(tmp_path):
    """Goodput of 0 % was missing from the terminal and Markdown: the worst result looked like none."""
    strict = summary_of(tmp_path / "strict", options={"goodput": "ttft_ms<0.001"})
    told = {row.label: row.cells[0].text for row in tables.overview([strict]).rows}
    assert told["Goodput"] == "0.00 %"
    none = summary_of(tmp_path / "none")
    assert "Goodput" not in {row.label for row in tables.overview([none]).rows}


def test_a_count_has_its_share_below_it_on_the_page_and_in_a_row_in_text(tmp_path):
    summary = summary_of(tmp_path)
    share = format_figure(summary.overall.values["error_pct"], "%")
    page = render_groups(tables.rates([summary], ["run"], {"error_pct"}))
    assert f"{summary.overall.counts.failed}<small>{share}</small>" in page and ">Errors<" not in page
    assert ["Errors", share] in text_rows(tables.overview([summary]))


def test_criteria_of_several_runs_stand_in_one_row(tmp_path):
    one, other = summary_of(tmp_path / "a"), summarise(load_run(write_run(tmp_path / "b", list(make_records(seed=1)))))
    made = tables.criteria_of_several([one, other], ["one", "other"])
    assert made is not None
    assert [row.label for row in made.rows] == [
        "p95(ttft_ms) must be at most 100 ms",
        "avg(rpm) must be at least 1 /min",
    ]
    assert made.rows[0].cells[0].text.startswith("was ") and made.rows[0].cells[1].text == ABSENT
    assert made.rows[0].cells[0].state == BAD
    assert tables.criteria_of_several([other], ["other"]) is None


def test_every_text_of_a_table_is_escaped_on_the_page():
    text = "<b>&"
    columns = [Column(text), Column(text), Column(text, code=True), Column(text), Column(text)]
    cells = [Cell(text, text), Cell(text), Cell(text, text, BAD), Cell(text, share_pct=150.0)]
    page = render_table(Table(text, columns, [Row(text, cells, text)]))
    assert "<b>" not in page
    assert page.count("&lt;b&gt;&amp;") == 13
    assert "width:100.0px" in page


def test_turns_on_the_page_are_the_columns_of_the_table_less_those_left_out(tmp_path):
    summary = summary_of(tmp_path)
    whole, fewer = tables.by_turn(summary), tables.by_turn(summary, {"ok", "rpm"})
    assert whole is not None and fewer is not None
    left_out = [at for at, column in enumerate(whole.columns) if column not in fewer.columns]
    assert [whole.columns[at].title for at in left_out] == ["OK", "RPM completed"]
    for row, cells in zip(without_notes(whole), without_notes(fewer), strict=True):
        assert cells == [cell for at, cell in enumerate(row) if at not in left_out]


def test_a_long_table_has_the_cells_of_a_short_one() -> None:
    columns = [Column("run", words=True), Column("e2e_ms"), Column("verdict", words=True)]
    rows = [Row(f"run {n}", [Cell(str(10**n), note="±1"), Cell("passed")]) for n in range(4)]
    short, long = io.StringIO(), io.StringIO()
    print_table(Table("title", columns, rows, notes=["a note"]), short)
    print_table(Table("title", columns, rows * LONG_TABLE, notes=["a note"]), long)
    lines = [line.split() for line in long.getvalue().splitlines() if line.strip()]
    said = [line.split() for line in short.getvalue().splitlines() if line.strip() and "──" not in line]
    assert [line for line in lines[:7] if "──" not in line[0]] == said[:-1]
    assert lines[-1] == said[-1] and len(lines) == 3 + 4 * LONG_TABLE + 1
