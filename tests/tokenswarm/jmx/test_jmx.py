from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenswarm.jmx.jmeter_plans import (
    PEAK_LOAD,
    VIRTUAL_TESTERS,
    conf_values,
    element,
    group,
    headers,
    plan,
    problems_of,
    prop,
    questions,
    request,
    think,
    timer,
    translate,
    warnings_with,
)
from tokenswarm.jmx.__main__ import main
from tokenswarm.jmx.plan import parse_properties, read_plan
from tokenswarm.jmx.scenario import Scenario, write_scenario
from tokenswarm.userinput import BadInput
from tokenswarm.workload.dataset import load_dataset
from tokenswarm.workload.distributions import parse_pause
from tokenswarm.workload.stages import parse_shape


def test_the_virtual_testers_of_the_lab():
    scenario = translate(VIRTUAL_TESTERS)
    assert scenario.values == {
        "locustfile": "locustfiles/rag_orchestrator.py",
        "host": "https://fnorch0.azurewebsites.net",
        "rag-contract": "v1",
        "turns-per-conversation": "1",
        "users": "10",
        "shape": "thread-group",
        "stages": "threads=10, delay=10s, ramp=30s, duration=360s, loops=1",
        "think-time": "uniform(1, 2)",
        "dataset": "dataset.csv",
        "dataset-order": "sequential",
    }
    assert [warning[:40] for warning in scenario.warnings] == [
        "conversation_id is always empty: every r",
        "loops is 1: each thread sends one reques",
        "randomquestion is not random: JMeter rea",
        "dataset.csv: not found beside the plan; ",
        "each loop is a new user in the plan, for",
        "header x-functions-key: keys are not tak",
    ]
    assert "10 in all, the last at 37 s; not 360 s of load" in scenario.warnings[1]


def test_what_is_written_is_what_the_shapes_and_pauses_read():
    values = translate(VIRTUAL_TESTERS).values
    shape = parse_shape(values["shape"], values["stages"])
    assert [shape.start_instant(thread) for thread in (0, 1, 9)] == [10, 13, 37]
    assert shape.loops == 1
    parse_pause(values["think-time"])


def test_endless_loops_are_load_for_the_whole_duration():
    scenario = translate(VIRTUAL_TESTERS, PEAK_LOAD.replace("loopCount=1", "loopCount=-1"))
    assert scenario.values["stages"] == "threads=10, delay=10s, ramp=30s, duration=360s, loops=-1"
    assert warnings_with(scenario, "loops is") == []


def test_several_loops_end_early():
    scenario = translate(VIRTUAL_TESTERS, PEAK_LOAD.replace("loopCount=1", "loopCount=5"))
    assert warnings_with(scenario, "loops is 5: the plan ends after at most 50 requests") != []


def test_properties_that_are_not_set_fall_back_and_say_so():
    scenario = translate(VIRTUAL_TESTERS, "threadcount=10\njmeter.x=1\n")
    assert scenario.values["stages"] == "threads=1, delay=30s, ramp=1s, duration=30s, loops=1"
    assert scenario.values["think-time"] == "uniform(1, 1.1)"
    fallen = {"threadCount": "1", "loopCount": "1", "durationSeconds": "30", "rampUpSeconds": "1", "delaySeconds": "30"}
    fallen |= {"constantDelayMillis": "1000", "randomDelayMillis": "100", "functionApp": "1"}
    assert {warning for warning in scenario.warnings if warning.startswith("property ")} == {
        *(f"property {name} is not set: the plan falls back to {value!r}" for name, value in fallen.items()),
        "property threadcount is set but the plan does not use it",
    }
    assert warnings_with(scenario, "looks like a placeholder or a fall-back") != []


def test_a_scheduler_that_is_off_has_no_delay_and_no_duration():
    xml = plan(group(request(), loops="3", scheduler="false"))
    assert translate(xml).values["stages"] == "threads=10, delay=0s, ramp=30s, loops=3"
    [problem] = problems_of(plan(group(request(), loops="-1", scheduler="false")))
    assert problem == "p.jmx: expected an end, got endless loops with the scheduler off"


@pytest.mark.parametrize(
    ("pauses", "expected"),
    [
        ("", "0"),
        (timer("ConstantTimer", "500"), "0.5"),
        (think("", "1500"), "1.5"),
        (think(timer("ConstantTimer", "500"), "1000"), "1.5"),
        (think(timer("UniformRandomTimer", "1000", "1000")), "uniform(1, 2)"),
        (think(timer("GaussianRandomTimer", "3000", "500")), "normal(3, 0.5)"),
        (think(timer("PoissonRandomTimer", "300", "100")), "normal(0.4, 0.01)"),
        # Of the group, so before the request and before the pause: twice a loop.
        (timer("ConstantTimer", "500") + think("", "1000"), "2"),
    ],
)
def test_think_time(pauses, expected):
    scenario = translate(plan(group(request() + pauses)))
    assert scenario.values["think-time"] == expected
    parse_pause(scenario.values["think-time"])


def test_random_pauses_are_added_with_a_warning():
    pauses = think(timer("UniformRandomTimer", "0", "1000")) + think(timer("UniformRandomTimer", "1000", "2000"))
    scenario = translate(plan(group(request() + pauses)))
    assert scenario.values["think-time"] == "uniform(1, 4)"
    assert warnings_with(scenario, "2 random pauses per loop") != []


def test_switched_off_elements_do_not_count():
    off = element("ConstantTimer", prop("ConstantTimer.delay", "9000"), enabled=False)
    scenario = translate(plan(group(request() + off) + element("ThreadGroup", enabled=False)))
    assert scenario.values["think-time"] == "0"


def test_other_orchestrators():
    v2 = translate(plan(group(request("/orchestrator", '{"ask": "${q}", "type": "x"}', "orc.example.org"))))
    assert {key: v2.values[key] for key in ("host", "rag-contract", "rag-body")} == {
        "host": "https://orc.example.org",
        "rag-contract": "v2",
        "rag-body": '{"type": "x"}',
    }
    assert "rag-path" not in v2.values
    own = translate(plan(group(request("/ask", '{"question": "Why?", "conversation_id": "${id}"}', "h", "8443"))))
    assert own.values["rag-path"] == "/ask"
    assert own.values["host"] == "https://h:8443"
    assert warnings_with(own, "conversation_id is a variable of the run") != []
    assert warnings_with(own, "the same question in every request") != []


def test_chat_completions_of_azure():
    body = (
        '{"messages": [{"role": "system", "content": "Be\\nbrief."}, {"role": "user", "content": "${q}"}], '
        '"max_tokens": 500, "temperature": 0.7, "stream": true}'
    )
    path = "/openai/deployments/gpt-35/chat/completions?api-version=2024-10-21"
    scenario = translate(plan(group(request(path, body, "r.openai.azure.com")) + questions(variableNames="q")))
    expected = {
        "locustfile": "locustfiles/chat_completions.py",
        "host": "https://r.openai.azure.com",
        "api": "azure",
        "api-version": "2024-10-21",
        "deployment": "gpt-35",
        "temperature": "0.7",
        "max-tokens": "500",
        "stream": "yes",
        "system-prompt": "Be brief.",
        "dataset": "dataset.csv",
    }
    assert {key: scenario.values[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("path", "host", "api"),
    [
        ("/openai/v1/chat/completions", "https://h", "azure-v1"),
        ("/v1/chat/completions", "https://h/v1", "openai"),
    ],
)
def test_chat_completions_elsewhere(path, host, api):
    body = '{"model": "m", "n": ${n}, "max_completion_tokens": 64}'
    values = translate(plan(group(request(path, body, "h")))).values
    assert (values["host"], values["api"], values["deployment"], values["stream"]) == (host, api, "m", "no")
    assert (values["max-tokens"], values["max-tokens-field"]) == ("64", "max_completion_tokens")
    assert "n" not in values


def test_keys_of_the_plan_are_never_written():
    xml = plan(group(request(below=headers(api_key="c4nary-0123456789", User_Agent="x"))))
    scenario = translate(xml)
    assert warnings_with(scenario, "header api-key: keys are not taken over; give it as AZURE_OPENAI_API_KEY") != []
    assert "c4nary" not in write_scenario(scenario, ["p.jmx"])
    assert "c4nary" not in repr(read_plan(xml, {}).request)


def test_what_is_not_taken_over_is_said():
    below = request(below=element("ResponseAssertion", name="Status")) + request(name="Second")
    xml = plan(
        element("SetupThreadGroup", name="Warm")
        + group(below + element("ConstantThroughputTimer", name="Pace") + element("IfController", name="If"))
    )
    scenario = translate(xml)
    for text in (
        "SetupThreadGroup 'Warm': not taken over",
        "ResponseAssertion 'Status': not taken over",
        "request 'Second': only the first request",
        "ConstantThroughputTimer 'Pace': not taken over",
        "IfController 'If': not taken over",
    ):
        assert warnings_with(scenario, text) != [], text


def test_a_host_that_only_the_run_knows_is_left_to_the_command_line():
    scenario = translate(plan(group(request(domain="${__env(HOST)}"))))
    assert "host" not in scenario.values
    assert warnings_with(scenario, "is not taken over: name the target with -H") != []


def test_user_defined_variables_and_request_defaults():
    variables = '<elementProp name="TestPlan.user_defined_variables"><collectionProp name="Arguments.arguments">'
    variables += (
        f'<elementProp name="h">{prop("Argument.name", "h")}{prop("Argument.value", "${__P(functionApp)}.org")}'
    )
    variables += "</elementProp></collectionProp></elementProp>"
    defaults = element("ConfigTestElement", prop("HTTPSampler.domain", "${h}"))
    tree = element("TestPlan", variables, defaults + group(request(domain="")))
    xml = f"<jmeterTestPlan><hashTree>{tree}</hashTree></jmeterTestPlan>".encode()
    assert translate(xml).values["host"] == "https://fnorch0.org"


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (b"", ["p.jmx: expected the XML of a JMeter plan, got: no element found: line 1, column 0"]),
        (b"<a/>", ["p.jmx: expected a jmeterTestPlan, got a"]),
        (plan(""), ["p.jmx: expected one enabled thread group, got none"]),
        (
            plan(group(request(), name="A") + group(request(), name="B")),
            ["p.jmx: expected one enabled thread group, got 'A', 'B'"],
        ),
        (plan(group("")), ["p.jmx: expected an enabled HTTP request, got none"]),
        (
            plan(group(request("/index.html", ""))),
            [
                "request 'HTTP Request': expected a chat completion or a question to an orchestrator, "
                "got POST '/index.html'"
            ],
        ),
        (plan(group(request(), loops="many")), ["p.jmx: loops: expected a number, got 'many'"]),
        (plan(group(request(), loops="1.5")), ["p.jmx: loops: expected a whole number from -1, got 1.5"]),
        (
            plan(group(request(), loops="0")),
            ["p.jmx: loops: expected 1 or more, or -1 without end, got 0: nothing is sent"],
        ),
        (
            plan(group(request()) + element("com.example.UltimateThreadGroup", name="U")),
            ["p.jmx: expected JMeter's own thread group, got com.example.UltimateThreadGroup 'U'"],
        ),
    ],
)
def test_bad_plans(xml, expected):
    assert problems_of(xml) == expected


def test_entities_cannot_blow_a_plan_up():
    bomb = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %c "%b">' % (98 + level, b"&%c;" % (97 + level) * 10) for level in range(12)
    )
    [problem] = problems_of(bomb + b"]><jmeterTestPlan>&m;</jmeterTestPlan>")
    assert problem.startswith("p.jmx: expected the XML of a JMeter plan, got: ")


def test_deep_nesting_is_refused():
    below = request()
    for _ in range(100):
        below = element("GenericController", "", below)
    [problem] = problems_of(plan(group(below)))
    assert problem == "p.jmx: expected at most 60 levels of elements, got more"


def test_questions_that_jmeter_cuts_or_breaks(tmp_path):
    path = tmp_path / "dataset.csv"
    path.write_bytes('\ufeffWhy?\n"One, or two?"\n"Say ""yes"""\n'.encode())
    scenario = translate(VIRTUAL_TESTERS, dataset=path)
    assert scenario.values["dataset"] == str(path)
    assert warnings_with(scenario, "byte order mark, which JMeter puts into the first question") != []
    assert warnings_with(scenario, "JMeter ends 1 of 3 questions at their first ','") != []
    assert warnings_with(scenario, "1 of 3 questions hold a quote, a backslash or a line break") != []
    assert len(load_dataset(path)) == 3


def test_other_ways_to_share_questions():
    xml = plan(group(request()) + questions(shareMode="shareMode.thread", recycle="false"))
    scenario = translate(xml)
    assert warnings_with(scenario, "is shared by thread in the plan") != []
    assert warnings_with(scenario, "is read once in the plan") != []


def test_properties_files():
    text = "a=1\r\n b : 2\n! no\n# no\nc 3\nd=x\\\n   y\ne\\=f=\\u00e9\\t\\\\\nempty=\nkey\n"
    assert parse_properties(text) == {
        "a": "1",
        "b": "2",
        "c": "3",
        "d": "xy",
        "e=f": "é\t\\",
        "empty": "",
        "key": "",
    }


def test_the_file_is_what_locusts_parser_reads_back():
    scenario = translate(VIRTUAL_TESTERS)
    text = write_scenario(scenario, ["load\ntest.jmx", "user.properties"])
    assert text.startswith("# What load test.jmx and user.properties mean, as python -m tokenswarm.jmx reads them.\n")
    assert "# Load for the whole duration would be: stages = threads=10, delay=10s, ramp=30s" in text
    assert conf_values(text) == scenario.values


@settings(max_examples=300)
@given(st.text(st.sampled_from("ab ;#'\"[]{}=:,\n\t\\é"), max_size=12))
def test_any_value_is_read_back_or_refused(value):
    scenario = Scenario()
    scenario.set("system-prompt", value)
    try:
        text = write_scenario(scenario, [])
    except BadInput:
        return
    assert conf_values(text) == {"system-prompt": value}


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(max_size=40), st.text(max_size=40), st.binary(max_size=60))
def test_any_plan_is_a_scenario_or_bad_input(properties, loops, body, junk):
    parse_properties(properties)
    clean = "".join(each for each in loops + "\0" + body if each.isprintable() or each == "\0")
    loops, _, body = clean.partition("\0")
    for xml in (junk, plan(group(request(body=body), loops=loops)), plan(group(request(path=body)) + questions())):
        try:
            write_scenario(translate(xml), ["p.jmx"])
        except BadInput as error:
            assert error.problems


def test_command_line(tmp_path, capsys):
    (tmp_path / "loadtest.jmx").write_bytes(VIRTUAL_TESTERS)
    (tmp_path / "user.properties").write_text(PEAK_LOAD)
    (tmp_path / "dataset.csv").write_text("Why?\nHow?\n")
    arguments = [str(tmp_path / "loadtest.jmx"), str(tmp_path / "user.properties")]
    assert main(arguments) == 0
    output = capsys.readouterr()
    assert conf_values(output.out)["dataset"] == str(tmp_path / "dataset.csv")
    assert "warning: loops is 1" in output.err
    assert main([*arguments, "-o", str(tmp_path / "out.conf")]) == 0
    assert capsys.readouterr().out == ""
    assert (tmp_path / "out.conf").read_text() == output.out


def test_command_line_of_a_user_who_errs(tmp_path):
    (tmp_path / "loadtest.jmx").write_text("<broken")
    done = subprocess.run(
        [sys.executable, "-m", "tokenswarm.jmx", str(tmp_path / "loadtest.jmx")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"{tmp_path}/loadtest.jmx: expected the XML of a JMeter plan, got: unclosed token")
    assert main([str(tmp_path / "none.jmx")]) == 2
    assert main([str(tmp_path / "loadtest.jmx"), str(tmp_path)]) == 2


def test_a_body_that_is_one_variable_is_refused_but_for_chat_completions() -> None:
    xml = plan(group(request(body="${randomquestion}")) + questions())
    assert ["${randomquestion} alone" in problem for problem in problems_of(xml)] == [True]


def test_a_question_with_a_comma_and_no_quotes_does_not_block_a_conversion(tmp_path) -> None:
    dataset = tmp_path / "dataset.csv"
    dataset.write_text("What is it, then?\nAnd this?\n", encoding="utf-8")
    scenario = translate(VIRTUAL_TESTERS, dataset=dataset)
    assert scenario.values["dataset"] == str(dataset)
    assert warnings_with(scenario, "has to be mended before the run")
