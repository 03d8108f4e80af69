"""What one small question shows of an application before the load, over real sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.tokenswarm.preflight.test_first_request import EVENTS, JSON, Answer, Service
from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import Environment
from tokenswarm.config.settings import Settings
from tokenswarm.preflight.first_request import FirstRequests, try_targets
from tokenswarm.preflight.reachability import check_targets
from tokenswarm.preflight.target_line import describe_targets
from tokenswarm.redaction import SECRETS
from tokenswarm.userinput import BadInput

OWN = {
    "app-path": "/ask",
    "app-body": '{"q": "{{question}}", "id": "{{conversation_id}}", "top": 3}',
    "app-text": "answer.text",
    "app-conversation": "session",
    "app-end": "last",
}


def settings_of(url: str, **more: str) -> Settings:
    given = {"host": url, "endpoint": "app", "headers": "X-Key: ${APP_KEY}", **OWN, **more}
    options = {name.replace("-", "_"): value for name, value in given.items()}
    return build_settings(options, Environment({"APP_KEY": "key-of-the-app-1"}, {}), {"chat"})


def events(*values: Any) -> Answer:
    return 200, EVENTS, b"".join(b"data: %s\n\n" % json.dumps(value).encode() for value in values)


GOOD = events({"session": "s-1"}, {"answer": {"text": "Hi"}}, {"last": True})


def try_against(answer: Answer, **more: str) -> tuple[FirstRequests, Service, list[dict[str, str]]]:
    seen: list[dict[str, str]] = []
    with Service(lambda path, headers, _: (seen.append({"path": path, **headers}), answer)[1]) as service:
        return try_targets(settings_of(service.url, **more)), service, seen


def test_an_application_that_answers_is_asked_once_with_what_the_run_sends() -> None:
    found, service, seen = try_against(GOOD)
    assert (found.problems, found.warnings, found.adapted) == ([], [], [])
    assert service.bodies == [{"q": "Hello", "top": 3}]
    assert (seen[0]["path"], seen[0]["x-key"], seen[0]["accept"]) == ("/ask", "key-of-the-app-1", EVENTS)
    assert "authorization" not in seen[0] and service.looked_up == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((401, JSON, b'{"detail": "no such key"}'), "key: expected one that "),
        ((404, JSON, b'{"detail": "Not Found"}'), "endpoint: expected a path that "),
        ((422, JSON, b'{"detail": [{"loc": ["body", "query"], "msg": "field required"}]}'), "request: expected one "),
        (events({"session": "s"}, {"delta": "Hi"}, {"last": 1}), "app-text: expected it in what "),
        (events({"session": "s"}, {"answer": {"text": "Hi"}}, {"done": True}), "app-end: expected it in what "),
        (events({"answer": {"text": "Hi"}}, {"last": True}), "app-conversation: expected an id at 'session' in what "),
        ((200, "text/html", b"<html><title>Sign in</title>"), "app-text: expected it in what "),
    ],
    ids=["key", "path", "body", "text", "end", "conversation", "page"],
)
def test_what_every_question_would_meet_is_one_message(answer: Answer, problem: str) -> None:
    found, service, _ = try_against(answer)
    assert len(found.problems) == 1 == len(service.bodies)
    assert found.problems[0].startswith(problem) and "\n" not in found.problems[0]


def test_the_message_shows_what_the_answer_did_hold_and_no_secret() -> None:
    SECRETS.add("key-of-the-app-1")
    found, _, _ = try_against(events({"delta": "Hi", "echo": "key-of-the-app-1", "long": "y" * 5000}))
    (problem,) = found.problems
    assert '{"delta": "Hi", "echo": "' in problem and "key-of-the-app-1" not in problem and len(problem) < 500


@pytest.mark.parametrize(
    ("answer", "warning"),
    [
        ((503, JSON, b"{}"), "HTTP 503"),
        (events({"error": {"code": "busy", "message": "later"}}), "busy: later"),
    ],
)
def test_an_application_that_fails_may_do_better_later(answer: Answer, warning: str) -> None:
    found, _, _ = try_against(answer)
    assert found.problems == [] and warning in found.warnings[0]


def test_a_presets_id_that_does_not_come_is_said_where_conversations_are_to_go_on() -> None:
    answer = (
        200,
        "application/jsonl",
        b'{"delta":{"role":"assistant"},"session_state":null}\n{"delta":{"content":"Hi"}}\n',
    )
    own = dict.fromkeys(OWN, "")
    found, _, _ = try_against(answer, **own, **{"app-preset": "ai-chat-protocol"})
    assert (found.problems, found.warnings) == ([], [])
    found, _, _ = try_against(answer, **own, **{"app-preset": "ai-chat-protocol", "turns": "2"})
    assert found.problems == [] and "app-conversation: expected an id at 'session_state'" in found.warnings[0]


def test_an_application_is_only_reached_where_that_is_asked() -> None:
    with Service(lambda *_: GOOD) as service:
        assert check_targets(settings_of(service.url)) == []
        assert (service.bodies, service.looked_up) == ([], [])
    (problem,) = check_targets(settings_of(service.url))
    assert problem.startswith("app: expected a connection to 127.0.0.1:")


def test_the_start_says_what_is_asked() -> None:
    settings = settings_of("http://127.0.0.1:9/base")
    options = {"host": "http://127.0.0.1:9/base", "app_preset": "ag-ui", "app_path": "/ask", "app_body": None}
    (line,) = describe_targets(settings, options, Environment({}, {}))
    assert "sends no limit" not in line
    limited = {**options, "max_tokens": "20"}
    (said,) = describe_targets(settings, limited, Environment({}, {}))
    assert "; max-tokens sends no limit: app-body has no {{max_tokens}}" in said
    assert line == (
        "Target: POST http://127.0.0.1:9/base/ask (host from --host), app-preset ag-ui with app-path; "
        "further headers X-Key"
    )


def test_everything_that_is_wrong_is_said_at_once() -> None:
    wrong = {
        "headers": "X-Key: a\nb",
        "app-body": '{"q": 1}',
        "app-text": "a..b",
        "app-end": "(",
        "stream": "no",
        "host": "app.example.com",
    }
    with pytest.raises(BadInput) as caught:
        settings_of("", **wrong)
    starts = [problem.partition(":")[0] for problem in caught.value.problems]
    assert starts == ["headers", "app-body", "app-text", "app-end", "app", "stream"]
    assert not any("\n" in problem for problem in caught.value.problems)


def test_a_preset_that_is_not_known_hides_no_other_mistake() -> None:
    with pytest.raises(BadInput) as caught:
        settings_of("http://127.0.0.1:9", **{"app-preset": "ag_ui", "app-body": "{", "app-end": "("})
    assert [each.partition(":")[0] for each in caught.value.problems] == ["app-preset", "app-body", "app-end"]


def test_options_of_an_application_need_one() -> None:
    with pytest.raises(BadInput, match="app-text, app-conversation, app-end: expected endpoint = app beside it"):
        settings_of("http://127.0.0.1:9/v1", endpoint="responses", deployment="m")


def test_the_limit_is_asked_for_where_the_template_has_a_place_for_it() -> None:
    assert settings_of("http://127.0.0.1:9", **{"max-tokens": "50"}).output is None
    body = '{"q": "{{question}}", "n": "{{max_tokens}}"}'
    assert settings_of("http://127.0.0.1:9", **{"max-tokens": "50", "app-body": body}).output is not None


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("http://h/ask", "http://h/ask"),
        ("http://h/", "http://h/ask"),
        ("http://h/a/", "http://h/a/ask"),
    ],
)
def test_a_host_may_name_the_path_already(host: str, url: str) -> None:
    chat = settings_of(host).chat
    assert chat is not None and chat.endpoint == url
