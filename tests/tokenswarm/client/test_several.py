"""Several targets: shares, conversations that stay, and the next target where the first cannot serve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulator_process import API_KEY, Simulator, running_simulator
from tokenswarm.apis.named import api_of
from tokenswarm.apis.request import ChatRequest, Sending
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import Client
from tokenswarm.client.sdk import chat_endpoint
from tokenswarm.client.several import SeveralClients, Shares
from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.record import Outcome, RequestRecord

FAST = "ttft_base_ms = 1\nttft_std_ms = 0\ntbt_ms = 1\n"
CONFIG = f"""
[deployments.small]
tpm = 1000
minute_from = "first-request"
rpm_slices_s = [60]
{FAST}
[deployments.large]
{FAST}
[deployments.broken]
faults = [{{fault = "http_500", share = 1.0}}]
{FAST}
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG, seed=3) as simulator:
        yield simulator


@pytest.mark.parametrize(("weights", "counts"), [((3, 1), {0: 75, 1: 25}), ((1, 1, 2), {0: 25, 1: 25, 2: 50})])
def test_shares_are_exact_at_any_time(weights: tuple[float, ...], counts: dict[int, int]) -> None:
    shares = Shares(weights)
    asked = [shares.next() for _ in range(100)]
    assert Counter(asked) == counts
    for upto in range(1, 101):
        found = Counter(asked[:upto])
        assert all(abs(found[place] - upto * weight / sum(weights)) <= 1 for place, weight in enumerate(weights))


def user(simulator: Simulator, targets: str, shares: Shares | None) -> SeveralClients[Any]:
    variables = {"OPENAI_BASE_URL": simulator.chat_url + "/v1", "OPENAI_API_KEY": API_KEY}
    several = build_settings({"targets": targets}, Environment(variables, {}), {"chat"}).several
    assert several is not None
    clients: list[Client[Any]] = [
        Client(api_of(target), chat_endpoint(target, Sending()), Sending(), Caller("w0", 1, deployment=name))
        for name, target in several.targets.items()
    ]
    return SeveralClients(clients, shares)


def ask(client: Client[Any], conversation: str | None = None) -> list[RequestRecord]:
    rows: list[RequestRecord] = []
    request = ChatRequest(
        messages=[{"role": "user", "content": "Hello"}],
        max_tokens=5,
        session_id=conversation,
        conversation_id=conversation,
    )
    client.call(request, rows.append, encoded=client.encode(request))
    return rows


def test_requests_go_by_weight_and_conversations_stay(simulator: Simulator) -> None:
    before = len(simulator.truth())
    client = user(simulator, "large = 1, small = 1", Shares([1, 1]))
    alone = [ask(client) for _ in range(4)]
    together = [ask(client, name) for name in ("a", "a", "a", "b", "b")]
    client.close()
    assert [rows[0].deployment for rows in alone] == ["large", "small", "large", "small"]
    assert [rows[0].deployment for rows in together] == ["large", "large", "large", "small", "small"]
    served = {line["client_request_id"]: line["deployment"] for line in simulator.truth()[before:]}
    rows = [row for rows in (*alone, *together) for row in rows]
    assert {f"{row.call_id}-1": row.deployment for row in rows} == served


@pytest.mark.parametrize("first", ["small", "broken"])
def test_what_the_first_refuses_is_asked_of_the_next_at_once(simulator: Simulator, first: str) -> None:
    simulator.admin("POST", "/admin/reset")
    client = user(simulator, f"{first} > large", None)
    calls = [ask(client) for _ in range(30)]
    client.close()
    fallen = [rows for rows in calls if len(rows) == 2]
    assert fallen and all(rows[-1].outcome is Outcome.OK for rows in calls)
    for refused, served in fallen:
        assert (refused.deployment, served.deployment) == (first, "large")
        assert refused.outcome in (Outcome.THROTTLED, Outcome.HTTP_ERROR)
        assert (refused.call_id, refused.attempt, served.attempt) == (served.call_id, 1, 2)
        assert (served.lag_ms or 0) >= (refused.e2e_ms or 0), "the time at the first target counts"
    assert all(rows[0].deployment == first for rows in calls)
