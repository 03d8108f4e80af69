"""Chat completions on the wire: events and bodies in, tokens, usage and errors out. No I/O, no clock.

The order of a stream (Azure OpenAI, captures 2024-2026): a prompt-filter chunk without choices, a role chunk with
empty content, content chunks (one or several tokens each), a finish chunk, a usage chunk when asked for, `[DONE]`.
Only a non-empty content, reasoning or tool-call delta is a token.

What makes an answer whole is a finish reason for each choice that is known to be good. `[DONE]` alone does not, the
end of the body does not, an empty reason does not; a reason that is not known does, with a doubt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tokenswarm.apis.api import Encoded, Found
from tokenswarm.apis.chunk_times import ChunkTimes
from tokenswarm.apis.request import ChatRequest, chat_body, encode_json
from tokenswarm.apis.sse import ErrorEvent, foreign_text
from tokenswarm.apis.whole_body import EventsOrBody, Usual
from tokenswarm.payload.ends import end_doubts, end_reason, failed_end
from tokenswarm.payload.errors import ToldError, find_error, read_object, told, told_event, unreadable_event
from tokenswarm.payload.json_text import read_json, whole_characters
from tokenswarm.payload.message import ToolCalls, has_text, message_of, reasons, said_text, shows
from tokenswarm.payload.usage import Usage, parse_usage, plausible, streamed_tokens
from tokenswarm.record import Doubt, Outcome

CHAT_PATH = "/chat/completions"

_DONES = (b"[DONE]", b'"[DONE]"')
_FINISH = b'"finish_reason":'
_UNFINISHED = b'"finish_reason":null'
_USAGE = b'"usage":'
_PLAIN = re.compile(rb"[ !#-\[\]-~]+")
"""Characters that stand for themselves inside a JSON string: printable ASCII but quote and backslash."""
_is_plain = _PLAIN.fullmatch


class ChatCompletions:
    """The API of chat completions; `deployment` is the model that a body names."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment

    def encode(self, request: ChatRequest) -> Encoded:
        return Encoded(encode_json(chat_body(request, self._deployment)), CHAT_PATH)

    def reader(self, request: ChatRequest, status: int, headers: Mapping[str, str]) -> ChatStream:
        return stream_of(request, status, headers)


def stream_of(
    request: ChatRequest, status: int, headers: Mapping[str, str], kind: type[ChatStream] | None = None
) -> ChatStream:
    """What reads the answer to a request, of chat completions or of completions."""
    events_promised = "event-stream" in headers.get("content-type", "").lower()
    stream = (kind or ChatStream)(
        request.keep_text or request.keep_calls, int(request.body.get("n", 1)), status, events_promised
    )
    stream.keep_calls = request.keep_calls
    return stream


class ChatStream(EventsOrBody):
    """One answer while it arrives: a stream of events, or one JSON body, whichever it begins like.

    `keep_text` collects the visible answer (for conversations that feed it back); it costs a JSON parse a chunk, as
    several `choices` do.
    """

    CONTENT: ClassVar[bytes] = b'"delta":{"content":"'
    """What stands before the text of an event with nothing else."""

    __slots__ = (
        "_after",
        "_before",
        "_calls",
        "_ends",
        "_events_promised",
        "_has_deltas",
        "_keep_text",
        "_parse_all",
        "_premature",
        "_refused",
        "_seen",
        "_shown",
        "_status",
        "_text",
        "_usual",
        "choices",
        "done",
        "keep_calls",
        "model",
        "reasoning_streamed",
        "service_tier",
        "times",
        "told",
        "undecodable",
        "usage",
        "visible_ms",
    )

    def __init__(
        self, keep_text: bool = False, choices: int = 1, status: int = 200, events_promised: bool = True
    ) -> None:
        super().__init__()
        self._keep_text = keep_text
        self._parse_all = keep_text or choices > 1
        self._status = status
        self._events_promised = events_promised
        self._before = self._after = b""
        self._text: list[str] = []
        self._calls = ToolCalls()
        self._refused = False
        self._shown = False
        """Whether a reader has seen anything of the answer; until then each event is parsed."""
        self._usual: Usual | None = None
        self._seen: set[int] = set()
        self._ends: dict[int, str] = {}
        self._has_deltas = False
        self._premature = False
        """Whether text came behind a reason: without `[DONE]` no later one is sure to be the end."""
        self.choices = choices
        self.keep_calls = False
        """Whether an answer that calls tools is to be said again."""
        self.times = ChunkTimes()
        self.visible_ms: float | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.service_tier: str | None = None
        self.told: ToldError | None = None
        self.undecodable: str | None = None
        self.reasoning_streamed = False
        self.done = False

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Take bytes that arrived not later than `at_ms` and not before `since_ms`. True: the answer has ended.

        Raises `EventTooLarge`, `BodyTooLarge`.
        """
        if self._is_another_token(data):
            self.times.add(1, at_ms, since_ms)
            return False
        self._take_events(self._events_in(data), at_ms, since_ms)
        if not self._decoder.at_boundary:
            self._tail_ms = at_ms
            self.done = self.done or self._decoder.tail.strip() in (b"data: [DONE]", b"data:[DONE]")
        return self.done or self.told is not None

    def usual(self) -> Usual | None:
        """What the next event may be without being given to `feed`; `None` where it has to be."""
        return self._usual if self._decoder.at_boundary else None

    def _take_events(self, events: list[bytes], at_ms: float, since_ms: float) -> None:
        tokens, before, after = 0, self._before[6:], self._after[:-2]
        content, size = self.CONTENT, len(self.CONTENT)
        for event in events:
            if (
                before
                and event.startswith(before)
                and event.endswith(after)
                and _is_plain(event, len(before), len(event) - len(after)) is not None
            ):
                tokens += 1
                continue
            mark = event.find(content)
            if mark >= 0 and self._shown and not self._parse_all and _is_token(event, mark + size):
                tokens += 1
                if not self._before:
                    self._learn(event, mark + size)
                continue
            tokens += self._parse(event)
            before = b"" if self._ends else before
            if self.done or self.told is not None:
                break  # what comes behind it is none of the answer's
        if tokens:
            self.times.add(tokens, at_ms, since_ms)
            if self.visible_ms is not None and self.visible_ms < 0:
                self.visible_ms = self.times.latest_first_ms

    def _learn(self, event: bytes, begin: int) -> None:
        """Remember what stands around the content (from `begin`) of an event, and of a read of nothing else."""
        end = _PLAIN.match(event, begin)
        if end is not None and event[end.end() : end.end() + 1] == b'"':
            self._before, self._after = b"data: " + event[:begin], event[end.end() :] + b"\n\n"
            self._usual = self._before, self._after, _is_plain, self.times.at_ms

    def _is_another_token(self, data: bytes) -> bool:
        """Whether `data` is one event that differs from a content event seen before in plain characters of its content
        only, as most reads are: half the work of looking at it."""
        before, after = self._before, self._after
        return (
            before != b""
            and data.startswith(before)
            and data.endswith(after)
            and self._decoder.at_boundary
            and _is_plain(data, len(before), len(data) - len(after)) is not None
        )

    @property
    def text(self) -> str:
        """The visible answer so far; empty unless `keep_text`."""
        return whole_characters("".join(self._text))

    @property
    def finish_reason(self) -> str | None:
        """The choices' finish reasons, each once, in the order of the choices; `None` before the first."""
        return ";".join(dict.fromkeys(self._ends[index] for index in sorted(self._ends))) or None

    @property
    def cut(self) -> bool:
        """Whether a choice has no finish reason, or what came last lacks its end."""
        return not self._ends or not self._seen <= set(self._ends) or (not self.done and self._decoder.unfinished)

    def finish(self) -> Found:
        """What the answer came to."""
        if self._whole is not None:
            return read_body(self._whole.data, self._status, self.choices, self.keep_calls)
        if not self.done:
            self._take_tail()
        usage, doubts = plausible(self.usage or Usage(), len(self.times.at_ms), self.reasoning_streamed)
        outcome, error = self._outcome(usage)
        streamed = streamed_tokens(usage, self.reasoning_streamed)
        columns = {
            **self.times.columns(streamed),
            "ttft_visible_ms": self.visible_ms,
            "finish_reason": self.finish_reason,
            "model": self.model,
            "service_tier": self.service_tier,
            **usage.columns(),
        }
        if outcome is Outcome.OK:
            ends = () if self._premature and not self.done else self._ends.values()
            doubts += end_doubts(ends, self._status, self._shown)
            doubts += _fewer(self._ends, self.choices)
            doubts += [Doubt.UNREAD] if self._decoder.unread else []
            is_text = self._shown and "call" not in (self.finish_reason or "")
            doubts += [Doubt.BUFFERED] if self.times.buffered(streamed if is_text else None) else []
        columns["doubts"] = ";".join(doubts) or None
        called = self._calls.called(self.text, self._ends.get(0)) if self.keep_calls else None
        return Found(outcome, error, self.text, columns, None, tuple(self._calls), self._refused, called)

    def _take_tail(self) -> None:
        """The last event may lack its blank line. One that is no JSON was cut, and stays so."""
        self._tail, undecodable = self._decoder.tail, self.undecodable
        self._take_events(self._decoder.finish(), self._tail_ms, self._tail_ms)
        if self.undecodable != undecodable:
            self.undecodable = undecodable
            self._decoder.feed(self._tail)

    def _outcome(self, usage: Usage) -> tuple[Outcome, str | None]:
        if self.told is not None:
            return self.told.outcome, self.told.text
        empty = not self.times.at_ms
        if not self._started and (self._status != 200 or not self._events_promised):
            return Outcome.BAD_PAYLOAD, "answer without a body"
        if failed := failed_end(self._ends.values()):
            return failed
        if empty and not self._ends and (foreign := foreign_text(self._tail)) is not None:
            return Outcome.BAD_PAYLOAD, f"body is neither JSON nor events: {foreign:.200}"
        if self.cut and not (empty and self.undecodable):
            said = "[DONE] came without a finish reason" if self.done else "stream ended before the answer was finished"
            return Outcome.TRUNCATED, said
        if self.undecodable is not None:
            return Outcome.BAD_PAYLOAD, self.undecodable
        return (Outcome.BAD_PAYLOAD, "stream without tokens") if empty and not usage.completion_tokens else _OK

    def _parse(self, event: bytes) -> int:
        """Read one event; 1 when it carries tokens, else 0."""
        if isinstance(event, ErrorEvent):
            self.told = told_event(event)
            return 0
        event = event.strip()
        self.done = event.startswith(_DONES)
        if self.done or event in (b"", b"null"):  # a gateway's heartbeat
            return 0
        try:
            chunk = read_json(event)
        except ValueError as error:
            self.undecodable = self.undecodable or unreadable_event(event, error)
            return 0
        if not isinstance(chunk, dict):
            self.undecodable = self.undecodable or f"event is not a JSON object: {type(chunk).__name__}"
            return 0
        self.told = self.told or find_error(chunk, message_alone=True)
        if isinstance(usage := chunk.get("usage"), dict):
            self._take_usage(usage)
            self.service_tier = _text_of(chunk.get("service_tier"))  # every chunk has it: the last will do
        if isinstance(extra := chunk.get("x_groq"), dict):
            self._take_usage(extra.get("usage"))
            if broken := extra.get("error"):  # of a stream that was stopped early, beside a good reason
                self.told = self.told or told(broken)
        if isinstance(model := chunk.get("model"), str) and model:
            self.model = model
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return 0
        return int(any([self._take_choice(at, each) for at, each in enumerate(choices) if isinstance(each, dict)]))

    def _take_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            found = parse_usage(usage)
            if self.usage is None:
                self.usage = found
            else:
                self.usage.take(found)

    def _take_choice(self, position: int, choice: dict[str, Any]) -> bool:
        index = choice.get("index")
        index = index if isinstance(index, int) else position
        self._take_usage(choice.get("usage"))  # Moonshot puts it there
        reason = end_of(choice)
        delta = self._new_in(choice)
        if error := choice.get("error") or (delta and delta.get("error")):
            self.told = self.told or told(error)
        if delta is None:
            if reason is not None:
                self._note_end(index, reason, False)
            return False
        self._seen.add(index)
        visible, reasoning = has_text(delta), reasons(delta)
        if reason is not None or self._ends:
            self._note_end(index, reason, visible or reasoning)
        self.reasoning_streamed |= reasoning
        if visible and self.visible_ms is None:
            self.visible_ms = -1.0  # set by feed() once the time of this chunk is known
        self._shown = self._shown or shows(delta)
        if self._keep_text and index == 0:
            self._text.append(said_text(delta))
            self._calls.add(delta)
            self._refused |= bool(delta.get("refusal"))
        return visible or reasoning

    def _new_in(self, choice: dict[str, Any]) -> Mapping[str, Any] | None:
        """What is new in a choice: its delta. A message behind deltas says them once more (MiniMax)."""
        if self._has_deltas:
            delta = choice.get("delta")
            return delta if isinstance(delta, Mapping) else None
        self._has_deltas = isinstance(choice.get("delta"), Mapping)
        return message_of(choice)

    def _note_end(self, index: int, reason: str | None, has_token: bool) -> None:
        """A reason that text follows was none of the end (some services write it into each chunk). From the first on,
        each event is parsed."""
        if has_token and self._ends.pop(index, None) is not None:
            self._premature = True
        if reason is not None:
            self._ends[index] = reason
            self._parse_all, self._before, self._usual = True, b"", None


_OK: tuple[Outcome, str | None] = (Outcome.OK, None)


def _is_token(event: bytes, begin: int) -> bool:
    """Whether an event whose content begins at `begin` is a token and nothing else, so that it need not be parsed.

    Cheap and certain: an unescaped key cannot stand inside a JSON string, and an empty content has a quote where this
    has a character. Everything else is parsed, what may be cut off or no UTF-8 too.
    """
    return (
        event[begin : begin + 1] != b'"'
        and _UNFINISHED in event
        and event.count(_FINISH) == 1
        and (_USAGE not in event or event.count(_USAGE) == event.count(b'"usage":null'))
        and b'"error":' not in event
        and event.endswith(b"}")
        and event.isascii()
    )


def end_of(choice: Mapping[str, Any]) -> str | None:
    """A choice's finish reason; `None` where it is none."""
    return end_reason(choice.get("finish_reason"))


def _fewer(ends: Mapping[int, str], choices: int) -> list[Doubt]:
    return [Doubt.FEWER_CHOICES] if 0 < len(ends) < choices else []


def read_body(body: bytes, status: int = 200, asked: int = 1, keep_calls: bool = False) -> Found:
    """What a non-streamed answer came to; `keep_calls`: one that calls tools is to be said again."""
    answer = read_object(body)
    if isinstance(answer, ToldError):
        return Found(answer.outcome, answer.text)
    listed = answer.get("choices")
    choices = [choice for choice in listed if isinstance(choice, dict)] if isinstance(listed, list) else []
    messages = [message for choice in choices if (message := message_of(choice, ("message", "delta"))) is not None]
    ends = {index: reason for index, choice in enumerate(choices) if (reason := end_of(choice)) is not None}
    reported = parse_usage(answer["usage"]) if isinstance(answer.get("usage"), dict) else Usage()
    has_token = any(has_text(message) or reasons(message) for message in messages)
    usage, doubts = plausible(reported, int(has_token), reasoning_streamed=False)
    outcome, error = _body_outcome(answer, choices, ends, has_token or bool(usage.completion_tokens))
    if outcome is Outcome.OK:
        doubts += end_doubts(ends.values(), status, any(map(shows, messages))) + _fewer(ends, asked)
    columns = {
        "finish_reason": ";".join(dict.fromkeys(ends.values())) or None,
        "model": _text_of(answer.get("model")),
        "service_tier": _text_of(answer.get("service_tier")),
        **usage.columns(),
        "doubts": ";".join(doubts) or None,
    }
    first = messages[0] if messages else {}
    calls, text = ToolCalls(), said_text(first)
    calls.add(first)
    called = calls.called(text, ends.get(0)) if keep_calls else None
    return Found(outcome, error, text, columns, None, tuple(calls), bool(first.get("refusal")), called, whole=True)


def _body_outcome(
    answer: Mapping[str, Any], choices: list[dict[str, Any]], ends: Mapping[int, str], has_token: bool
) -> tuple[Outcome, str | None]:
    error = find_error(answer, message_alone=True) or next(
        (told(choice["error"]) for choice in choices if choice.get("error")), None
    )
    if error is not None:
        return error.outcome, error.text
    if not choices:
        return Outcome.BAD_PAYLOAD, "body has no choices"
    if failed := failed_end(ends.values()):
        return failed
    return _OK if has_token else (Outcome.BAD_PAYLOAD, "answer without text")


def _text_of(value: Any) -> str | None:
    return value if isinstance(value, str) else None
