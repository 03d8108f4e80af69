"""The Responses API: input items to a prompt, an answer to output items and typed events. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from simulator.apis.call import (
    Call,
    Encoder,
    OpenAiApi,
    Past,
    Refused,
    Saying,
    boolean,
    choice,
    marked,
    table,
    wrong_type,
)
from simulator.apis.chat import add_image, stream_options
from simulator.apis.response_items import DIALECT, Item, begun, emptied, output_items, part_of, response_object
from simulator.apis.sampling import (
    TIERS,
    called_tools,
    check_json_is_mentioned,
    check_sampling,
    effort_of,
    objects,
    output_limit,
    read_tools,
    schema_of,
)
from simulator.apis.tokens import PER_MESSAGE, PER_PROMPT, Prompt, vocabulary_of
from simulator.config.settings import Deployment
from simulator.wire import azure as wire
from simulator.wire.azure import Chunk, Usage, dump
from simulator.wire.events import PreparedEvent, typed_event

_FIELDS = """
    model input instructions max_output_tokens previous_response_id stream stream_options store temperature top_p
    reasoning text tools tool_choice parallel_tool_calls max_tool_calls metadata include truncation user service_tier
    prompt_cache_key prompt_cache_retention safety_identifier background conversation prompt top_logprobs
"""
KNOWN_FIELDS = frozenset(_FIELDS.split())


class ResponsesApi(OpenAiApi):
    """`POST .../responses`."""

    name = "responses"
    operation = "Responses_Create"
    dialect = DIALECT

    def read(self, parsed: dict[str, Any], deployment: Deployment, past: Past) -> Call:
        for name in sorted(parsed.keys() - KNOWN_FIELDS):
            raise Refused(wire.invalid(f"Unknown parameter: '{name}'.", name, "unknown_parameter"))
        if deployment.embedding_dimensions is not None:
            raise Refused(wire.not_supported("responses", deployment.model))
        check_sampling(parsed, deployment)
        stream, options = stream_options(parsed)
        prompt = _earlier(parsed, deployment, past)
        answered = _add_input(prompt, parsed)
        reasoning, text = table(parsed, "reasoning"), table(parsed, "text")
        form = table(text, "format", "text.format")
        check_json_is_mentioned(form, prompt, "text.format")
        schema = schema_of(form, "text.format")
        called = _called(parsed, prompt, answered)
        tier = choice(parsed, "service_tier", TIERS)
        store = parsed.get("store") is None or boolean(parsed, "store")
        return Call(
            prompt=prompt,
            max_tokens=output_limit(parsed, "max_output_tokens", 16, deployment),
            stream=stream,
            include_usage=True,
            include_obfuscation=options.get("include_obfuscation"),
            wanted=marked(prompt, schema=schema, tools=called),
            effort=effort_of(reasoning.get("effort"), "reasoning.effort", deployment),
            service_tier=tier,
            same_answer=parsed.get("temperature") == 0,
            extra={"asked": parsed, "store": store, "summary": reasoning.get("summary") is not None},
        )

    def encoder(self, saying: Saying) -> ResponsesEncoder:
        return ResponsesEncoder(saying)

    def identifier(self, number: int) -> str:
        return f"resp_{number:048x}"


def _earlier(parsed: dict[str, Any], deployment: Deployment, past: Past) -> Prompt:
    """The prompt so far: that of the previous response, or an empty one. Raises Refused."""
    vocabulary, previous = vocabulary_of(deployment.model), parsed.get("previous_response_id")
    if previous is None:
        return Prompt(vocabulary, frames=PER_PROMPT)
    found = past.recall(previous) if isinstance(previous, str) else None
    if found is None:
        message = f"Previous response with id '{previous}' not found."
        raise Refused(wire.invalid(message, "previous_response_id", "previous_response_not_found"))
    return Prompt(vocabulary, *found)


def _add_input(prompt: Prompt, parsed: dict[str, Any]) -> bool:
    """Count instructions and input. Whether the input ends with the result of a tool. Raises Refused."""
    instructions, given = parsed.get("instructions"), parsed.get("input")
    if isinstance(instructions, str):
        prompt.add_text(instructions)
        prompt.add_frame(PER_MESSAGE)
    if isinstance(given, str):
        prompt.add_text(given)
        prompt.add_frame(PER_MESSAGE)
        return False
    if given is None:
        raise Refused(wire.invalid("Missing required parameter: 'input'.", "input", "missing_required_parameter"))
    items = objects(parsed, "input")
    for index, item in enumerate(items):
        prompt.add_frame(PER_MESSAGE)
        _add_item(prompt, item, f"input[{index}]")
    return bool(items) and items[-1].get("type") == "function_call_output"


def _add_item(prompt: Prompt, item: dict[str, Any], where: str) -> None:
    kind = item.get("type", "message")
    if kind == "function_call":
        return prompt.add_text(f"{item.get('name')}{item.get('arguments')}")
    if kind == "function_call_output":
        output = item.get("output")
        return prompt.add_text(output if isinstance(output, str) else json.dumps(output))
    if kind != "message":
        return None
    content = item.get("content")
    if not isinstance(item.get("role"), str) or not isinstance(content, str | list):
        raise Refused(wire.invalid(f"Invalid '{where}': expected a role and content.", where))
    for number, part in enumerate([{"text": content}] if isinstance(content, str) else content):
        if not isinstance(part, dict):
            raise wrong_type(f"{where}.content[{number}]", "an object")
        if isinstance(part.get("text"), str):
            prompt.add_text(part["text"])
        if part.get("type") == "input_image":
            add_image(prompt, part.get("image_url"), part.get("detail"), f"{where}.content[{number}].image_url")
    return None


def _called(parsed: dict[str, Any], prompt: Prompt, answered: bool) -> tuple[Any, ...]:
    given = [tool for tool in objects(parsed, "tools") if tool.get("type") == "function"]
    tools = read_tools([(f"tools[{index}]", tool) for index, tool in enumerate(given)], prompt)
    wish = parsed.get("tool_choice")
    if isinstance(wish, dict):
        return called_tools(tools, None, str(wish.get("name")), answered, "tool_choice")
    wish = choice(parsed, "tool_choice", ("none", "auto", "required"))
    return called_tools(tools, wish, None, answered, "tool_choice")


class ResponsesEncoder(Encoder):
    """Events of one response, numbered from 0. Output items: reasoning where there is any, then message or calls."""

    def __init__(self, saying: Saying) -> None:
        self._identity = saying.identity
        self._call = saying.call
        (self._answer,) = saying.answers
        self._number = 0
        self._summary = bool(saying.call.extra["summary"])
        self._items = output_items(self._answer, self._identity, self._summary)
        self._open: int | None = None
        """Index of the output item that has begun and not ended."""
        self._delta: PreparedEvent | None = None

    def _numbered(self, kind: str, **fields: Any) -> bytes:
        event = typed_event({"type": kind, **fields, "sequence_number": self._number})
        self._number += 1
        return event

    def _response(self, status: str, usage: Usage | None = None) -> dict[str, Any]:
        finished = status != "in_progress"
        return response_object(
            self._identity, self._call, status, self._items if finished else [], usage if finished else None
        )

    def opening(self) -> bytes:
        response = self._response("in_progress")
        events = self._numbered("response.created", response=response)
        events += self._numbered("response.in_progress", response=response)
        if self._items and self._items[0]["type"] == "reasoning":
            events += b"".join(self._begin(0))
        return events

    def lead(self, index: int, chunk: Chunk) -> bytes:
        item = self._item_of(chunk)
        if item == self._open:
            return b""
        ended = b"" if self._open is None else b"".join(self._end(self._open))
        return ended + b"".join(self._begin(item))

    def _item_of(self, chunk: Chunk) -> int:
        if chunk.reasoning:
            return 0
        return chunk.part + (1 if self._items[0]["type"] == "reasoning" else 0)

    def piece(self, index: int, chunk: Chunk) -> bytes:
        if chunk.starts or self._delta is None:
            return b""
        text = chunk.text if self._answer.plain else json.dumps(chunk.text)[1:-1]
        event = self._delta.event(text, self._number)
        self._number += 1
        return event

    def _begin(self, index: int) -> Iterator[bytes]:
        self._open = index
        item = self._items[index]
        where = {"item_id": item["id"], "output_index": index}
        yield self._numbered("response.output_item.added", output_index=index, item=begun(item))
        kind, part = part_of(item)
        if kind is None:
            self._delta = None
            return
        if part is not None:
            place = "summary_index" if kind.startswith("reasoning_summary") else "content_index"
            where |= {place: 0}
            added = "response.reasoning_summary_part.added" if "summary" in kind else "response.content_part.added"
            yield self._numbered(added, **where, part=emptied(part))
        more: Item = {"logprobs": []} if kind == "output_text" else {}
        event = {"type": f"response.{kind}.delta", **where, "delta": "\x00", **more, "sequence_number": "\x01"}
        self._delta = PreparedEvent(event)

    def _end(self, index: int) -> Iterator[bytes]:
        item = self._items[index]
        where = {"item_id": item["id"], "output_index": index}
        kind, part = part_of(item)
        if kind == "function_call_arguments":
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield self._numbered(f"response.{kind}.done", **where, **done)
        if kind is not None and part is not None:
            where |= {"summary_index" if "summary" in kind else "content_index": 0}
            text = "refusal" if kind == "refusal" else "text"
            more: Item = {"logprobs": []} if kind == "output_text" else {}
            yield self._numbered(f"response.{kind}.done", **where, **{text: part[text]}, **more)
            ended = "response.reasoning_summary_part.done" if "summary" in kind else "response.content_part.done"
            yield self._numbered(ended, **where, part=part)
        yield self._numbered("response.output_item.done", output_index=index, item=item)
        self._open = None

    def ending(self, usage: Usage) -> bytes:
        events = [] if self._open is None else list(self._end(self._open))
        status = "incomplete" if self._answer.finish == "length" else "completed"
        events.append(self._numbered(f"response.{status}", response=self._response(status, usage)))
        return b"".join(events)

    def whole(self, usage: Usage) -> bytes:
        return dump(self._response("incomplete" if self._answer.finish == "length" else "completed", usage))
