"""What other programs write, which is no recorded request, and what to do with it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenswarm.recordings.bodies import BadLine

OTHER_NAMES = {
    **dict.fromkeys(("arrival_time", "created_at", "request_time", "start_time", "startTime", "time", "timestamp_ms",
                     "ts"), "timestamp"),
    **dict.fromkeys(("conversation_id", "sessionId", "thread_id"), "session_id"),
}  # fmt: skip
"""What stands beside a body elsewhere: passed over, it would be sent at another time, or apart from its session."""
_BODY = "what was sent belongs into body, when it was sent into timestamp"
_TRACE = (
    "a line of a Mooncake or AIPerf trace: lengths are for the option trace, messages belong into body, with "
    "max_tokens and a timestamp in s"
)
_SPANS = "spans: python -m tokenswarm.traffic import otel makes requests of them"
_LITELLM = "a log of LiteLLM: python -m tokenswarm.traffic import litellm makes requests of it"
_AZURE = "a log of Azure: python -m tokenswarm.traffic import azure makes requests of it"
_ANSWER = "an answer, as of a batch's output or of a log: " + _BODY
_TRACING = f"a record of a tracing tool: import otel takes spans of OpenTelemetry, else {_BODY}"
_TEXT = "a text: the option dataset asks those, under the name question"
_NEVER_IN_BODIES = {
    **dict.fromkeys(
        ("delay", "hash_ids", "input_length", "message_mode", "output_length", "payload", "text_input"), _TRACE
    ),
    "requests": "a session of a Weka trace, which is not read, or a batch as one object: expected is a line for each",
    **dict.fromkeys(("resourceSpans", "resource_spans", "batches"), _SPANS),
    "turns": "a conversation of texts: the option dataset asks those",
    **dict.fromkeys(("call_type", "litellm_call_id"), _LITELLM),
    "params": 'a line of Anthropic\'s batches: params has to be called body, with "url": "/v1/messages" beside it',
    "modelInput": "a line of Bedrock's batches: modelInput has to be called body, if it is of one of the APIs",
    **dict.fromkeys(("response", "choices"), _ANSWER),
    **dict.fromkeys(("traceId", "trace_id", "run_type"), _TRACING),
    "session_id": "a body by itself: beside a session_id it has to be under the name body",
}
"""What lines of other tools have and no API does, and what they are."""
_INSTEAD_OF_A_REQUEST = {
    **dict.fromkeys(("records", "tables", "TimeGenerated"), _AZURE),
    **dict.fromkeys(("request", "request_body"), f"a line of another batch or log: {_BODY}"),
    "contents": "a request to Gemini's API, which is not asked: its OpenAI-compatible one takes messages",
    **dict.fromkeys(("text", "instruction", "question", "query"), _TEXT),
    **dict.fromkeys(("conversation_a", "chosen", "preferred_output"), "answers that are compared: " + _BODY),
    **dict.fromkeys(("nodes", "edges", "tasks"), "a graph of another format: its requests belong into steps"),
    "log": f"an archive of HTTP (HAR): {_BODY}",
    "attributes": _SPANS,
}
"""The same, for lines that say nothing to any API."""
_CONTENT = frozenset({"messages", "input", "prompt"})
_FILES = {
    b"\x28\xb5\x2f\xfd": "a file packed by zstd: unpack it with zstd -d",
    b"PK\x03\x04": "a file packed by zip: unpack it with unzip",
    b"\xfd7zXZ": "a file packed by xz: unpack it with unxz",
    b"BZh": "a file packed by bzip2: unpack it with bunzip2",
    b"PAR1": "a Parquet file: write it as JSON, a row a line",
    b"SQLite format 3": "a database of SQLite: export its rows as JSON, one a line",
}


def check_names(entry: Mapping[str, Any]) -> None:
    """Raises `BadLine` for the other names of what is looked at beside a body."""
    for name, ours in OTHER_NAMES.items():
        if entry.get(name) is not None and entry.get(ours) is None:
            raise BadLine(f"{name}: expected {ours}, as this format calls it, or neither")


def check_bare(entry: Mapping[str, Any], asks: str) -> None:
    """Raises `BadLine` for an object without a body that is none itself."""
    says_something = not entry.keys().isdisjoint(_CONTENT)
    foreign = _NEVER_IN_BODIES if says_something else _NEVER_IN_BODIES | _INSTEAD_OF_A_REQUEST
    if found := [name for name in foreign if name in entry]:
        raise BadLine(f"{found[0]}: expected a request, got {foreign[found[0]]}")
    check_names(entry)
    messages = entry.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if isinstance(last, dict) and last.get("role") == "assistant" and "model" not in entry:
        raise BadLine("messages: expected a request, which ends before its answer, got a conversation (as for "
                      "fine-tuning): the option dataset asks its turns")  # fmt: skip
    if asks in ("chat", "messages") and messages is None and says_something:
        other = "completions" if "prompt" in entry else "responses or embeddings"
        raise BadLine(f"messages: expected a list of messages, got none, but what {other} asks: give that as endpoint, "
                      "or its url beside a body")  # fmt: skip


def what_instead(begin: bytes) -> str | None:
    """What a file is by its beginning, where it is no text of JSON; `None` where it may be."""
    is_utf_16 = begin.startswith((b"\xff\xfe", b"\xfe\xff")) or begin[:2].count(0) == 1
    utf_16 = "UTF-16: iconv -f UTF-16 -t UTF-8 makes UTF-8 of it"
    return utf_16 if is_utf_16 else next((what for magic, what in _FILES.items() if begin.startswith(magic)), None)
