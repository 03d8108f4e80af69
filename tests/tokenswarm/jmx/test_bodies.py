from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tokenswarm.jmx.jmeter_plans import conf_values, group, plan, questions, request, translate
from tokenswarm.jmx.__main__ import main
from tokenswarm.userinput import BadInput

BODIES = (
    '"{""messages"": [{""role"": ""user"", ""content"": ""a""}], ""stream"": true}"\n'
    '"{\n  ""messages"": [\n    {""role"": ""user"", ""content"": ""b\\nc""}\n  ]\n}"\n'
)
BODY_ROWS = plan(
    group(
        request(path="/openai/deployments/d/chat/completions?api-version=1", body="${row}", domain="r.openai.azure.com")
    )
    + questions(filename="rows.csv", variableNames="row", delimiter="\\t", quotedData="true")
)


def test_rows_that_are_whole_bodies_become_recorded_requests(tmp_path: Path) -> None:
    (tmp_path / "loadtest.jmx").write_bytes(BODY_ROWS)
    (tmp_path / "rows.csv").write_text(BODIES, encoding="utf-8")
    out = tmp_path / "out.conf"
    assert main([str(tmp_path / "loadtest.jmx"), "-o", str(out)]) == 0
    values = conf_values(out.read_text())
    assert values["requests"] == str(tmp_path / "rows.requests.jsonl")
    assert (values["deployment"], {"stream", "dataset"} & values.keys()) == ("d", set())  # as each body says
    with Path(values["requests"]).open(encoding="utf-8") as lines:
        said = [json.loads(line)["messages"][0]["content"] for line in lines]
    assert said == ["a", "b\nc"]
    assert main([str(tmp_path / "loadtest.jmx")]) == 2  # there is no place for the file


def test_rows_that_are_no_bodies_are_named(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text('"{""messages"": []}"\nWhy?\n"[]"\n', encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        translate(BODY_ROWS, dataset=rows)
    assert [problem.partition(",")[0] for problem in caught.value.problems] == [
        f"rows.csv row {number}: expected a JSON object with messages" for number in (2, 3)
    ]
