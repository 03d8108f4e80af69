from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.tokenswarm.config.test_settings import settings
from tokenswarm.payload.tool_calls import Called, ToolCall, called_by
from tokenswarm.sender.composer import Composer
from tokenswarm.traffic.seen_prefixes import SeenPrefixes
from tokenswarm.userinput import BadInput
from tokenswarm.workload.arrivals import Arrival
from tokenswarm.workload.dataset import load_dataset
from tokenswarm.workload.questions import Questions


def composer(seed: int = 1, questions: Questions | None = None, targets: str = "chat", **options: Any) -> Composer:
    variables = {"AZURE_OPENAI_API_KEY": "k-123456", "AZURE_OPENAI_ENDPOINT": "http://h", "functionKey": "fk-12345"}
    if questions is not None:
        options = {**options, "dataset": "scenarios/dataset.csv"}
    made = settings(variables, targets, deployment="d", **options)
    return Composer(made, questions, random.Random(seed), "chat")


def questions(tmp_path: Path, text: str, name: str = "q.csv") -> Questions:
    path = tmp_path / name
    path.write_text(text)
    return Questions(load_dataset(path))


def test_a_synthetic_prompt_has_the_asked_tokens_and_is_unique() -> None:
    source = composer(context_tokens="300", max_tokens="50")
    first, second = source.next_chat(None), source.next_chat(None)
    assert (first.context_tokens, first.max_tokens, first.turn, first.conversation_id) == (300, 50, None, None)
    assert first.messages != second.messages


def test_an_arrivals_request_does_not_depend_on_who_sends_it() -> None:
    arrival = Arrival(7, 1.0, 120, 30)
    one, other = composer(1).next_chat(arrival), composer(2).next_chat(arrival)
    assert one.messages == other.messages
    assert (one.context_tokens, one.max_tokens) == (120, 30)


def texts(salt: str, **options: Any) -> list[str]:
    """What three users' requests say: arrivals, arrivals with shared blocks, turns of a conversation."""
    source = composer(prompt_salt=salt, context_tokens="1100", **options)
    made = [
        source.next_chat(Arrival(1, 0.0)),
        source.next_chat(Arrival(2, 0.0, 1100, 5, (1, 2))),
        source.next_chat(None),
    ]
    return [request.messages[-1]["content"] for request in made]


def test_prompts_differ_by_the_runs_salt_from_their_first_words_on() -> None:
    for one, other in zip(texts("monday"), texts("tuesday"), strict=True):
        assert one.split()[:20] != other.split()[:20]
        assert len(one.split()) == len(other.split())
    assert texts("monday") == texts("monday")


def test_a_salt_changes_words_and_nothing_else_that_is_drawn() -> None:
    made = [composer(prompt_salt=salt, context_tokens="uniform(200, 900)") for salt in ("monday", "tuesday")]
    one, other = ([each.next_chat(None).context_tokens for _ in range(5)] for each in made)
    assert one == other


def test_texts_to_embed_differ_by_salt() -> None:
    made = [composer(prompt_salt=salt, endpoint="embeddings") for salt in ("monday", "tuesday")]
    one, other = (each.next_texts(Arrival(3, 0.0)).texts for each in made)
    assert one != other


def test_a_conversation_feeds_the_answers_back() -> None:
    source = composer(turns="3", context_tokens="50")
    for turn in (1, 2, 3):
        request = source.next_chat(None)
        assert request.turn == turn
        assert request.keep_text
        roles = [message["role"] for message in request.messages]
        assert roles == ["user", *["assistant", "user"] * (turn - 1)]
        source.answer(f"answer {turn}", None, ok=True)
    assert request.messages[1] == {"role": "assistant", "content": "answer 1"}
    assert source.next_chat(None).turn == 1


def calls(*names: str) -> Called:
    made = tuple(ToolCall(f"call_{number}", name, "{}") for number, name in enumerate(names, start=1))
    return called_by(made, [{"role": "assistant", "content": None, "tool_calls": [call.id for call in made]}])


def with_tools(tmp_path: Path, **options: Any) -> Composer:
    path = tmp_path / "tools.json"
    path.write_text('{"a": {"result": "A", "time_s": 2}, "b": "B"}')
    body = '{"tools": [{"type": "function", "function": {"name": "a"}}]}'
    return composer(tool_results=str(path), extra_body=body, context_tokens="50", **options)


def test_calls_of_tools_are_answered_until_an_answer_calls_none(tmp_path: Path) -> None:
    source = with_tools(tmp_path, tool_time="5", turns="2", think_time="1", images="8x8")
    first = source.next_chat(None)
    source.answer("", None, True, "id-1", calls("a"))
    assert (source.goes_on, source.pause_s()) == (True, 2.0)
    second = source.next_chat(None)
    source.answer("", None, True, "id-2", calls("a", "b"))
    assert source.pause_s() == 5.0, "the slower of the two"
    third = source.next_chat(None)
    assert [message["role"] for message in third.messages] == ["user", "assistant", "tool", "assistant", "tool", "tool"]
    assert [(each["tool_call_id"], each["content"]) for each in third.messages[4:]] == [
        ("call_1", "A"),
        ("call_2", "B"),
    ]
    assert len({request.conversation_id for request in (first, second, third)}) == 1
    assert [request.turn for request in (first, second, third)] == [1, 1, 1]
    assert first.keep_calls and first.images and first.images == third.images
    assert [request.body["tools"] for request in (first, third)] == [first.body["tools"]] * 2
    assert (third.context_tokens or 0) > (second.context_tokens or 0) > (first.context_tokens or 0)
    source.answer("Here it is.", None, ok=True)
    assert source.next_chat(None).turn == 2 and not source.gave_up
    source.answer("Bye.", None, ok=True)
    assert not source.goes_on


def test_a_session_gives_up_after_so_many_rounds_and_at_a_tool_that_is_none(tmp_path: Path) -> None:
    source = with_tools(tmp_path, tool_rounds="2")
    for _ in range(2):
        source.next_chat(None)
        source.answer("", None, True, None, calls("a"))
        assert source.goes_on and not source.gave_up
    source.next_chat(None)
    source.answer("", None, True, None, calls("a"))
    assert (source.goes_on, source.gave_up) == (False, True)
    assert [message["role"] for message in source.next_chat(None).messages] == ["user"], "a new session"
    source.answer("", None, True, None, calls("a", "unknown"))
    assert (source.goes_on, source.gave_up) == (False, True)


def test_a_failed_request_for_results_ends_the_session(tmp_path: Path) -> None:
    source = with_tools(tmp_path, turns="3")
    source.next_chat(None)
    source.answer("", None, True, None, calls("a"))
    source.next_chat(None)
    source.answer("", None, ok=False)
    assert (source.goes_on, source.gave_up) == (False, False)


def test_a_failed_turn_ends_its_conversation() -> None:
    source = composer(turns="3")
    first = source.next_chat(None)
    source.answer("", None, ok=False)
    again = source.next_chat(None)
    assert again.turn == 1
    assert again.conversation_id != first.conversation_id


def test_users_who_start_in_the_middle_do_so_once() -> None:
    source = composer(turns="4", start_conversations_at="3")
    turns = []
    for _ in range(6):
        turns.append(source.next_chat(None).turn)
        source.answer("a", None, ok=True)
    assert turns == [3, 4, 1, 2, 3, 4]


def test_dataset_conversations_and_system_prompts(tmp_path: Path) -> None:
    source = composer(questions=questions(tmp_path, '{"id": "c1", "turns": ["One?", "Two?"]}\n', "c.jsonl"))
    first = source.next_chat(None)
    source.answer("1.", None, ok=True)
    second = source.next_chat(None)
    assert (first.question_id, second.question_id, second.turn) == ("c1", "c1", 2)
    assert [message["content"] for message in second.messages] == ["One?", "1.", "Two?"]


def test_orchestrator_questions_go_on_in_the_conversation_that_the_service_named(tmp_path: Path) -> None:
    asked = questions(tmp_path, "id,question\n1,Who?\n2,Why?\n3,How?\n")
    source = composer(questions=asked, targets="rag", turns_per_conversation="2", rag_host="http://h")
    first = source.next_question(None)
    source.answer("a", "conv-1", ok=True)
    second = source.next_question(None)
    source.answer("a", "conv-1", ok=True)
    third = source.next_question(None)
    assert [(each.conversation_id, each.turn, each.question) for each in (first, second, third)] == [
        (None, 1, "Who?"),
        ("conv-1", 2, "Why?"),
        (None, 1, "How?"),
    ]


def test_an_arrival_decides_its_question(tmp_path: Path) -> None:
    asked = questions(tmp_path, "id,question\n1,Who?\n2,Why?\n3,How?\n")
    source = composer(questions=asked, targets="rag", rag_host="http://h")
    assert source.next_question(Arrival(4, 0.0)).question == "Why?"


def test_recorded_answers_are_fed_back_where_history_is_recorded(tmp_path: Path) -> None:
    said = [("user", "one"), ("assistant", "recorded"), ("user", "two"), ("assistant", "too")]
    line = {"messages": [{"role": role, "content": text} for role, text in said]}
    found = questions(tmp_path, json.dumps(line), "q.jsonl")
    for history, expected in (("recorded", "recorded"), ("answered", "came"), (None, "came")):
        source = composer(questions=found, **({"history": history} if history else {}))
        source.next_chat(None)
        source.answer("came", None, ok=True)
        assert source.next_chat(None).messages[1] == {"role": "assistant", "content": expected}


def test_a_session_says_the_same_whoever_goes_through_it(tmp_path: Path) -> None:
    found = questions(tmp_path, "".join(f"question {number}\n" for number in range(50)))
    made = []
    for _ in range(2):
        found.next()  # another process has gone through other questions by then
        source = composer(7, found, turns="3..5", arrivals_of="sessions", rate="60")
        texts = [source.next_chat(Arrival(4, 1.0)).messages[-1]["content"]]
        while (source.answer("x", None, ok=True) or True) and source.goes_on:
            texts.append(source.next_chat(None).messages[-1]["content"])
        made.append(texts)
    assert made[0] == made[1]
    assert 3 <= len(made[0]) <= 5


def test_a_turn_begins_with_all_that_was_said_before() -> None:
    made = settings({"AZURE_OPENAI_API_KEY": "k-123456", "AZURE_OPENAI_ENDPOINT": "http://h"}, deployment="d",
                    context_tokens="300", turns="3")  # fmt: skip
    source = Composer(made, None, random.Random(1), "chat", seen=SeenPrefixes())
    shares = []
    for _ in range(3):
        shares.append(source.next_chat(None).seen_share or 0.0)
        source.answer("Yes \u00e9 " * 40, None, True)
    assert shares[0] == 0
    assert 1 / 2 - 0.15 < shares[1] < 1 / 2 < 2 / 3 - 0.15 < shares[2] < 2 / 3


def test_a_conversation_by_reference_names_the_last_answer() -> None:
    source = composer(turns="3", context_tokens="50", endpoint="responses", earlier_turns="previous_response_id")
    first = source.next_chat(None)
    source.answer("b", None, True, "resp_1")
    second = source.next_chat(None)
    source.answer("d", None, True, "resp_2")
    third = source.next_chat(None)
    assert [each.previous_id for each in (first, second, third)] == [None, "resp_1", "resp_2"]
    assert len({each.conversation_id for each in (first, second, third)}) == 1
    assert (third.context_tokens or 0) > (second.context_tokens or 0) > 50, "the service counts all that was said"
    source.answer("f", None, True, "resp_3")
    assert source.next_chat(None).previous_id is None


def test_history_by_reference_is_for_responses() -> None:
    with pytest.raises(BadInput) as raised:
        composer(turns="3", earlier_turns="previous_response_id")
    assert raised.value.problems == [
        "earlier-turns: expected endpoint = responses beside previous_response_id, got chat"
    ]
