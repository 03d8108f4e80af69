"""Locust's event for one HTTP request: what its statistics, CSVs and charts see of a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenswarm.record import Outcome, RequestRecord, error_kind

if TYPE_CHECKING:
    from locust.env import Environment


def fire_request(environment: Environment, record: RequestRecord) -> None:
    """Fire it. `response_length` carries the tokens, so that Locust's own CSV yields TPM. What its user left is neither
    an answer nor a failure: it has a name of its own."""
    left = record.outcome is Outcome.ABORTED
    failed = record.outcome is not Outcome.OK and not left
    environment.events.request.fire(
        request_type="POST",
        name=f"{record.name} (aborted)" if left else record.name,
        response_time=record.e2e_ms,
        response_length=record.total_tokens or 0,
        exception=RequestFailed(f"{record.outcome.value}: {error_kind(record.error or '')}") if failed else None,
        start_time=record.started_at,
        context={"tokenswarm": record},
    )


class RequestFailed(Exception):
    """What Locust's failure statistics show for a request that was not ok: they count by this text."""

    def __repr__(self) -> str:
        return str(self)
