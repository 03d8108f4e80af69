"""OpenTelemetry's spans of model calls, read as the requests that they tell of. Pure.

A line is a span as the SDK writes it (`ReadableSpan.to_json`), or OTLP JSON as a collector's file exporter writes it.
What was asked stands in one of four ways:

- the request's body itself, as JSON in a text (`input.value` of OpenInference, `request_data` of Logfire);
- messages as JSON in a text (`gen_ai.input.messages` of the semantic conventions, `ai.prompt.messages` of Vercel);
- messages as events, one for each (`gen_ai.user.message` of Azure's SDK);
- messages as attributes, one for each value (`gen_ai.prompt.0.content` of Traceloop,
  `llm.input_messages.0.message.content` of OpenInference).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from tokenswarm.logs.logged import PASSED_ON, Fields, LoggedRequest, objects_of, url_of
from tokenswarm.recordings.bodies import BadLine
from tokenswarm.recordings.lines import read_timestamp
from tokenswarm.userinput import parse_json

KINDS = ("spans", "events")
"""Of records: a call may have one of each."""
_OPERATIONS = ("chat", "text_completion", "completion", "generate_content", "llm", "responses", "anthropic_messages")
_OTLP = frozenset(["resourceSpans", "resourceLogs", "resourceMetrics", "batches"])
"""`batches`: as Tempo calls the first."""
_SNAKE_CASE = ("resource_spans", "resource_logs", "resource_metrics")
_UNDERSCORE = re.compile(r"_([a-z])")
_EVENT = "gen_ai.client.inference.operation.details"
_SPAN_PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "seed": "seed",
    "stop_sequences": "stop",
    "choice.count": "n",
}
"""By their names after `gen_ai.request.`."""
_CHAT_PARAMETERS = PASSED_ON - {"max_output_tokens", "instructions", "text", "reasoning", "stop_sequences", "thinking",
                                "max_tool_calls", "truncation"}  # fmt: skip
_CONTEXT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
_ANSWER_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")
_FIRST_TOKEN = re.compile(r"first[_ ]?(chunk|token)", re.IGNORECASE)
"""In the name of an attribute or an event, which only the span of a streamed answer has."""
_MESSAGE_EVENT = re.compile(r"gen_ai\.(system|user|assistant|tool)\.message")
_MESSAGES_IN_EVENTS = "gen_ai.event.content"
_BODIES = ("input.value", "request_data")
_SAID = frozenset(["content", "tool_calls", "function_call"])
_WRAPPERS = ("message", "message_content", "tool_call", "tool", "image")
_TEXTS = ("text", "input_text", "output_text")
_CALLS, _ANSWERS = ("tool_call", "tool_use"), ("tool_call_response", "tool_result")
_RESULTS = ("response", "output", "result", "content")
_CLIENT_OPTIONS = frozenset(["extra_headers", "extra_query", "timeout"])


class _NotWhole(Exception):
    """A span lacks a part of what was asked."""


def read_otel(data: bytes) -> Iterator[LoggedRequest | None]:
    """The model calls among the spans and log records of a line, `None` for each of something else. Raises
    `BadLine`."""
    for entry in objects_of(data):
        yield from map(_request, _records(entry))


def _records(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Spans and log records of OTLP, of which a file may have metrics, too, or one of the SDK. Raises `BadLine`."""
    if not entry.keys().isdisjoint(_SNAKE_CASE):
        entry = _camel_case(entry)
    entry = entry["trace"] if isinstance(entry.get("trace"), dict) else entry  # as Tempo's second API has it
    if entry.keys().isdisjoint(_OTLP):
        if "attributes" not in entry:
            raise BadLine("expected a span as the OpenTelemetry SDK writes it, or OTLP JSON (resourceSpans), as a "
                          "collector's file exporter does; got another object")  # fmt: skip
        yield entry
    for resource in [*(entry.get("resourceSpans") or entry.get("batches") or []), *(entry.get("resourceLogs") or [])]:
        for scope in [*(resource.get("scopeSpans") or []), *(resource.get("scopeLogs") or [])]:
            yield from scope.get("spans") or []
            yield from scope.get("logRecords") or []


def _camel_case(value: Any) -> Any:
    """OTLP with the names that its protobuf has; names of attributes are no keys of it."""
    if isinstance(value, list):
        return [_camel_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {_UNDERSCORE.sub(lambda found: found[1].upper(), name): _camel_case(each) for name, each in value.items()}


def _request(record: Mapping[str, Any]) -> LoggedRequest | None:
    found, attributes = Fields(record), _attributes(record.get("attributes"))
    begin = found.get("startTimeUnixNano", "start_time")
    is_log_record = found.get("observedTimeUnixNano", "observed_timestamp") is not None
    if begin is not None and begin == found.get("endTimeUnixNano", "end_time"):
        return None  # a message in the form of a span, as Logfire's: no call takes no time
    if is_log_record and _EVENT not in (found.get("eventName", "event_name"), attributes.get("event.name")):
        return None
    events = [] if is_log_record else record.get("events") or []
    fields = Fields(attributes | _said_in(events))
    if not is_call(fields):
        return None
    if not is_log_record:
        names = [*attributes, *(str(event.get("name")) for event in events)]
        made = request_of(fields, read_timestamp(begin), "spans", any(map(_FIRST_TOKEN.search, names)))
        made.span = str(found.get("spanId") or Fields(found.get("context") or {}).get("span_id") or "")
        made.parent = str(found.get("parentSpanId", "parent_id") or "")
        return made
    written = found.get("timeUnixNano", "timestamp", "observedTimeUnixNano", "observed_timestamp")
    return request_of(fields, read_timestamp(written), "events", is_streamed=False)


def _said_in(events: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The messages that a span has as events, under the name that they have together."""
    roles = [_MESSAGE_EVENT.fullmatch(str(event.get("name"))) for event in events]
    texts = [_attributes(event.get("attributes")).get("gen_ai.event.content") for event in events]
    said = [(role[1], text) for role, text in zip(roles, texts, strict=True) if role]
    return {_MESSAGES_IN_EVENTS: said} if any(text for _, text in said) else {}


def request_of(fields: Fields, at_s: float, source: str, is_streamed: bool = False) -> LoggedRequest:
    """The request that attributes tell of; `is_streamed`: where they do not say it themselves."""
    asks, body = _asked(fields, is_streamed)
    return LoggedRequest(
        at_s,
        url_of(asks),
        body,
        session=fields.get("gen_ai.conversation.id", "session.id"),
        context_tokens=fields.count(*_CONTEXT_TOKENS) or None,  # 0 where a stream ended without a count
        max_tokens=fields.count(*_ANSWER_TOKENS) or None,
        source=source,
        is_end=source == "events",
        answer=str(fields.get("gen_ai.response.id") or ""),
    )


def is_call(fields: Fields) -> bool:
    """Whether attributes are those of a call that a model answers with text."""
    operation = fields.get("gen_ai.operation.name", "llm.request.type", "openinference.span.kind")
    if operation is None:
        return fields.get("gen_ai.request.model") is not None
    name = str(operation).lower()
    return name in _OPERATIONS or name.removeprefix("a") in _OPERATIONS  # LiteLLM's acompletion


def _attributes(given: Any) -> dict[str, Any]:
    """By name, from the SDK's object or from OTLP's list of typed values."""
    if isinstance(given, dict):
        return given
    return {str(item.get("key")): _value(item.get("value") or {}) for item in given or []}


def _value(typed: Mapping[str, Any]) -> Any:
    """OTLP's JSON has whole numbers as text."""
    kind, value = next(iter(typed.items()), ("", cast(Any, None)))
    if kind == "intValue":
        return int(value)
    if kind == "arrayValue":
        return [_value(each) for each in value.get("values") or []]
    return _attributes(value.get("values")) if kind == "kvlistValue" else value


def _asked(fields: Fields, is_streamed: bool) -> tuple[str, dict[str, Any] | None]:
    """Which API, and the body; `None` where the span has not all that was asked."""
    try:
        for name in _BODIES:
            if body := _whole_body(fields.get(name)):
                return _asks(fields, body), body
        return "chat", _chat_body(fields, is_streamed)
    except _NotWhole:
        return "chat", None


def _whole_body(text: Any) -> dict[str, Any] | None:
    """A body as a client has sent it; `None` for the input of another program, as of a chain of calls."""
    try:
        body = parse_json(text) if isinstance(text, str) and text.startswith("{") else None
    except ValueError:
        return None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return None
    if body.get("previous_response_id") or body.get("conversation"):
        raise _NotWhole  # it goes on from an answer that the service has stored
    messages = body.get("messages", body.get("input", body.get("prompt")))
    said = messages if isinstance(messages, list) else []
    if not messages or ("messages" in body and not all(map(_is_whole_message, said))):
        return None
    return {name: value for name, value in body.items() if name not in _CLIENT_OPTIONS}


def _is_whole_message(message: Any) -> bool:
    return isinstance(message, dict) and "role" in message and not message.keys().isdisjoint(_SAID)


def _asks(fields: Fields, body: Mapping[str, Any]) -> str:
    if "messages" not in body:
        return "responses" if "input" in body else "completions"
    provider = fields.get("gen_ai.provider.name", "gen_ai.system", "llm.system", "llm.provider")
    return "messages" if "system" in body or provider == "anthropic" else "chat"


def _chat_body(fields: Fields, is_streamed: bool) -> dict[str, Any] | None:
    said = [made for message in _messages(fields) for made in _chat_messages(message)]
    if not said:
        return None
    model = fields.get("gen_ai.request.model", "llm.model_name", "gen_ai.response.model")
    body = {"model": str(model or ""), "messages": _system(fields) + said, **_parameters(fields)}
    stream, tools = fields.get("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming"), _tools(fields)
    streamed = {"stream": True} if str(stream).lower() == "true" or (stream is None and is_streamed) else {}
    return body | streamed | ({"tools": tools} if tools else {})


def _parameters(fields: Fields) -> dict[str, Any]:
    given = _json(fields.get("llm.invocation_parameters"))
    passed_on = given if isinstance(given, dict) else {}
    made = {name: passed_on[name] for name in _CHAT_PARAMETERS & passed_on.keys() if passed_on[name] is not None}
    found = {
        name: _number_or_list(fields.get(f"gen_ai.request.{written}")) for written, name in _SPAN_PARAMETERS.items()
    }
    return made | {
        name: value for name, value in found.items() if isinstance(value, int | float | list) and value != []
    }


def _number_or_list(value: Any) -> Any:
    """Lists may be JSON in a text, and numbers, too, where all attributes are texts."""
    is_json = isinstance(value, str) and value[:1] in "[-0123456789"
    return _json(value) if is_json else value


def _json(value: Any) -> Any:
    """What a text says as JSON, anything else as it is. Raises `_NotWhole`."""
    try:
        return parse_json(value) if isinstance(value, str) else value
    except ValueError:
        raise _NotWhole from None  # cut, as long attributes are


def _listed(value: Any) -> list[Any]:
    """A list, which spans have as JSON in a text. Raises `_NotWhole`."""
    found = _json(value)
    if not isinstance(found, list):
        raise _NotWhole
    return found


def _object(value: Any) -> dict[str, Any]:
    found = _json(value)
    if not isinstance(found, dict):
        raise _NotWhole
    return found


def _system(fields: Fields) -> list[dict[str, Any]]:
    given = fields.get("gen_ai.system_instructions")
    if given is None:
        return []
    is_text = isinstance(given, str) and not given.startswith("[{")
    return [{"role": "system", "content": given if is_text else _content(_listed(given))}]


def _messages(fields: Fields) -> list[Any]:
    given = fields.get("gen_ai.input.messages", "ai.prompt.messages")
    if given is not None:
        return _listed(given)
    if said := fields.get(_MESSAGES_IN_EVENTS):
        return [{"role": role} | _object(text) for role, text in said]
    return _nested(fields, "gen_ai.prompt") or _nested(fields, "llm.input_messages")


def _nested(fields: Fields, prefix: str) -> list[Any]:
    """The list that the attributes below prefix.0, prefix.1 and so on are of. Raises `_NotWhole`."""
    root: dict[str, Any] = {}
    for name, value in fields.values.items():
        if name.startswith(f"{prefix}."):
            *path, last = name[len(prefix) + 1 :].split(".")
            at: Any = root
            for part in path:
                at = at.setdefault(part, {}) if isinstance(at, dict) else None
            if not isinstance(at, dict):
                raise _NotWhole
            at[last] = value
    found = _unwrapped(root)
    return found if isinstance(found, list) else []


def _unwrapped(value: Any) -> Any:
    """Objects with numbers for names become lists; those that hold one object under its kind become that."""
    if not isinstance(value, dict) or not value:
        return value
    if all(name.isdecimal() for name in value):
        return [_unwrapped(value[name]) for name in sorted(value, key=int)]
    (name, only), *others = value.items()
    if name in _WRAPPERS and isinstance(only, dict) and not others:
        return _unwrapped(only)
    return {name: _unwrapped(each) for name, each in value.items()}


def _chat_messages(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A message of a span as those of a chat request, where what a tool said is one by itself. Raises `_NotWhole`."""
    parts = [part for part in _parts(message) if part["type"] not in ("reasoning", "thinking")]
    role = message.get("role")
    answers = [part for part in parts if part["type"] in _ANSWERS]
    calls = [_call(each) for each in message.get("tool_calls") or []]
    calls += [_call(part) for part in parts if part["type"] in _CALLS]
    others = [part for part in parts if part["type"] not in (*_ANSWERS, *_CALLS)]
    if not isinstance(role, str) or not (parts or calls):
        raise _NotWhole  # as instrumentations write messages with images
    for part in answers:
        yield _tool_message(_first(part, "id", "toolCallId", "tool_use_id"), _first(part, *_RESULTS))
    if role == "tool" and others:
        yield _tool_message(_first(message, "tool_call_id", "id"), _content(others))
    elif others or calls:
        made: dict[str, Any] = {"role": role, "content": _content(others) if others else None}
        yield made | ({"tool_calls": calls} if calls else {})


def _tool_message(call: Any, said: Any) -> dict[str, Any]:
    if isinstance(said, dict) and "value" in said:
        said = said["value"]
    return {"role": "tool", "tool_call_id": str(call or ""), "content": _text(said)}


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a message says, each with its kind. Raises `_NotWhole`."""
    given = _first(message, "parts", "contents", "content")
    if isinstance(given, str) and given.startswith('[{"type"'):
        given = _listed(given)
    if isinstance(given, str):
        given = [given]
    made = [{"type": "text", "text": part} if isinstance(part, str) else part for part in given or []]
    if not all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in made):
        raise _NotWhole
    return [part | {"type": part["type"].replace("-", "_")} for part in made]


def _content(parts: list[Any]) -> str | list[dict[str, Any]]:
    """Text alone where there is nothing else. Raises `_NotWhole`."""
    made = [_part(part) for part in parts]
    return made if any("text" not in part for part in made) else "".join(part["text"] for part in made)


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    text = _first(part, "content", "text")
    if part.get("type") in _TEXTS and isinstance(text, str):
        return {"type": "text", "text": text}
    return {"type": "image_url", "image_url": {"url": _image_url(part)}}


def _image_url(part: Mapping[str, Any]) -> str:
    """Raises `_NotWhole` for what is no image, or is not there."""
    kind, media = str(part.get("type")), str(_first(part, "mime_type", "mediaType", "media_type", "mimeType"))
    if part.get("modality") != "image" and not kind.startswith("image") and not media.startswith("image/"):
        raise _NotWhole
    given = _first(part, "uri", "image_url", "image", "content", "data")
    given = given.get("url") if isinstance(given, dict) else given
    if not isinstance(given, str):
        raise _NotWhole
    return given if given.startswith(("data:", "http:", "https:")) else f"data:{media};base64,{given}"


def _call(part: Mapping[str, Any]) -> dict[str, Any]:
    """Raises `_NotWhole`."""
    given = part.get("function")
    said = given if isinstance(given, dict) else part
    name, arguments = _first(said, "name", "toolName"), _first(said, "arguments", "input", "args")
    if name is None:
        raise _NotWhole
    function = {"name": str(name), "arguments": "{}" if arguments is None else _text(arguments)}
    return {"id": str(_first(part, "id", "toolCallId") or ""), "type": "function", "function": function}


def _first(values: Mapping[str, Any], *names: str) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _tools(fields: Fields) -> list[dict[str, Any]]:
    given = fields.get("gen_ai.tool.definitions", "ai.prompt.tools")
    listed = (
        _nested(fields, "llm.request.functions") or _nested(fields, "llm.tools") if given is None else _listed(given)
    )
    return [_tool(each) for each in listed]


def _tool(given: Any) -> dict[str, Any]:
    """Raises `_NotWhole` for a tool that a chat request cannot have."""
    tool = _json(given)
    tool = _json(tool.get("json_schema", tool)) if isinstance(tool, dict) else None
    if not isinstance(tool, dict):
        raise _NotWhole
    if isinstance(tool.get("function"), dict):
        return tool
    if not isinstance(tool.get("name"), str):
        raise _NotWhole
    found = {name: tool[name] for name in ("name", "description", "strict") if tool.get(name) is not None}
    schema = _json(_first(tool, "parameters", "inputSchema", "input_schema"))
    return {"type": "function", "function": found | ({} if schema is None else {"parameters": schema})}
