"""What we send must be what the openai SDK sends: the SDK is the oracle, on a real socket."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.scripted_server import scripted_server
from tests.simulator_process import ROOT
from tokenswarm.apis.chat_completions import CHAT_PATH, ChatCompletions
from tokenswarm.apis.request import ChatRequest, ChatTarget, Sending, chat_body, encode_json
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import REQUEST_ID_HEADER, Client
from tokenswarm.client.sdk import SdkEndpoint, make_sdk_client

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
MESSAGES = [{"role": "user", "content": 'Grüße, "you" \\ 你好 \U0001f600 \n'}]


def targets(url: str) -> Iterator[ChatTarget]:
    yield ChatTarget(api="azure", endpoint=url, deployment="gpt 4/o", api_version="2024-10-21", key="key-1")
    yield ChatTarget(api="azure-v1", endpoint=f"{url}/openai/v1", deployment="gpt", key="key-1")
    yield ChatTarget(api="openai", endpoint=f"{url}/v1", deployment="gpt", key="key-1")
    token: Callable[[], str] = lambda: "token-1"  # noqa: E731
    yield ChatTarget(api="azure", endpoint=url, deployment="gpt", api_version="2024-10-21", token_provider=token)
    yield ChatTarget(api="azure-v1", endpoint=f"{url}/openai/v1", deployment="gpt", token_provider=token)


def parse(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    for name in ("accept-encoding", "connection", REQUEST_ID_HEADER):
        headers.pop(name, None)
    return first, headers, body


@pytest.mark.parametrize("index", range(5))
def test_our_request_is_the_sdks_request(index: int) -> None:
    request = ChatRequest(messages=MESSAGES, max_tokens=5, body={"temperature": 0.5, "n": 2})
    with scripted_server([ANSWER]) as server:
        target = list(targets(server.url))[index]
        with httpx2.HTTPTransport() as transport, make_sdk_client(target, transport) as sdk:
            sdk.post("/chat/completions", body=chat_body(request, target.deployment), cast_to=httpx2.Response)
        client = Client(ChatCompletions(target.deployment), SdkEndpoint(target), Sending(), Caller("w", 1))
        client.call(request, lambda _record: None)
        client.close()
        theirs, ours = server.requests
    assert parse(ours) == parse(theirs)


def test_a_renewed_token_is_used_from_the_next_request_on() -> None:
    current = {"token": "first"}
    target = ChatTarget(
        api="azure", endpoint="http://h", deployment="d", api_version="v", token_provider=lambda: current["token"]
    )
    endpoint = SdkEndpoint(target)
    assert endpoint.at(CHAT_PATH).headers["authorization"] == "Bearer first"
    assert endpoint.at(CHAT_PATH) is endpoint.at(CHAT_PATH)
    current["token"] = "second"
    assert endpoint.at(CHAT_PATH).headers["authorization"] == "Bearer second"


def test_an_address_shows_no_key() -> None:
    target = ChatTarget(api="azure", endpoint="http://h", deployment="d", api_version="v", key="top-secret-key")
    assert "top-secret-key" not in repr(target)
    assert "top-secret-key" not in repr(SdkEndpoint(target).at(CHAT_PATH))


def test_a_body_that_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError):
        encode_json({"temperature": float("nan")})
    assert json.loads(encode_json({"a": "é"})) == {"a": "é"}


LOADED = """
import sys
from tokenswarm.apis.request import ChatTarget, Sending
from tokenswarm.client.sdk import chat_endpoint
asked = {"api": "azure", "endpoint": "http://h", "deployment": "d", "api_version": "v", "key": "k"}
for asks in ("messages", "chat"):
    endpoint = chat_endpoint(ChatTarget(**asked, asks=asks), Sending())
    before = "openai" in sys.modules
    endpoint.at("/x")
    print(asks, before, "openai" in sys.modules)
"""
FORKED = """
from locust import events
import os, sys, types
import tokenswarm.users
if len(sys.argv) > 1:
    events.init.fire(environment=types.SimpleNamespace(parsed_options=sys, user_classes=[]))
before = "openai" in sys.modules
if os.fork() == 0:
    print(before, "openai" in sys.modules, flush=True)
    os._exit(0)
os.wait()
"""


def output_of(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_sdk_is_loaded_for_those_who_ask_by_it() -> None:
    assert output_of(LOADED).splitlines() == ["messages False False", "chat False True"]


def test_workers_that_are_forked_share_one_sdk() -> None:
    assert output_of(FORKED).split() == ["False", "True"]
    assert output_of(FORKED, "after init").split() == ["False", "False"], "another program, in the middle of a run"
