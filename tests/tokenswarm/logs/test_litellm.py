from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.logs.litellm import read_litellm
from tokenswarm.recordings.scan import scan
from tokenswarm.traffic.__main__ import main
from tokenswarm.workload.traces import read_trace


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


LITELLM = Path(__file__).with_name("litellm_1_110.jsonl")
"""Nine calls through LiteLLM 1.110.2 to the simulator, as its CustomLogger was handed them on 2026-11-28, without what
LiteLLM knows of models and of errors: chat plain, with a tool, streamed; embeddings; responses, streamed and with a
tool's result; messages with a tool's result; a chat that failed; a chat under `turn_off_message_logging`."""
BRIEF, ASKED = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Question 0"}


def imported(tmp_path: Path, form: str, source: Path, *options: str) -> list[dict[str, Any]]:
    made = tmp_path / "r.jsonl"
    assert main(["import", form, str(source), "-o", str(made), *options]) == 0
    asks = options[1] if options else "chat"
    assert len(scan(made, asks, 0)) == len(lines_of(made))
    return [line["body"] for line in lines_of(made)]


def test_what_litellm_wrote_becomes_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = imported(tmp_path, "litellm", LITELLM, "--only", "chat")
    assert "4 requests; left out: 1 call without what was asked, and 4 that" in capsys.readouterr().out
    assert [body["messages"] for body in found] == [
        [BRIEF, ASKED], [BRIEF, ASKED], [{"role": "user", "content": "Stream"}], [BRIEF, ASKED],
    ]  # fmt: skip
    assert [body["max_tokens"] for body in found] == [5, 5, 5, 5]
    assert ["tools" in body for body in found] == [False, True, False, False]
    assert [body.get("stream") for body in found] == [None, None, True, None]
    sessions = [line["session_id"] for line in lines_of(tmp_path / "r.jsonl")]
    assert sessions[:2] == ["s1", "s1"] and len(set(sessions)) == 3


def test_calls_of_other_apis_become_requests_to_them(tmp_path: Path) -> None:
    assert imported(tmp_path, "litellm", LITELLM, "--only", "embeddings") == [
        {"model": "text-embedding-3-small", "input": ["a b", "c"]}
    ]
    streamed, with_tool = imported(tmp_path, "litellm", LITELLM, "--only", "responses")
    assert streamed == {
        "model": "quick", "input": [{"role": "user", "content": "Again"}], "max_output_tokens": 16, "stream": True,
    }  # fmt: skip
    assert [item.get("type") for item in with_tool["input"]] == [None, "function_call", "function_call_output"]
    (messages,) = imported(tmp_path, "litellm", LITELLM, "--only", "messages")
    assert messages["messages"][2]["content"][0]["type"] == "tool_result" and messages["max_tokens"] == 6


def test_calls_of_the_messages_api_beside_others_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "litellm", str(LITELLM), "-o", str(tmp_path / "r.jsonl")]) == 2
    assert "expected calls of the messages API alone or of others, got both" in capsys.readouterr().err


@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_of_payloads_is_read_like_lines(tmp_path: Path, indent: int | None) -> None:
    """As LiteLLM's generic logger posts them, and as a person has them from its pages; two lists are no list."""
    source = tmp_path / "log.json"
    text = json.dumps(lines_of(LITELLM), indent=indent) + "\n"
    source.write_text(text)
    assert len(imported(tmp_path, "litellm", source, "--only", "chat")) == 4
    source.write_text(text * 2)
    code = main(["import", "litellm", str(source), "-o", str(tmp_path / "r.jsonl"), "--only", "chat"])
    assert (code, len(lines_of(tmp_path / "r.jsonl"))) == ((2, 4) if indent else (0, 8))


def test_what_litellm_left_out_or_cut_is_nothing_that_was_asked(tmp_path: Path) -> None:
    """The redacted chat, a streamed one without a count, a cut one, a failed one, a row of the spend log."""
    *_, failed, redacted = lines_of(LITELLM)
    source, made = tmp_path / "log.jsonl", tmp_path / "trace.csv"
    row = {"call_type": "acompletion", "startTime": "2026-11-28T18:00:00+00:00", "prompt_tokens": 9,
           "completion_tokens": 4, "messages": "{}", "proxy_server_request": "{}", "status": "success"}  # fmt: skip
    uncounted = redacted | {"prompt_tokens": 0, "completion_tokens": 0, "stream": True}
    entries = [redacted, uncounted, redacted | {"messages": "[{'role': 'user', 'content': '..."},
               failed | {"messages": None}, row]  # fmt: skip
    source.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert main(["import", "litellm", str(source), "-o", str(made)]) == 0
    assert sorted((row.context_tokens, row.max_tokens) for row in read_trace(made)) == [(9, 4), (17, 5), (17, 5)]


def test_rows_of_the_spend_log_with_prompts_become_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As LiteLLM 1.108 made them of seven calls, with `store_prompts_in_spend_logs`: chat, streamed, after a tool, with
    an image, one of 10,000 characters, which it cut; responses; embeddings."""
    found = imported(tmp_path, "litellm", Path(__file__).with_name("litellm_spend.jsonl"))
    assert "6 requests; left out: 1 call without what was asked" in capsys.readouterr().out
    assert [body.get("stream") for body in found] == [None, True, None, None, None, None]
    assert [len(body["messages"]) for body in found[:4]] == [2, 2, 4, 1] and found[2]["tools"]
    assert found[3]["messages"][0]["content"][1]["image_url"]["url"].endswith("rkJggg==")
    assert found[4] == {
        "model": "gpt-4.1-mini", "input": "Tell me", "instructions": "Be brief.", "max_output_tokens": 16,
    }  # fmt: skip
    assert [line["url"] for line in lines_of(tmp_path / "r.jsonl")][4:] == ["/v1/responses", "/v1/embeddings"]
    assert "user" not in found[0]


def test_an_image_that_litellm_cut_is_not_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its loggers have 64 characters of an image at most, as its logger for S3 wrote this one."""
    chat, source = lines_of(LITELLM)[0], tmp_path / "log.jsonl"
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,[base64_data truncated: 69B]"}}
    cut = chat | {"messages": [{"role": "user", "content": [image]}]}
    source.write_text(f"{json.dumps(chat)}\n{json.dumps(cut)}\n")
    assert len(imported(tmp_path, "litellm", source)) == 1
    assert "1 call without what was asked" in capsys.readouterr().out


def test_a_line_that_is_no_payload_is_named_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What LiteLLM prints with `json_logs` is about calls, but holds none."""
    source = tmp_path / "log.jsonl"
    source.write_text(
        '{"message": "POST Request Sent from LiteLLM", "level": "INFO", "timestamp": "2026-11-28T18:00:00"}'
    )
    assert main(["import", "litellm", str(source), "-o", str(tmp_path / "o")]) == 2
    assert ":1: expected an instant as startTime, which LiteLLM's payloads have, got none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "given", "expected"),
    [
        ("acompletion", {"max_completion_tokens": 9}, {"max_completion_tokens": 9}),
        ("acompletion", {"seed": 3, "stop": None, "litellm_metadata": {"a": 1}}, {"seed": 3, "max_tokens": 7}),
        ("aresponses", {}, {"max_output_tokens": 16}),
        ("aresponses", {"previous_response_id": "r"}, None),
        ("atext_completion", {}, {"max_tokens": 7}),
        ("aembedding", {"dimensions": 8}, {"dimensions": 8}),
        ("acompletion", {"max_tokens": "9"}, {"max_tokens": "9"}),
        ("_arealtime", {}, None),
    ],
)
def test_parameters_are_those_of_the_api(
    tmp_path: Path, call: str, given: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    payload = {"call_type": call, "startTime": 1, "messages": [{"role": "user", "content": "Hi"}], "model": "m",
               "model_parameters": given, "prompt_tokens": 3, "completion_tokens": 7}  # fmt: skip
    source = tmp_path / "log.jsonl"
    other = payload | {"call_type": "acompletion", "model_parameters": {}}
    source.write_text(f"{json.dumps(payload)}\n{json.dumps(other)}\n")
    (body, *_) = imported(tmp_path, "litellm", source)
    content = {"messages", "input", "prompt", "model"}
    if expected is None:
        assert len(lines_of(tmp_path / "r.jsonl")) == 1
    else:
        assert {name: value for name, value in body.items() if name not in content} == expected


def test_a_sample_keeps_whole_sessions(tmp_path: Path) -> None:
    source, made = tmp_path / "log", tmp_path / "r.jsonl"
    said = [{"role": "user", "content": "Hi"}]
    payloads = [{"trace_id": f"s{number % 40}", "startTime": number, "messages": said} for number in range(200)]
    source.write_text("".join(json.dumps(payload) + "\n" for payload in payloads))
    assert main(["import", "litellm", str(source), "-o", str(made), "--sample", "0.5"]) == 0
    counts: dict[str, int] = {}
    for line in lines_of(made):
        counts[line["session_id"]] = counts.get(line["session_id"], 0) + 1
    assert set(counts.values()) == {5} and 8 <= len(counts) <= 32


@pytest.mark.parametrize("at", [1_790_000_000, 1_790_000_000_000, 1_790_000_000_000_000, "1790000000000000000",
                                "2026-09-21T14:13:20Z"])  # fmt: skip
def test_instants_are_read_in_any_unit(at: Any) -> None:
    (request,) = read_litellm(json.dumps({"startTime": at, "prompt_tokens": 3}).encode())
    assert request.at_s == 1_790_000_000


@pytest.mark.parametrize("at", [None, "soon", "1e400", -1, [], "0001-01-01T00:00:00Z", 10**40, {}])
def test_what_is_no_instant_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], at: Any) -> None:
    source = tmp_path / "log.jsonl"
    source.write_text(json.dumps({"startTime": at, "prompt_tokens": 3}) + "\n")
    assert main(["import", "litellm", str(source), "-o", str(tmp_path / "o")]) == 2
    assert re.match(rf"{source}:1: (expected an instant|timestamp: expected seconds)", capsys.readouterr().err)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"messages": [{"content": "Hi"}]}, "message 1: expected an object with a role, got one without"),
        ({"model_parameters": {"temperature": math.inf}}, "expected what litellm writes, got something else"),
        ({"trace_id": {}}, "expected an id of a session, got an object"),
    ],
)
def test_what_would_be_no_request_later_is_named_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, Any], problem: str
) -> None:
    source = tmp_path / "log.jsonl"
    payload = {"startTime": 1, "messages": [{"role": "user", "content": "Hi"}], "trace_id": "a"}
    source.write_text(f"{json.dumps(payload)}\n{json.dumps(payload | wrong)}\n")
    assert main(["import", "litellm", str(source), "-o", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err == f"{source}:2: {problem}\n"
