"""Calls of tools in an answer, and what is said again of it before the tools' results. No I/O, no clock."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenswarm.payload.json_text import whole_characters


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call. `id`: by which its result refers to it; `arguments`: JSON as the service wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Called:
    """An answer that calls tools. `said`: what stands for it in the next request, in the form of its own API."""

    calls: tuple[ToolCall, ...]
    said: Sequence[Mapping[str, Any]]


def called_by(calls: Sequence[ToolCall], said: Sequence[Mapping[str, Any]]) -> Called:
    """An answer with these calls; characters that came in two halves are put together in what is `said` again."""
    text = json.dumps(said, ensure_ascii=False)
    return Called(tuple(calls), said if text.isascii() else json.loads(whole_characters(text)))
