"""One answer of an application in one JSON body: there is no first token. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping

import jiter

from tokenswarm.apis.api import Found
from tokenswarm.apis.gpt_rag import stages_of
from tokenswarm.apis.whole_body import WholeBody
from tokenswarm.apps.held import Held
from tokenswarm.apps.paths import Paths
from tokenswarm.payload.errors import find_error, told, unreadable
from tokenswarm.payload.message import is_seen
from tokenswarm.payload.usage import Usage, parse_usage, plausible
from tokenswarm.record import Outcome


class AppBody:
    """One answer while it arrives."""

    __slots__ = ("_body", "_conversation_id", "_paths", "_stages")

    def __init__(self, paths: Paths, headers: Mapping[str, str]) -> None:
        self._paths = paths
        self._body = WholeBody()
        self._conversation_id = paths.in_headers(headers)
        self._stages = stages_of(headers)

    def feed(self, data: bytes, at_ms: float, since_ms: float) -> bool:
        """Raises `BodyTooLarge`."""
        self._body.add(data)
        return False

    def finish(self) -> Found:
        body, paths = self._body.data, self._paths
        try:
            value = jiter.from_json(body)
        except ValueError as cause:
            return Found(Outcome.BAD_PAYLOAD, unreadable(body, cause))
        if (error := paths.error.finds(value)) is not None:
            failure = told(value if error is True else error)
            return Found(failure.outcome, failure.text)
        usage = paths.usage.evaluate(value) if paths.usage is not None else None
        counts, doubts = plausible(parse_usage(usage) if isinstance(usage, dict) else Usage(), 0, False)
        columns = counts.columns() | {"doubts": ";".join(doubts) or None, "stages": self._stages}
        if (conversation_id := self._conversation_id or paths.id_in(value)) is not None:
            columns["conversation_id"] = conversation_id
        text = paths.text.text_in(value)
        if is_seen(text):
            return Found(text=text, columns=columns)
        if isinstance(value, dict) and (failure_found := find_error(value)) is not None:
            return Found(failure_found.outcome, failure_found.text)
        held = Held()
        held.add(body)
        return Found(Outcome.BAD_PAYLOAD, f"no text at app-text {paths.text.text!r}: {held.describe()}")
