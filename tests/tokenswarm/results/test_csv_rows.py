from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
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
