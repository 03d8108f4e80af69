"""What a run says of its answers: those that stop well short of the length that was asked for, by which the load is
lighter than it looks, and those that are doubtful and count all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tokenswarm.record import Doubt, Outcome, RequestRecord
from tokenswarm.userinput import counted

MIN_ROWS = 20
MIN_SHARE = 0.9
MEANINGS: dict[str, str] = {
    Doubt.UNKNOWN_END: "their finish reason is none known to be good, or came with each chunk: see finish_reason",
    Doubt.NO_TEXT: "tokens were counted, but no text that can be seen came: does hidden reasoning use up max_tokens?",
    Doubt.STATUS: "whole, but with another status than 200",
    Doubt.CONTENT_TYPE: "whole, but said to be a page or a picture: does a proxy change the headers?",
    Doubt.FEWER_CHOICES: "the service gave fewer than n",
    Doubt.ZERO_USAGE: "usage says 0 beside a prompt or a text: taken as absent, so TPM and budgets miss it",
    Doubt.USAGE: "counts in usage that are none or contradict each other: what cannot be is taken as absent",
    Doubt.REASONING_BESIDE: "the service counts reasoning beside the completion: it has been added",
    Doubt.FEW_TOKENS: "usage has far fewer tokens than chunks came: TBT per token is too high",
    Doubt.UNREAD: "events began with no field (a NUL byte before `data:`?): they are passed over, as clients do",
    Doubt.BUFFERED: "all of it came at once: does a proxy buffer the stream? TTFT is E2E there, and there is no TBT",
    Doubt.WHOLE: "one body, not a stream as asked: does a proxy leave `stream` out? No TTFT (criteria take E2E)",
    Doubt.CACHED: "by their headers (Age, X-Cache): their times are the cache's. Switch it off for the run",
}


class AnswerLengths:
    """Counts answers that ended by themselves, before `max_tokens`."""

    def __init__(self) -> None:
        self.rows = 0
        self._completion = 0
        self._asked = 0

    def add(self, record: RequestRecord) -> None:
        if record.outcome is not Outcome.OK or record.finish_reason == "length":
            return
        if record.completion_tokens is None or record.max_tokens is None:
            return
        self.rows += 1
        self._completion += record.completion_tokens
        self._asked += record.max_tokens

    @property
    def share(self) -> float | None:
        """Tokens received as a share of those asked for; `None` while too few answers tell."""
        return self._completion / self._asked if self.rows >= MIN_ROWS and self._asked else None

    def describe(self) -> str | None:
        """A warning; `None` when lengths are near what was asked for, or unknown."""
        share = self.share
        if share is None or share >= MIN_SHARE:
            return None
        return (
            f"Answers are shorter than asked for: {self._completion / self.rows:.0f} tokens on average instead of "
            f"{self._asked / self.rows:.0f} ({100 * share:.0f} %, {self.rows} answers that ended by themselves)"
        )

    def facts(self) -> dict[str, Any] | None:
        """The `length_shortfall` part of run.json; `None` while too few answers tell."""
        if self.share is None:
            return None
        return {
            "rows": self.rows,
            "mean_completion_tokens": self._completion / self.rows,
            "mean_max_tokens": self._asked / self.rows,
            "share_pct": 100 * self.share,
        }


class AnswerDoubts:
    """Counts rows by what is doubtful about their answers."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, record: RequestRecord) -> None:
        if record.doubts:
            self.counts.update(record.doubts.split(";"))


def in_words(counts: Mapping[str, int]) -> Iterator[str]:
    """A line for each kind of doubt."""
    for kind, count in counts.items():
        meaning = MEANINGS.get(kind)
        yield f"{counted(count, 'answer is', 'answers are')} doubtful: {kind}" + (f" ({meaning})." if meaning else ".")
