from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.tokenswarm.logs.test_litellm import LITELLM, imported, lines_of
from tokenswarm.recordings.scan import scan
from tokenswarm.traffic.__main__ import main


@pytest.mark.parametrize("members", [1, 2])
def test_a_log_that_gzip_has_packed_is_read_like_the_plain_one(tmp_path: Path, members: int) -> None:
    """`cat` of two packed files is one, too."""
    source, data = tmp_path / "log.jsonl.1.gz", LITELLM.read_bytes()
    half = data.index(b"\n") + 1
    source.write_bytes(gzip.compress(data) if members == 1 else gzip.compress(data[:half]) + gzip.compress(data[half:]))
    expected = imported(tmp_path, "litellm", LITELLM, "--only", "chat")
    assert imported(tmp_path, "litellm", source, "--only", "chat") == expected
    indented = gzip.compress(json.dumps(lines_of(LITELLM), indent=1).encode())
    source.write_bytes(indented)
    assert imported(tmp_path, "litellm", source, "--only", "chat") == expected


@pytest.mark.parametrize(("begin", "end"), [(0, -40), (0, -4), (10, None)])
def test_a_packed_log_that_is_cut_or_damaged_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], begin: int, end: int | None
) -> None:
    source, packed = tmp_path / "log.gz", gzip.compress(LITELLM.read_bytes())
    source.write_bytes(packed[:end] if begin == 0 else packed[:100] + b"damaged" + packed[107:])
    code = main(["import", "litellm", str(source), "-o", str(tmp_path / "r.jsonl"), "--skip-bad", "99"])
    said = capsys.readouterr().err
    assert (
        code == 2 and said.startswith(f"{source}:") and "expected a whole file, got one that is cut or damaged" in said
    )
    assert not (tmp_path / "r.jsonl").exists()


def test_objects_over_several_lines_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the SDK's console exporter writes spans without a formatter; and one after another, as `cat` joins files."""
    source = tmp_path / "log.json"
    source.write_text("\n".join(json.dumps(entry, indent=4) for entry in lines_of(LITELLM)))
    expected = imported(tmp_path, "litellm", LITELLM, "--only", "chat")
    assert imported(tmp_path, "litellm", source, "--only", "chat") == expected
    source.write_text("".join(map(json.dumps, lines_of(LITELLM))))
    assert imported(tmp_path, "litellm", source, "--only", "chat") == expected
    source.write_text("\n".join(json.dumps(entry, indent=4) for entry in lines_of(LITELLM))[:-9])
    line = source.read_text().splitlines().index("{", 400) + 1
    assert main(["import", "litellm", str(source), "-o", str(tmp_path / "o")]) == 2
    assert ": expected a JSON object, got text that is none" in (said := capsys.readouterr().err)
    assert int(said.removeprefix(f"{source}:").split(":")[0]) >= line


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('[{"a": 1}]'.encode("utf-16"), "UTF-16: iconv -f UTF-16 -t UTF-8 makes UTF-8 of it"),
        (b"\xfd7zXZ\x00\x00\x04", "a file packed by xz: unpack it with unxz"),
        (b"\x04\x22\x4d\x18\x00\x00", "other bytes (as of another packer than gzip)"),
    ],
)
def test_bytes_that_are_no_text_are_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, expected: str
) -> None:
    """As PowerShell writes what `az` prints."""
    source = tmp_path / "log"
    source.write_bytes(data)
    assert main(["import", "azure", str(source), "-o", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err == f"{source}:1: expected UTF-8, got {expected}\n"


def test_csv_is_named_as_such_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the portal exports rows."""
    source = tmp_path / "query_data.csv"
    source.write_bytes(
        b'\xef\xbb\xbf"TimeGenerated [UTC]",OperationName,properties_s\r\n' + b'"11/28/2026",x,"{}"\r\n' * 30
    )
    assert main(["import", "azure", str(source), "-o", str(tmp_path / "o")]) == 2
    expected = "expected JSON (az monitor log-analytics query writes it with -o json), got what looks like CSV"
    assert capsys.readouterr().err == f"{source}:1: {expected}\n"


@pytest.mark.parametrize(
    "entry",
    [
        {"tables": [{"columns": [{"type": "string"}], "rows": [["x"]]}]},
        {"category": "RequestResponse", "properties": {"requestTime": 10**400, "requestLength": 4}},
        {"category": "RequestResponse", "time": 1, "properties": {"requestLength": 10**400}},
        {"records": [None]},
    ],
)
def test_values_that_no_log_has_are_named_by_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: dict[str, object]
) -> None:
    source = tmp_path / "log.jsonl"
    source.write_text(json.dumps(entry) + "\n")
    assert main(["import", "azure", str(source), "-o", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err.startswith(f"{source}:1: expected ")


def test_recorded_requests_are_put_in_order_and_sampled(tmp_path: Path) -> None:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "é \ud83d"}]}
    lines: list[dict[str, Any]] = [
        {"timestamp": at, "session_id": f"s{at % 20}", "body": body} for at in range(99, -1, -1)
    ]
    source, made = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["import", "requests", str(source), "-o", str(made), "--scale", "2"]) == 0
    found = [json.loads(line) for line in made.read_text().splitlines()]
    assert [line["timestamp"] for line in found] == [*range(100)] == [*scan(made, "chat", 0).instants_s]
    assert all(line["body"] == body | {"max_tokens": 20} for line in found)
    assert main(["import", "requests", str(source), "-o", str(made), "--sample", "0.5"]) == 0
    sessions = Counter(json.loads(line)["session_id"] for line in made.read_text().splitlines())
    assert 0 < len(sessions) < 20 and set(sessions.values()) == {5}


@pytest.mark.parametrize("line", [{"body": {"messages": [{"role": "user"}]}}, {"steps": [], "timestamp": 1},
                                  {"timestamp": 1, "conversations": [{"from": "human", "value": "x"}]}])  # fmt: skip
def test_what_has_no_instant_cannot_be_put_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: Any
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(line))
    assert main(["import", "requests", str(source), "-o", str(tmp_path / "o")]) == 2
    assert f"{source}:1: " in capsys.readouterr().err
