from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenswarm.userinput import BadInput
from tokenswarm.workload.traces import TraceRow, parse_trace_window, read_trace

SAMPLE = Path(__file__).parents[3] / "scenarios" / "traces" / "sample-azure.csv"


def written(directory: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems_of(path: Path) -> list[str]:
    with pytest.raises(BadInput) as caught:
        read_trace(path)
    return caught.value.problems


def test_the_sample_is_read_to_its_last_row() -> None:
    rows = read_trace(SAMPLE)
    assert len(rows) == SAMPLE.read_bytes().count(b"\n")  # a header, and no newline at the end
    assert rows[0].offset_s == 0.0
    assert 110 < rows[-1].offset_s < 120
    assert all(row.context_tokens >= 1 and row.max_tokens >= 1 and row.hash_ids is None for row in rows)


def test_azure_2023_has_seven_fraction_digits_and_no_last_newline(tmp_path: Path) -> None:
    lines = ["2023-11-16 23:59:59.6805900,374,44", "2023-11-17 00:00:03.9951691,396,109"]
    rows = read_trace(written(tmp_path, "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines])))
    assert rows[0] == TraceRow(0.0, 374, 44)
    assert rows[1].offset_s == pytest.approx(4.3145791, abs=1e-9)


def test_azure_2024_has_a_zone_and_sometimes_no_fraction(tmp_path: Path) -> None:
    lines = ["2024-05-10 00:00:00.009930+00:00,100,5", "2024-05-10 00:00:01+00:00,200,6", "2024-05-10T02:00:02Z,1,2"]
    rows = read_trace(written(tmp_path, "\r\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines, ""])))
    assert [row.context_tokens for row in rows] == [100, 200, 1]
    assert rows[1].offset_s == pytest.approx(0.99007)
    assert rows[2].offset_s == pytest.approx(7201.99007)


def test_burst_gpt_counts_seconds_and_has_failures_without_answer(tmp_path: Path) -> None:
    text = (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n"
        "45.5,GPT-4,1087,0,1087,API log\n"
    )
    assert read_trace(written(tmp_path, text)) == [TraceRow(0.0, 472, 18), TraceRow(40.5, 1087, 1)]


def test_burst_gpt_s_newer_columns_are_found_by_name(tmp_path: Path) -> None:
    header = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
    assert read_trace(written(tmp_path, f"{header}\n0,7,1.5,ChatGPT,10,20,30,x\n")) == [TraceRow(0.0, 10, 20)]


def test_mooncake_names_the_blocks_that_prompts_share(tmp_path: Path) -> None:
    rows = [
        {"timestamp": 3000, "input_length": 1100, "output_length": 52, "hash_ids": [0, 1, 2]},
        {"timestamp": 3250.5, "input_length": 600, "output_length": 0, "hash_ids": [0, 7]},
    ]
    path = written(tmp_path, "\n".join(map(json.dumps, rows)), "trace.jsonl")
    assert read_trace(path) == [TraceRow(0.0, 1100, 52, (0, 1, 2)), TraceRow(0.2505, 600, 1, (0, 7))]


@pytest.mark.parametrize("size", [16, 64, 512])
def test_blocks_are_as_long_as_the_prompts_say(tmp_path: Path, size: int) -> None:
    lengths = [1, size, size + 1, 10 * size - 3, 40 * size]
    rows = [
        {"timestamp": 1, "input_length": length, "output_length": 1, "hash_ids": list(range(-(-length // size)))}
        for length in lengths
    ]
    found = read_trace(written(tmp_path, "\n".join(map(json.dumps, rows)), "trace.jsonl"))
    assert [row.block_tokens for row in found] == [size] * 5


def test_bailian_s_timestamps_are_seconds(tmp_path: Path) -> None:
    rows = [
        {"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 33, "output_length": 132,
         "type": "text", "turn": 1, "hash_ids": [1, 2, 3]},
        {"chat_id": 160, "parent_chat_id": 159, "timestamp": 62.5, "input_length": 60, "output_length": 80,
         "type": "text", "turn": 2, "hash_ids": [1, 2, 4, 5]},
    ]  # fmt: skip
    found = read_trace(written(tmp_path, "\n".join(map(json.dumps, rows)), "trace.jsonl"))
    assert [row.offset_s for row in found] == pytest.approx([0.0, 1.386])
    assert [row[1:] for row in found] == [(33, 132, (1, 2, 3), 16), (60, 80, (1, 2, 4, 5), 16)]


def test_unix_seconds_are_not_taken_for_milliseconds(tmp_path: Path) -> None:
    """The trace would be sent a thousand times too fast."""
    rows = [{"timestamp": 1_764_374_400 + second, "input_length": 9, "output_length": 3} for second in range(2)]
    path = written(tmp_path, "\n".join(map(json.dumps, rows)), "trace.jsonl")
    assert problems_of(path) == [f"{path}:1: expected timestamp in ms, got what looks like Unix seconds"]
    later = [{**row, "timestamp": row["timestamp"] * factor} for row, factor in zip(rows, (0, 1), strict=True)]
    assert len(read_trace(written(tmp_path, "\n".join(map(json.dumps, later)), "long.jsonl"))) == 2


def test_cells_may_be_quoted(tmp_path: Path) -> None:
    """As R and spreadsheets write them."""
    text = '"TIMESTAMP","ContextTokens","GeneratedTokens"\n"2024-05-12 00:00:00.001163","374",44\n'
    assert read_trace(written(tmp_path, text)) == [TraceRow(0.0, 374, 44)]


def test_rows_out_of_order_are_sorted_and_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    text = "\ufeffTimestamp,Request tokens,Response tokens\n9,1,1\n\n4,2,2\n"
    assert read_trace(written(tmp_path, text)) == [TraceRow(0.0, 2, 2), TraceRow(5.0, 1, 1)]


def test_every_problem_has_its_line(tmp_path: Path) -> None:
    text = (
        b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
        b"2023-11-16 18:15:46.68,374,44\n"
        b"2023-13-16 18:15:46,374,44\n"
        b"2023-11-16 18:15:46,374\n"
        b"2023-11-16 18:15:46,-1,44\n"
        b"2023-11-16 18:15:46,1,4.5\n"
        b"2023-11-16 18:15:46,1,\xff\n"
        b"2023-11-16 18:15:46,1,99999999\n"
    )
    path = written(tmp_path, text)
    expected = [
        "a time in TIMESTAMP",
        "3 cells, got 2",
        "ContextTokens from 0",
        "GeneratedTokens",
        "UTF-8",
        "GeneratedTokens",
    ]
    found = problems_of(path)
    for line, (problem, words) in enumerate(zip(found, expected, strict=True), start=3):
        assert problem.startswith(f"{path}:{line}: expected ")
        assert words in problem


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "a JSON object"),
        ("[1]", "a JSON object"),
        ('{"timestamp": "5", "input_length": 1, "output_length": 1}', "timestamp in ms, got '5'"),
        ('{"timestamp": NaN, "input_length": 1, "output_length": 1}', "timestamp in ms, got nan"),
        ('{"timestamp": 5, "output_length": 1}', "input_length from 0"),
        ('{"timestamp": 5, "input_length": 1, "output_length": true}', "output_length from 0"),
        ('{"timestamp": 5, "input_length": 1, "output_length": 1, "hash_ids": ["a"]}', "hash_ids as a list"),
        ("[" * 100_000, "a JSON object"),
    ],
)
def test_a_wrong_mooncake_line_is_named(tmp_path: Path, line: str, expected: str) -> None:
    good = '{"timestamp": 0, "input_length": 1, "output_length": 1}'
    path = written(tmp_path, f"{good}\n{line}\n", "trace.jsonl")
    (problem,) = problems_of(path)
    assert problem.startswith(f"{path}:2: expected ")
    assert expected in problem


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n1,2\n", "TIMESTAMP,ContextTokens,GeneratedTokens\n"])
def test_a_file_without_rows_is_no_trace(tmp_path: Path, text: str) -> None:
    (problem,) = problems_of(written(tmp_path, text))
    assert "expected TIMESTAMP,ContextTokens,GeneratedTokens" in problem


@pytest.mark.parametrize("path", ["missing.csv", ".", "\0"])
def test_a_file_that_cannot_be_read_is_named(path: str) -> None:
    assert problems_of(Path(path))[0].startswith("trace: expected a readable file, got ")


def test_a_file_full_of_problems_is_not_printed_in_full(tmp_path: Path) -> None:
    found = problems_of(written(tmp_path, "Timestamp,Request tokens,Response tokens\n" + "x,1,1\n" * 500))
    assert (len(found), found[-1].endswith("450 more problems")) == (51, True)


LINES = st.sampled_from(
    [
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "Timestamp,Request tokens,Response tokens",
        "2023-11-16 18:15:46.6805900,374,44",
        "9999-12-31 23:59:59+00:00,1,1",
        "0001-01-01 00:00:00+23:59,1,1",
        "1e11,1,1",
        '{"timestamp": 1, "input_length": 2, "output_length": 3, "hash_ids": [1]}',
        '{"timestamp": 1e400, "input_length": 2, "output_length": 3}',
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES.map(str.encode) | st.binary(max_size=30), max_size=6).map(b"\n".join))
def test_any_file_gives_rows_or_bad_input(tmp_path: Path, content: bytes) -> None:
    try:
        rows = read_trace(written(tmp_path, content))
    except BadInput as error:
        assert error.problems
    else:
        assert rows[0].offset_s == 0.0
        assert all(row.context_tokens >= 1 and row.max_tokens >= 1 for row in rows)


MOONCAKE = st.lists(
    st.builds(
        TraceRow,
        st.integers(0, 10**7).map(lambda ms: ms / 1000),
        st.integers(1, 100_000),
        st.integers(1, 100_000),
        st.lists(st.integers(0, 10**9), max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MOONCAKE)
def test_rows_survive_their_file(tmp_path: Path, rows: list[TraceRow]) -> None:
    lines = [
        {"timestamp": row.offset_s * 1000, "input_length": row.context_tokens, "output_length": row.max_tokens}
        | {"hash_ids": list(row.hash_ids or ())}
        for row in rows
    ]
    found = read_trace(written(tmp_path, "\n".join(map(json.dumps, lines)), "trace.jsonl"))
    expected = sorted(rows, key=lambda row: row.offset_s)
    assert [row[1:4] for row in found] == [row[1:4] for row in expected]
    first_s = expected[0].offset_s
    assert [row.offset_s for row in found] == pytest.approx([row.offset_s - first_s for row in expected], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "window"), [("10m..20m", (600, 1200)), (" 0 .. 90s", (0, 90)), ("1m..1h30m", (60, 5400))]
)
def test_a_window_is_read(text: str, window: tuple[float, float]) -> None:
    assert parse_trace_window(text) == window


@pytest.mark.parametrize("text", ["", "10m", "20m..10m", "5..5", "..", "-5..5", "a..b", "1..2..3"])
def test_a_wrong_window_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="trace-window: expected from"):
        parse_trace_window(text)


@given(st.text(alphabet=st.sampled_from("0123456789.msh- "), max_size=20))
def test_any_text_gives_a_window_or_bad_input(text: str) -> None:
    try:
        begin_s, end_s = parse_trace_window(text)
    except BadInput as error:
        assert error.problems
    else:
        assert 0 <= begin_s < end_s
