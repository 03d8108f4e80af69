"""What is found out about a target before anybody is sent to it, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.simulator_process import API_KEY, Simulator, running_simulator
from tokenswarm.config.environment import Environment
from tokenswarm.config.settings import Settings, build_settings
from tokenswarm.preflight import reachability as preflight
from tokenswarm.preflight.reachability import check_targets

HOSTS = {"azure": "", "azure-v1": "/openai/v1", "openai": "/v1"}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


def settings_for(host: str, api: str = "azure", deployment: str = "gpt-35-turbo", key: str = API_KEY) -> Settings:
    environment = Environment({"OPENAI_API_KEY": key}, {})
    return build_settings({"host": host, "api": api, "deployment": deployment}, environment, {"chat"})


def rag_settings(host: str) -> Settings:
    environment = Environment({"ORCHESTRATOR_FUNCTION_KEY": "any"}, {})
    return build_settings({"host": host, "dataset": "scenarios/dataset.csv"}, environment, {"rag"})


@pytest.fixture
def answering() -> Iterator[tuple[str, list[bytes]]]:
    """A server that accepts one connection and says `answer[0]` to whatever comes."""
    answer = [b""]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer[0])
                done.wait(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", answer
        done.set()
        thread.join()


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


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
    host = f"http://127.0.0.1:{unused_port()}"
    (chat,) = check_targets(settings_for(host))
    (rag,) = check_targets(rag_settings(host))
    assert chat.startswith("chat endpoint: expected a connection to 127.0.0.1")
    assert rag.startswith("orchestrator: expected a connection to 127.0.0.1")
    assert "Connection refused" in chat and "Connection refused" in rag


def test_no_tls_where_https_was_meant(simulator: Simulator) -> None:
    (problem,) = check_targets(settings_for(simulator.chat_url.replace("http:", "https:")))
    assert problem.startswith("chat endpoint: expected a connection")


def test_an_orchestrator_is_only_connected_to(simulator: Simulator) -> None:
    assert check_targets(rag_settings(simulator.rag_url)) == []
    assert simulator.truth() == []


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
