"""Files of canned results: what they may say, and all that is wrong with one at once."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tokenswarm.traffic.tools import Tools, parse_tools, tool_names
from tokenswarm.userinput import BadInput
from tokenswarm.workload.distributions import parse_pause


def test_a_result_is_a_text_or_json_with_or_without_a_time(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    timed = {"result": {"a": [1, "é"]}, "time_s": "uniform(0.5, 0.5)"}
    path.write_text(
        json.dumps({"text": "18 °C", "json": {"a": 1}, "timed": timed, "later": {"result": "", "time_s": 2}})
    )
    results = parse_tools(str(path))
    assert {name: result.text for name, result in results.items()} == {
        "text": "18 °C", "json": '{"a":1}', "timed": '{"a":[1,"é"]}', "later": ""
    }  # fmt: skip
    tools = Tools(results, time=parse_pause("7"))
    assert tools.time_s(["timed", "later"], random.Random(1)) == 2.0, "they run at once"
    assert tools.time_s(["text", "timed"], random.Random(1)) == 7.0, "the option's time where the file has none"
    assert Tools(results).time_s(["text"], random.Random(1)) == 0.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", ["expected a JSON object of tools, got none"]),
        ("[]", ["expected a JSON object of tools, got list"]),
        ("{}", ["got an empty one"]),
        ('{"a": {"time_s": 1}, "b": {"result": "", "time_s": -1, "x": 2}}',
         ["'a': expected a result", "'b': expected result and time_s, got x", "'b': time_s"]),
        ('{"a": {"result": 1, "time_s": true}}', ["'a': time_s: expected seconds"]),
        ('{"a": {"result": 1, "time_s": "soon"}}', ["'a': time_s: expected 1, uniform(1, 2)"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_at_once(tmp_path: Path, text: str, said: list[str]) -> None:
    path = tmp_path / "tools.json"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        parse_tools(str(path))
    assert len(caught.value.problems) == len(said)
    assert all(part in problem for part, problem in zip(said, caught.value.problems, strict=True))


def test_the_functions_of_a_body_as_each_api_names_them() -> None:
    chat = {"type": "function", "function": {"name": "a"}}
    responses = {"type": "function", "name": "b", "parameters": {}}
    messages = {"name": "c", "input_schema": {}}
    of_the_service = [{"type": "web_search"}, {"type": "bash_20250124", "name": "bash"}]
    assert tool_names([chat, responses, messages, *of_the_service]) == ["a", "b", "c"]
    assert tool_names(None) == tool_names("x") == tool_names([1, {"type": "function", "function": 3}]) == []
