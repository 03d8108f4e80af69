"""Azure Monitor's log records of model calls. Pure.

A record a line, {"records": [...]} as Event Hubs has them, a list as `az` writes, or {"tables": [...]} as the API of
Log Analytics answers: RequestResponse of Azure OpenAI, GatewayLlmLogs and GatewayLogs of API Management, and spans of
model calls among the dependencies of Application Insights.

Sources of the fields: real records of RequestResponse and GatewayLogs in the tests of Elastic's integration
(elastic/integrations, packages/azure_openai/data_stream/logs/_dev/test/pipeline); Microsoft's reference of the table
ApiManagementGatewayLlmLog, and what people who read it report: the record of the tokens has the sequence number 0,
those of messages others; probes have 0 tokens; the prompt tokens of Claude leave out those from its cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tokenswarm.logs.logged import (
    Fields,
    LoggedRequest,
    object_of,
    objects_of,
    tokens_of,
    url_of,
)
from tokenswarm.logs.spans import is_call, request_of
from tokenswarm.recordings.bodies import BadLine, asks_of
from tokenswarm.recordings.lines import MAX_INSTANT_S, read_timestamp
from tokenswarm.userinput import parse_json

_EPOCH_TICKS, _TICKS_PER_S = 621_355_968_000_000_000, 10_000_000
"""Of .NET, which counts from the year 1."""
CATEGORIES = ("RequestResponse", "GatewayLogs", "GatewayLlmLogs")
_TABLES = {"apimanagementgatewaylogs": "GatewayLogs", "apimanagementgatewayllmlog": "GatewayLlmLogs"}
"""Of Log Analytics, and what is in them."""
_SUFFIX = re.compile(r"_[sdbgt]$")
_MAX_VALUE = 8192
"""Characters that Application Insights keeps of a value: one of so many may be cut."""


def read_azure(data: bytes) -> Iterator[LoggedRequest | None]:
    """The model calls among the log records of a line: with what was asked where GatewayLogs holds bodies or spans hold
    messages, else with lengths alone; `None` for each record of something else. Raises `BadLine`."""
    for entry in objects_of(data):
        for record in _records(entry):
            yield _request(Fields(_values(record)))


def _records(entry: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """Those of a batch, the rows of a query's answer, or the one that it is."""
    if isinstance(records := entry.get("records"), list):
        return records
    if not isinstance(tables := entry.get("tables"), list):
        return [entry]
    named = [([column["name"] for column in table["columns"]], table["rows"]) for table in tables]
    return [dict(zip(names, row, strict=True)) for names, rows in named for row in rows]


def _values(record: Mapping[str, Any]) -> dict[str, Any]:
    """By name in lower case: Log Analytics has PascalCase, and _s or _d behind names of its older tables."""
    values = {_SUFFIX.sub("", name.lower()): value for name, value in record.items()}
    properties = values.get("properties") or values.get("customdimensions")
    if isinstance(properties, str):
        properties = object_of(properties.encode())
    more = properties if isinstance(properties, dict) else {}
    return values | {name.lower(): value for name, value in more.items()}


def _request(found: Fields) -> LoggedRequest | None:
    if is_call(found):
        return _span_request(found)
    named = str(found.get("category") or _TABLES.get(str(found.get("type")).lower()) or "")
    category = next((known for known in CATEGORIES if known.lower() == named.lower()), named)
    if category == "GatewayLogs":
        return _gateway_request(found)
    return _azure_lengths(found, category) if category in (*CATEGORIES, "") else None


def _span_request(found: Fields) -> LoggedRequest | None:
    """A row of dependencies of Application Insights, which begins when the call did; log records have no duration."""
    if found.get("duration", "durationms") is None:
        return None
    made = request_of(found, read_timestamp(found.get("timestamp", "timegenerated", "time")), "spans")
    if any(isinstance(value, str) and len(value) >= _MAX_VALUE for value in found.values.values()):
        made.body = None
    made.span, made.parent = str(found.get("id") or ""), str(found.get("operation_parentid", "parentid") or "")
    return made


def _azure_lengths(found: Fields, category: str) -> LoggedRequest | None:
    operation = str(found.get("operationname") or "").lower()
    if operation and not any(word in operation for word in ("completion", "response", "gateway")):
        return None  # as Create_Thread, which no model answers
    context, answer = found.count("prompttokens"), found.count("completiontokens")
    if (cached := found.count("promptcachedtokens") or 0) > (context or 0):
        context = (context or 0) + cached  # of Claude, whose prompt tokens are those that were not cached
    if not context and (category == "GatewayLlmLogs" or found.get("sequencenumber") is not None):
        return None  # messages, of which API Management has records of their own, and calls that no model answered
    context = tokens_of(found.count("requestlength")) if context is None else context
    if context is None and not category and found.get("itemtype", "operationid", "operation_id", "type") is not None:
        return None  # another row of Application Insights, or of another table, as calls of databases are
    if context is None:
        raise BadLine("expected requestLength or promptTokens in properties, got neither")
    length = found.count("responselength") if _is_answered(found.get("resultsignature")) else None
    return LoggedRequest(
        _azure_instant(found),
        context_tokens=context,
        max_tokens=answer,
        answer_bytes=length,
        is_streamed=str(found.get("streamtype")).lower() == "streaming",
        source=category,
    )


def _azure_instant(found: Fields) -> float:
    """Of the beginning; without ticks, Azure OpenAI has that of the record, seconds after the answer."""
    ticks = found.get("requesttime")
    if ticks is None:
        return read_timestamp(found.get("time", "timegenerated"))
    at_s = (int(ticks) - _EPOCH_TICKS) / _TICKS_PER_S
    if not 0 <= at_s < MAX_INSTANT_S:
        raise BadLine("requestTime: expected ticks of 100 ns from the year 1 on, got another number")
    return at_s


def _is_answered(status: Any) -> bool:
    return status is None or str(status).startswith("2")


def _gateway_request(found: Fields) -> LoggedRequest | None:
    """A request through API Management, which cuts bodies that are long."""
    asks = asks_of(str(found.get("backendurl", "url") or ""))
    if asks is None or found.get("method") not in ("POST", None):
        return None
    body = _body(found.get("backendrequestbody", "requestbody"))
    usage = Fields((_body(found.get("backendresponsebody", "responsebody")) or {}).get("usage") or {})
    is_measured = _is_answered(found.get("responsecode")) and asks != "embeddings"
    context = usage.count("prompt_tokens", "input_tokens")
    return LoggedRequest(
        read_timestamp(found.get("time", "timegenerated")),
        url_of(asks),
        body,
        context_tokens=tokens_of(found.count("requestsize")) if context is None else context,
        max_tokens=usage.count("completion_tokens", "output_tokens") if is_measured else None,
        answer_bytes=found.count("responsesize") if is_measured else None,
        is_streamed=bool(body and body.get("stream") is True),
        source="GatewayLogs",
    )


def _body(text: Any) -> dict[str, Any] | None:
    """`None` for one that is cut, or a stream."""
    try:
        body = parse_json(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else text
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
