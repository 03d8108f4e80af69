from __future__ import annotations

import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.record import COLUMNS, Outcome, RequestRecord, TokenSource, error_kind, tbt_ms
from tokenswarm.results.column_docs import COLUMN_DOCS
from tokenswarm.results.csv_rows import HEADER, format_row

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=30)
MS = st.floats(0, 1e6).map(lambda value: round(value, 3)) | st.none()
COUNT = st.integers(0, 10**9) | st.none()


@given(
    st.builds(
        RequestRecord,
        call_id=TEXT,
        attempt=st.integers(1, 9),
        name=TEXT,
        error=TEXT | st.none(),
        scheduled_at=st.floats(1e9, 2e9).map(lambda value: round(value, 6)) | st.none(),
        started_at=st.floats(1e9, 2e9).map(lambda value: round(value, 6)) | st.none(),
        lag_ms=MS,
        ttft_ms=MS,
        tbt_ms=MS,
        e2e_ms=MS,
        prompt_tokens=COUNT,
        completion_tokens=COUNT,
        token_source=st.sampled_from(TokenSource),
        outcome=st.sampled_from(Outcome),
        status=st.integers(100, 599) | st.none(),
    )
)
def test_a_record_survives_csv(record: RequestRecord) -> None:
    (row,) = csv.DictReader(io.StringIO(HEADER + format_row(record), newline=""))
    assert RequestRecord.from_row(row) == record


@given(st.text(max_size=60))
def test_a_row_is_one_line_whatever_is_in_its_texts(text: str) -> None:
    row = format_row(RequestRecord(call_id="a", outcome=Outcome.OK, name="n", error=text))
    assert row.splitlines(keepends=True) == [row]


def test_every_column_is_documented() -> None:
    assert tuple(COLUMN_DOCS) == COLUMNS


def test_a_wrong_cell_is_named() -> None:
    with pytest.raises(ValueError, match=r"column ttft_ms: expected float \| None, got 'fast'"):
        RequestRecord.from_row({"call_id": "a", "outcome": "ok", "ttft_ms": "fast"})


def test_absent_is_an_empty_cell() -> None:
    row = dict(zip(COLUMNS, RequestRecord(call_id="a", outcome=Outcome.OK).to_row(), strict=True))
    assert row["ttft_ms"] == row["status"] == row["scheduled_at"] == ""


@pytest.mark.parametrize(
    ("first", "last", "chunks", "tokens", "expected"),
    [
        (200.0, 2180.0, 100, 100, 20.0),  # one token a chunk: (last - first) / (n - 1)
        (200.0, 2120.0, 25, 100, 20.0),  # four a chunk, one every 80 ms: 1920 / 24 x 25 / 100
        (200.0, 300.0, 2, 50, 4.0),
        (200.0, 200.0, 1, 10, None),
        (200.0, 300.0, 2, None, None),
        (200.0, 300.0, 2, 0, None),
        (None, None, None, 10, None),
    ],
)
def test_time_between_tokens_by_hand(
    first: float | None, last: float | None, chunks: int | None, tokens: int | None, expected: float | None
) -> None:
    value = tbt_ms(first, last, chunks, tokens)
    assert value == expected if expected is None else value is not None and math.isclose(value, expected)


def test_latency_from_the_intended_start_adds_the_lag() -> None:
    record = RequestRecord(call_id="a", outcome=Outcome.OK, started_at=100.0, lag_ms=500.0, ttft_ms=20.0, e2e_ms=80.0)
    assert (record.due_at, record.ttft_from_due_ms, record.e2e_from_due_ms) == (99.5, 520.0, 580.0)
    assert RequestRecord(call_id="a", outcome=Outcome.DROPPED, scheduled_at=9.0).due_at == 9.0


def test_tokens_of_a_record() -> None:
    record = RequestRecord(call_id="a", outcome=Outcome.OK, prompt_tokens=10, context_tokens=12, max_tokens=5)
    assert (record.total_tokens, record.estimated_tokens) == (10, 17)
    assert RequestRecord(call_id="a", outcome=Outcome.OK).total_tokens is None
    assert RequestRecord(call_id="a", outcome=Outcome.OK).estimated_tokens is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            "HTTP 429: 429: Requests under API version 2024-02-01 exceed the limit. Please retry after 7 seconds.",
            "HTTP 429: 429: Requests under API version 2024-02-01 exceed the limit. Please retry after # seconds.",
        ),
        (
            "HTTP 400: this model's maximum is 8,192 tokens, you requested 26351 tokens (26251 in the messages).",
            "HTTP 400: this model's maximum is # tokens, you requested # tokens (# in the messages).",
        ),
        ("gpt-35-turbo used 100.5%, retry in 7.", "gpt-35-turbo used #%, retry in #."),
        ("request 0f8fad5b-d9cb-469f-a165-70867728950e, trace 4bf92f3577b34da6a3ce929d0e0e4736", "request #, trace #"),
        ("no complete answer within 30 s", "no complete answer within 30 s"),
        ("ConnectionError: proxy 10.0.0.1:3128 refused", "ConnectionError: proxy 10.0.0.1:3128 refused"),
        ("HTTP 503", "HTTP 503"),
        ("HTTP 503: defaced facade", "HTTP 503: defaced facade"),
    ],
)
def test_an_errors_kind_has_nothing_that_differs_between_requests(error: str, kind: str) -> None:
    assert error_kind(error) == kind


@given(st.text(max_size=80))
def test_a_kind_is_of_its_own_kind(error: str) -> None:
    assert error_kind(error_kind(error)) == error_kind(error)
