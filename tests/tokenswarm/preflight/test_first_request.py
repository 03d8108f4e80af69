"""What one small request shows of a target before the load, over real sockets."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

import pytest

from tests.faults.certificates import Authority
from tests.ports import free_port
from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.config.settings import Settings
from tokenswarm.preflight.first_request import FirstRequests, describe_cost, try_targets
from tokenswarm.preflight.reachability import check_targets, choose_model
from tokenswarm.userinput import BadInput

Answer = tuple[int, str, bytes]
JSON, EVENTS = "application/json", "text/event-stream"


class Service:
    """A chat service whose answer is a function of path, headers and body."""

    def __init__(
        self, answer: Callable[[str, dict[str, str], dict[str, Any]], Answer], tls: ssl.SSLContext | None = None
    ) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.looked_up: list[str] = []
        self.models: Answer = (404, JSON, b"{}")
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.looked_up.append(self.path)
                self._send(*service.models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.bodies.append(body)
                self._send(*answer(self.path, {k.lower(): v for k, v in self.headers.items()}, body))

            def _send(self, status: int, kind: str, data: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, True, do_handshake_on_connect=False)
            self._server.handle_error = lambda *_: None  # type: ignore[method-assign]

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def stream() -> Answer:
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}], "model": "m"},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "model": "m"},
        {"choices": [], "model": "m", "usage": {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9}},
    ]
    return 200, EVENTS, b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in chunks) + b"data: [DONE]\n\n"


def refusal(code: str, message: str, status: int = 400) -> Answer:
    return status, JSON, json.dumps({"error": {"code": code, "message": message, "type": "invalid"}}).encode()


def gpt5(path: str, headers: dict[str, str], body: dict[str, Any]) -> Answer:
    """As GPT-5-class models: no `max_tokens`, no temperature but 1."""
    if "max_tokens" in body:
        text = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return refusal("unsupported_parameter", text)
    if body.get("temperature", 1) != 1:
        text = (
            "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) is supported."
        )
        return refusal("unsupported_value", text)
    return stream()


def settings(url: str, **options: str) -> Settings:
    given = {"host": url + "/v1", "deployment": "m", "max_tokens": "20", **options}
    return build_settings(given, Environment({"OPENAI_API_KEY": "k"}, {}), {"chat"})


def tried(answer: Callable[..., Answer], **options: str) -> tuple[FirstRequests, Service]:
    with Service(answer) as service:
        return try_targets(settings(service.url, **options)), service


def test_a_service_that_answers_gives_nothing_to_say_but_what_it_cost() -> None:
    found, service = tried(lambda *_: stream())
    assert (found.problems, found.warnings, found.adapted) == ([], [], [])
    assert (len(service.bodies), service.bodies[0]["max_tokens"]) == (1, 16)
    assert describe_cost(found.sent) == "1 small request sent to see whether the target answers (9 tokens)"


def test_a_service_that_refuses_max_tokens_gets_the_other_field() -> None:
    found, service = tried(gpt5)
    assert (found.problems, found.settings.max_tokens_field) == ([], "max_completion_tokens")
    (said,) = found.adapted
    assert said == "the limit of completion tokens is sent as max_completion_tokens: the service refuses max_tokens"
    assert [sorted(set(body) & {"max_tokens", "max_completion_tokens"}) for body in service.bodies] == [
        ["max_tokens"],
        ["max_completion_tokens"],
    ]
    assert found.facts()["adapted"] == found.adapted


def test_a_service_that_refuses_stream_options_is_asked_without_them() -> None:
    """As Mistral's and GPUStack's: pydantic names the field; a reasoning model may refuse the limit's name, too."""

    def strict(path: str, headers: dict[str, str], body: dict[str, Any]) -> Answer:
        if "stream_options" in body:
            detail = [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]
            return 422, JSON, json.dumps({"object": "error", "message": {"detail": detail}}).encode()
        return gpt5(path, headers, body)

    found, service = tried(strict)
    assert (found.problems, found.settings.stream_usage) == ([], False)
    assert found.settings.max_tokens_field == "max_completion_tokens"
    assert ["stream_options" in body for body in service.bodies] == [True, False, False]
    assert found.facts()["adapted"] == found.adapted
    assert found.adapted[0].startswith("stream_options is left out: the service refuses it")


def test_a_service_that_knows_only_max_tokens_gets_that() -> None:
    def older(path: str, headers: dict[str, str], body: dict[str, Any]) -> Answer:
        if "max_completion_tokens" not in body:
            return stream()
        return (
            422,
            JSON,
            b'{"detail":[{"loc":["body","max_completion_tokens"],"msg":"Extra inputs are not permitted"}]}',
        )

    found, _ = tried(older, max_tokens_field="max_completion_tokens")
    assert (found.problems, found.settings.max_tokens_field) == ([], "max_tokens")


def test_a_refused_sampling_parameter_is_one_message() -> None:
    found, service = tried(gpt5, temperature="0.5")
    (problem,) = found.problems
    assert problem.startswith("request: expected one that 127.0.0.1:")
    assert "'temperature' does not support 0.5" in problem and len(service.bodies) == 2


WRONG_KEY = refusal("invalid_api_key", "Incorrect API key provided", 401)
NO_MODEL = refusal("model_not_found", "The model `m` does not exist", 404)
NO_PATH = (404, "text/html", b"<html><title>Not here</title></html>")


@pytest.mark.parametrize("endpoint", ["chat", "responses", "embeddings", "completions", "messages"])
@pytest.mark.parametrize("streamed", ["yes", "no"])
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (WRONG_KEY, "API key: expected one that {host} accepts, got HTTP 401: "),
        (NO_MODEL, "deployment: expected one of {host}, got 'm', which it does not have (HTTP 404: "),
        (NO_PATH, "endpoint: expected a path that {host} answers, got HTTP 404"),
    ],
)
def test_wrong_key_model_and_path(endpoint: str, streamed: str, answer: Answer, problem: str) -> None:
    found, service = tried(lambda *_: answer, endpoint=endpoint, stream=streamed)
    (said,) = found.problems
    assert said.startswith(problem.format(host=service.url.removeprefix("http://")))
    assert f" {service.url}/v1/" in said
    assert len(service.bodies) == 1  # nothing but the one try


@pytest.mark.parametrize(
    "answer",
    [refusal("429", "slow down", 429), (500, JSON, b"{}"), (200, "text/html", b"<html><title>Log in</title></html>")],
)
def test_what_may_pass_is_a_warning(answer: Answer) -> None:
    found, _ = tried(lambda *_: answer)
    assert found.problems == []
    (said,) = found.warnings
    assert said.startswith("The first request to 127.0.0.1:")


@pytest.mark.parametrize(
    ("streamed", "said"), [("yes", ["answers in one body though a stream is asked for"]), ("no", [])]
)
def test_a_stream_that_is_answered_whole_is_a_warning(streamed: str, said: list[str]) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    found, _ = tried(lambda *_: (200, JSON, json.dumps({"choices": [choice], "model": "m"}).encode()), stream=streamed)
    assert found.problems == [] and [text.partition(" ")[2].partition(":")[0] for text in found.warnings] == said


def test_a_refused_connection() -> None:
    port = free_port()
    (said,) = try_targets(settings(f"http://127.0.0.1:{port}")).problems
    assert said.startswith(f"endpoint: expected a connection to 127.0.0.1:{port}, got none (")
    assert said.endswith("; is it running, and is the port right?)")


def test_where_a_key_is_wanted_and_none_was_given() -> None:
    with Service(lambda *_: WRONG_KEY) as service:
        given = {"host": service.url + "/v1", "deployment": "m"}
        (said,) = try_targets(build_settings(given, Environment({}, {}), {"chat"})).problems
    looked_for = "no key was given; looked for OPENAI_API_KEY in the environment and env files"
    assert f"accepts ({looked_for}), got HTTP 401" in said


@pytest.mark.parametrize("look", [lambda settings: try_targets(settings).problems, check_targets])
def test_http_for_https_and_https_for_http(look: Callable[[Settings], list[str]], tmp_path: Path) -> None:
    context = Authority("ours").server_context(tmp_path, "localhost")
    with Service(lambda *_: stream()) as plain, Service(lambda *_: stream(), context) as secure:
        (said,) = look(settings(secure.url.replace("https", "http")))
        assert said.endswith(f"; it speaks https: give {secure.url})"), said
        (said,) = look(settings(plain.url.replace("http", "https")))
        assert said.endswith(f"; it does not speak https: give {plain.url})"), said
    assert plain.bodies == secure.bodies == []


def test_an_orchestrators_key_is_tried_too() -> None:
    options = {"dataset": "scenarios/dataset.csv"}
    with Service(lambda *_: (401, "text/plain", b"")) as service:
        environment = Environment({"ORCHESTRATOR_FUNCTION_KEY": "wrong-one"}, {})
        found = try_targets(build_settings({"host": service.url, **options}, environment, {"rag"}))
    (said,) = found.problems
    assert said.startswith("orchestrator key: expected one that 127.0.0.1:")
    assert "wrong-one" not in said and len(service.bodies) == 1


def listing(*names: str) -> Answer:
    return 200, JSON, json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode()


def test_the_only_model_is_the_model() -> None:
    with Service(lambda *_: stream()) as service:
        service.models = listing("llama-3")
        assert choose_model(settings(service.url, deployment="")) == "llama-3"
    assert service.looked_up == ["/v1/models"]


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        (listing("a", "b"), "got several at {host}: a, b"),
        (listing(), "got none, and {host} lists no models"),
        ((404, JSON, b"{}"), "got none, and {host} lists no models"),
        ((200, "text/html", b"<html>"), "got none, and {host} lists no models"),
    ],
)
def test_several_models_or_none_are_said(models: Answer, problem: str) -> None:
    with Service(lambda *_: stream()) as service:
        service.models = models
        with pytest.raises(BadInput) as caught:
            choose_model(settings(service.url, deployment=""))
    (said,) = caught.value.problems
    expected = "deployment: expected --deployment, AZURE_OPENAI_DEPLOYMENT or OPENAI_MODEL, "
    assert said == expected + problem.format(host=service.url.removeprefix("http://"))


def test_the_model_of_the_environment() -> None:
    variables = {"OPENAI_BASE_URL": "http://localhost:1/v1", "OPENAI_API_KEY": "k", "OPENAI_MODEL": "mine"}
    made = build_settings({"host": variables["OPENAI_BASE_URL"]}, Environment(variables, {}), {"chat"})
    assert made.chat is not None and made.chat.deployment == "mine"


def test_a_secret_header_belongs_to_the_endpoint_it_came_with() -> None:
    """Another host, as a form may name it, does not get it."""
    given = {"host": "http://other.example/v1", "deployment": "m", "headers": "X-Gateway-Key: abcdefgh"}
    mine = ("http://mine.example/v1",)
    with pytest.raises(BadInput, match=r"API key: expected one of http://other\.example's own"):
        build_settings(given, Environment({}, {}), {"chat"}, launched=mine)
    build_settings({**given, "host": mine[0]}, Environment({}, {}), {"chat"}, launched=mine)
