"""Fields that a model takes or refuses whatever the API: sampling, limits, reasoning, formats, tools. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from simulator.apis.call import Refused, Tool, choice, number, table, whole, wrong_type
from simulator.apis.tokens import Prompt
from simulator.config.settings import Deployment
from simulator.wire import azure as wire

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
REFUSED_BY_REASONING = {"top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False}
"""Parameters that a reasoning model does not take, with the values that change nothing and pass."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
TIERS = ("auto", "default", "flex", "priority", "scale")

TOOLS_FRAME = 12
"""Tokens around the definitions of tools."""


def unsupported(name: str, instead: str = "") -> Refused:
    message = f"Unsupported parameter: '{name}' is not supported with this model.{instead}"
    return Refused(wire.invalid(message, name, "unsupported_parameter"))


def check_sampling(parsed: dict[str, Any], deployment: Deployment) -> None:
    """Ranges, and what a reasoning model refuses. Raises Refused."""
    for name, (low, high) in RANGES.items():
        number(parsed, name, low, high)
    if not deployment.restricted:
        return
    for name, harmless in REFUSED_BY_REASONING.items():
        if parsed.get(name) not in (None, harmless):
            raise unsupported(name)
    value = parsed.get("temperature")
    if value not in (None, 1):
        message = (
            f"Unsupported value: 'temperature' does not support {value} with this model. "
            "Only the default (1) value is supported."
        )
        raise Refused(wire.invalid(message, "temperature", "unsupported_value"))


def effort_of(value: Any, where: str, deployment: Deployment) -> str | None:
    """How much a reasoning model is to think. Raises Refused."""
    effort = choice({where: value}, where, EFFORTS)
    if effort is not None and not deployment.reasoning:
        raise unsupported(where)
    return effort


def output_limit(parsed: dict[str, Any], name: str, low: int, deployment: Deployment) -> int | None:
    """The most tokens of an answer, or None when the request has no limit. Raises Refused."""
    wanted = whole(parsed, name, low)
    if wanted is not None and wanted > deployment.max_output_tokens:
        message = f"{name} is too large: {wanted}. This model supports at most {deployment.max_output_tokens} "
        raise Refused(wire.invalid(message + "completion tokens.", name))
    return wanted


def chat_limit(parsed: dict[str, Any], deployment: Deployment) -> int | None:
    """max_tokens or max_completion_tokens. Raises Refused."""
    old, new = (whole(parsed, name, 1) for name in ("max_tokens", "max_completion_tokens"))
    if old is not None and deployment.restricted:
        raise unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
    if old is not None and new is not None:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise Refused(wire.invalid(message))
    return output_limit(parsed, "max_tokens" if new is None else "max_completion_tokens", 1, deployment)


def schema_of(form: dict[str, Any], where: str) -> dict[str, Any] | None:
    """What a response format asks for: None for text, a JSON schema otherwise. Raises Refused.

    `form` is chat's `response_format` (with `json_schema` inside) or the Responses API's `text.format`.
    """
    kind = choice(form, "type", ("text", "json_object", "json_schema"))
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    inner = table(form, "json_schema", f"{where}.json_schema") if "json_schema" in form else form
    name, schema = inner.get("name"), inner.get("schema")
    if not isinstance(name, str) or not name:
        param = f"{where}.json_schema.name" if inner is not form else f"{where}.name"
        message = f"Missing required parameter: '{param}'."
        raise Refused(wire.invalid(message, param, "missing_required_parameter"))
    if not isinstance(schema, dict):
        raise bad_schema(name, "expected an object", where)
    if inner.get("strict") and (problem := _not_strict(schema)):
        raise bad_schema(name, problem, where)
    return schema


def bad_schema(name: str, problem: str, where: str) -> Refused:
    message = f"Invalid schema for response_format '{name}': {problem}."
    return Refused(wire.invalid(message, where, "invalid_json_schema"))


def _not_strict(schema: dict[str, Any]) -> str | None:
    """Why an object's schema is not one for strict mode, or None."""
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False:
            return "In context=(), 'additionalProperties' is required to be supplied and to be false"
        missing = sorted(properties.keys() - set(schema.get("required", ())))
        if missing:
            return f"In context=(), 'required' is required to include every key in properties. Missing '{missing[0]}'"
    inner = [one for one in (*schema.get("properties", {}).values(), schema.get("items")) if isinstance(one, dict)]
    return next((problem for one in inner if (problem := _not_strict(one))), None)


def check_json_is_mentioned(form: dict[str, Any], prompt: Prompt, where: str) -> None:
    """JSON mode without a word about JSON is refused."""
    if form.get("type") == "json_object" and not any("json" in text.lower() for text in prompt.texts):
        message = f"'messages' must contain the word 'json' in some form, to use '{where}' of type 'json_object'."
        raise Refused(wire.invalid(message, "messages"))


def read_tools(definitions: Iterable[tuple[str, dict[str, Any]]], prompt: Prompt) -> list[Tool]:
    """Tools out of (where, definition with name and parameters), their definitions counted. Raises Refused."""
    tools: list[Tool] = []
    for where, definition in definitions:
        name = definition.get("name")
        if not isinstance(name, str) or not name:
            message = f"Missing required parameter: '{where}.name'."
            raise Refused(wire.invalid(message, f"{where}.name", "missing_required_parameter"))
        parameters = table(definition, "parameters", f"{where}.parameters")
        tools.append(Tool(name, parameters or {"type": "object", "properties": {}}))
        prompt.add_text(json.dumps(definition, separators=(",", ":")))
    if tools:
        prompt.add_frame(TOOLS_FRAME)
    return tools


def called_tools(
    tools: list[Tool], wish: str | None, named: str | None, answered: bool, where: str
) -> tuple[Tool, ...]:
    """The tool that the answer calls. By itself a model calls the first one, and none once it has a result."""
    if named is not None:
        found = [tool for tool in tools if tool.name == named]
        if not found:
            message = f"Tool choice '{named}' not found in 'tools' parameter."
            raise Refused(wire.invalid(message, where))
        return (found[0],)
    if wish == "required" and not tools:
        message = f"Invalid value for '{where}': '{where}' is only allowed when 'tools' are specified."
        raise Refused(wire.invalid(message, where))
    if not tools or wish == "none" or (wish in (None, "auto") and answered):
        return ()
    return (tools[0],)


def objects(parsed: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects, empty when it is not given. Raises Refused."""
    values = parsed.get(name)
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
        raise wrong_type(name, "an array of objects")
    return values
