"""What the Responses API puts into its events and bodies: output items, the response object, usage. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from simulator.apis.call import Call
from simulator.wire import azure as wire
from simulator.wire.azure import Answer, Usage, dump
from simulator.wire.dialect import SERVER_ERROR, Dialect
from simulator.wire.events import typed_event

Item = dict[str, Any]


def _bare(status: str) -> Item:
    """A response that was ended by a fault: it has no output."""
    return {
        "id": f"resp_{status}",
        "object": "response",
        "created_at": 0,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }


def filtered(body: bytes) -> bytes:
    """The event or body after which the content filter has ended the answer."""
    if not body.startswith(b"event: "):
        response = json.loads(body)
        response |= {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
        return dump(response)
    event = json.loads(body.partition(b"\ndata: ")[2])
    number = event["sequence_number"]
    response = _bare("incomplete") | {"incomplete_details": {"reason": "content_filter"}}
    return typed_event({"type": "response.incomplete", "response": response, "sequence_number": number})


_ERROR_EVENT = {"type": "error", "sequence_number": 0} | {k: SERVER_ERROR[k] for k in ("code", "message", "param")}
_FAILED_BODY = _bare("failed") | {"error": {"code": "server_error", "message": SERVER_ERROR["message"]}}

DIALECT = Dialect(
    content=re.compile(rb'"delta":"(?!")'),
    whole_content=re.compile(rb'"text":"(?!")'),
    error_event=typed_event(_ERROR_EVENT),
    error_body=dump(_FAILED_BODY),
    filtered=filtered,
    failed_event=typed_event({"type": "response.failed", "response": _FAILED_BODY, "sequence_number": 0}),
)


def part_of(item: Item) -> tuple[str | None, Item | None]:
    """How the deltas of an item are called, and its part; None, None where it has no deltas."""
    if item["type"] == "function_call":
        return "function_call_arguments", None
    if item["type"] == "reasoning":
        if item.get("content"):
            return "reasoning_text", item["content"][0]
        return ("reasoning_summary_text", item["summary"][0]) if item["summary"] else (None, None)
    part = item["content"][0]
    return ("refusal" if part["type"] == "refusal" else "output_text"), part


def begun(item: Item) -> Item:
    """An item before anything of it has been said."""
    if item["type"] == "function_call":
        return {**item, "status": "in_progress", "arguments": ""}
    if item["type"] == "reasoning":
        return {**item, "summary": []} | ({"content": []} if item.get("content") else {})
    return {**item, "status": "in_progress", "content": []}


def emptied(part: Item) -> Item:
    return {**part, "refusal" if part["type"] == "refusal" else "text": ""}


def output_items(answer: Answer, identity: wire.Identity, summary: bool) -> list[Item]:
    """The output items of an answer."""
    suffix = identity.id.removeprefix("resp_")
    status = "incomplete" if answer.finish == "length" else "completed"
    items: list[Item] = []
    if answer.reasoning_tokens:
        thoughts = answer.thoughts
        shown = {"content": [{"type": "reasoning_text", "text": thoughts}]} if thoughts and not summary else {}
        summaries = [{"type": "summary_text", "text": thoughts}] if thoughts and summary else []
        items.append({"id": f"rs_{suffix}", "type": "reasoning", "summary": summaries, **shown})
    if answer.kind == "tools":
        last = max((chunk.part for chunk in answer.chunks), default=-1)
        items += [
            {
                "id": f"fc_{suffix}{part}",
                "type": "function_call",
                "status": status if part == last else "completed",
                "arguments": answer.part_text(part),
                "call_id": identifier,
                "name": name,
            }
            for part, (identifier, name) in enumerate(answer.tools)
            if part <= last
        ]
    elif answer.text:
        items.append(_message(answer, suffix, status))
    return items


def _message(answer: Answer, suffix: str, status: str) -> Item:
    if answer.kind == "refusal":
        part: Item = {"type": "refusal", "refusal": answer.text}
    else:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}
    return {"id": f"msg_{suffix}", "type": "message", "status": status, "content": [part], "role": "assistant"}


def response_object(
    identity: wire.Identity, call: Call, status: str, output: list[Item], used: Usage | None
) -> dict[str, Any]:
    asked = call.extra["asked"]
    text, reasoning = asked.get("text") or {}, asked.get("reasoning") or {}
    return {
        "id": identity.id,
        "object": "response",
        "created_at": identity.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": call.max_tokens,
        "model": identity.model,
        "output": output,
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": asked.get("previous_response_id"),
        "reasoning": {"effort": call.effort, "summary": reasoning.get("summary")},
        "service_tier": identity.service_tier or "default",
        "store": bool(call.extra["store"]),
        "temperature": asked.get("temperature", 1.0),
        "text": {"format": {"type": "text"}} | text,
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": asked.get("tools") or [],
        "top_p": asked.get("top_p", 1.0),
        "truncation": asked.get("truncation") or "disabled",
        "usage": None if used is None else usage_object(used),
        "user": asked.get("user"),
        "metadata": asked.get("metadata") or {},
    }


def usage_object(used: Usage) -> dict[str, Any]:
    return {
        "input_tokens": used.prompt,
        "input_tokens_details": {"cached_tokens": used.cached},
        "output_tokens": used.completion,
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
        "total_tokens": used.prompt + used.completion,
    }
