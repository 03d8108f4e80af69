"""Anthropic's Messages API: messages to a prompt, an answer to content blocks and typed events. Pure."""

from __future__ import annotations

import datetime
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from simulator.apis.call import (
    Call,
    Encoder,
    Past,
    Refused,
    Saying,
    Tool,
    boolean,
    marked,
    number,
    stop_texts,
    table,
    whole,
    wrong_type,
)
from simulator.apis.images import BadImage, area_tokens, decode_base64, read_image, size_of
from simulator.apis.sampling import called_tools, objects, read_tools
from simulator.apis.tokens import PER_MESSAGE, PER_PROMPT, Prompt, vocabulary_of
from simulator.config.settings import Deployment
from simulator.wire import azure as wire
from simulator.wire.azure import Answer, Chunk, Refusal, Usage, dump
from simulator.wire.dialect import SERVER_ERROR, Dialect
from simulator.wire.events import PreparedEvent, typed_event

_FIELDS = """
    model messages max_tokens system stream temperature top_p top_k stop_sequences tools tool_choice thinking metadata
    service_tier container context_management mcp_servers output_config cache_control inference_geo
"""
KNOWN_FIELDS = frozenset(_FIELDS.split())

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def filtered(body: bytes) -> bytes:
    """What ends a message by refusal."""
    if not body.startswith(b"event: "):
        return dump(json.loads(body) | {"stop_reason": "refusal"})
    delta = {"stop_reason": "refusal", "stop_sequence": None}
    return typed_event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 0}}) + STOP


STOP = typed_event({"type": "message_stop"})
_ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

DIALECT = Dialect(
    content=re.compile(rb'_delta","(?:text|thinking|partial_json)":"(?!")'),
    whole_content=re.compile(rb'"text":"'),
    error_event=typed_event(_ERROR),
    error_body=dump(_ERROR | {"error": {"type": "api_error", "message": SERVER_ERROR["message"]}}),
    filtered=filtered,
)


class MessagesApi:
    """`POST .../v1/messages`."""

    name = "messages"
    operation = "Messages_Create"
    dialect = DIALECT

    def check_headers(self, headers: Mapping[str, str]) -> None:
        if not headers.get("anthropic-version"):
            raise Refused(wire.invalid("anthropic-version: header is required"), reason="header")

    def read(self, parsed: dict[str, Any], deployment: Deployment, past: Past) -> Call:
        for name in sorted(parsed.keys() - KNOWN_FIELDS):
            raise Refused(wire.invalid(f"{name}: Extra inputs are not permitted"))
        if deployment.embedding_dimensions is not None:
            raise Refused(wire.not_supported("messages", deployment.model))
        max_tokens = _limit(parsed, deployment)
        for name in ("temperature", "top_p"):
            number(parsed, name, 0, 1)
        prompt = Prompt(vocabulary_of(deployment.model), frames=PER_PROMPT)
        answered = _add_messages(prompt, parsed)
        called = _called(parsed, prompt, answered)
        stop = stop_texts(parsed, "stop_sequences", None)
        return Call(
            prompt=prompt,
            max_tokens=max_tokens,
            stream=boolean(parsed, "stream"),
            include_usage=True,
            wanted=marked(prompt, tools=called, stop=stop),
            effort=None if table(parsed, "thinking").get("type") in ("enabled", "adaptive") else "none",
            service_tier=parsed.get("service_tier"),
            same_answer=parsed.get("temperature") == 0,
        )

    def encoder(self, saying: Saying) -> MessagesEncoder:
        return MessagesEncoder(saying)

    def identifier(self, number: int) -> str:
        return f"msg_{number:024x}"

    def error_body(self, refusal: Refusal, request_id: str) -> bytes:
        kind = ERROR_TYPES.get(refusal.status, "api_error")
        error = {"type": kind, "message": refusal.error.get("message")}
        return dump({"type": "error", "error": error, "request_id": request_id})

    def quota_headers(self, headers: dict[str, str], now: float) -> dict[str, str]:
        """x-ratelimit-remaining-tokens: 5 is anthropic-ratelimit-tokens-remaining: 5 here, and resets are instants."""
        renamed = {}
        for name, value in headers.items():
            _, found, rest = name.partition("x-ratelimit-")
            what, _, of = rest.partition("-")
            if found and what == "reset":
                value = datetime.datetime.fromtimestamp(now + float(value), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            renamed[f"anthropic-ratelimit-{of}-{what}" if found else name] = value
        return renamed


def _limit(parsed: dict[str, Any], deployment: Deployment) -> int:
    """max_tokens, which every request must have. Raises Refused."""
    max_tokens = whole(parsed, "max_tokens", 1)
    if max_tokens is None:
        raise Refused(wire.invalid("max_tokens: Field required"))
    if max_tokens > deployment.max_output_tokens:
        limit = deployment.max_output_tokens
        message = f"max_tokens: {max_tokens} > {limit}, which is the maximum allowed number of output tokens"
        raise Refused(wire.invalid(message))
    return max_tokens


def _called(parsed: dict[str, Any], prompt: Prompt, answered: bool) -> tuple[Tool, ...]:
    """The tools that the answer calls, all definitions counted. Raises Refused."""
    wish = table(parsed, "tool_choice")
    tools = read_tools([(f"tools.{n}", _definition(tool)) for n, tool in enumerate(objects(parsed, "tools"))], prompt)
    how = {"any": "required"}.get(str(wish.get("type")), wish.get("type"))
    named = str(wish.get("name")) if how == "tool" else None
    return called_tools(tools, how, named, answered, "tool_choice")


def _definition(tool: dict[str, Any]) -> dict[str, Any]:
    return {
        **{key: value for key, value in tool.items() if key != "input_schema"},
        "parameters": tool.get("input_schema"),
    }


def _add_messages(prompt: Prompt, parsed: dict[str, Any]) -> bool:
    """Count system prompt and messages. Whether they end with the result of a tool. Raises Refused."""
    messages = objects(parsed, "messages")
    if not messages:
        raise Refused(wire.invalid("messages: at least one message is required"))
    _add_content(prompt, parsed.get("system") or "", "system")
    if parsed.get("system"):
        prompt.add_frame(PER_MESSAGE)
    blocks: list[Any] = []
    for index, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant", "system"):
            raise Refused(wire.invalid(f"messages.{index}.role: Input should be 'user' or 'assistant'"))
        prompt.add_frame(PER_MESSAGE)
        blocks = _add_content(prompt, message.get("content"), f"messages.{index}.content")
    return any(isinstance(block, dict) and block.get("type") == "tool_result" for block in blocks)


def _add_content(prompt: Prompt, content: Any, where: str) -> list[Any]:
    if isinstance(content, str):
        prompt.add_text(content)
        return []
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise wrong_type(where, "a string or a list of blocks")
    for index, block in enumerate(content):
        _add_block(prompt, block, f"{where}.{index}")
    return content


def _add_block(prompt: Prompt, block: dict[str, Any], where: str) -> None:
    if isinstance(block.get("text"), str):
        prompt.add_text(block["text"])
    if block.get("type") == "tool_use":
        prompt.add_text(f"{block.get('name')}{json.dumps(block.get('input'))}")
    if block.get("type") == "tool_result":
        _add_content(prompt, block.get("content") or "", f"{where}.content")
    if block.get("type") == "image":
        source = table(block, "source", f"{where}.source")
        try:
            prompt.add_image(*_image_cost(source))
        except BadImage as error:
            raise Refused(wire.invalid(f"{where}.source: {error}")) from error


def _image_cost(source: dict[str, Any]) -> tuple[int, int]:
    """Tokens and digest. Raises BadImage."""
    if source.get("type") == "base64":
        data = str(source.get("data"))
        return area_tokens(size_of(decode_base64(data))), zlib.crc32(data.encode())
    size, digest = read_image(str(source.get("url")))
    return area_tokens(size), digest


Block = dict[str, Any]


class MessagesEncoder(Encoder):
    """message_start, blocks, message_delta, message_stop. A ping follows the start of the first block."""

    def __init__(self, saying: Saying) -> None:
        self._identity = saying.identity
        self._prompt = Usage(saying.call.prompt_tokens, saying.cached_tokens, 1, 0)
        (self._answer,) = saying.answers
        self._blocks = _blocks(self._answer)
        self._offset = 1 if self._blocks[0]["type"] == "thinking" else 0
        """Where the blocks after the thoughts begin."""
        self._open: int | None = None
        self._delta: PreparedEvent | None = None
        self._pinged = False

    def opening(self) -> bytes:
        message = self._message([], None, None, self._prompt)
        return typed_event({"type": "message_start", "message": message})

    def lead(self, index: int, chunk: Chunk) -> bytes:
        block = 0 if chunk.reasoning else chunk.part + self._offset
        if block == self._open:
            return b""
        ended, self._open = self._stop(), block
        kind = self._blocks[block]["type"]
        delta = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}[kind]
        field = {"text": "text", "thinking": "thinking", "tool_use": "partial_json"}[kind]
        inner = {"type": delta, field: "\x00"}
        self._delta = PreparedEvent({"type": "content_block_delta", "index": block, "delta": inner})
        begun = _begun(self._blocks[block])
        start = typed_event({"type": "content_block_start", "index": block, "content_block": begun})
        return ended + start + self._ping()

    def _ping(self) -> bytes:
        if self._pinged:
            return b""
        self._pinged = True
        return typed_event({"type": "ping"})

    def piece(self, index: int, chunk: Chunk) -> bytes:
        if chunk.starts or self._delta is None:
            return b""
        return self._delta.event(chunk.text if self._answer.plain else json.dumps(chunk.text)[1:-1])

    def _stop(self) -> bytes:
        """What ends the open block; a thinking block is signed."""
        if self._open is None:
            return b""
        signed = b""
        if self._blocks[self._open]["type"] == "thinking":
            delta = {"type": "signature_delta", "signature": self._blocks[self._open]["signature"]}
            signed = typed_event({"type": "content_block_delta", "index": self._open, "delta": delta})
        return signed + typed_event({"type": "content_block_stop", "index": self._open})

    def ending(self, usage: Usage) -> bytes:
        delta = {"stop_reason": stop_reason(self._answer), "stop_sequence": self._answer.stopped_by}
        event = {"type": "message_delta", "delta": delta, "usage": usage_object(usage)}
        return self._stop() + typed_event(event) + STOP

    def whole(self, usage: Usage) -> bytes:
        return dump(self._message(self._blocks, stop_reason(self._answer), self._answer.stopped_by, usage))

    def _message(self, content: list[Block], reason: str | None, stopped_by: str | None, used: Usage) -> dict[str, Any]:
        return {
            "id": self._identity.id,
            "type": "message",
            "role": "assistant",
            "model": self._identity.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": stopped_by,
            "usage": usage_object(used) | {"service_tier": "standard"},
        }


def stop_reason(answer: Answer) -> str:
    """Anthropic's word for how an answer ended."""
    words = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use"}
    return words.get(answer.finish, answer.finish)


def usage_object(used: Usage) -> dict[str, Any]:
    """`input_tokens` are those neither read from the cache nor written to it."""
    return {
        "input_tokens": used.prompt - used.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": used.cached,
        "output_tokens": used.completion,
    }


def _blocks(answer: Answer) -> list[Block]:
    blocks: list[Block] = []
    if answer.thoughts:
        blocks.append({"type": "thinking", "thinking": answer.thoughts, "signature": "c2ltdWxhdGVk"})
    if answer.kind == "tools":
        blocks += [
            {
                "type": "tool_use",
                "id": f"toolu_{identifier.removeprefix('call_')}",
                "name": name,
                "input": _parsed(answer.part_text(part)),
            }
            for part, (identifier, name) in enumerate(answer.tools)
        ]
    else:
        blocks.append({"type": "text", "text": answer.text})
    return blocks


def _parsed(arguments: str) -> Any:
    """Arguments that max_tokens cut off are shown as none."""
    try:
        return json.loads(arguments)
    except ValueError:
        return {}


def _begun(block: Block) -> Block:
    empty: dict[str, Block] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    return {**block, **empty[block["type"]]}
