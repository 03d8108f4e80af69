from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tokenswarm.recordings.test_index import BODY, batch, write
from tokenswarm.apis.request import ChatTarget
from tokenswarm.recordings.scan import scan
from tokenswarm.recordings.sessions import Sessions
from tokenswarm.traffic.recorded import Recorded, RecordedRequest, Said
from tokenswarm.traffic.replay import Changes, Conversations, Recording, Replay, Sent
from tokenswarm.traffic.seen_prefixes import SeenPrefixes

TARGET = ChatTarget(api="openai", endpoint="http://h/v1", deployment="d")


def recording(tmp_path: Path, *lines: Any, asks: str = "chat") -> Recording:
    index = scan(write(tmp_path / "r.jsonl", *lines), asks, 0)
    return Recording(index, 0, len(index))


def sent(tmp_path: Path, line: Any, asks: str = "chat", **changes: Any) -> RecordedRequest:
    replay = Replay(recording(tmp_path, line, asks=asks))
    try:
        return replay.request(0, Changes(**{"model": "d", **changes}), Sent("chat"))
    finally:
        replay.close()


@pytest.mark.parametrize(
    "field",
    [{"user": "a"}, {"metadata": {"session_id": "a"}}, {"prompt_cache_key": "a"}, {"conversation": "a"}],
    ids=lambda field: next(iter(field)),
)
def test_a_field_of_a_body_makes_no_session_and_that_is_said(field: dict[str, Any], tmp_path: Path) -> None:
    for line in ({**BODY, **field}, {"body": {**BODY, **field, "session_id": "a"}}):
        found = recording(tmp_path, line, line)
        assert found.warning is None, "sessions were not asked for"
        apart = replace(found, sessions=Sessions(found.index))
        assert len(apart.sessions or ()) == 2
        assert (apart.warning or "").startswith("r.jsonl: each request is a session by itself")


def test_sessions_of_several_requests_need_no_warning(tmp_path: Path) -> None:
    found = recording(tmp_path, *[{**batch(), "session_id": "a"}] * 2, batch())
    assert replace(found, sessions=Sessions(found.index)).warning is None
    alone = recording(tmp_path, batch())
    assert replace(alone, sessions=Sessions(alone.index)).warning is None


def test_bytes_are_as_recorded_but_for_the_model(tmp_path: Path) -> None:
    body = '{"messages" : [ {"role":"user","content":"\\u00e9 é 1.0e5"} ], "model":  "gpt-4o" , "temperature":1.0}'
    found = sent(tmp_path, '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body": ' + body + "}")
    assert found.content == body.replace("gpt-4o", "d").encode()
    assert sent(tmp_path, body).content == found.content
    assert sent(tmp_path, '{"timestamp":1,' + body[1:]).content == found.content


def test_only_answers_change_where_they_are_fed_back(tmp_path: Path) -> None:
    said = '[ {"role": "user", "content": "\\u00e9?"}, {"role" : "assistant", "content": "OLD", "name": "x"} , {"role":'
    said += '"assistant", "content": null, "tool_calls": [{}]}, {"role": "tool", "content": "OLD"}, {"role": "user"}]'
    replay, seen = Replay(recording(tmp_path, '{"messages": [ {"role": "user", "content": "\\u00e9?"}]}',
                                    '{"messages": ' + said + ', "model": "m"}')), SeenPrefixes()  # fmt: skip
    first = replay.request(0, Changes(model="m"), Sent("chat", answers=[], seen=seen))
    assert first.said is not None
    answers = [(first.said, 'n\u00e9w "x"'), (Said(1, first.said.digest + 1), "NO"), (Said(9, 0), "NO")]
    found = replay.request(1, Changes(model="m"), Sent("chat", answers=answers, seen=seen))
    made = said.replace('"OLD", "name"', '"n\u00e9w \\"x\\"", "name"')
    assert found.content.decode() == '{"messages": ' + made + ', "model": "m"}'
    replay.close()


def test_what_is_fed_back_begins_as_what_was_sent_before(tmp_path: Path) -> None:
    first = [{"role": "user", "content": "word " * 600}]
    then = [*first, {"role": "assistant", "content": "OLD"}, {"role": "user", "content": "and?"}]
    replay, seen = Replay(recording(tmp_path, {"messages": first}, {"messages": then})), SeenPrefixes()
    said = replay.request(0, Changes(model="m"), Sent("chat", answers=[], seen=seen)).said
    assert said is not None
    again = replay.request(1, Changes(model="m"), Sent("chat", answers=[(said, "NEW")], seen=seen))
    assert b'"NEW"' in again.content and (again.seen_share or 0.0) > 0.9
    replay.close()


@pytest.mark.parametrize(
    "body",
    [
        {**BODY, "tools": [{"type": "function"}], "temperature": 1, "n": 1},
        {"messages": [{"role": "user", "content": "\u00e9\U0001f600" * 300}], "prompt_cache_key": "k"},
        '{"messages":[{"role":"user","content":"a"}],"messages":[{"role":"user","content":"b"}]}',
    ],
)
@pytest.mark.parametrize("fields", [{}, {"tools": [], "user": "\u00fc"}])
def test_the_same_is_sent_where_it_is_looked_up_what_earlier_prompts_began_with(
    tmp_path: Path, body: Any, fields: Any
) -> None:
    changes, seen = Changes(model="d", fields=fields), SeenPrefixes()
    replay = Replay(recording(tmp_path, body))
    plain = replay.request(0, changes, Sent("chat"))
    again = [replay.request(0, changes, Sent("chat", seen=seen)) for _ in range(2)]
    assert {each.content for each in again} == {plain.content}
    assert [each.seen_share for each in (plain, *again)] == [None, 0, 1]
    replay.close()


def test_without_a_model_of_ours_the_recorded_one_stays(tmp_path: Path) -> None:
    assert json.loads(sent(tmp_path, BODY, model="").content)["model"] == "m"


@pytest.mark.parametrize(
    ("recorded", "changes", "expected"),
    [
        ({"stream": True}, {}, {"stream": True}),
        ({"stream": True}, {"stream_usage": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({}, {"stream_usage": True}, {}),
        ({}, {"stream": True}, {"stream": True}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": False}, {"stream": False}),
        ({"stream": True, "stream_options": {"x": 1}}, {"stream_usage": False}, {"stream": True}),
        ({"max_completion_tokens": 9}, {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ({}, {"max_tokens": 5}, {"max_tokens": 5}),
        ({"temperature": 1}, {"fields": {"temperature": 0.5, "seed": 7}}, {"temperature": 0.5, "seed": 7}),
    ],
)
def test_what_the_run_says_on_purpose_is_put_in(tmp_path: Path, recorded: Any, changes: Any, expected: Any) -> None:
    found = sent(tmp_path, {**BODY, **recorded}, **changes)
    assert json.loads(found.content) == {**BODY, "model": "d", **expected}


@pytest.mark.parametrize(
    ("url", "body", "path"),
    [
        ("/v1/chat/completions", BODY, "/chat/completions"),
        ("https://x/openai/deployments/d/chat/completions?api-version=1", BODY, "/chat/completions"),
        ("/v1/responses", {"input": "Hi"}, "/responses"),
        ("/v1/embeddings", {"input": ["a", "b"]}, "/embeddings"),
        ("/v1/completions", {"prompt": "Hi"}, "/completions"),
        ("/v1/messages", BODY, "/messages"),
    ],
)
def test_each_goes_to_the_api_it_went_to(tmp_path: Path, url: str, body: Any, path: str) -> None:
    request = sent(tmp_path, {"custom_id": "a", "method": "POST", "url": url, "body": body})
    encoded = Recorded(TARGET).encode(request)
    assert encoded.path == path
    assert ("anthropic-version" in encoded.headers) == (path == "/messages")
    assert json.loads(encoded.body) == {**body, "model": "d"}
    assert Recorded(TARGET).reader(request, 200, {"content-type": "application/json"}) is not None


def test_a_row_knows_the_limit_and_no_id_of_the_log(tmp_path: Path) -> None:
    request = sent(tmp_path, batch(max_tokens=20, n=2))
    assert request.columns() == {
        "name": "chat", "conversation_id": None, "turn": None, "question_id": "1", "context_tokens": None,
        "shared_tokens": None, "max_tokens": 40,
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [10**30, -5, "12", True, 1.5])
def test_what_is_no_count_is_sent_and_not_counted(tmp_path: Path, wrong: Any) -> None:
    request = sent(tmp_path, batch(max_tokens=wrong, n=wrong))
    assert json.loads(request.content)["max_tokens"] == json.loads(request.content)["n"] == wrong
    assert request.columns()["max_tokens"] is None


def test_a_part_of_the_file_begins_again_after_its_last(tmp_path: Path) -> None:
    index = recording(tmp_path, *[batch(at, seed=at) for at in range(6)]).index
    part = Recording(index, 2, 3, 1.5)
    assert [part.places(number) for number in range(5)] == [(2,), (3,), (4,), (2,), (3,)]
    assert list(part.offsets_s(2.0)) == [0.25, 0.75, 1.25]
    replay = Replay(part, 1, 2)
    assert [replay.next_number() for _ in range(3)] == [1, 3, 5]
    assert json.loads(replay.request(3, Changes(model=""), Sent("c")).content)["seed"] == 3
    replay.close()


def in_session(at: float, session: str | None, *said: str) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(said)
    messages = [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]
    return {**batch(at), "session_id": session, "body": {"model": "m", "messages": messages}}


def test_sessions_are_found_by_their_id_in_the_order_in_which_they_begin(tmp_path: Path) -> None:
    lines = [in_session(at, session, "x") for at, session in enumerate(["a", None, "b", "a", "b", "a", None])]
    index = recording(tmp_path, *lines).index
    sessions = Sessions(index)
    assert [list(sessions.places(number)) for number in range(len(sessions))] == [[0, 3, 5], [1], [2, 4], [6]]
    assert [sessions.within(window) for window in (None, (1, 3), (3, 9))] == [(0, 4), (1, 3), (3, 4)]
    part = Recording(index, 1, 3, None, sessions)
    assert list(part.offsets_s(1.0)) == [0, 1, 5]
    assert list(part.places(4)) == [2, 4]


def test_answers_that_came_take_the_place_of_recorded_ones(tmp_path: Path) -> None:
    calls = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "old"}, calls]
    lines = [{"model": "d", "messages": messages[:count]} for count in (1, 2, 3)]
    lines.append({"model": "d", "messages": [{"role": "user", "content": "another"}, *messages[1:]]})
    replay, came = Replay(recording(tmp_path, *lines)), []
    for place in range(4):
        request = replay.request(place, Changes(model="d"), Sent("chat", None, came))
        assert request.said is not None and request.said.messages == len(lines[place]["messages"])
        came.append((request.said, "new"))
        found = json.loads(request.content)["messages"]
        is_new = place in (1, 2)  # the last one is no continuation of the first
        assert found == [{**each, "content": "new"} if is_new and at == 1 else each
                         for at, each in enumerate(lines[place]["messages"])]  # fmt: skip
    assert replay.request(0, Changes(model="d"), Sent("chat")).said is None
    replay.close()


def test_conversations_are_read_as_questions(tmp_path: Path) -> None:
    said = [("system", "Be kind."), ("human", "a"), ("gpt", "b"), ("human", "c"), ("gpt", "d")]
    line = {"id": "Anna", "conversations": [{"from": who, "value": text} for who, text in said]}
    found = recording(tmp_path, line, line)
    assert found.index.form == "conversations"
    replay = Replay(found)
    question = Conversations(replay).at(3)
    replay.close()
    assert (question.id, question.question, question.turns, question.system) == ("2", "a", ("a", "c"), "Be kind.")
