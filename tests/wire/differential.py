"""What the SDKs of OpenAI and Anthropic read from the bytes of the corpus, beside the row that we make of them.

    python -m tests.wire.differential          # writes the table of docs/compatibility.md

The two agree when both or neither take the answer (the SDK by raising nothing, we by `ok`), and count the same
completion tokens, of embeddings the same prompt tokens. Where they differ the case says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai

from tests.wire.cases import Case
from tests.wire.corpus import CASES
from tests.wire.replay import Answer, replay
from tokenswarm.apis.completions import Completions
from tokenswarm.apis.embeddings import EmbeddingsRequest
from tokenswarm.apis.messages import Messages
from tokenswarm.apis.request import ChatRequest
from tokenswarm.apis.responses import Responses
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(case, client)
    except Exception as error:
        return View(False, None, type(error).__name__)


def _read(case: Case, client: httpx2.Client) -> View:
    if isinstance(case.api, Messages):
        with anthropic.Anthropic(base_url="http://h", api_key="k", max_retries=0, http_client=client) as other:
            return _messages(other, case.asked)
    with openai.OpenAI(base_url="http://h/v1", api_key="k", max_retries=0, http_client=client) as sdk:
        if isinstance(case.asked, EmbeddingsRequest):
            found: Any = sdk.embeddings.create(model="m", input=case.asked.texts)
            return View(True, _get(found, "usage", "prompt_tokens"), "whole")
        streamed = isinstance(case.asked, ChatRequest) and case.asked.stream
        if isinstance(case.api, Responses):
            return _responses(sdk, streamed)
        ask: Any = sdk.completions.create if isinstance(case.api, Completions) else sdk.chat.completions.create
        asked = {"model": "m", "prompt" if isinstance(case.api, Completions) else "messages": []}
        return _chunks(ask(**asked, stream=True)) if streamed else _whole(ask(**asked))


def _get(found: Any, *names: str) -> Any:
    for name in names:
        found = getattr(found, name, None)
    return found


def _chunks(answer: Any) -> View:
    ends: list[str] = []
    tokens: int | None = None
    with answer as chunks:
        for chunk in chunks:
            tokens = chunk.usage.completion_tokens if chunk.usage is not None else tokens
            ends += [str(choice.finish_reason) for choice in chunk.choices or [] if choice.finish_reason]
    return View(True, tokens, ";".join(dict.fromkeys(ends)) or "no finish reason")


def _whole(found: Any) -> View:
    return View(True, found.usage.completion_tokens if found.usage is not None else None, "whole")


def _responses(sdk: openai.OpenAI, streamed: bool) -> View:
    if not streamed:
        return View(True, _get(sdk.responses.create(model="m", input=""), "usage", "output_tokens"), "whole")
    end, tokens = "no end", None
    with sdk.responses.create(model="m", input="", stream=True) as events:
        for event in events:
            if (response := _get(event, "response")) is not None and event.type != "response.created":
                end, tokens = str(event.type), _get(response, "usage", "output_tokens")
    return View(True, tokens, end)


def _messages(sdk: anthropic.Anthropic, asked: Any) -> View:
    common: Any = {"model": "m", "messages": [], "max_tokens": 9}
    if not asked.stream:
        found = sdk.messages.create(**common)
        return View(True, _get(found, "usage", "output_tokens"), "whole")
    with sdk.messages.stream(**common) as answer:
        last = answer.get_final_message()
    return View(True, last.usage.output_tokens, str(last.stop_reason or "no stop reason"))


def our_view(case: Case) -> View:
    """What our row says."""
    record = replay(case.answer, case.asked, case.api)
    tokens = record.prompt_tokens if isinstance(case.asked, EmbeddingsRequest) else record.completion_tokens
    return View(record.outcome is Outcome.OK, tokens, record.outcome.value)


def differ(case: Case) -> bool:
    ours, theirs = our_view(case), sdk_view(case)
    return ours.whole != theirs.whole or (ours.whole and ours.tokens != theirs.tokens)


def table() -> str:
    """The cases in which the two differ, as Markdown."""
    lines = [
        f"Of {len(CASES)} answers the two differ in these:",
        "",
        "| answer | our row | SDK | why |",
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
