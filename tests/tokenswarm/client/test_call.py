from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from typing import Any

import gevent
import pytest
from gevent.event import Event

from tests.scripted_server import Action, close, scripted_server
from tokenswarm.apis.chat_completions import ChatCompletions
from tokenswarm.apis.gpt_rag import GptRagV1, GptRagV2
from tokenswarm.apis.request import ChatRequest, ChatTarget, RagRequest, Sending, write_request
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import Client
from tokenswarm.client.endpoint import FixedEndpoint
from tokenswarm.client.sdk import SdkEndpoint
from tokenswarm.record import Outcome, RequestRecord, TokenSource

CALLER = Caller("w0", 7)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\napim-request-id: req-1\r\n"
STREAM += (
    b"x-ms-region: Sweden Central\r\nx-ratelimit-remaining-tokens: 15000\r\nx-ratelimit-remaining-requests: -1\r\n"
)
STREAM += b"azure-openai-deployment-utilization: 12.3%\r\n\r\n"
CONVERSATION = "11111111-2222-3333-4444-555555555555"


def event(body: Any) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def token(text: str = "x") -> bytes:
    return event({"model": "m", "choices": [{"delta": {"content": text}, "finish_reason": None}]})


FINISH = event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
USAGE = event({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 2}})
DONE = b"data: [DONE]\n\n"


def answer(status: str, body: Any, *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(data)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + data


def chat(
    *scripts: list[Action], request: ChatRequest | None = None, sending: Sending | None = None
) -> tuple[list[RequestRecord], str, list[bytes]]:
    """Records, the last answer's text and the requests of one call."""
    records: list[RequestRecord] = []
    asked = request or ChatRequest(messages=[{"role": "user", "content": "hi"}], max_tokens=5, context_tokens=9)
    with scripted_server(*scripts) as server:
        target = ChatTarget(
            api="azure", endpoint=server.url, deployment="gpt", api_version="2024-10-21", key="k3y-secret"
        )
        client = Client(ChatCompletions("gpt"), SdkEndpoint(target), sending or Sending(timeout_s=5.0), CALLER)
        reply = client.call(asked, records.append)
        client.close()
    return records, reply.text, server.requests


def rag(script: list[Action], contract: str = "v1", **fields: Any) -> tuple[RequestRecord, str, bytes]:
    records: list[RequestRecord] = []
    with scripted_server(script) as server:
        api = GptRagV1() if contract == "v1" else GptRagV2()
        endpoint = FixedEndpoint(f"{server.url}/api/orc", {"x-functions-key": "fk"})
        client = Client(api, endpoint, Sending(timeout_s=5.0), dataclasses.replace(CALLER, target="rag"))
        reply = client.call(RagRequest(question="Who?", **fields), records.append)
        client.close()
    (record,) = records
    assert reply.record is record
    return record, reply.text, server.requests[0]


def test_a_streamed_answer_fills_the_record() -> None:
    request = ChatRequest(messages=[{"role": "user", "content": "hi"}], max_tokens=5, context_tokens=9, keep_text=True)
    (record,), text, _ = chat([STREAM, token("Hel"), token("lo"), FINISH, USAGE, DONE, close], request=request)
    assert text == "Hello"
    assert record.outcome is Outcome.OK
    assert (record.status, record.finish_reason, record.model) == (200, "stop", "m")
    assert (record.prompt_tokens, record.completion_tokens, record.token_source) == (10, 2, TokenSource.USAGE)
    assert (record.context_tokens, record.max_tokens, record.estimated_tokens) == (9, 5, 14)
    assert (record.chunks, record.worker, record.user, record.attempt) == (2, "w0", 7, 1)
    assert (record.request_id, record.region, record.utilization_pct) == ("req-1", "Sweden Central", 12.3)
    assert (record.remaining_tokens, record.remaining_requests) == (15000, None)
    assert record.ttft_ms == record.ttft_visible_ms
    assert record.scheduled_at is None and record.lag_ms is None
    assert record.ttft_ms is not None and record.e2e_ms is not None and record.ttft_ms <= record.e2e_ms


def test_the_request_is_what_azure_documents() -> None:
    (record,), _, (sent,) = chat([STREAM, token(), FINISH, USAGE, DONE, close])
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /openai/deployments/gpt/chat/completions?api-version=2024-10-21 HTTP/1.1\r\n")
    assert b"api-key: k3y-secret" in head
    assert b"Accept-Encoding: identity" in head
    assert f"x-ms-client-request-id: {record.call_id}-1".encode() in head
    assert json.loads(body) == {
        "model": "gpt",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_whole_answer_has_no_token_times() -> None:
    body = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "length"}], "usage": {"completion_tokens": 2}}
    request = ChatRequest(messages=[], stream=False)
    (record,), text, _ = chat([answer("200 OK", body)], request=request)
    assert text == "Hi"
    assert record.outcome is Outcome.OK
    assert record.ttft_ms is None and record.tbt_ms is None and record.chunks is None
    assert record.completion_tokens == 2


THROTTLED = answer("429 Too Many", {"error": {"code": "RateLimitReached", "message": "slow"}}, "retry-after-ms: 20")


@pytest.mark.parametrize(
    ("script", "outcome", "error"),
    [
        ([THROTTLED], Outcome.THROTTLED, "HTTP 429: RateLimitReached: slow"),
        ([answer("401 No", {"error": {"code": "401", "message": "bad"}})], Outcome.HTTP_ERROR, "HTTP 401: bad"),
        ([answer("502 Bad", b"<html>\n<h1>Bad</h1>")], Outcome.HTTP_ERROR, "HTTP 502: Bad"),
        ([answer("302 Found", b"", "Location: http://evil.invalid/")], Outcome.HTTP_ERROR, "redirect not followed"),
        ([answer("400 Bad", {"error": {"code": "content_filter"}})], Outcome.CONTENT_FILTER, "content_filter"),
        ([answer("200 OK", b"")], Outcome.BAD_PAYLOAD, "without a body"),
        ([answer("200 OK", {"error": {"message": "hidden"}})], Outcome.STREAM_ERROR, "hidden"),
        ([STREAM, close], Outcome.TRUNCATED, "before the answer was finished"),
        ([STREAM, token(), close], Outcome.TRUNCATED, "before the answer was finished"),
        ([STREAM, token(), b"data: {broken\n\n", FINISH, USAGE, DONE, close], Outcome.BAD_PAYLOAD, "not JSON"),
        ([STREAM, token(), event({"error": {"message": "boom"}}), close], Outcome.STREAM_ERROR, "boom"),
        ([STREAM, FINISH, DONE, close], Outcome.BAD_PAYLOAD, "without tokens"),
        ([STREAM, token(), event({"choices": [{"delta": {}, "finish_reason": "content_filter"}]}), DONE, close],
         Outcome.CONTENT_FILTER, "content filter"),
        ([close], Outcome.CONNECTION_ERROR, "closed"),
    ],
)  # fmt: skip
def test_outcomes(script: list[Action], outcome: Outcome, error: str) -> None:
    (record,), _, _ = chat(script)
    assert record.outcome is outcome
    assert error in str(record.error)
    assert record.e2e_ms is not None
    assert record.token_source is (TokenSource.USAGE if USAGE in script else TokenSource.NONE)


def test_a_failed_stream_keeps_what_it_had() -> None:
    (record,), _, _ = chat([STREAM, token(), token(), close])
    assert record.chunks == 2
    assert record.ttft_ms is not None
    assert record.completion_tokens is None
    assert record.tbt_ms is None  # without usage the number of tokens is not known


def test_a_request_that_was_lost_with_its_kept_connection_says_so_in_its_one_row() -> None:
    whole = answer("200 OK", {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]})
    records: list[RequestRecord] = []
    with scripted_server([whole], [close], [whole]) as server:
        endpoint = FixedEndpoint(server.url)
        client = Client(ChatCompletions("gpt"), endpoint, Sending(timeout_s=5.0), CALLER)
        for _ in range(2):
            client.call(ChatRequest(messages=[], stream=False), records.append)
        client.close()
    assert len(server.requests) == 3
    assert [(record.outcome, record.resent) for record in records] == [(Outcome.OK, None), (Outcome.OK, 1)]


def test_without_retry_a_call_has_one_attempt() -> None:
    records, _, requests = chat([THROTTLED])
    assert len(records) == len(requests) == 1
    assert records[0].retry_after_ms == 20.0


def test_each_attempt_of_a_retried_call_is_a_row_and_the_wait_is_not_lost() -> None:
    ok: list[Action] = [STREAM, token(), FINISH, USAGE, DONE, close]
    records, _, requests = chat([THROTTLED], [THROTTLED], ok, sending=Sending(timeout_s=5.0, retry="exponential"))
    assert [record.outcome for record in records] == [Outcome.THROTTLED, Outcome.THROTTLED, Outcome.OK]
    assert [record.attempt for record in records] == [1, 2, 3]
    assert len({record.call_id for record in records}) == 1
    assert [re.findall(rb"-(\d)\r\n", request) for request in requests] == [[b"1"], [b"2"], [b"3"]]
    first, second, last = records
    assert first.lag_ms is None
    assert second.lag_ms is not None and second.lag_ms >= 20.0
    assert last.lag_ms is not None and last.lag_ms >= 40.0
    assert last.e2e_from_due_ms == pytest.approx((last.e2e_ms or 0) + last.lag_ms)


@pytest.mark.parametrize("ends", ["before", "meanwhile"])
def test_nothing_is_sent_again_once_the_run_has_ended(ends: str) -> None:
    slow = answer("429 Too Many", {"error": {"message": "slow"}}, "retry-after: 20")
    stopping = Event()
    records: list[RequestRecord] = []
    with scripted_server([slow]) as server:
        caller = dataclasses.replace(CALLER, stopping=stopping)
        client = Client(ChatCompletions("gpt"), FixedEndpoint(server.url), Sending(retry="exponential"), caller)
        if ends == "before":
            stopping.set()
            client.call(ChatRequest(messages=[]), records.append)
        else:
            calling = gevent.spawn(client.call, ChatRequest(messages=[]), records.append)
            while not records:
                gevent.sleep(0.001)
            assert not calling.ready()
            stopping.set()
            calling.join(2.0)
            assert calling.ready()
        client.close()
        assert len(server.requests) == 1
    assert [record.attempt for record in records] == [1]


def test_an_unknown_address_is_named_in_its_error() -> None:
    (record,), _, _ = chat([answer("404 Not Found", {"detail": "Not Found"})])
    assert record.error is not None
    assert re.fullmatch(
        r"HTTP 404: Not Found \(POST http://127\.0\.0\.1:\d+/openai/deployments/gpt/chat/completions\?api-version=\S+\)",
        record.error,
    )
    (other,), _, _ = chat([answer("401 No", {"error": {"message": "no"}})])
    assert other.error == "HTTP 401: no"


def test_a_redirect_says_where_to() -> None:
    (record,), _, _ = chat([answer("308 Permanent Redirect", b"", "Location: https://elsewhere.example/v1/")])
    assert record.error == "HTTP 308: redirect not followed, to https://elsewhere.example/v1/"
    (record,), _, _ = chat([answer("302 Found", b"")])
    assert record.error == "HTTP 302: redirect not followed"


def test_lag_is_from_the_scheduled_instant() -> None:
    records: list[RequestRecord] = []
    with scripted_server([STREAM, token(), FINISH, USAGE, DONE, close]) as server:
        target = ChatTarget(api="openai", endpoint=f"{server.url}/v1", deployment="gpt", key="k")
        client = Client(ChatCompletions("gpt"), SdkEndpoint(target), Sending(), CALLER)
        client.call(ChatRequest(messages=[]), records.append, scheduled_at=time.time() - 1.5)
    assert records[0].lag_ms == pytest.approx(1500.0, abs=300.0)


def test_a_call_starts_when_it_is_due_and_not_before() -> None:
    request = ChatRequest(messages=[{"role": "user", "content": "hi"}])
    with scripted_server([STREAM, token(), FINISH, DONE, close]) as server:
        client = Client(ChatCompletions("gpt"), FixedEndpoint(server.url), Sending(), CALLER)
        due_at = time.time() + 0.004
        record = client.call(request, lambda record: None, due_at=due_at).record
    assert record.outcome is Outcome.OK
    assert record.started_at is not None and record.started_at >= due_at - 1e-4


def test_a_call_that_is_stopped_leaves_a_cancelled_row() -> None:
    records: list[RequestRecord] = []
    first_token = gevent.event.Event()
    stopped = threading.Event()
    # The server is silent, in a thread of its own, until the call has been stopped.
    with scripted_server([STREAM + token(), lambda _c: bool(stopped.wait(30)) or None, close]) as server:
        target = ChatTarget(api="openai", endpoint=f"{server.url}/v1", deployment="gpt", key="k")
        client = Client(ChatCompletions("gpt"), SdkEndpoint(target), Sending(), CALLER)
        greenlet = gevent.spawn(client.call, ChatRequest(messages=[]), records.append)

        def kill_after_first_token() -> None:
            while True:
                gevent.sleep(0.005)
                transport = client.transport
                last = transport.last if transport else None
                if last is not None and last.first_byte_ms is not None:
                    greenlet.kill()
                    first_token.set()
                    return

        gevent.spawn(kill_after_first_token)
        assert first_token.wait(30)
        stopped.set()
    (record,) = records
    assert record.outcome is Outcome.CANCELLED
    assert record.chunks == 1
    assert record.e2e_ms is not None


def test_v1_question_and_answer() -> None:
    body = {"conversation_id": "c-1", "answer": "Ann.", "data_points": "", "thoughts": ""}
    record, text, sent = rag([answer("200 OK", body, "Server-Timing: history;dur=1.5, retrieval;dur=20")], turn=1)
    assert (record.outcome, record.conversation_id, record.turn, text) == (Outcome.OK, "c-1", 1, "Ann.")
    assert record.stages == "history=1.5;retrieval=20"
    assert record.ttft_ms is None
    assert b"x-functions-key: fk" in sent
    assert json.loads(sent.partition(b"\r\n\r\n")[2]) == {"conversation_id": "", "question": "Who?"}


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"error": "no question found in json input"}, Outcome.STREAM_ERROR),
        (
            {"answer": "Sorry, I had a problem. RAG flow: exception: no index", "conversation_id": "c"},
            Outcome.STREAM_ERROR,
        ),
        ({"conversation_id": "c"}, Outcome.BAD_PAYLOAD),
        (b"<html>", Outcome.BAD_PAYLOAD),
    ],
)
def test_v1_failures_hide_under_status_200(body: Any, outcome: Outcome) -> None:
    record, _, _ = rag([answer("200 OK", body)])
    assert (record.outcome, record.status) == (outcome, 200)
    assert record.error


RAW = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Correlation-ID: corr-9\r\nConnection: close\r\n\r\n"


def test_v2_the_id_piece_is_no_token() -> None:
    pause: Action = lambda _c: time.sleep(0.06)  # noqa: E731 - before the first token: what is measured
    script: list[Action] = [RAW, f"{CONVERSATION} ".encode(), pause, b"Ann is ", b"the one.", close]
    record, text, sent = rag(script, contract="v2", conversation_id=CONVERSATION)
    assert (record.outcome, record.conversation_id, text) == (Outcome.OK, CONVERSATION, "Ann is the one.")
    assert record.request_id == "corr-9"
    assert record.first_byte_ms is not None and record.ttft_ms is not None
    assert record.ttft_ms - record.first_byte_ms > 40.0
    assert json.loads(sent.partition(b"\r\n\r\n")[2]) == {"conversation_id": CONVERSATION, "ask": "Who?"}


def test_v2_an_error_in_the_text_is_a_failure() -> None:
    script: list[Action] = [RAW, f"{CONVERSATION} Partial ".encode(), b"event: error\ndata: model down\n\n", close]
    record, _, _ = rag(script, contract="v2")
    assert (record.outcome, record.error) == (Outcome.STREAM_ERROR, "model down")


def test_v2_no_text_at_all() -> None:
    record, _, _ = rag([RAW, f"{CONVERSATION} ".encode(), close], contract="v2")
    assert record.outcome is Outcome.BAD_PAYLOAD
    assert record.ttft_ms is None


def test_a_header_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        write_request("POST", "http://a/b", {"x": "1\r\nEvil: 2"}, b"", False)
