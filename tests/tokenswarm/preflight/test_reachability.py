"""What is found out about a target before anybody is sent to it, over real sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.ports import free_port
from tests.scripted_server import scripted_server
from tests.simulator_process import API_KEY, Simulator, running_simulator
from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.config.settings import Settings
from tokenswarm.preflight import reachability as preflight
from tokenswarm.preflight.reachability import check_targets

HOSTS = {"azure": "", "azure-v1": "/openai/v1", "openai": "/v1"}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


def settings_for(host: str, api: str = "azure", deployment: str = "gpt-4.1-nano", key: str = API_KEY) -> Settings:
    environment = Environment({"OPENAI_API_KEY": key}, {})
    return build_settings({"host": host, "api": api, "deployment": deployment}, environment, {"chat"})


def rag_settings(host: str) -> Settings:
    environment = Environment({"ORCHESTRATOR_FUNCTION_KEY": "any"}, {})
    return build_settings({"host": host, "dataset": "scenarios/dataset.csv"}, environment, {"rag"})


@pytest.fixture
def answering() -> Iterator[tuple[str, list[bytes]]]:
    """A server that says `answer[0]` to whatever comes, on any number of connections."""
    answer = [b""]
    done = threading.Event()

    def say(connection: socket.socket) -> None:
        if answer[0]:
            connection.sendall(answer[0])
        else:
            done.wait(10)

    with scripted_server([say]) as server:
        yield server.url, answer
        done.set()


@pytest.mark.parametrize("api", HOSTS)
def test_a_deployment_that_is_there_gives_no_problem_and_no_request(simulator: Simulator, api: str) -> None:
    assert check_targets(settings_for(simulator.chat_url + HOSTS[api], api)) == []
    assert simulator.truth() == []


@pytest.mark.parametrize("api", HOSTS)
def test_an_unknown_deployment_is_named(simulator: Simulator, api: str) -> None:
    (problem,) = check_targets(settings_for(simulator.chat_url + HOSTS[api], api, "gpt-36"))
    assert problem.startswith("deployment: expected one of 127.0.0.1")
    assert "'gpt-36'" in problem


@pytest.mark.parametrize("api", HOSTS)
def test_a_refused_key_is_told_and_not_shown(simulator: Simulator, api: str) -> None:
    (problem,) = check_targets(settings_for(simulator.chat_url + HOSTS[api], api, key="not-the-key"))
    assert problem.startswith("API key: expected one that 127.0.0.1")
    assert "HTTP 401" in problem
    assert "not-the-key" not in problem


def test_nobody_there() -> None:
    host = f"http://127.0.0.1:{free_port()}"
    (chat,) = check_targets(settings_for(host))
    (rag,) = check_targets(rag_settings(host))
    assert chat.startswith("chat endpoint: expected a connection to 127.0.0.1")
    assert rag.startswith("orchestrator: expected a connection to 127.0.0.1")
    assert "Connection refused" in chat and "Connection refused" in rag


def test_no_tls_where_https_was_meant(simulator: Simulator) -> None:
    (problem,) = check_targets(settings_for(simulator.chat_url.replace("http:", "https:")))
    assert problem.startswith("chat endpoint: expected a connection")


def test_an_orchestrator_is_only_connected_to(simulator: Simulator) -> None:
    before = len(simulator.truth())
    assert check_targets(rag_settings(simulator.rag_url)) == []
    assert len(simulator.truth()) == before


@pytest.mark.parametrize(
    "answer",
    [
        b'HTTP/1.1 404 Not Found\r\nContent-Length: 26\r\n\r\n{"error": {"code": "404"}}',
        b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nwhat",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n[]",
        b"not HTTP at all",
    ],
)
def test_a_server_that_does_not_know_the_question_is_let_through(
    answering: tuple[str, list[bytes]], answer: bytes
) -> None:
    host, says = answering
    says[0] = answer
    assert check_targets(settings_for(host)) == []


def test_a_server_that_takes_long_is_let_through(
    answering: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "PATIENCE_S", 0.2)
    assert check_targets(settings_for(answering[0])) == []


def answer(status: int, body: object) -> bytes:
    data = json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(data), data)


def asked(look_up: bytes, ask: bytes, **variables: str) -> tuple[list[str], list[bytes]]:
    """Problems of a start at a gateway that answers the look-up and the run's own URL so, and what it was asked."""
    ends = [lambda connection: connection.close()]
    with scripted_server([look_up, *ends], [ask, *ends]) as server:
        values = {"OPENAI_API_KEY": "key-1", **variables}
        given = {"host": f"{server.url}/v1", "deployment": "m", "headers": "x-team: one"}
        settings = build_settings(given, Environment(values, {}), {"chat"})
        return check_targets(settings), server.requests


REFUSED = answer(403, {"error": {"message": "Missing scopes: api.model.read."}})


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_ask_but_not_look_up_starts_with_a_warning(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    looked_up = answer(status, {"error": {"message": "Missing scopes: api.model.read."}})
    problems, requests = asked(looked_up, answer(400, {"error": {"message": "messages: required"}}))
    assert problems == []
    assert f"HTTP {status} (Missing scopes: api.model.read.)" in caplog.text
    head, _, body = requests[1].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions ") and b"x-team: one" in head
    assert json.loads(body) == {"model": "m", "max_tokens": 1}, "nothing that could be answered"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("look_up", [REFUSED, answer(404, {"detail": "Not Found"}), answer(500, {})])
def test_a_key_that_the_runs_own_url_refuses_does_not_start(look_up: bytes, status: int) -> None:
    problems, _ = asked(look_up, answer(status, {"error": {"message": "bad key"}}))
    (problem,) = problems
    assert problem.startswith("API key: expected one that 127.0.0.1") and f"HTTP {status} (bad key)" in problem


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"error": {"message": "The model `m` does not exist.", "code": 404}}),
        (404, {"object": "error", "message": "The model `m` does not exist."}),
        (404, {"error": {"message": 'model "m" not found, try pulling it first', "code": None}}),
        (400, {"error": {"message": "/chat/completions: Invalid model name passed in model=m."}}),
        (404, {"error": {"code": "model_not_found", "message": "no"}}),
        (404, {"error": "model 'm' not found"}),
    ],
)
def test_a_model_that_the_runs_own_url_does_not_have_does_not_start(status: int, body: object) -> None:
    (problem,), _ = asked(answer(404, {"detail": "Not Found"}), answer(status, body))
    assert problem.startswith("deployment: expected one of 127.0.0.1") and "'m'" in problem


@pytest.mark.parametrize(("status", "body"), [(404, {"detail": "Not Found"}), (308, {}), (405, {})])
def test_a_wrong_address_is_a_warning_with_its_url(status: int, body: object, caplog: pytest.LogCaptureFixture) -> None:
    problems, _ = asked(answer(404, {}), answer(status, body))
    assert problems == []
    assert f"/v1/chat/completions got HTTP {status}" in caplog.text


def test_a_model_that_was_found_is_not_asked() -> None:
    problems, requests = asked(answer(200, {"id": "m"}), answer(500, {}))
    assert problems == [] and len(requests) == 1
