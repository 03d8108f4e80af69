"""A report as Markdown, for pull requests and `$GITHUB_STEP_SUMMARY`. Everything that came from outside is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from analysis.figures.formats import short_labels
from analysis.findings.answer import answer_of
from analysis.findings.summary import Summary
from analysis.report import load_tables, request_tables, tables
from analysis.report.table import Table, text_rows
from analysis.report.terminal import remarks
from tokenswarm.metrics.criterion_words import STATES

MARKS = {"passed": "✅", "failed": "❌", "untrusted": "⚠️", "interrupted": "⏸️", "none": "▫️"}
CHART_MINUTES = range(3, 61)
"""Minutes of a run for which a chart is legible: below, a table says as much; above, labels overlap."""
TABLE_MINUTES = 120

_SPECIAL = re.compile(r"([\\`*_\[\]#|~$])")


def render(summaries: Sequence[Summary]) -> str:
    """The whole report."""
    return "\n".join(line for part in _parts(summaries) for line in part) + "\n"


def render_folded(summaries: Sequence[Summary]) -> str:
    """For a page that is read from its top: title and verdicts, and the rest to unfold."""
    verdicts = [line for part in _head(summaries) for line in part]
    rest = [line for part in _body(summaries) for line in part]
    return "\n".join([*verdicts, "", "<details><summary>All figures</summary>", "", *rest, "", "</details>"]) + "\n\n"


def escape(text: str) -> str:
    """Text that Markdown, and HTML within it, shows as it is: on one line, no link, no mention, no markup."""
    plain = " ".join(text.split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    return _SPECIAL.sub(r"\\\1", plain).replace("://", "&#58;//").replace("www.", "www&#46;")


def _parts(summaries: Sequence[Summary]) -> Iterator[list[str]]:
    yield from _head(summaries)
    yield from _body(summaries)


def _head(summaries: Sequence[Summary]) -> Iterator[list[str]]:
    yield [f"# {_title(summaries)}", ""]
    for summary in summaries:
        yield _verdict(summary)
        if (levels := load_tables.levels(summary)) is not None:
            yield table(levels)


def _body(summaries: Sequence[Summary]) -> Iterator[list[str]]:
    yield table(tables.overview(summaries))
    labels = short_labels([summary.label for summary in summaries])
    yield table(tables.latencies(summaries, labels))
    for summary in summaries:
        yield from _details(summary, len(summaries) > 1)
    for summary in summaries:
        yield _remarks(summary)


def _title(summaries: Sequence[Summary]) -> str:
    return f"Load test: {escape(summaries[0].label)}" if len(summaries) == 1 else f"Load test: {len(summaries)} runs"


def _verdict(summary: Summary) -> list[str]:
    """Verdict, sentence, tiles, criteria, and the reasons that the sentence has no room for."""
    answer = answer_of(summary)
    lines = [
        f"{MARKS.get(answer.state, '')} **{answer.word}**: {escape(summary.label)}",
        "",
        escape(answer.sentence),
        "",
    ]
    if answer.tiles:
        lines += [_line(tile.name for tile in answer.tiles), "|" + "---|" * len(answer.tiles)]
        lines += [_line(f"{tile.value} ({tile.more})" if tile.more else tile.value for tile in answer.tiles), ""]
    lines += [f"- {STATES[item.state]}: {escape(str(item))}" for item in answer.criteria]
    others = [str(reason) for reason in summary.judgement.other_reasons if str(reason) not in answer.sentence]
    lines += [f"- {escape(reason)}" for reason in others]
    return [*lines, ""] if lines[-1] else lines


def _details(summary: Summary, several: bool) -> Iterator[list[str]]:
    if several:
        yield [f"## {escape(summary.label)}", ""]
    for make in tables.DETAILS:
        made = make(summary)
        if made is not None:
            yield table(made)
    yield chart(summary)
    made = request_tables.minutes(summary)
    if made is not None and len(made.rows) <= TABLE_MINUTES:
        yield ["<details><summary>By clock minute</summary>", "", *table(made)[2:], "</details>", ""]


def table(content: Table) -> list[str]:
    """A table with its title and notes."""
    head = _line(column.title for column in content.columns)
    ruler = "|---|" + "".join("---|" if column.words else "---:|" for column in content.columns[1:])
    rows = [_line(row) for row in text_rows(content)]
    notes = [escape(note) for note in content.notes]
    return [f"### {content.title}", "", head, ruler, *rows, "", *notes, *([""] if notes else [])]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"


def chart(summary: Summary) -> list[str]:
    """Used and estimated tokens by minute with the quota, as a Mermaid chart; nothing when it would not help."""
    minutes = summary.minutes
    if len(minutes) not in CHART_MINUTES or minutes["tokens"].isna().all():
        return []
    series = [minutes["tokens"].fillna(0.0).tolist()]
    drawn = ["used (bars)"]
    if minutes["tokens_estimated"].notna().any():
        series.append(minutes["tokens_estimated"].fillna(0.0).tolist())
        drawn.append("estimated by the limiter (line)")
    if summary.quota is not None and summary.quota.tpm:
        series.append([summary.quota.tpm] * len(minutes))
        drawn.append("quota (flat line)")
    top = max(max(values) for values in series)
    lines = [
        "```mermaid",
        "xychart-beta",
        '    title "Tokens per clock minute"',
        "    x-axis [" + ", ".join(str(number) for number in range(1, len(minutes) + 1)) + "]",
        f'    y-axis "tokens" 0 --> {max(1.0, 1.05 * top):.0f}',
    ]
    for number, values in enumerate(series):
        lines.append(f"    {'line' if number else 'bar'} [" + ", ".join(f"{value:.0f}" for value in values) + "]")
    return [*lines, "```", "", "Minute of the run; " + ", ".join(drawn) + ".", ""]


def _remarks(summary: Summary) -> list[str]:
    lines = [f"- {escape(kind)}: {escape(line)}" for kind, line in remarks(summary)]
    return [f"### Remarks: {escape(summary.label)}", "", *lines, ""] if lines else []
