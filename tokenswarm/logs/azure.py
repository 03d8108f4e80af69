"""Azure Monitor's log records of model calls. Pure.

A record a line, {"records": [...]} as Event Hubs has them, or a list as `az` writes: RequestResponse of Azure OpenAI,
GatewayLlmLogs and GatewayLogs of API Management.

Sources of the fields: real records of RequestResponse and GatewayLogs in the tests of Elastic's integration
(elastic/integrations, packages/azure_openai/data_stream/logs/_dev/test/pipeline); Microsoft's reference of the table
ApiManagementGatewayLlmLog, and what people who read it report: the record of the tokens has the sequence number 0,
those of messages others; probes have 0 tokens; the prompt tokens of Claude leave out those from its cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokenswarm.logs.logged import (
    MAX_INSTANT_S,
    Fields,
    LoggedRequest,
    instant_of,
    object_of,
    objects_of,
    tokens_of,
    url_of,
)
from tokenswarm.recordings.bodies import BadLine, asks_of
from tokenswarm.userinput import parse_json

_EPOCH_TICKS, _TICKS_PER_S = 621_355_968_000_000_000, 10_000_000
"""Of .NET, which counts from the year 1."""
CATEGORIES = ("RequestResponse", "GatewayLogs", "GatewayLlmLogs")
_TABLES = {"ApiManagementGatewayLogs": "GatewayLogs", "ApiManagementGatewayLlmLog": "GatewayLlmLogs"}
"""Of Log Analytics, and what is in them."""


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
        url_of(asks),
        body if isinstance(body, dict) else None,
        context_tokens=tokens_of(found.count("requestsize")),
        answer_bytes=found.count("responsesize") if is_measured else None,
        source="GatewayLogs",
    )
