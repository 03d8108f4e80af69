"""A user who leaves before the answer has ended: what the row says, and what the server noticed."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.scripted_server import scripted_server
from tests.simulator_process import API_KEY, FUNCTIONS_KEY, Simulator, running_simulator
from tokenswarm.apis.chat_completions import ChatCompletions
from tokenswarm.apis.gpt_rag import GptRagV1, GptRagV2
from tokenswarm.apis.named import api_of
from tokenswarm.apis.request import ChatRequest, ChatTarget, RagRequest, Sending
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import Client
from tokenswarm.client.endpoint import FixedEndpoint
from tokenswarm.client.sdk import chat_endpoint
from tokenswarm.record import Outcome, RequestRecord, TokenSource

CONFIG = """
[deployments.slow]
ttft_base_ms = 100
ttft_std_ms = 0
tbt_ms = 20
tbt_std_ms = 0
max_output_tokens = 400
[deployments.goes-on]
ttft_base_ms = 50
ttft_std_ms = 0
tbt_ms = 10
tbt_std_ms = 0
when_client_leaves = "finish"
[rag]
retrieval_delay_ms = 2000
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG, seed=3) as simulator:
        yield simulator


def ask(simulator: Simulator, endpoint: str, deployment: str, after_s: float, stream: bool = True) -> RequestRecord:
    records: list[RequestRecord] = []
    target = ChatTarget(
        api="openai", endpoint=simulator.chat_url + "/v1", deployment=deployment, asks=endpoint, key=API_KEY
    )
    request = ChatRequest(
        messages=[{"role": "user", "content": "hi"}], max_tokens=300, stream=stream, abort_after_s=after_s
    )
    client = Client(api_of(target), chat_endpoint(target, Sending()), Sending(), Caller("w0", 1))
    client.call(request, records.append)
    client.close()
    (record,) = records
    return record


def truth_of(simulator: Simulator, record: RequestRecord) -> dict[str, object]:
    (line,) = [line for line in simulator.truth() if line["client_request_id"] == f"{record.call_id}-1"]
    return line


@pytest.mark.parametrize("endpoint", ["chat", "responses", "completions", "messages"])
def test_tokens_so_far_and_when_the_service_noticed(simulator: Simulator, endpoint: str) -> None:
    record = ask(simulator, endpoint, "slow", 0.3)
    line = truth_of(simulator, record)
    assert record.outcome is Outcome.ABORTED
    assert record.error is not None and record.error.startswith("its user left after 0.3 s")
    assert record.e2e_ms is not None and 300 <= record.e2e_ms < 2000
    assert record.ttft_ms is not None and record.ttft_ms >= 100
    assert record.chunks is not None and record.chunks >= 2
    assert (record.completion_tokens, record.token_source) == (record.chunks, TokenSource.ESTIMATE)
    assert line["outcome"] == "client_gone"
    before = line["tokens_before_left"]
    assert isinstance(before, int) and 0 <= before - record.chunks <= 3
    left_at = line["client_left_at"]
    assert isinstance(left_at, float) and record.ended_at is not None
    assert -0.01 < left_at - record.ended_at < 1.0


def test_one_who_leaves_before_the_first_byte_has_no_tokens(simulator: Simulator) -> None:
    record = ask(simulator, "chat", "slow", 0.1, stream=False)
    assert record.outcome is Outcome.ABORTED
    assert (record.chunks, record.completion_tokens, record.status) == (None, None, None)
    assert truth_of(simulator, record)["client_left_at"] is not None


def test_one_who_would_leave_later_has_the_answer(simulator: Simulator) -> None:
    records: list[RequestRecord] = []
    target = ChatTarget(api="openai", endpoint=simulator.chat_url + "/v1", deployment="slow", key=API_KEY)
    client = Client(api_of(target), chat_endpoint(target, Sending()), Sending(), Caller("w0", 1))
    for _ in range(2):
        request = ChatRequest(messages=[{"role": "user", "content": "hi"}], max_tokens=3, abort_after_s=5.0)
        client.call(request, records.append)
    client.close()
    assert [record.outcome for record in records] == [Outcome.OK, Outcome.OK]
    assert records[1].connect_ms is None


@pytest.mark.parametrize("contract", ["v1", "v2"])
def test_an_orchestrator_that_is_left(simulator: Simulator, contract: str) -> None:
    records: list[RequestRecord] = []
    path, header = ("/api/orc", "x-functions-key") if contract == "v1" else ("/orchestrator", "X-API-KEY")
    key = FUNCTIONS_KEY if contract == "v1" else API_KEY
    endpoint = FixedEndpoint(simulator.rag_url + path, {header: key})
    client = Client(GptRagV1() if contract == "v1" else GptRagV2(), endpoint, Sending(), Caller("w0", 1, "rag"))
    client.call(RagRequest(question="How do I charge the battery?", abort_after_s=0.3), records.append)
    client.close()
    line = truth_of(simulator, records[0])
    assert (records[0].outcome, line["outcome"]) == (Outcome.ABORTED, "client_gone")
    assert line["client_left_at"] is not None


def test_the_metrics_page_tells_how_long_nobody_listened(simulator: Simulator) -> None:
    record = ask(simulator, "chat", "goes-on", 0.2)
    line = truth_of(simulator, record)
    left_at, finished_at = line["client_left_at"], line["finished_at"]
    assert isinstance(left_at, float) and isinstance(finished_at, float)
    assert finished_at - left_at > 2.0
    page = httpx2.get(simulator.chat_url + "/metrics").text
    told = dict(row.rsplit(" ", 1) for row in page.splitlines() if not row.startswith("#"))
    labels = '{target="chat",model_name="goes-on"}'
    assert float(told["simulator_unheard_seconds_total" + labels]) == pytest.approx(finished_at - left_at, abs=0.01)
    assert float(told["simulator_unheard_tokens_total" + labels]) == line["tokens_after_left"]


def test_who_has_left_does_not_ask_again() -> None:
    records: list[RequestRecord] = []
    busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nretry-after-ms: 400\r\n\r\n"
    with scripted_server([busy], [busy]) as server:
        target = ChatTarget(api="openai", endpoint=server.url, deployment="m", key="k-123456")
        client = Client(
            ChatCompletions("m"), chat_endpoint(target, Sending()), Sending(retry="exponential"), Caller("w0", 1)
        )
        client.call(ChatRequest(messages=[{"role": "user", "content": "hi"}], abort_after_s=0.3), records.append)
        client.close()
    assert [record.outcome for record in records] == [Outcome.HTTP_ERROR]
