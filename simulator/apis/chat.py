"""Chat completions: from a request to what it asks for, and from an answer to its chunks. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from simulator.apis.call import (
    FURTHER_FIELDS,
    Call,
    Encoder,
    OpenAiApi,
    Past,
    Refused,
    Saying,
    boolean,
    check_known,
    choice,
    least_tokens,
    marked,
    stop_texts,
    table,
    whole,
    wrong_type,
)
from simulator.apis.images import BadImage, read_image, tile_tokens
from simulator.apis.sampling import (
    TIERS,
    called_tools,
    chat_limit,
    check_json_is_mentioned,
    check_sampling,
    effort_of,
    objects,
    read_tools,
    schema_of,
    unsupported,
)
from simulator.apis.tokens import PER_MESSAGE, PER_NAME, PER_PROMPT, Prompt, vocabulary_of
from simulator.config.settings import Deployment
from simulator.wire import azure as wire
from simulator.wire.azure import Chunk, Usage
from simulator.wire.dialect import CHAT

_FIELDS = """
    messages model max_tokens max_completion_tokens n stream stream_options temperature top_p presence_penalty
    frequency_penalty stop seed user logit_bias logprobs top_logprobs response_format tools tool_choice
    parallel_tool_calls functions function_call data_sources reasoning_effort metadata store modalities audio
    prediction service_tier prompt_cache_key prompt_cache_retention safety_identifier verbosity web_search_options
"""
KNOWN_FIELDS = frozenset(_FIELDS.split())

MAX_MESSAGES = 2048

VERDICT_EVERY = 10
"""Content chunks between two verdicts of the asynchronous content filter."""


class ChatApi(OpenAiApi):
    """`POST .../chat/completions`."""

    name = "chat"
    operation = "ChatCompletions_Create"
    dialect = CHAT

    def read(self, parsed: dict[str, Any], deployment: Deployment, past: Past) -> Call:
        check_known(parsed, KNOWN_FIELDS | FURTHER_FIELDS if deployment.further_fields else KNOWN_FIELDS)
        if deployment.embedding_dimensions is not None:
            raise Refused(wire.not_supported("chatCompletion", deployment.model))
        messages = _messages(parsed)
        check_sampling(parsed, deployment)
        stream, options = stream_options(parsed)
        prompt = Prompt(vocabulary_of(deployment.model), frames=PER_PROMPT)
        for index, message in enumerate(messages):
            _add_message(prompt, index, message)
        stop = stop_texts(parsed)
        if stop and deployment.restricted:
            raise unsupported("stop")
        tier = choice(parsed, "service_tier", TIERS)
        called = _called(parsed, messages, prompt)
        form = table(parsed, "response_format")
        schema = schema_of(form, "response_format")
        check_json_is_mentioned(form, prompt, "response_format")
        max_tokens = chat_limit(parsed, deployment)
        return Call(
            prompt=prompt,
            max_tokens=max_tokens,
            at_least=least_tokens(parsed, max_tokens),
            choices=whole(parsed, "n", 1, 128) or 1,
            stream=stream,
            include_usage=bool(options.get("include_usage")),
            include_obfuscation=options.get("include_obfuscation"),
            wanted=marked(prompt, schema=schema, tools=called, stop=stop),
            effort=effort_of(parsed.get("reasoning_effort"), "reasoning_effort", deployment),
            service_tier=tier,
            same_answer=parsed.get("temperature") == 0 or parsed.get("seed") is not None,
        )

    def encoder(self, saying: Saying) -> ChatEncoder:
        return ChatEncoder(saying)

    def identifier(self, number: int) -> str:
        return f"chatcmpl-{number:035x}"


def stream_options(parsed: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Whether the answer is streamed, and how. Raises Refused."""
    options = parsed.get("stream_options") or {}
    stream = boolean(parsed, "stream")
    if options and not stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refused(wire.invalid(message, "stream_options"))
    if not isinstance(options, dict):
        raise wrong_type("stream_options", "an object")
    return stream, options


def _messages(parsed: dict[str, Any]) -> list[dict[str, Any]]:
    messages = parsed.get("messages")
    if messages is None:
        raise Refused(wire.invalid("Missing required parameter: 'messages'.", "messages"))
    if not isinstance(messages, list) or not messages or len(messages) > MAX_MESSAGES:
        message = f"Invalid 'messages': expected an array of 1 to {MAX_MESSAGES} messages."
        raise Refused(wire.invalid(message, "messages"))
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            where = f"messages[{index}]"
            raise Refused(wire.invalid(f"Invalid '{where}': expected an object with a role.", where))
        if not isinstance(message.get("content"), str | list | None):
            where = f"messages[{index}].content"
            raise Refused(wire.invalid(f"Invalid '{where}': expected a string or an array of parts.", where))
    return messages


def _add_message(prompt: Prompt, index: int, message: dict[str, Any]) -> None:
    prompt.add_frame(PER_MESSAGE)
    content = message.get("content")
    if isinstance(content, str):
        prompt.add_text(content)
    for number, part in enumerate(content if isinstance(content, list) else ()):
        if isinstance(part, dict):
            _add_part(prompt, part, f"messages[{index}].content[{number}]")
    for call in objects(message, "tool_calls"):
        function = table(call, "function")
        prompt.add_text(f"{function.get('name')}{function.get('arguments')}")
        prompt.add_frame(PER_MESSAGE)
    if isinstance(message.get("name"), str):
        prompt.add_text(message["name"])
        prompt.add_frame(PER_NAME)


def _add_part(prompt: Prompt, part: dict[str, Any], where: str) -> None:
    if isinstance(part.get("text"), str):
        prompt.add_text(part["text"])
    if part.get("type") == "image_url":
        image = part.get("image_url")
        fields = image if isinstance(image, dict) else {"url": image}
        add_image(prompt, fields.get("url"), fields.get("detail"), f"{where}.image_url")


def add_image(prompt: Prompt, url: Any, detail: Any, where: str) -> None:
    """Count an image given by its address. Raises Refused."""
    try:
        size, digest = read_image(url if isinstance(url, str) else "")
    except BadImage as error:
        raise Refused(wire.invalid(f"Invalid image: {error}.", where, "invalid_image_url")) from error
    prompt.add_image(tile_tokens(size, str(detail or "auto")), digest)


def _called(parsed: dict[str, Any], messages: list[dict[str, Any]], prompt: Prompt) -> tuple[Any, ...]:
    functions = [
        (f"tools[{index}].function", table(tool, "function", f"tools[{index}].function"))
        for index, tool in enumerate(objects(parsed, "tools"))
    ]
    tools = read_tools(functions, prompt)
    wish = parsed.get("tool_choice")
    named = str(table(wish, "function").get("name")) if isinstance(wish, dict) else None
    if wish is not None and named is None:
        choice(parsed, "tool_choice", ("none", "auto", "required"))
    answered = messages[-1]["role"] in ("tool", "function")
    return called_tools(tools, wish if isinstance(wish, str) else None, named, answered, "tool_choice")


class ChatEncoder(Encoder):
    """Verdict on the prompt, role, content, finish, usage when asked for, [DONE]."""

    def __init__(self, saying: Saying) -> None:
        self._identity = saying.identity
        self._answers = saying.answers
        self._call = saying.call
        deployment, asked = saying.deployment, saying.call.include_obfuscation
        self._apart = self._identity.azure and deployment.content_filter == "async"
        padded = deployment.obfuscation if asked is None else asked
        self._writers = [
            wire.ContentEvents(self._identity, index, not self._apart, saying.pad if padded else None)
            for index in range(len(self._answers))
        ]
        self._begun = False
        self._lengths = [0] * len(self._answers)
        self._latest = 0

    def opening(self) -> bytes:
        return wire.prompt_filter_event() if self._identity.azure else b""

    def lead(self, index: int, chunk: Chunk) -> bytes:
        return b"" if self._begun else self._roles()

    def _roles(self) -> bytes:
        self._begun = True
        return b"".join(map(self._identity.role_event, range(len(self._answers))))

    def piece(self, index: int, chunk: Chunk) -> bytes:
        answer = self._answers[index]
        self._latest = index
        self._lengths[index] += len(chunk.text)
        if chunk.reasoning:
            return self._delta(index, {"reasoning_content": chunk.text})
        if answer.kind == "refusal":
            return self._delta(index, {"refusal": chunk.text})
        if answer.kind == "tools":
            return self._delta(index, {"tool_calls": [_tool_delta(answer, chunk)]})
        text = chunk.text if answer.plain else json.dumps(chunk.text)[1:-1]
        return self._writers[index].event(text)

    def _delta(self, index: int, delta: dict[str, Any]) -> bytes:
        return wire.event(self._identity.chunk([self._identity.choice(index, delta, None, {})]))

    def trail(self, sent: int) -> bytes:
        if not self._apart or sent % VERDICT_EVERY:
            return b""
        return wire.async_verdict_event(self._latest, 0, self._lengths[self._latest])

    def ending(self, usage: Usage) -> bytes:
        """Sent in one go, as nothing more has to be waited for."""
        return b"".join(self._ending(usage)) + wire.DONE

    def _ending(self, usage: Usage) -> Iterator[bytes]:
        if not self._begun:
            yield self._roles()
        for index, answer in enumerate(self._answers):
            yield self._identity.finish_event(index, finish_reason(answer.finish))
        if self._apart:
            for index, answer in enumerate(self._answers):
                yield wire.async_verdict_event(index, 0, len(answer.text))
        if self._call.include_usage:
            yield self._identity.usage_event(wire.usage(usage))

    def whole(self, usage: Usage) -> bytes:
        messages = [_message(answer) for answer in self._answers]
        reasons = [finish_reason(answer.finish) for answer in self._answers]
        return wire.completion_body(self._identity, messages, reasons, wire.usage(usage))


def finish_reason(finish: str) -> str:
    """Chat's word for how an answer ended."""
    return {"tools": "tool_calls", "stop_sequence": "stop", "refusal": "stop"}.get(finish, finish)


def _tool_delta(answer: wire.Answer, chunk: Chunk) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": chunk.text}
    if not chunk.starts:
        return {"function": function, "index": chunk.part}
    identifier, name = answer.tools[chunk.part]
    return {"function": {**function, "name": name}, "id": identifier, "index": chunk.part, "type": "function"}


def _message(answer: wire.Answer) -> dict[str, Any]:
    text = answer.text
    calls = [
        {"function": {"arguments": answer.part_text(part), "name": name}, "id": identifier, "type": "function"}
        for part, (identifier, name) in enumerate(answer.tools)
    ]
    return {
        "annotations": [],
        "content": text if answer.kind == "text" else None,
        **({"reasoning_content": answer.thoughts} if answer.thoughts else {}),
        "refusal": text if answer.kind == "refusal" else None,
        "role": "assistant",
        **({"tool_calls": calls} if calls else {}),
    }
