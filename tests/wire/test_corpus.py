"""Each answer of the corpus becomes the row that is right, through transport and API; some on a socket, too."""

from __future__ import annotations

import dataclasses

import pytest

from tests.scripted_server import Action, close, reset, scripted_server
from tests.wire.cases import Case
from tests.wire.corpus import CASES
from tests.wire.replay import Answer, replay
from tokenswarm.apis.request import Sending
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import Client
from tokenswarm.client.endpoint import FixedEndpoint
from tokenswarm.record import RequestRecord

SOCKET = [case for case in CASES if case.kind in "BH" and case.right["outcome"] != "timeout"]


def wrong(record: RequestRecord, case: Case, but: tuple[str, ...] = ()) -> dict[str, object]:
    """What is not as it should be."""
    found = {name: getattr(record, name) for name in case.right if name not in but}
    differs = {name: value for name, value in found.items() if value != case.right[name]}
    return {name: value for name, value in differs.items() if not _near(value, case.right[name])}


def _near(value: object, right: object) -> bool:
    return isinstance(value, float) and isinstance(right, float) and abs(value - right) < 1e-6


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.name}")
def test_the_row_is_right(case: Case) -> None:
    assert wrong(replay(case.answer, case.asked, case.api), case) == {}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.name}")
def test_it_is_right_byte_by_byte(case: Case) -> None:
    """However the bytes are cut, outcome, error and counts are the same; times are not looked at."""
    pieces = tuple((at, data[i : i + 1]) for at, data in case.answer.pieces for i in range(len(data)))
    record = replay(dataclasses.replace(case.answer, pieces=pieces), case.asked, case.api)
    doubts = str(case.right.get("doubts") or "")
    but = ("doubts",) if "piece" in doubts else ()
    assert wrong(record, case, ("ttft_ms", "tbt_ms", "gap_max_ms", "e2e_ms", "ttft_visible_ms", *but)) == {}


def actions(answer: Answer) -> list[Action]:
    """What a server does that answers so; without the pauses."""
    sent: list[Action] = [data for _, data in answer.reads() if isinstance(data, bytes)]
    if answer.end == "reset":
        return [*sent, reset]
    keeps = answer.end == "open" or (answer.end == "whole" and answer.framing != "close")
    return sent if keeps else [*sent, close]


@pytest.mark.parametrize("case", SOCKET, ids=lambda case: f"{case.kind} {case.name}")
def test_the_row_is_right_on_a_socket(case: Case) -> None:
    records: list[RequestRecord] = []
    with scripted_server(actions(case.answer)) as server:
        client = Client(case.api, FixedEndpoint(server.url), Sending(timeout_s=5.0), Caller("w", 1))
        client.call(case.asked, records.append)
        reused = client.transport is not None and client.transport.connection is not None
        client.close()
    (record,) = records
    timed = ("ttft_ms", "tbt_ms", "e2e_ms", "doubts", "gap_max_ms")
    loose = ("end_note", "outcome") if case.answer.end == "reset" else ()  # a reset may overtake what was sent
    assert wrong(record, case, timed + loose) == {}
    if record.end_note is not None:
        assert not reused
