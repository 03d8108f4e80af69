"""Recorded requests without what they say: words of the same token length, with the same shared beginnings. Pure.

A word stands for each four bytes of a text (the estimate of `workload.prompts.estimate_tokens`) and is drawn from all
of the text up to there and a key: texts that begin alike begin with the same words, and nothing leads back without the
key, which is forgotten.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from tokenswarm.workload.prompts import WORDS

_BYTES = 4
_PLAIN = frozenset(
    ["role", "type", "model", "url", "method", "finish_reason", "detail", "effort", "format", "encoding_format",
     "tool_choice", "reasoning_effort", "service_tier", "from", "timestamp"]
)  # fmt: skip
"""Members whose text is one of a few that the API knows."""
_IDS = frozenset(["id", "custom_id", "session_id", "tool_call_id", "tool_use_id", "call_id", "parents", "user",
                  "previous_response_id", "conversation_id", "prompt_cache_key", "safety_identifier"])  # fmt: skip
_NAMES = frozenset(["name"])
_DATA = frozenset(["image_url", "input_audio", "file", "file_data", "metadata", "logit_bias", "cache_control"])
"""Members that are left out: data of a kind of its own, which cannot be replaced by words."""
_PARTS = frozenset(["image_url", "input_image", "image", "input_audio", "file", "input_file", "document"])
"""Parts of messages that are left out, as nothing is left in them."""
_SCHEMAS = frozenset(["parameters", "schema", "input_schema"])


class Anonymiser:
    """Replaces what requests say, by a key: the same text becomes the same words."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def line(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A line of recorded requests."""
        return {name: self._member(name, value) for name, value in entry.items() if name not in _DATA}

    def words(self, text: str) -> str:
        """As many words as `text` has tokens by estimate."""
        data, digest, made = text.encode("utf-8", "surrogatepass"), hashlib.blake2b(key=self._key, digest_size=8), []
        for begin in range(0, len(data), _BYTES):
            digest.update(data[begin : begin + _BYTES])
            made.append(WORDS[int.from_bytes(digest.copy().digest(), "big") % len(WORDS)])
        return " ".join(made)

    def identity(self, text: Any) -> str:
        """An id of the same kind that says nothing."""
        return "id-" + hmac.new(self._key, str(text).encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:16]

    def _member(self, name: str, value: Any) -> Any:
        if name in _SCHEMAS:
            return {"type": "object", "properties": {}}
        if name in _IDS:
            return [self.identity(each) for each in value] if isinstance(value, list) else self.identity(value)
        if name in _NAMES and isinstance(value, str):
            return self.identity(value)
        if name == "arguments" and isinstance(value, str):
            return '{"text": "' + self.words(value) + '"}'
        if isinstance(value, str) and name in _PLAIN:
            return value
        return self._value(value)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.words(value)
        if isinstance(value, list):
            return [self._value(each) for each in value if not (isinstance(each, dict) and each.get("type") in _PARTS)]
        if isinstance(value, dict):
            return {name: self._member(name, each) for name, each in value.items() if name not in _DATA}
        return value
