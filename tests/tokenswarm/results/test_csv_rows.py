from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenswarm.record import COLUMNS, Outcome, RequestRecord
from tokenswarm.results.csv_rows import format_row, parse_rows

PLAIN = RequestRecord(call_id="c", outcome=Outcome.OK, started_at=1.79e9, ttft_ms=200.25, status=200, error="a, b")

CELLS = st.sampled_from(
    ["", "ok", "usage", "done", "1", "1.0", "-3", "2.5", "nan", "1e3", " 7", "1_0", "０", "x", 'a "b"', "a,b", "a\rb"]
)


def by_from_row(text: str) -> list[RequestRecord] | None:
    try:
        rows = csv.reader(io.StringIO(text))
        return [RequestRecord.from_row(dict(zip(COLUMNS, cells, strict=True))) for cells in rows]
    except (ValueError, TypeError, csv.Error):
        return None


def by_parse_rows(text: str) -> list[RequestRecord] | None:
    try:
        return parse_rows(text)
    except (ValueError, TypeError, csv.Error):
        return None


@given(st.dictionaries(st.sampled_from(COLUMNS), CELLS, max_size=6))
def test_rows_are_read_as_one_by_one(changed: dict[str, str]) -> None:
    row = dict(zip(COLUMNS, PLAIN.to_row(), strict=True)) | changed
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row.values())
    text = format_row(PLAIN) + line.getvalue()
    assert repr(by_parse_rows(text)) == repr(by_from_row(text))  # not by value: one nan is not another


@given(st.floats() | st.floats(-1e4, 1e4) | st.floats(1e6, 5e9) | st.integers(-(10**7), 10**7).map(lambda n: n / 1e4))
@example(-0.0)
@example(-0.0004)
@example(0.0005)
@example(1e6)
@example(1795877693.0)
def test_a_number_is_written_as_python_writes_it_rounded(value: float) -> None:
    row = RequestRecord(call_id="c", outcome=Outcome.OK, e2e_ms=value).to_row()
    assert row[COLUMNS.index("e2e_ms")] == repr(round(value, 6 if abs(value) > 1e6 else 3))


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_written_row_is_what_a_csv_writer_makes_of_it(name: str, error: str) -> None:
    record = RequestRecord(call_id="c", outcome=Outcome.HTTP_ERROR, name=name, error=error, e2e_ms=1.5)
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(record.to_row())
    assert format_row(record) == line.getvalue()


@pytest.mark.parametrize("text", ["\n", "a,b\n", format_row(PLAIN) + "\n", format_row(PLAIN)[:-30]])
def test_what_is_no_row_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        parse_rows(text)


def test_no_text_has_no_rows() -> None:
    assert parse_rows("") == []


@pytest.mark.parametrize("cell", ["nan", "NaN", "inf", "-inf", "Infinity", "1e999", "+1.0E400"])
def test_a_number_that_nobody_can_reckon_with_is_none(cell: str) -> None:
    row = format_row(RequestRecord(call_id="c", outcome=Outcome.OK, e2e_ms=5.0, region="nan", error="inf"))
    assert parse_rows(row)[0].region == "nan"
    with pytest.raises(ValueError, match="e2e_ms"):
        parse_rows(row.replace(",5.0,", f",{cell},"))
