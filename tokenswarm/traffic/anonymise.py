"""Recorded requests without what they say: words of the same token length, with the same shared beginnings. Pure.

A word stands for each four bytes of a text (the estimate of `workload.prompts.estimate_tokens`) and is drawn from all
of the text up to there and a key: texts that begin alike begin with the same words, and nothing leads back without the
key, which is forgotten. Members that the APIs do not know are left out: their names may be those of people, too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import Any

from tokenswarm.logs.logged import url_of
from tokenswarm.recordings.bodies import BadLine, asks_of
from tokenswarm.recordings.lines import ROLES, read_timestamp
from tokenswarm.traffic.anonymous_schema import anonymous_schema
from tokenswarm.workload.prompts import WORDS

_BYTES = 4
_JSON = re.compile(rb"json", re.IGNORECASE)
"""Stays: without this word in its messages, OpenAI refuses a request that asks for JSON."""
_MAX_NAME = 48
_TOKENS = 50_000
"""Every vocabulary has so many."""
_LINE = "custom_id session_id method url timestamp body steps id parents tool_s conversations items from value"
_BODY = """
    model messages system instructions input prompt suffix tools functions tool_choice function_call
    parallel_tool_calls max_tool_calls stream stream_options include_usage include_obfuscation
    max_tokens max_completion_tokens max_output_tokens min_tokens n best_of echo seed stop stop_sequences
    temperature top_p top_k min_p frequency_penalty presence_penalty repetition_penalty length_penalty ignore_eos
    logprobs top_logprobs dimensions encoding_format response_format json_schema text format verbosity modalities
    reasoning reasoning_effort effort thinking budget_tokens prediction service_tier store truncation background
    include user safety_identifier prompt_cache_key prompt_cache_retention
"""
_SAID = """
    role content type name custom refusal reasoning_content tool_calls tool_call_id tool_use_id call_id function
    arguments output is_error status summary description parameters schema input_schema strict mode cache_control ttl
"""
_KNOWN = frozenset(f"{_LINE} {_BODY} {_SAID}".split())
_PLAIN = frozenset(
    ["type", "effort", "format", "encoding_format", "tool_choice", "function_call", "reasoning_effort", "service_tier",
     "status", "summary", "verbosity", "truncation", "prompt_cache_retention", "mode", "modalities",
     "include", "ttl"]
)  # fmt: skip
"""Members whose text is one of a few that the API knows, made of these words and of numbers."""
_API = """
    action adaptive all allowed any apply approval array ascending audio auto background base64 bash call calls chat
    citation code completed completion computer concise content context current custom default detailed developer
    disabled document editor effort enabled encrypted ephemeral error exec failed fast fetch file filter flex float
    format function generation grammar high image in incomplete input interpreter item json keyword lark list local
    logprobs low max mcp medium memory message min minimal none null object on output outputs patch priority progress
    queued read reasoning redacted reference refusal regex request required response result results scale schema
    screenshot search server shell source sources standard status str string summary text thinking tier token tokens
    tool tools truncated url use user video wait web write xhigh zoom
"""
_API_WORDS = frozenset(_API.split())
_API_NUMBER = re.compile(r"v?\d{1,8}[smhd]?")
_COUNTS = """
    max_tokens max_completion_tokens max_output_tokens min_tokens max_tool_calls n best_of temperature top_p top_k
    min_p frequency_penalty presence_penalty repetition_penalty length_penalty logprobs top_logprobs dimensions
    budget_tokens tool_s
"""
_NUMBERS = frozenset(_COUNTS.split())
"""Members whose number is no more than that; elsewhere it may be that of a telephone."""
_IDS = frozenset(
    ["id", "custom_id", "session_id", "tool_call_id", "tool_use_id", "call_id", "parents", "user",
     "prompt_cache_key", "safety_identifier", "stop", "stop_sequences"]
)  # fmt: skip
"""With `stop`: words in its place would end answers early."""
_PARTS = frozenset(
    ["image_url", "input_image", "image", "input_audio", "audio", "file", "input_file", "document", "reasoning",
     "thinking", "redacted_thinking", "item_reference", "search_result", "file_search", "code_interpreter"]
)  # fmt: skip
"""Parts of requests that are left out, as nothing is left in them."""
_OF_THE_SERVICE = re.compile(
    r"(mcp|computer|server_tool).*|.*_\d{8}|(?!function|custom_tool).*_call(_output)?|.*_tool_result"
)
"""Tools that the service runs itself, and what they said."""
_OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
_SCHEMAS = frozenset(["parameters", "schema", "input_schema"])
_ROLES = frozenset(["system", "developer", "user", "assistant", "tool", "function"])
_MODELS = """
    gpt chatgpt oss codex claude opus sonnet haiku instant text embedding ada babbage curie davinci turbo mini nano
    small medium large pro latest preview audio realtime search instruct chat it gemini gemma flash lite llama meta
    mistral mistralai mixtral codestral qwen deepseek ai openai google anthropic microsoft phi command cohere grok nova
    amazon kimi glm minimax coder reasoning thinking base
"""
_MODEL_WORDS = frozenset(_MODELS.split())
_MODEL_NUMBER = re.compile(r"[a-z]?|[a-z]?\d{1,8}[a-z]?")


class Anonymiser:
    """Replaces what requests say, by a key: the same text becomes the same words."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def line(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A line of recorded requests, or an object in it."""
        made = {name: self._member(name, value) for name, value in entry.items() if name in _KNOWN}
        without = _OF_TOOLS if made.get("tools") == [] else ()  # no service takes a list of none
        return {name: value for name, value in made.items() if name not in without}

    def words(self, text: str) -> str:
        """As many words as `text` has tokens by estimate."""
        data, digest, made = text.encode("utf-8", "surrogatepass"), hashlib.blake2b(key=self._key, digest_size=8), []
        for begin in range(0, len(data), _BYTES):
            digest.update(data[begin : begin + _BYTES])
            made.append(WORDS[int.from_bytes(digest.copy().digest(), "big") % len(WORDS)])
        for found in _JSON.finditer(data):
            made[(found.end() - 1) // _BYTES] = "json"
        return " ".join(made)

    def identity(self, text: Any) -> str:
        """An id of the same kind that says nothing."""
        return f"id-{self._digest(text)[:16]}"

    def name(self, text: Any) -> str:
        """Of a tool or a schema: about as long, and another one for another."""
        return f"{self.words(str(text)).replace(' ', '_')[:_MAX_NAME]}_{self._digest(text)[:4]}"

    def _digest(self, text: Any) -> str:
        return hmac.new(self._key, str(text).encode("utf-8", "surrogatepass"), "sha256").hexdigest()

    def _member(self, name: str, value: Any) -> Any:
        if value is None or isinstance(value, bool) or (name in _NUMBERS and isinstance(value, int | float)):
            return value
        if name == "seed":
            return int(self._digest(value)[:7], 16)  # it may be somebody's number
        if name in _SCHEMAS:
            return anonymous_schema(value, self.words) if isinstance(value, dict) else {"type": "object"}
        if name == "name":
            return self.name(value)
        if name in _IDS:
            return [*map(self.identity, value)] if isinstance(value, list) else value and self.identity(value)
        if name == "arguments" or (name == "input" and isinstance(value, dict)):
            said = {"text": self.words(value if isinstance(value, str) else json.dumps(value))}
            return json.dumps(said) if isinstance(value, str) else said
        if name == "timestamp":
            return _timestamp(value)
        if name == "format" and isinstance(value, dict) and value.get("type") == "grammar":
            return {"type": "text"}
        if name == "content" and isinstance(value, list):
            return self._value(value) or self.words("file")
        if isinstance(value, str | int | float):
            return self._named(name, str(value))
        if name in _PLAIN and isinstance(value, list):
            return [self._named(name, each) if isinstance(each, str) else self._value(each) for each in value]
        return self._value(value)

    def _named(self, name: str, text: str) -> str:
        """A member's text, which stays where it is one of those that everybody uses there."""
        if name == "url":
            return url_of(asks_of(text) or "chat")
        if name == "method":
            return "POST"
        if name == "role":
            return text if text in _ROLES else "user"
        if name == "from":
            return text if text in ROLES else "human"
        if name == "model":
            return text if _is_public(text) else self.identity(text)
        return text if name in _PLAIN and _is_of_the_api(text) else self.words(text)

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            if value and all(type(each) is int for each in value):
                return self._tokens(value)
            return [self._value(each) for each in value if not (isinstance(each, dict) and _is_left_out(each))]
        if isinstance(value, dict):
            return self.line(value)
        return value if value is None or isinstance(value, bool) else self.words(str(value))

    def _tokens(self, tokens: list[int]) -> list[int]:
        """Tokens in place of tokens: a text that was sent as those of its model."""
        digest, made = hashlib.blake2b(key=self._key, digest_size=8), []
        for token in tokens:
            digest.update(f"{token},".encode())
            made.append(int.from_bytes(digest.copy().digest(), "big") % _TOKENS)
        return made


def _timestamp(value: Any) -> Any:
    """As it is, a number in a text as seconds; `None` for what is none."""
    try:
        at_s = read_timestamp(value)
    except BadLine:
        return None
    return at_s if isinstance(value, str) and "-" not in value else value


def _is_left_out(part: dict[str, Any]) -> bool:
    """Parts of which nothing would be left that a service takes."""
    kind = part.get("type")
    if not isinstance(kind, str):
        return False
    return kind in _PARTS or not _is_of_the_api(kind) or bool(_OF_THE_SERVICE.fullmatch(kind))


def _is_of_the_api(text: str) -> bool:
    return all(word in _API_WORDS or _API_NUMBER.fullmatch(word) for word in re.split(r"[-._]", text))


def _is_public(model: str) -> bool:
    """Whether the name of a model has the words of public ones alone: others may name a customer."""
    words = re.split(r"[-._/:]", model.lower())
    return all(word in _MODEL_WORDS or _MODEL_NUMBER.fullmatch(word) for word in words)
