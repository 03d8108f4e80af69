"""What the openai SDK reads from the bytes of the corpus, beside the row that we make of them.

    python -m tests.wire.differential          # writes the table of docs/compatibility.md

The two agree when both or neither take the answer (the SDK by raising nothing, we by `ok`), and count the same
completion tokens. Where they differ the case says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai

from tests.wire.cases import CASES, Case
from tests.wire.replay import Answer, replay
from tokenswarm.record import Outcome

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
BEGIN, END = "<!-- differential: python -m tests.wire.differential -->", "<!-- /differential -->"


@dataclass(frozen=True, slots=True)
class View:
    """What a reader makes of an answer."""

    whole: bool
    tokens: int | None
    said: str


class _Bytes(httpx2.SyncByteStream):
    """The body as it comes; the end of the connection is as a client meets it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from (data for _, data in self._answer.pieces)
        if self._answer.end == "closed" and self._answer.framing == "chunked":
            raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")
        if self._answer.end == "reset":
            raise httpx2.ReadError("reset")
        if self._answer.end == "open":
            raise httpx2.ReadTimeout("timed out")


def sdk_view(case: Case) -> View:
    """What the SDK makes of it."""
    answer = case.answer

    def give(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(answer.status, headers=answer.headers, stream=_Bytes(answer))

    client = httpx2.Client(transport=httpx2.MockTransport(give), trust_env=False)
    with openai.OpenAI(base_url="http://h/v1", api_key="k", max_retries=0, http_client=client) as sdk:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _stream(sdk) if case.asked.stream else _whole(sdk)
        except Exception as error:
            return View(False, None, type(error).__name__)


def _stream(sdk: openai.OpenAI) -> View:
    ends: list[str] = []
    tokens: int | None = None
    with sdk.chat.completions.create(model="m", messages=[], stream=True) as chunks:
        for chunk in chunks:
            tokens = chunk.usage.completion_tokens if chunk.usage is not None else tokens
            ends += [choice.finish_reason for choice in chunk.choices or [] if choice.finish_reason]
    return View(True, tokens, ";".join(dict.fromkeys(ends)) or "no finish reason")


def _whole(sdk: openai.OpenAI) -> View:
    found: Any = sdk.chat.completions.create(model="m", messages=[])
    tokens = found.usage.completion_tokens if found.usage is not None else None
    return View(True, tokens, "whole")


def our_view(case: Case) -> View:
    """What our row says."""
    record = replay(case.answer, case.asked)
    return View(record.outcome is Outcome.OK, record.completion_tokens, record.outcome.value)


def differ(case: Case) -> bool:
    ours, theirs = our_view(case), sdk_view(case)
    return ours.whole != theirs.whole or (ours.whole and ours.tokens != theirs.tokens)


def table() -> str:
    """The cases in which the two differ, as Markdown."""
    lines = [
        f"Of {len(CASES)} answers the two differ in these:",
        "",
        "| answer | our row | openai SDK | why |",
        "|---|---|---|---|",
    ]
    for case in filter(differ, CASES):
        ours, theirs = our_view(case), sdk_view(case)
        shown = [
            f"{view.said}" + (f", {view.tokens} tokens" if view.tokens is not None else "") for view in (ours, theirs)
        ]
        lines.append(f"| {case.name} | {shown[0]} | {shown[1]} | {case.sdk} |")
    return "\n".join(lines)


def written(page: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
