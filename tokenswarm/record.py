"""The one record: what is known about one HTTP request that was sent, or that was due and not sent.

Everything else in Tokenswarm produces, moves or reads this record. A field that was not observed is `None` in
Python and an empty cell in CSV, never 0. Column names carry their unit; instants are Unix seconds, offsets are
milliseconds since `started_at` and are measured on a monotonic clock.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, get_type_hints

SCHEMA_VERSION = 1


class Outcome(StrEnum):
    """How a request ended. Exactly one applies to each record."""

    OK = "ok"
    THROTTLED = "throttled"
    HTTP_ERROR = "http_error"
    TIMEOUT = "timeout"
    CONNECTION_ERROR = "connection_error"
    TRUNCATED = "truncated"
    STREAM_ERROR = "stream_error"
    BAD_PAYLOAD = "bad_payload"
    CONTENT_FILTER = "content_filter"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    DROPPED = "dropped"


_VARYING = re.compile(
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"  # UUID
    r"|\b(?=[a-f]*\d)[0-9a-f]{16,}\b"  # another hexadecimal id
    r"|(?<![\w:./-])(?<!HTTP )\d+(?:[.,]\d+)*(?!\.?[\w:-]| s\b)"  # a number, no status, name, date or address
)


def error_kind(error: str) -> str:
    """An error text without what differs from one request to the next: ids and numbers are `#`.

    Azure OpenAI says in each 429 after how many seconds to come again; by their whole texts they would be dozens of
    kinds of failure. HTTP status, dates, names and addresses stay, and so does our own `30 s` of a timeout.
    """
    return _VARYING.sub("#", error)


COME_AGAIN = frozenset({408, 409, 425, 429})
"""Statuses of the 4xx with which a service says that the same request may be answered later."""

RIGHT = "right"
"""`answer_check` of an answer that is as the dataset expects it."""

NOT_SENT = frozenset({Outcome.DROPPED})
"""Outcomes of arrivals that never became an HTTP request."""

GIVEN_UP = frozenset({Outcome.CANCELLED, Outcome.ABORTED})
"""Outcomes of requests whose end nobody waited for: neither answered nor failed, so that no share is of them."""

NOT_FAILED = frozenset({Outcome.OK, Outcome.THROTTLED, *GIVEN_UP, Outcome.DROPPED})
"""Outcomes that do not count as a failed request: throttling, our own giving up and dropping are told apart."""


class TokenSource(StrEnum):
    """Where the token counts of a record come from."""

    USAGE = "usage"
    ESTIMATE = "estimate"
    NONE = "none"


class SessionEnd(StrEnum):
    """How a session ended, on the row of its last request; none on the rows before, and where the run ended first."""

    DONE = "done"
    FAILED = "failed"
    """A step was not answered, so the steps that need it were not asked."""


class Doubt(StrEnum):
    """What is not as it should be with an answer whose figures count all the same; a row may have several."""

    UNKNOWN_END = "unknown end"
    """The finish reason is none that is known to be good or bad, or came before more text; or a whole body has none."""
    NO_TEXT = "no visible text"
    """Tokens were counted, but nothing that a reader sees came: blanks, characters without width, or nothing."""
    STATUS = "undocumented status"
    """A whole answer under another 2xx than the API documents."""
    CONTENT_TYPE = "undocumented content type"
    """A whole answer that is said to be a page, a picture or the like."""
    FEWER_CHOICES = "fewer choices than asked"
    ZERO_USAGE = "zeros in usage"
    """Counts of 0 beside a prompt or a text; they are taken as absent."""
    USAGE = "implausible usage"
    """Counts that are no counts, contradict each other or exceed their bound; what cannot be is taken as absent."""
    REASONING_BESIDE = "reasoning beside completion"
    """The service counts thinking beside the completion: it has been added, so that totals are as reported."""
    FEW_TOKENS = "fewer tokens than chunks"
    """Usage counts far fewer tokens than chunks with text came: TBT per token is too high."""
    UNREAD = "unreadable events"
    """Events without a field that event streams have, as behind a NUL byte: they are passed over, as clients do."""
    BUFFERED = "answer in one piece"
    """All chunks of a stream came at once, as through a proxy that buffers, or its only one holds the whole text: TTFT
    is E2E, and there is no TBT."""
    WHOLE = "streamed request answered whole"
    """One JSON body came where a stream was asked for, as through a proxy that leaves `stream` out: no TTFT, no TBT."""
    CACHED = "answered from a response cache"
    """Headers say that a gateway or proxy gave an answer that it had kept: its times are not those of a model."""


_UNPRINTABLE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|"
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Sequences for terminals; controls of C0 and C1, ends of lines, what turns the direction of text or has no width,
halves of pairs."""


def cell_text(text: str) -> str:
    """A text of a service in one line that moves no terminal's cursor and ends no line of a CSV: what is no character
    to be read is a blank."""
    return text if text.isprintable() else _UNPRINTABLE.sub(" ", text)


Described = TypeVar("Described")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def _frozen_where_checked(kind: type[Described]) -> type[Described]:
    """A dataclass that type checkers hold to be frozen. Python does not: of so many fields that is three quarters of
    what making one costs, and one is made for each request and each row that is read."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(kind)


@_frozen_where_checked
class RequestRecord:
    """One HTTP request. See `results/column_docs.py` for unit, start and end of each field."""

    call_id: str
    attempt: int = 1
    worker: str = ""
    user: int | None = None
    target: str = "chat"
    name: str = ""
    conversation_id: str | None = None
    turn: int | None = None
    question_id: str | None = None
    session_id: str | None = None
    step: int | None = None
    session_s: float | None = None
    path_s: float | None = None
    session_end: SessionEnd | None = None

    scheduled_at: float | None = None
    started_at: float | None = None
    lag_ms: float | None = None

    connect_ms: float | None = None
    resent: int | None = None
    sent_ms: float | None = None
    headers_ms: float | None = None
    first_byte_ms: float | None = None
    first_progress_ms: float | None = None
    ttft_ms: float | None = None
    ttft_visible_ms: float | None = None
    last_token_ms: float | None = None
    e2e_ms: float | None = None

    chunks: int | None = None
    chunks_interpolated: int | None = None
    gap_max_ms: float | None = None
    gap_p95_ms: float | None = None
    tbt_ms: float | None = None
    read_lag_ms: float | None = None

    context_tokens: int | None = None
    shared_tokens: int | None = None
    max_tokens: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    token_source: TokenSource = TokenSource.NONE

    outcome: Outcome
    status: int | None = None
    error: str | None = None
    finish_reason: str | None = None

    request_id: str | None = None
    region: str | None = None
    route: str | None = None
    spilled_from: str | None = None
    service_tier: str | None = None
    model: str | None = None
    utilization_pct: float | None = None
    remaining_tokens: int | None = None
    remaining_requests: int | None = None
    retry_after_ms: float | None = None

    stages: str | None = None

    answer_check: str | None = None
    answer_hash: str | None = None

    doubts: str | None = None
    end_note: str | None = None
    deployment: str | None = None

    @property
    def is_arrival(self) -> bool:
        """Whether the load model wanted it: the first attempt of a request, or of a session's first step."""
        return self.attempt == 1 and self.step in (None, 1)

    @property
    def session_duration_s(self) -> float | None:
        """s from a session's due instant to the end of its last answer; `None` on all rows but that of this answer."""
        return self.session_s if self.session_end is SessionEnd.DONE else None

    @property
    def due_at(self) -> float | None:
        """Unix s at which the call should have started: `started_at` less `lag_ms`, or `scheduled_at` when unsent."""
        if self.started_at is None:
            return self.scheduled_at
        return self.started_at - (self.lag_ms or 0.0) / 1000.0

    @property
    def placed_at(self) -> float | None:
        """Unix s at which the record lies in time: the start of a request, the due instant of a dropped arrival; where
        that is not known, the other one."""
        first, second = self.started_at, self.scheduled_at
        if self.outcome is Outcome.DROPPED:
            first, second = second, first
        return second if first is None else first

    @property
    def ended_at(self) -> float | None:
        """Unix s of the end of the answer or of the failure; of a dropped arrival, when it was given up. Where that is
        not known, `placed_at`."""
        at = self.placed_at
        took_ms = self.lag_ms if self.outcome is Outcome.DROPPED else self.e2e_ms
        return at if at is None or took_ms is None else at + took_ms / 1000.0

    @property
    def e2e_from_due_ms(self) -> float | None:
        """ms from the intended start to the last byte of the answer; `None` without an answer."""
        return None if self.e2e_ms is None else self.e2e_ms + (self.lag_ms or 0.0)

    @property
    def ttft_from_due_ms(self) -> float | None:
        """ms from the intended start to the first token; `None` when no token came."""
        return None if self.ttft_ms is None else self.ttft_ms + (self.lag_ms or 0.0)

    @property
    def refused(self) -> bool:
        """Whether asking the same again comes to the same: no connection came about, or the answer was a redirect or a
        4xx (but 408, 409, 425 and 429, which ask to come again, and the content filter, which is about a prompt)."""
        if self.outcome is Outcome.CONNECTION_ERROR:
            return self.sent_ms is None
        if self.outcome is not Outcome.HTTP_ERROR or self.status is None:
            return False
        return 300 <= self.status < 500 and self.status not in COME_AGAIN

    @property
    def total_tokens(self) -> int | None:
        """Prompt plus completion tokens as the service reported them; `None` when it reported neither."""
        if self.prompt_tokens is None and self.completion_tokens is None:
            return None
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)

    @property
    def estimated_tokens(self) -> int | None:
        """Tokens the service's limiter counts at admission: prompt plus `max_tokens`; `None` when neither is known.

        Source: Azure OpenAI quota documentation (estimate of the prompt plus max_tokens, times best_of).
        """
        prompt = self.context_tokens if self.context_tokens is not None else self.prompt_tokens
        if prompt is None and self.max_tokens is None:
            return None
        return (prompt or 0) + (self.max_tokens or 0)

    def to_row(self) -> list[str]:
        """Cells in the order of `COLUMNS`; absent values are empty cells, control characters in texts are blanks."""
        return ["" if value is None else _cell(value) for value in _VALUES(self)]

    @classmethod
    def from_row(cls, row: dict[str, str]) -> RequestRecord:
        """Parse one CSV row (header name to cell). Raises `ValueError` naming the column, expected and actual."""
        values: dict[str, Any] = {}
        for column, cell in row.items():
            if column not in _PARSERS:
                continue
            try:
                values[column] = _PARSERS[column](cell)
            except ValueError as error:
                raise ValueError(f"column {column}: expected {COLUMN_TYPES[column]}, got {cell!r}") from error
        return cls(**values)


def tbt_ms(
    first_ms: float | None,
    last_ms: float | None,
    chunks: int | None,
    streamed_tokens: int | None,
) -> float | None:
    """Mean time between tokens of one request, ms per token, over the tokens after the first chunk.

    (last - first) / (chunks - 1) is the time between chunks; times chunks / streamed tokens it is per token. With
    one token a chunk this is the usual (last - first) / (n - 1); with several it stays right where the usual form
    is low. `None` below 2 chunks or when the streamed token count is unknown.
    """
    if first_ms is None or last_ms is None or chunks is None or chunks < 2 or not streamed_tokens:
        return None
    return (last_ms - first_ms) / (chunks - 1) * chunks / streamed_tokens


def _cell(value: Any) -> str:
    return _decimal(value) if isinstance(value, float) else cell_text(str(value))


_LARGEST_SHORT = 4e9
"""Up to here a number with 6 decimals is the shortest that its float can be told by."""


def _decimal(value: float) -> str:
    """`repr` of the value rounded to 3 decimals, of one beyond 1e6 (an instant) to 6. It is formatted at once, as both
    steps would look for its digits."""
    size = abs(value)
    if not size <= _LARGEST_SHORT:
        return repr(round(value, 6))
    text = f"{value:.6f}" if size > 1e6 else f"{value:.3f}"
    if text[-1] != "0":
        return text
    text = text.rstrip("0")
    return text + "0" if text[-1] == "." else text


def _optional(parse: Any) -> Any:
    return lambda cell: None if cell == "" else parse(cell)


def _integer(cell: str) -> int:
    return int(cell) if "." not in cell else int(_number(cell))


def _number(cell: str) -> float:
    """A number that one can reckon with: neither NaN nor infinite."""
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value


COLUMNS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(RequestRecord))
_VALUES = attrgetter(*COLUMNS)
COLUMN_TYPES: dict[str, str] = {name: str(hint) for name, hint in RequestRecord.__annotations__.items()}
_HINTS = get_type_hints(RequestRecord)
_BY_TYPE: dict[Any, Any] = {
    str: str,
    int: _integer,
    str | None: _optional(str),
    int | None: _optional(_integer),
    float | None: _optional(_number),
    TokenSource: lambda cell: TokenSource(cell) if cell else TokenSource.NONE,
    Outcome: Outcome,
    SessionEnd | None: _optional(SessionEnd),
}
_PARSERS = {name: _BY_TYPE[_HINTS[name]] for name in COLUMNS}
