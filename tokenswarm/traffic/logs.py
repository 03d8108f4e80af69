"""Logs of other programs, read as the requests that they tell of. Pure.

otel       OpenTelemetry's GenAI spans: a span a line as the SDK writes them (`ReadableSpan.to_json`), or OTLP JSON
           as a collector's file exporter does
litellm    a StandardLoggingPayload a line, as LiteLLM hands it to its loggers
azure      an exported log record a line, or {"records": [...]} as Event Hubs has them: RequestResponse of Azure OpenAI,
           GatewayLlmLogs and GatewayLogs of API Management

Sources of the fields of `azure`: real records of RequestResponse and GatewayLogs in the tests of Elastic's integration
(elastic/integrations, packages/azure_openai/data_stream/logs/_dev/test/pipeline); Microsoft's reference of the table
ApiManagementGatewayLlmLog.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tokenswarm.recordings.bodies import BadLine, asks_of, kind
from tokenswarm.userinput import parse_json

MAX_INSTANT_S = 1e11
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""A number above the first is in ns, us or ms: that many make a second."""
_NUMBER = re.compile(r"\d+(\.\d+)?")
_EPOCH_TICKS, _TICKS_PER_S = 621_355_968_000_000_000, 10_000_000
"""Of .NET, which counts from the year 1."""
BYTES_PER_TOKEN = 4
"""Where a log has lengths in bytes only: OpenAI's rule of thumb for English."""
_PARAMETERS: dict[str, tuple[type, ...]] = {
    "max_tokens": (int,),
    "temperature": (int, float),
    "top_p": (int, float),
    "stream": (bool,),
    "n": (int,),
}


@dataclass(slots=True)
class LoggedRequest:
    """One request of a log. `body`: what was asked, where the log has it. Tokens are `None` where the log has none, and
    where no answer came; `answer_bytes`: the answer's length where that is all the log has of it."""

    at_s: float
    url: str = "/v1/chat/completions"
    body: dict[str, Any] | None = None
    session: str | None = None
    context_tokens: int | None = None
    max_tokens: int | None = None
    answer_bytes: int | None = None

    @property
    def is_measured(self) -> bool:
        """Whether the lengths of prompt and answer are known."""
        return self.context_tokens is not None and (self.max_tokens is not None or self.answer_bytes is not None)


@dataclass(slots=True)
class Fields:
    """A log entry's fields, each asked for under the names that it has had over the years."""

    values: Mapping[str, Any]
    missing: list[str] = field(default_factory=list)

    def get(self, *names: str) -> Any:
        return next((self.values[name] for name in names if self.values.get(name) not in (None, "")), None)

    def count(self, *names: str) -> int | None:
        found = self.get(*names)
        try:
            number = float(found) if found is not None and not isinstance(found, bool) else None
        except (TypeError, ValueError):
            return None
        return int(number) if number is not None and math.isfinite(number) and number >= 0 else None


def read_otel(data: bytes) -> Iterator[LoggedRequest]:
    """The model calls among the spans of a line. Raises `BadLine`."""
    entry = object_of(data)
    for span in _otlp_spans(entry) if "resourceSpans" in entry else [entry]:
        fields = Fields(_attributes(span.get("attributes")))
        if fields.get("gen_ai.operation.name", "llm.request.type") not in ("chat", "text_completion", "completion"):
            continue
        yield LoggedRequest(
            at_s=instant_of(span.get("startTimeUnixNano") or span.get("start_time")),
            body=_otel_body(fields),
            session=fields.get("gen_ai.conversation.id"),
            context_tokens=fields.count("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
            max_tokens=fields.count("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
        )


def read_litellm(data: bytes) -> Iterator[LoggedRequest]:
    """The request of a payload. Raises `BadLine`."""
    entry = Fields(object_of(data))
    if str(entry.get("call_type") or "completion") not in ("completion", "acompletion"):
        return
    messages, given = entry.get("messages"), entry.get("model_parameters")
    body = None
    if isinstance(messages, list) and messages:
        parameters = {str(name): value for name, value in (given if isinstance(given, dict) else {}).items()}
        body = {"model": str(entry.get("model") or ""), "messages": messages, **_known(parameters)}
        body |= {name: parameters[name] for name in ("tools", "tool_choice", "response_format") if name in parameters}
        body |= {"stream": True} if entry.get("stream") is True else {}
    yield LoggedRequest(
        at_s=instant_of(entry.get("startTime")),
        body=body,
        session=entry.get("session_id", "litellm_session_id", "trace_id"),
        context_tokens=entry.count("prompt_tokens"),
        max_tokens=entry.count("completion_tokens"),
    )


def read_azure(data: bytes) -> Iterator[LoggedRequest]:
    """The model calls among the log records of a line: with what was asked where GatewayLogs holds bodies, else with
    lengths alone. Raises `BadLine`."""
    entry = object_of(data)
    for record in entry.get("records") or [entry]:
        properties = record.get("properties") or record.get("properties_s")
        if isinstance(properties, str):
            properties = object_of(properties.encode())
        found = Fields({**record, **(properties if isinstance(properties, dict) else {})})
        category = str(found.get("category", "Category") or "")
        if category == "GatewayLogs":
            yield from _gateway_request(found)
        elif category in ("RequestResponse", "GatewayLlmLogs", ""):
            yield from _azure_lengths(found)


def _azure_lengths(found: Fields) -> Iterator[LoggedRequest]:
    operation = str(found.get("operationName", "OperationName") or "").lower()
    if operation and not any(word in operation for word in ("completion", "response", "gateway")):
        return  # as Create_Thread, which no model answers
    context = found.count("promptTokens", "PromptTokens")
    answer = found.count("completionTokens", "CompletionTokens")
    if not context and found.get("sequenceNumber", "SequenceNumber") is not None:
        return  # API Management writes long messages in several records, of which one has the tokens
    context = tokens_of(found.count("requestLength", "RequestLength")) if context is None else context
    if context is None:
        raise BadLine("expected requestLength or promptTokens in properties, got neither")
    ticks = found.get("requestTime")  # `time` is when the record was made, seconds after the answer
    at_s = (
        instant_of(found.get("time", "TimeGenerated")) if ticks is None else (int(ticks) - _EPOCH_TICKS) / _TICKS_PER_S
    )
    if not 0 <= at_s < MAX_INSTANT_S:
        raise BadLine("requestTime: expected ticks of 100 ns from the year 1 on, got another number")
    length = found.count("responseLength", "ResponseLength")
    yield LoggedRequest(at_s, context_tokens=context, max_tokens=answer, answer_bytes=length)


def _gateway_request(found: Fields) -> Iterator[LoggedRequest]:
    """A request through API Management, which cuts bodies that are long."""
    asks = asks_of(str(found.get("backendUrl", "url") or ""))
    if asks is None or found.get("method") not in ("POST", None):
        return
    text = found.get("backendRequestBody", "requestBody")
    try:
        body = parse_json(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else None
    except ValueError:
        body = None
    url = f"/v1/{'chat/completions' if asks == 'chat' else asks}"
    context, answer = (
        (None, None) if isinstance(body, dict) else (tokens_of(found.count("requestSize")), found.count("responseSize"))
    )
    at_s = instant_of(found.get("time", "TimeGenerated"))
    yield LoggedRequest(at_s, url, body if isinstance(body, dict) else None, None, context, answer_bytes=answer)


Reader = Callable[[bytes], Iterator[LoggedRequest]]
READERS: dict[str, Reader] = {
    "otel": read_otel,
    "litellm": read_litellm,
    "azure": read_azure,
}


def object_of(data: bytes) -> dict[str, Any]:
    try:
        entry = parse_json(data)
    except ValueError:
        raise BadLine("expected a JSON object, got text that is none") from None
    if not isinstance(entry, dict):
        raise BadLine(f"expected a JSON object, got {kind(entry)}")
    return entry


def _otlp_spans(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in entry.get("resourceSpans") or []:
        for scope in resource.get("scopeSpans") or []:
            yield from scope.get("spans") or []


def _attributes(given: Any) -> dict[str, Any]:
    """By name, from the SDK's object or from OTLP's list of typed values."""
    if isinstance(given, dict):
        return given
    found = {}
    for item in given if isinstance(given, list) else []:
        value = item.get("value") or {}
        found[str(item.get("key"))] = next(iter(value.values()), None)
    return found


def _otel_body(fields: Fields) -> dict[str, Any] | None:
    text = fields.get("gen_ai.input.messages")
    if not isinstance(text, str):
        return None
    said = json.loads(text)
    system = fields.get("gen_ai.system_instructions")
    parts = json.loads(system) if isinstance(system, str) else []
    messages = [{"role": "system", "content": _text_of(parts)}] if parts else []
    for message in said if isinstance(said, list) else []:
        messages += _chat_messages(message)
    parameters = {
        name: fields.get(f"gen_ai.request.{name}") for name in ("temperature", "top_p", "max_tokens", "stream")
    }
    return {"model": str(fields.get("gen_ai.request.model") or ""), "messages": messages, **_known(parameters)}


def _chat_messages(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A message of the conventions as those of a chat request: what a tool said is one by itself."""
    parts = [part for part in message.get("parts") or [] if isinstance(part, dict)]
    for part in parts:
        if part.get("type") == "tool_call_response":
            yield {"role": "tool", "tool_call_id": str(part.get("id") or ""), "content": _string(part.get("response"))}
    calls = [_call(part) for part in parts if part.get("type") == "tool_call"]
    if calls or any(part.get("type") == "text" for part in parts):
        made: dict[str, Any] = {"role": str(message.get("role") or "user"), "content": _text_of(parts) or None}
        yield made | ({"tool_calls": calls} if calls else {})


def _call(part: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": str(part.get("name") or ""), "arguments": _string(part.get("arguments"))}
    return {"id": str(part.get("id") or ""), "type": "function", "function": function}


def _text_of(parts: Any) -> str:
    return "".join(str(part.get("content") or "") for part in parts if part.get("type") == "text")


def _string(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _known(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if isinstance(value, _PARAMETERS.get(name, ()))}


def tokens_of(length: int | None) -> int | None:
    return None if length is None else -(-length // BYTES_PER_TOKEN)


def instant_of(value: Any) -> float:
    """Unix s of nanoseconds as text, of seconds, or of ISO 8601. Raises `BadLine`."""
    try:
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            instant = datetime.fromisoformat(value)
            value = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadLine(f"expected an instant, got {kind(value)}") from None
    found = next((number / unit for above, unit in _UNITS if number > above), number)
    if not 0 <= found < MAX_INSTANT_S:
        raise BadLine("expected an instant from 1970 to the year 5138, got another")
    return found
