"""The options of recorded traffic, checked and given their meaning."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from tokenswarm.recordings.index import load_index
from tokenswarm.recordings.lines import Form
from tokenswarm.recordings.sessions import Sessions
from tokenswarm.traffic.prefixes import MAX_DOCUMENTS, MAX_ZIPF, SharedPrefix
from tokenswarm.traffic.replay import Recording
from tokenswarm.traffic.tools import DEFAULT_ROUNDS, MAX_ROUNDS, Tools, parse_tools
from tokenswarm.userinput import BadInput
from tokenswarm.workload.arrivals import MAX_SPEED, RecordedPlan
from tokenswarm.workload.distributions import (
    ELSEWHERE,
    MAX_TOKENS,
    Length,
    Pause,
    parse_count,
    parse_length,
    parse_pause,
)
from tokenswarm.workload.traces import parse_trace_window

MAX_SALT = 200
MAX_FAN_OUT = 100
MAX_SKIPPED = 1_000_000_000
BESIDE = (
    "dataset", "context-tokens", "shape-profile", "system-prompt", "prompt-prefix", "turns", "batch-size",
    "start-conversations-at", "trace", "steps", "step-tokens", "tool-results", "fan-out", "shared-prefix-tokens",
    "documents", "document-tokens", "document-zipf",
)  # fmt: skip
"""Options that say what is asked: beside recorded requests they would be ignored."""


class OptionReader(Protocol):
    """Looks options up and collects what is wrong with them."""

    problems: list[str]

    def get(self, name: str) -> str | None: ...

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float | None: ...

    def whole(self, name: str, low: int, high: int, default: int) -> int: ...

    def choice(self, name: str, default: str) -> str: ...

    def read(self, name: str, parse: Callable[[str], Any], default: Any) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Whose requests are sent. `recording`: recorded ones, `None` for made-up ones; `salt`: what makes
    made-up texts differ from those of another run; `stream` and `stream_usage`: given for recorded requests, `None` for
    as recorded."""

    recording: Recording | None
    salt: str
    stream: bool | None
    stream_usage: bool | None
    sessions: bool = False
    """Whether sessions arrive, not requests."""
    fan_out: Length | None = None
    """Steps that a made-up agent has under way at once; `None` for one after another."""
    graphs: bool = False
    """Whether a session's steps are a graph."""
    tool_time: Pause | None = None
    """s between an answer and the session's next request; `None` for the think time."""
    step_tokens: Length | None = None
    """What a further turn says, in tokens; `None` for as much as a first one."""
    tools: Tools | None = None
    """What tools give that answers call; `None`: no call is answered."""
    prefix: SharedPrefix | None = None
    """What made-up prompts share at their beginning; `None`: nothing."""
    feeds_back: bool = True
    """Whether the service's own answers become history, not the recorded ones."""

    def facts(self) -> dict[str, Any]:
        """The `traffic` part of run.json."""
        requests = self.recording.facts() if self.recording is not None else None
        arrivals_of = "sessions" if self.sessions else "requests"
        return {"requests": requests, "prompt_salt": self.salt, "arrivals_of": arrivals_of}


def read_traffic(reader: OptionReader, targets: Collection[str]) -> Traffic:
    """All options of recorded traffic."""
    recording = read_recording(reader, targets)
    is_graph = recording is not None and recording.index.form is Form.GRAPH
    by_default = "sessions" if is_graph or reader.get("steps") or reader.get("tool-results") else "requests"
    sessions = reader.choice("arrivals-of", by_default) == "sessions"
    is_verbatim = recording is not None and recording.index.form is not Form.CONVERSATION
    given = {name: reader.get(name) if recording is not None else None for name in ("stream", "stream-usage")}
    stream, stream_usage = (None if text is None else text == "yes" for text in given.values())
    salt = reader.read("prompt-salt", parse_salt, "")
    if by_default == "sessions" and not sessions:
        reader.problems.append("arrivals-of: expected sessions for steps and tools, got requests")
    history = reader.choice("history", "recorded" if is_verbatim else "answered")
    fan_out = read_fan_out(reader)
    if is_verbatim and history == "answered" and not sessions:
        reader.problems.append(
            "history: expected arrivals-of = sessions beside answered and recorded requests, got none"
        )
    asks = recording.index.first_asks if recording is not None else "chat"
    if is_verbatim and history == "answered" and asks not in ("chat", "messages"):
        reader.problems.append(f"history: expected requests of chat or messages beside answered, got {asks}")
    tool_time = reader.read("tool-time", lambda text: parse_pause(text, "tool-time"), None)
    return Traffic(
        recording=recording,
        salt=salt,
        stream=stream,
        stream_usage=stream_usage,
        sessions=sessions,
        fan_out=fan_out,
        graphs=is_graph or fan_out is not None,
        tool_time=tool_time,
        tools=_tools(reader, tool_time),
        step_tokens=reader.read("step-tokens", lambda text: parse_length(text, where="step-tokens"), None),
        prefix=read_prefix(reader),
        feeds_back=history == "answered",
    )


def _tools(reader: OptionReader, time: Pause | None) -> Tools | None:
    results = reader.read("tool-results", parse_tools, None)
    rounds = reader.whole("tool-rounds", 1, MAX_ROUNDS, DEFAULT_ROUNDS)
    if results is not None:
        return Tools(results, rounds, time)
    if reader.get("tool-rounds") and reader.get("tool-results") is None:
        reader.problems.append("tool-rounds: expected tool-results beside it, got none")
    return None


def read_fan_out(reader: OptionReader) -> Length | None:
    """How many steps an agent has under way at once; `None` for one after another."""
    found: Length | None = reader.read("fan-out", lambda text: parse_count(text, MAX_FAN_OUT, "fan-out"), None)
    if reader.get("fan-out") is None:
        return None
    if not reader.get("steps"):
        reader.problems.append("fan-out: expected steps beside it, got none")
    if reader.get("dataset"):
        reader.problems.append("fan-out: expected made-up prompts, got a dataset")
    if (asks := reader.get("endpoint") or "chat") not in ("chat", "responses", "messages"):
        reader.problems.append(f"fan-out: expected an endpoint of conversations, got {asks}")
    if reader.get("earlier-turns") == "previous_response_id":
        reader.problems.append("fan-out: expected earlier-turns = sent beside it, got previous_response_id")
    if reader.get("tool-results"):
        reader.problems.append("fan-out: expected no tool-results beside it, got both")
    return None if found == parse_count("1", MAX_FAN_OUT, "fan-out") else found


def read_prefix(reader: OptionReader) -> SharedPrefix | None:
    """What made-up prompts share; `None` for nothing, or where it is wrong."""
    tokens = reader.whole("shared-prefix-tokens", 0, MAX_TOKENS, 0)
    documents = reader.whole("documents", 0, MAX_DOCUMENTS, 0)
    length = reader.read("document-tokens", _document_length, Length("fixed", 1000.0))
    zipf = reader.number("document-zipf", 0.0, MAX_ZIPF, 1.0)
    for name in ("document-tokens", "document-zipf"):
        if reader.get(name) and not documents:
            reader.problems.append(f"{name}: expected documents beside it, got none")
    if not tokens and not documents:
        return None
    _check_prefix(reader)
    return SharedPrefix(tokens, documents, length, 1.0 if zipf is None else zipf, reader.whole("seed", 0, 2**53, 1))


def _document_length(text: str) -> Length:
    found = parse_length(text, where="document-tokens")
    if found.kind in ELSEWHERE:
        raise BadInput([f"document-tokens: expected a number or a distribution, got {text!r}"])
    return found


def _check_prefix(reader: OptionReader) -> None:
    """Beside what makes no prompts of their own, shared beginnings would be ignored."""
    if reader.get("dataset"):
        reader.problems.append("shared-prefix-tokens, documents: expected made-up prompts, got a dataset")
    if reader.get("prompt-prefix") == "shared":
        reader.problems.append("prompt-prefix: expected unique beside shared-prefix-tokens or documents, got shared")
    if (asks := reader.get("endpoint") or "chat") not in ("chat", "responses", "messages", "completions"):
        reader.problems.append(f"shared-prefix-tokens, documents: expected an endpoint of prompts, got {asks}")


def parse_salt(text: str) -> str:
    """A salt. Raises `BadInput`."""
    if len(text) > MAX_SALT or not text.isprintable():
        raise BadInput([f"prompt-salt: expected at most {MAX_SALT} characters that can be printed, got {text!r:.80}"])
    return text


def read_recording(reader: OptionReader, targets: Collection[str]) -> Recording | None:
    """What `requests` names; `None` when it is not given, or wrong."""
    path = reader.get("requests")
    skip_bad = reader.whole("skip-bad", 0, MAX_SKIPPED, 0)
    if path is None:
        if reader.get("skip-bad"):
            reader.problems.append("skip-bad: expected requests beside it, got none")
        return None
    if set(targets) != {"chat"}:
        reader.problems.append(f"requests: expected users of the chat target alone, got {', '.join(sorted(targets))}")
    for name in BESIDE:
        if reader.get(name):
            reader.problems.append(f"requests: expected no {name} beside it (they are sent as recorded), got both")
    asks = reader.get("endpoint") or "chat"
    index = reader.read("requests", lambda path: load_index(path, asks, skip_bad), None)
    if index is None:
        return None
    window = reader.read("trace-window", parse_trace_window, None)
    if window is not None and not index.has_timestamps:
        reader.problems.append("trace-window: expected requests with timestamps, got requests without")
        window = None
    sessions = index.form is Form.GRAPH or reader.get("arrivals-of") == "sessions"
    grouped = Sessions(index) if sessions else None
    first, end = index.within(window) if grouped is None else grouped.within(window)
    if first == end:
        last_s, given = index.instants_s[-1] - index.instants_s[0], reader.get("trace-window")
        what = "a part of the requests" if grouped is None else "a part of the requests in which a session begins"
        reader.problems.append(f"trace-window: expected {what}, which last {last_s:.4g} s, got {given}")
        return None
    return Recording(index, first, end - first, None if window is None else window[0], grouped)


def recorded_plan(reader: OptionReader, recording: Recording) -> RecordedPlan | None:
    """The recorded instants, with the speed that is asked for; `None` without timestamps: other options say when."""
    if not recording.index.has_timestamps:
        return None
    speed = reader.number("trace-speed", 0.001, MAX_SPEED, 1.0) or 1.0
    return RecordedPlan(recording.offsets_s(speed))
