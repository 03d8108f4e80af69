from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.recordings import index as module
from tokenswarm.recordings import scan as scanning
from tokenswarm.recordings.bodies import BadLine
from tokenswarm.recordings.index import load_index
from tokenswarm.recordings.lines import read_line, read_timestamp
from tokenswarm.recordings.scan import Index, scan
from tokenswarm.traffic.replay import Changes, Recording, Replay, Sent
from tokenswarm.userinput import BadInput

BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def batch(at: Any = None, url: str = "/v1/chat/completions", **body: Any) -> dict[str, Any]:
    stamp = {} if at is None else {"timestamp": at}
    return {"custom_id": "secret-1", "method": "POST", "url": url, "body": {**BODY, **body}, **stamp}


def problems(path: Path, skip_bad: int = 0) -> list[str]:
    with pytest.raises(BadInput) as caught:
        scan(path, "chat", skip_bad)
    return caught.value.problems


def test_each_line_is_found_again(tmp_path: Path) -> None:
    lines = ["\ufeff" + json.dumps(batch()), "", json.dumps(BODY) + "\r", json.dumps({"body": BODY})]
    path = write(tmp_path / "r.jsonl", *lines)
    index = scan(path, "chat", 0)
    data = path.read_bytes()
    found = [data[at : at + length] for at, length in zip(index.offsets, index.lengths, strict=True)]
    assert [json.loads(each) for each in found] == [batch(), BODY, {"body": BODY}]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("nonsense", "expected a JSON object, got text that is none (expected ident at line 1 column 2)"),
        ("[1]", "expected a JSON object, got a list"),
        ("{}", "messages: expected a list of messages, got none"),
        ({"messages": []}, "messages: expected a list of messages, got an empty list"),
        ({"messages": ["Anna"]}, "message 1: expected an object with a role, got text"),
        ({"messages": [{"content": "Anna"}]}, "message 1: expected an object with a role, got one without"),
        ({"body": "Anna"}, "body: expected an object, got text"),
        ({**batch(), "method": "GET"}, "method: expected POST, got text that is another"),
        (batch(url="/v1/images/generations"), "url: expected one that ends in /chat/completions, /responses, "
         "/embeddings, /completions or /messages, got another"),
        (batch(url="/v1/responses"), "input: expected text or a list, as responses has it, got none"),
        (batch(url="/v1/messages"), "url: expected requests to chat as before, which has other credentials, "
         "got one to messages"),
        (batch("yesterday"), "timestamp: expected seconds, Unix ms, us or ns, or ISO 8601, got other text"),
        (batch(True), "timestamp: expected seconds, Unix ms, us or ns, or ISO 8601, got true"),
        ('{"timestamp": -1' + "0" * 400 + ', "body": {}}', "timestamp: expected seconds, Unix ms, us or ns, or ISO "
         "8601 from 1970 to the year 5138, got a number of over 300 digits"),
        (batch(-1), "timestamp: expected seconds, Unix ms, us or ns, or ISO 8601 from 1970 to "
         "the year 5138, got -1"),
        (batch("0001-01-01T00:00:00"), "timestamp: expected seconds, Unix ms, us or ns, or ISO 8601 "
         "from 1970 to the year 5138, got another"),
        (batch(), "timestamp: expected one as before, got none"),
        (batch(9.5), "timestamp: expected one not before the request above, got one 0.500 s earlier "
         "(python -m tokenswarm.traffic import requests puts requests in order)"),
        ({"conversations": []}, "conversations: expected a list of messages, got an empty list"),
        ({"conversations": [{"from": "Anna", "value": "x"}]}, "message 1: expected from (human, gpt or system) and "
         "value, got others"),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, "conversations: expected at least one message of a "
         "human, got none"),
        ({"conversations": [{"from": "human", "value": "x"}], "timestamp": 10}, "expected requests as before, "
         "got conversations"),
        (batch(url="http://[::1/chat/completions"), "url: expected one that ends in /chat/completions, /responses, "
         "/embeddings, /completions or /messages, got another"),
        ({"session_id": "s", "messages": BODY["messages"], "output_length": 50, "timestamp": 11},
         "output_length: expected a request, got a line of a Mooncake or AIPerf trace: lengths are for the option "
         "trace, messages belong into body, with max_tokens and a timestamp in s"),
        ({"timestamp": 0, "input_length": 655, "output_length": 52, "hash_ids": [46, 47]},
         "hash_ids: expected a request, got a line of a Mooncake or AIPerf trace: lengths are for the option trace, "
         "messages belong into body, with max_tokens and a timestamp in s"),
        ({"id": "x", "requests": [{"t": 0.0, "in": 10}]},
         "requests: expected a request, got a session of a Weka trace, which is not read, or a batch as one object: "
         "expected is a line for each"),
        ({"resourceSpans": []},
         "resourceSpans: expected a request, got spans: python -m tokenswarm.traffic import otel makes requests of "
         "them"),
        ({"session_id": "s", "turns": [{"text": "Anna"}]},
         "turns: expected a request, got a conversation of texts: the option dataset asks those"),
        ({"custom_id": "a", "params": BODY}, "params: expected a request, got a line of Anthropic's batches: params "
         'has to be called body, with "url": "/v1/messages" beside it'),
        ({"messages": [*BODY["messages"], {"role": "assistant", "content": "Anna", "weight": 1}]}, "messages: expected "
         "a request, which ends before its answer, got a conversation (as for fine-tuning): the option dataset asks "
         "its turns"),
        ({**BODY, "call_type": "acompletion", "response": "Anna"}, "call_type: expected a request, got a log of "
         "LiteLLM: python -m tokenswarm.traffic import litellm makes requests of it"),
        ({**BODY, "session_id": "Anna"}, "session_id: expected a request, got a body by itself: beside a session_id it "
         "has to be under the name body"),
        ({"prompt": "Anna"}, "messages: expected a list of messages, got none, but what completions asks: give that as "
         "endpoint, or its url beside a body"),
        ({"request": {"contents": "Anna"}}, "request: expected a request, got a line of another batch or log: what was "
         "sent belongs into body, when it was sent into timestamp"),
        ({"ts": 5, "body": BODY}, "ts: expected timestamp, as this format calls it, or neither"),
        ({"conversation_id": "Anna", **batch(10)}, "conversation_id: expected session_id, as this format calls it, or "
         "neither"),
        ({"steps": [{"body": BODY}], **batch(10)}, "steps: expected no body beside it, got both"),
        ({"steps": [{"body": BODY, "timestamp": 5}]}, "step 1: timestamp: expected tool_s, as this format calls it"),
        (batch(1764374400), "timestamp: expected one within a year of the request above, got one after it (are these "
         "of one kind, all Unix or all from the beginning?)"),
        ({**batch(), "session_id": ["Anna"]}, "session_id: expected text or a whole number, got a list"),
        (batch(messages=[{"role": "tool", "content": "Anna"}]), "message 1: expected tool_calls in a message before a "
         "tool's, got none"),
        ('{"body":{"messages":[{"role":"user","content":' + "[" * 5000 + "]" * 5000 + "}]}}",
         "expected a JSON object, got text that is none (nested deeper than 100 levels)"),
        ('{"body":' + "[" * 300, "expected a JSON object, got text that is none (nested deeper than 100 levels)"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_request_is_named(tmp_path: Path, line: Any, what: str) -> None:
    path = write(tmp_path / "r.jsonl", batch(10), line, batch(11))
    assert problems(path) == [f"{path}:2: {what}"]
    index = scan(path, "chat", 1)
    assert (len(index), index.skipped, list(index.instants_s)) == (2, 1, [10, 11])


def test_no_problem_says_what_a_line_says(tmp_path: Path) -> None:
    anna = {"custom_id": "Anna", "method": "Anna", "url": "Anna", "timestamp": "Anna", "body": {"messages": "Anna"}}
    path = write(tmp_path / "r.jsonl", "Anna", anna, {**anna, "method": "POST"}, {**BODY, "timestamp": "Anna"})
    assert not [problem for problem in problems(path) if "Anna" in problem]


def test_all_bad_lines_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", BODY, *["x"] * 30)
    found = problems(path, skip_bad=29)
    assert len(found) == 22
    assert found[-2:] == [f"{path}: and 10 more lines", "skip-bad: 29 such lines may be left out, there are 30"]
    assert scan(path, "chat", 30).skipped == 30


def test_a_compressed_file_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(LINE))
    with pytest.raises(BadInput) as caught:
        load_index(path, "chat", 9)
    assert caught.value.problems == [
        f"requests: expected text, got a file that gzip has packed: unpack it with gunzip {path}"
    ]


def test_a_file_without_a_request_is_refused(tmp_path: Path) -> None:
    assert problems(write(tmp_path / "r.jsonl", "", " ")) == [
        f"{tmp_path}/r.jsonl: expected at least one request, got none"
    ]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(0, 0), (12.5, 12.5), (1_700_000_000, 1_700_000_000), (1_700_000_000_250, 1_700_000_000.25),
     (1_700_000_000_250_000, 1_700_000_000.25), (1_700_000_000_250_000_000, 1_700_000_000.25),
     ("1700000000250", 1_700_000_000.25), ("12.5", 12.5), ("20240101", 20_240_101),
     ("2026-01-01T00:00:00.5", 1767225600.5), ("2026-10-25T02:30:00+01:00", 1792891800),
     ("2026-01-01T00:00:00.5Z", 1767225600.5), ("2026-01-01 01:00:00+01:00", 1767225600)],
)  # fmt: skip
def test_timestamps_have_several_forms(given: Any, seconds: float) -> None:
    assert read_timestamp(given) == seconds


def test_half_of_a_surrogate_pair_is_sent_as_it_stands(tmp_path: Path) -> None:
    """Logs that cut texts at a length have it; an import writes it as an escape."""
    line = json.dumps(batch(messages=[{"role": "user", "content": "cut \ud83d"}]))
    path = write(tmp_path / "r.jsonl", line)
    assert len(scan(path, "chat", 0)) == 1
    recording = Replay(Recording(scan(path, "chat", 0), 0, 1))
    content = recording.request(0, Changes(model=""), Sent("r")).content
    assert content == json.dumps(json.loads(line)["body"]).encode()
    recording.close()
    wrong = [line.replace('"cut', 'NaN, "x": "cut'), {"conversations": [{"from": "human", "value": "cut \ud83d"}]}]
    assert len(problems(write(tmp_path / "wrong.jsonl", *wrong))) == 2


def test_content_parts_tools_and_tool_calls_are_requests() -> None:
    messages = [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ]
    body = {"messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]}
    assert read_line(json.dumps(body).encode(), "chat").asks == "chat"
    with pytest.raises(BadLine):
        read_line(json.dumps(body).encode(), "responses")


def test_the_index_of_a_big_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CACHED_FROM_BYTES", 0)
    path = write(tmp_path / "r.jsonl", batch(1), batch(2), "x")
    built = load_index(path, "chat", 1)
    module._load.cache_clear()
    monkeypatch.setattr(module, "scan", lambda *_: pytest.fail("read again"))
    monkeypatch.setattr(module, "scan_in_parallel", lambda *_: pytest.fail("read again"))
    assert load_index(path, "chat", 1) == built
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    os.utime(path, ns=(0, 0))
    write(path, batch(5))
    assert list(load_index(path, "chat", 1).instants_s) == [5]


def test_a_kept_index_that_is_cut_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CACHED_FROM_BYTES", 0)
    path = write(tmp_path / "r.jsonl", batch(1), batch(2))
    built = load_index(path, "chat", 0)
    kept = module.cache_path(path)
    kept.write_bytes(kept.read_bytes()[:-3])
    module._load.cache_clear()
    assert load_index(path, "chat", 0) == built


def test_a_window_is_found_by_time() -> None:
    index = Index(Path("x"), "chat")
    for at in (100, 100, 101, 105):
        index.offsets.append(0)
        index.instants_s.append(at)
    assert [index.within(window) for window in (None, (0, 1), (1, 5), (2, 9), (6, 7))] == [
        (0, 4), (0, 2), (2, 3), (3, 4), (4, 4),
    ]  # fmt: skip


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("read_bytes", [7, 1 << 20])
def test_a_file_may_be_one_list(
    tmp_path: Path, indent: int | None, read_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "READ_BYTES", read_bytes)
    said = [{"conversations": [{"from": "human", "value": f"é {number} ]}}"}]} for number in range(5)]
    said.append({"items": [{"from": "human", "value": "as older files have it"}]})
    said.append({"conversation": [{"role": "user", "content": "as LMSYS and WildChat have it"}]})
    path = tmp_path / "share.json"
    path.write_text("\ufeff \n" + json.dumps(said, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    index, data = scan(path, "chat", 0), path.read_bytes()
    found = [data[at : at + length] for at, length in zip(index.offsets, index.lengths, strict=True)]
    assert [json.loads(each) for each in found] == said
    assert index.form == "conversations"


def test_an_element_that_is_no_request_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "share.json"
    path.write_text(json.dumps([{"conversations": [{"from": "human", "value": "a"}]}, {"conversations": []}], indent=0))
    assert problems(path) == [f"{path}:10: conversations: expected a list of messages, got an empty list"]
    path.write_text('[{"conversations": [{"from": "human", "value": "a"}]},\n {"conversations": [')
    assert problems(path)[0].startswith(f"{path}:2: expected a JSON object, got text that is none")
    path.write_text('[{"conversations": [{"from": "human", "value": "a"}]},\n')
    assert problems(path)[0].startswith(f"{path}:2: expected a JSON object, got text that is none (EOF")
    for cut in ("", "\n", ",", ",\n"):  # the list does not end
        path.write_text('[{"conversations": [{"from": "human", "value": "a"}]}' + cut)
        assert "expected a JSON object, got text that is none (EOF while parsing" in problems(path)[0]
    path.write_text("[]")
    assert problems(path) == [f"{path}: expected at least one request, got none"]


LINE = json.dumps({"body": BODY}).encode()


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (LINE.decode().encode("utf-16"), ": expected lines of JSON in UTF-8, got UTF-16: iconv"),
        (LINE.decode().encode("utf-16-le"), ": expected lines of JSON in UTF-8, got UTF-16: iconv"),
        (b"\x28\xb5\x2f\xfd" + LINE, ": expected lines of JSON in UTF-8, got a file packed by zstd: unpack it"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n0,1,1\n", ":1: expected lines of JSON, got what looks like CSV"),
        (json.dumps({"body": BODY}, indent=2).encode(), ":1: expected a JSON object, got text that is none (JSON over"),
        (LINE.replace(b"Hello", b"\xe9"), ":1: expected a JSON object"),
        (LINE + b"\0", ":1: expected a JSON object"),
        (LINE + b"\r" + LINE, ":1: expected a JSON object"),
        (LINE + LINE, ":1: expected a JSON object"),
        (LINE + b"\n" + b"x" * 10_000_000, ":2: expected a JSON object"),
        (LINE + b"\n" + LINE[:-5], ":2: expected a JSON object"),
        (b"", ": expected at least one request, got none"),
        (b"\xef\xbb\xbf", ": expected at least one request, got none"),
        (b" \r\n\n", ": expected at least one request, got none"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, data: bytes, where: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(data)
    found = problems(path)
    assert found[0].startswith(f"{path}{where}") and max(map(len, found)) < 300


def test_lines_may_end_as_on_windows_and_be_long(tmp_path: Path) -> None:
    long = json.dumps({"body": {"messages": [{"role": "user", "content": "x" * 10_000_000}]}}).encode()
    (tmp_path / "r.jsonl").write_bytes(LINE + b"\r\n" + long + b"\r\n")
    assert list(scan(tmp_path / "r.jsonl", "chat", 0).lengths) == [len(LINE), len(long)]


@pytest.mark.parametrize("form", ["lines", "list"])
def test_a_line_without_an_end_is_named_and_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """300 MB take no more memory than the longest line that is read."""
    path = tmp_path / "r.jsonl"
    with path.open("wb") as file:
        file.write(LINE + b"\n" if form == "lines" else b"[" + LINE + b",\n")
        file.write(b'{"body":{"messages":[{"role":"user","content":"')
        file.seek(300_000_000, 1)  # zeros
        file.write(b'"}]}}\n' + LINE + (b"\n" if form == "lines" else b"]"))
    monkeypatch.setattr("tokenswarm.recordings.lines.MAX_LINE_BYTES", 1_000_000)
    monkeypatch.setattr("tokenswarm.recordings.scan.MAX_LINE_BYTES", 1_000_000)
    tracemalloc.start()
    try:
        assert problems(path) == [f"{path}:2: expected a line of at most 1 MB, got a longer one"]
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
    if form == "lines":
        assert len(scan(path, "chat", 1)) == 2
