from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.tokenswarm.config.test_settings import problems, settings
from tests.tokenswarm.sender.test_composer import composer
from tokenswarm.apis.api import Encoded
from tokenswarm.apis.request import ChatRequest, Request
from tokenswarm.recordings.graph import AgentStep
from tokenswarm.sender.composer import Composer
from tokenswarm.sender.session_graphs import ComposedSteps, MadeUpSteps
from tokenswarm.traffic.recorded import RecordedRequest
from tokenswarm.traffic.replay import Replay
from tokenswarm.workload.arrivals import Arrival


def texts(request: ChatRequest) -> list[str]:
    return [f"{message['role'][0]}:{message['content']}" for message in request.messages]


def test_a_step_goes_on_with_what_its_parents_answered() -> None:
    parents: list[tuple[int, ...]] = [(), (0,), (0,), (1, 2), (3,)]
    added = iter("bcde")
    depths = []

    def compose(messages: list[dict[str, str]], depth: int) -> ChatRequest:
        depths.append(depth)
        return ChatRequest(messages=messages)

    opening = [{"role": "user", "content": "a"}]
    graph = MadeUpSteps([AgentStep(each, 0.0) for each in parents], opening, lambda: next(added), compose)
    said = []
    for position in range(5):
        said.append(texts(graph.request(position)))
        graph.answered(position, f"answer {position}")
    assert said == [
        ["u:a"],
        ["u:a", "a:answer 0", "u:b"],
        ["u:a", "a:answer 0", "u:c"],
        ["u:a", "a:answer 0", "u:answer 1\n\nanswer 2\n\nd"],
        ["u:a", "a:answer 0", "u:answer 1\n\nanswer 2\n\nd", "a:answer 3", "u:e"],
    ]
    assert depths == [0, 1, 1, 2, 3]


def test_a_made_up_session_is_the_arrivals_whoever_goes_through_it() -> None:
    options = {"steps": "6..9", "fan_out": "2..3", "tool_time": "uniform(0.1, 0.4)", "context_tokens": "200"}
    one, other = (composer(4, **options).next_graph(Arrival(3, 0.0)) for _ in range(2))
    assert list(one.steps) == list(other.steps) and 6 <= len(one.steps) <= 9
    assert texts(one.request(0)) == texts(other.request(0))  # type: ignore[arg-type]
    one.answered(0, "found it")
    second = one.request(1)
    assert isinstance(second, ChatRequest)
    assert (second.turn, second.keep_text) == (2, True)
    assert texts(second)[1] == "a:found it"
    assert 200 <= (second.shared_tokens or 0) < (second.context_tokens or 0)


def chat(*said: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]}


def recorded(tmp_path: Path, **options: str) -> Composer:
    steps = [
        {"id": "a", "parents": [], "body": chat("q")},
        {"id": "b", "parents": ["a"], "body": chat("q", "old a", "b?")},
        {"id": "c", "parents": ["a"], "body": chat("q", "old a", "c?")},
        {"id": "d", "parents": ["b", "c"], "body": chat("q", "old a", "c?", "old c", "d?")},
        {"id": "e", "parents": ["d"], "body": chat("another")},
    ]
    path = tmp_path / "agents.jsonl"
    path.write_text(json.dumps({"steps": steps}) + "\n")
    made = settings(requests=str(path), **options)
    assert made.traffic.recording is not None
    return Composer(made, None, random.Random(1), "chat", Replay(made.traffic.recording))


def said_by(composer: Composer, answer: str = "new") -> list[list[str]]:
    graph = composer.next_graph(Arrival(0, 0.0))
    said = []
    for position in range(5):
        request = graph.request(position)
        assert isinstance(request, RecordedRequest)
        said.append([message["content"] for message in json.loads(request.content)["messages"]])
        graph.answered(position, f"{answer} {'abcde'[position] if answer.strip() else ''}")
    return said


def test_recorded_answers_of_a_graph_give_way_to_those_of_the_steps_it_goes_on_with(tmp_path: Path) -> None:
    assert said_by(recorded(tmp_path, history="answered")) == [
        ["q"], ["q", "new a", "b?"], ["q", "new a", "c?"], ["q", "new a", "c?", "new c", "d?"], ["another"],
    ]  # fmt: skip


@pytest.mark.parametrize("answer", ["", " \n"])
def test_recorded_answers_stay_where_nothing_came_that_can_be_read(tmp_path: Path, answer: str) -> None:
    assert said_by(recorded(tmp_path, history="answered"), answer)[3] == ["q", "old a", "c?", "old c", "d?"]


def test_only_what_has_a_history_can_be_answered_anew(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"url": "/v1/responses", "body": {"input": "q"}}) + "\n")
    assert problems(requests=str(path), history="answered", arrivals_of="sessions") == [
        "history: expected requests of chat or messages beside answered, got responses"
    ]


def test_a_window_without_the_beginning_of_a_session_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lines = [{"timestamp": at, "session_id": "a", "body": chat("q")} for at in (0, 1, 2)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert problems(requests=str(path), arrivals_of="sessions", trace_window="1s..2s") == [
        "trace-window: expected a part of the requests in which a session begins, which last 2 s, got 1s..2s"
    ]


def test_recorded_answers_stay_where_nothing_else_is_asked_for(tmp_path: Path) -> None:
    assert said_by(recorded(tmp_path))[3] == ["q", "old a", "c?", "old c", "d?"]


@pytest.mark.parametrize(("history", "early"), [("recorded", [0, 1, 3, 4]), ("answered", [0])])
def test_each_request_is_put_together_once_and_early_where_no_answer_is_needed(
    tmp_path: Path, history: str, early: list[int]
) -> None:
    made: list[Request] = []

    def encode(request: Request) -> Encoded:
        made.append(request)
        return Encoded(b"{}", "/x")

    graph = recorded(tmp_path, history=history).next_graph(Arrival(0, 0.0))
    steps = ComposedSteps(graph, encode)
    for position in (1, 3, 4, 4):
        steps.prepare(position)
    assert [request.question_id for request in made] == [f"1.{position + 1}" for position in early]
    taken = []
    for position in range(5):
        taken.append(steps.take(position)[0])
        graph.answered(position, "new")
    assert len(made) == 5 and all(any(request is each for each in made) for request in taken)


def test_fan_out_needs_steps_of_made_up_prompts() -> None:
    assert problems(fan_out="2") == ["fan-out: expected steps beside it, got none"]
    assert "dataset" in problems(fan_out="2", steps="3", dataset="scenarios/dataset.csv")[0]
    assert "embeddings" in problems(fan_out="2", steps="3", endpoint="embeddings")[0]
    assert "fan-out" in problems(fan_out="0", steps="3")[0]
    assert "expected no fan-out" in problems(fan_out="2", requests="scenarios/traces/sample-requests.jsonl")[0]
    made = settings(steps="3..5", fan_out="1..4").traffic
    assert made.graphs and made.sessions
