"""Logs of other programs, read as the requests that they tell of. Pure.

otel       OpenTelemetry's GenAI spans: a span a line as the SDK writes them (`ReadableSpan.to_json`), or OTLP JSON
           as a collector's file exporter does; by the names of the semantic conventions, and those that Traceloop's
           instrumentations had before and beside them (`gen_ai.prompt.0.content`, `llm.request.functions.0.name`)
litellm    a StandardLoggingPayload a line, or a list of them, as LiteLLM hands it to its loggers; rows of its spend log
azure      an exported log record a line, {"records": [...]} as Event Hubs has them, or a list as `az` writes:
           RequestResponse of Azure OpenAI, GatewayLlmLogs and GatewayLogs of API Management

Sources of the fields of `azure`: real records of RequestResponse and GatewayLogs in the tests of Elastic's integration
(elastic/integrations, packages/azure_openai/data_stream/logs/_dev/test/pipeline); Microsoft's reference of the table
ApiManagementGatewayLlmLog, and what people who read it report: the record of the tokens has the sequence number 0,
those of messages others; probes have 0 tokens; the prompt tokens of Claude leave out those from its cache.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from tokenswarm.recordings.bodies import BadLine, asks_of
from tokenswarm.traffic.logged import (
    MAX_INSTANT_S,
    Fields,
    LoggedRequest,
    Reader,
    instant_of,
    object_of,
    objects_of,
    tokens_of,
)
from tokenswarm.userinput import parse_json

_EPOCH_TICKS, _TICKS_PER_S = 621_355_968_000_000_000, 10_000_000
"""Of .NET, which counts from the year 1."""
CATEGORIES = ("RequestResponse", "GatewayLogs", "GatewayLlmLogs")
_TABLES = {"ApiManagementGatewayLogs": "GatewayLogs", "ApiManagementGatewayLlmLog": "GatewayLlmLogs"}
"""Of Log Analytics, and what is in them."""
_CALLS = {
    "completion": "chat",
    "text_completion": "completions",
    "responses": "responses",
    "embedding": "embeddings",
    "anthropic_messages": "messages",
}
"""LiteLLM's types of calls, each with an a before it where it was asynchronous, and the API that was asked."""
_REDACTED = "redacted-by-litellm"
_PASSED_ON = frozenset(
    ["max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "top_k", "n", "stop", "seed",
     "stop_sequences", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "response_format", "tools",
     "tool_choice", "parallel_tool_calls", "reasoning_effort", "reasoning", "text", "instructions", "dimensions",
     "encoding_format", "thinking", "stream_options"]
)  # fmt: skip
"""Parameters that an API takes; others are LiteLLM's own."""
_OPERATIONS = ("chat", "text_completion", "completion", "generate_content")
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
_EVENT = "gen_ai.client.inference.operation.details"


class _NotWhole(Exception):
    """A span lacks a part of what was asked."""


def read_otel(data: bytes) -> Iterator[LoggedRequest]:
    """The model calls among the spans of a line. Raises `BadLine`."""
    entry = object_of(data)
    if _EVENT.encode() in data:
        raise BadLine(f"expected spans, which say when a request began, got {_EVENT} (let spans capture the content)")
    for span in _spans(entry):
        fields = Fields(_attributes(span.get("attributes")))
        if fields.get("gen_ai.operation.name", "llm.request.type") not in _OPERATIONS:
            continue
        yield LoggedRequest(
            at_s=instant_of(span.get("startTimeUnixNano") or span.get("start_time")),
            body=_body(fields),
            session=fields.get("gen_ai.conversation.id"),
            context_tokens=fields.count("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
            max_tokens=fields.count("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        )


def _spans(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Those of OTLP, of which a file may have logs and metrics, too, or one of the SDK."""
    if not entry.keys() & {"resourceSpans", "resourceLogs", "resourceMetrics"}:
        yield entry
    for resource in entry.get("resourceSpans") or []:
        for scope in resource.get("scopeSpans") or []:
            yield from scope.get("spans") or []


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


def _body(fields: Fields) -> dict[str, Any] | None:
    """`None` where the span has not all that was asked."""
    try:
        messages, tools = _system(fields) + (_messages(fields) or _flat_messages(fields)), _tools(fields)
    except _NotWhole:
        return None
    if not messages:
        return None
    found = {name: fields.get(f"gen_ai.request.{written}") for written, name in _SPAN_PARAMETERS.items()}
    body: dict[str, Any] = {"model": str(fields.get("gen_ai.request.model") or ""), "messages": messages}
    body |= {name: value for name, value in found.items() if isinstance(value, int | float | list) and value != []}
    is_streamed = fields.get("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming") is True
    return body | ({"stream": True} if is_streamed else {}) | ({"tools": tools} if tools else {})


def _listed(value: Any) -> list[Any]:
    """A list, which spans have as JSON in a text. Raises `_NotWhole`."""
    try:
        found = parse_json(value) if isinstance(value, str) else value
    except ValueError:
        raise _NotWhole from None  # cut, as long attributes are
    if not isinstance(found, list):
        raise _NotWhole
    return found


def _system(fields: Fields) -> list[dict[str, Any]]:
    given = fields.get("gen_ai.system_instructions")
    return [] if given is None else [{"role": "system", "content": _content(_listed(given))}]


def _messages(fields: Fields) -> list[dict[str, Any]]:
    given = fields.get("gen_ai.input.messages")
    return [made for message in _listed(given or []) for made in _chat_messages(message)]


def _chat_messages(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A message of the conventions as those of a chat request, where what a tool said is one by itself. Raises
    `_NotWhole`."""
    parts = [part for part in message.get("parts") or [] if part.get("type") != "reasoning"]
    answers = [part for part in parts if part.get("type") == "tool_call_response"]
    for part in answers:
        yield {"role": "tool", "tool_call_id": str(part.get("id") or ""), "content": _text(part.get("response"))}
    calls = [_call(part) for part in parts if part.get("type") == "tool_call"]
    others = [part for part in parts if part.get("type") not in ("tool_call", "tool_call_response")]
    if not parts:
        raise _NotWhole  # as instrumentations write messages with images
    if calls or others:
        made: dict[str, Any] = {"role": str(message.get("role") or "user"), "content": _content(others) or None}
        yield made | ({"tool_calls": calls} if calls else {})


def _content(parts: list[Any]) -> str | list[dict[str, Any]]:
    """Text alone where there is nothing else. Raises `_NotWhole`."""
    if all(part.get("type") == "text" for part in parts):
        return "".join(str(part.get("content") or "") for part in parts)
    return [_part(part) for part in parts]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"type": "text", "text": str(part.get("content") or "")}
    url = part.get("uri") or f"data:{part.get('mime_type')};base64,{part.get('content')}"
    if part.get("type") not in ("uri", "blob") or part.get("modality") != "image":
        raise _NotWhole
    return {"type": "image_url", "image_url": {"url": str(url)}}


def _call(part: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": str(part.get("name") or ""), "arguments": _text(part.get("arguments"))}
    return {"id": str(part.get("id") or ""), "type": "function", "function": function}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _flat_messages(fields: Fields) -> list[dict[str, Any]]:
    """Of attributes as gen_ai.prompt.0.content. Raises `_NotWhole`."""
    return [_flat_message(message) for message in _numbered(fields, "gen_ai.prompt")]


def _flat_message(found: Fields) -> dict[str, Any]:
    calls = [_call(call.values) for call in _numbered(found, "tool_calls")]
    content, role = found.get("content"), found.get("role")
    if role is None or (content is None and not calls):
        raise _NotWhole
    if isinstance(content, str) and content.startswith('[{"type"'):
        content = _listed(content)  # parts, images among them
    made = {"role": str(role), "content": content} | ({"tool_calls": calls} if calls else {})
    return made | ({"tool_call_id": found.get("tool_call_id")} if role == "tool" else {})


def _numbered(fields: Fields, prefix: str) -> Iterator[Fields]:
    """The attributes below prefix.0, prefix.1 and so on, each without that."""
    number = 0
    while found := {
        name.removeprefix(begin): value
        for begin in (f"{prefix}.{number}.",)
        for name, value in fields.values.items()
        if name.startswith(begin)
    }:
        yield Fields(found)
        number += 1


def _tools(fields: Fields) -> list[dict[str, Any]]:
    given = fields.get("gen_ai.tool.definitions")
    defined = (
        _listed(given)
        if given is not None
        else [_flat_tool(each) for each in _numbered(fields, "llm.request.functions")]
    )
    return [
        tool if "function" in tool else {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
        for tool in defined
    ]


def _flat_tool(found: Fields) -> dict[str, Any]:
    parameters = found.get("parameters")
    schema = parse_json(parameters) if isinstance(parameters, str) else None
    return {"name": found.get("name"), "description": found.get("description"), "parameters": schema}


def read_litellm(data: bytes) -> Iterator[LoggedRequest]:
    """The requests of a line. Raises `BadLine`."""
    for values in objects_of(data):
        entry = Fields(values)
        call = str(entry.get("call_type") or "completion")
        asks = _CALLS.get(call) or _CALLS.get(call.removeprefix("a"))
        if asks is not None:
            yield _litellm_request(entry, asks)


def _litellm_request(entry: Fields, asks: str) -> LoggedRequest:
    answer = None if entry.get("status") == "failure" or asks == "embeddings" else entry.count("completion_tokens")
    return LoggedRequest(
        at_s=instant_of(entry.get("startTime")),
        url=_url(asks),
        body=_litellm_body(entry, asks),
        session=entry.get("session_id", "litellm_session_id", "trace_id"),
        context_tokens=entry.count("prompt_tokens") or None,  # 0 where a stream ended without a count
        max_tokens=answer or None,
    )


def _litellm_body(entry: Fields, asks: str) -> dict[str, Any] | None:
    """`None` where it is not logged, cut, or goes on from an answer that a service has stored."""
    messages, given = entry.get("messages"), entry.get("model_parameters")
    given = given if isinstance(given, dict) else {}
    if not isinstance(messages, list) or not messages or given.get("previous_response_id"):
        return None
    if any(isinstance(message, dict) and message.get("content") == _REDACTED for message in messages):
        return None
    content = _content_of(messages, asks)
    if content is None:
        return None
    passed_on = {name: value for name, value in given.items() if name in _PASSED_ON and value is not None}
    stream = {"stream": True} if entry.get("stream") is True and asks != "embeddings" else {}
    return {"model": str(entry.get("model") or ""), **content, **passed_on, **stream}


def _content_of(messages: list[Any], asks: str) -> dict[str, Any] | None:
    """LiteLLM logs what was asked of any API as messages."""
    if asks == "chat":
        return {"messages": messages}
    if asks == "responses":
        return {"input": messages}
    if asks == "messages":
        system = [message["content"] for message in messages if message.get("role") == "system"]
        said = [message for message in messages if message.get("role") != "system"]
        return {"messages": said, **({"system": system[0]} if system else {})}
    texts = [message.get("content") for message in messages]
    if not all(isinstance(text, str) for text in texts):
        return None
    return {"input": texts} if asks == "embeddings" else {"prompt": texts[0] if len(texts) == 1 else texts}


def _url(asks: str) -> str:
    return f"/v1/{'chat/completions' if asks == 'chat' else asks}"


def read_azure(data: bytes) -> Iterator[LoggedRequest]:
    """The model calls among the log records of a line: with what was asked where GatewayLogs holds bodies, else with
    lengths alone. Raises `BadLine`."""
    for record in (record for entry in objects_of(data) for record in entry.get("records") or [entry]):
        properties = record.get("properties") or record.get("properties_s")
        if isinstance(properties, str):
            properties = object_of(properties.encode())
        values = {**record, **(properties if isinstance(properties, dict) else {})}
        found = Fields({name.lower(): value for name, value in values.items()})  # PascalCase in Log Analytics
        category = str(found.get("category") or _TABLES.get(str(found.get("type"))) or "")
        if category == "GatewayLogs":
            yield from _gateway_request(found)
        elif category in (*CATEGORIES, ""):
            yield from _azure_lengths(found, category)


def _azure_lengths(found: Fields, category: str) -> Iterator[LoggedRequest]:
    operation = str(found.get("operationname") or "").lower()
    if operation and not any(word in operation for word in ("completion", "response", "gateway")):
        return  # as Create_Thread, which no model answers
    context, answer = found.count("prompttokens"), found.count("completiontokens")
    if (cached := found.count("promptcachedtokens") or 0) > (context or 0):
        context = (context or 0) + cached  # of Claude, whose prompt tokens are those that were not cached
    if not context and (category == "GatewayLlmLogs" or found.get("sequencenumber") is not None):
        return  # messages, of which API Management writes records of their own, and calls that no model answered
    context = tokens_of(found.count("requestlength")) if context is None else context
    if context is None:
        raise BadLine("expected requestLength or promptTokens in properties, got neither")
    length = found.count("responselength") if _is_answered(found.get("resultsignature")) else None
    yield LoggedRequest(
        _azure_instant(found), context_tokens=context, max_tokens=answer, answer_bytes=length, source=category
    )


def _azure_instant(found: Fields) -> float:
    """Of the beginning; without ticks, Azure OpenAI has that of the record, seconds after the answer."""
    ticks = found.get("requesttime")
    if ticks is None:
        return instant_of(found.get("time", "timegenerated"))
    at_s = (int(ticks) - _EPOCH_TICKS) / _TICKS_PER_S
    if not 0 <= at_s < MAX_INSTANT_S:
        raise BadLine("requestTime: expected ticks of 100 ns from the year 1 on, got another number")
    return at_s


def _is_answered(status: Any) -> bool:
    return status is None or str(status).startswith("2")


def _gateway_request(found: Fields) -> Iterator[LoggedRequest]:
    """A request through API Management, which cuts bodies that are long."""
    asks = asks_of(str(found.get("backendurl", "url") or ""))
    if asks is None or found.get("method") not in ("POST", None):
        return
    text = found.get("backendrequestbody", "requestbody")
    try:
        body = parse_json(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else None
    except ValueError:
        body = None
    is_measured = _is_answered(found.get("responsecode")) and asks != "embeddings"
    yield LoggedRequest(
        instant_of(found.get("time", "timegenerated")),
        _url(asks),
        body if isinstance(body, dict) else None,
        context_tokens=tokens_of(found.count("requestsize")),
        answer_bytes=found.count("responsesize") if is_measured else None,
        source="GatewayLogs",
    )


READERS: dict[str, Reader] = {
    "otel": read_otel,
    "litellm": read_litellm,
    "azure": read_azure,
}
