"""JMeter plans for tests, put together of their elements."""

from __future__ import annotations

import io
from pathlib import Path
from xml.sax.saxutils import escape

import configargparse
import pytest

from tokenswarm.jmx.plan import parse_properties, read_plan
from tokenswarm.jmx.scenario import Scenario, scenario_of
from tokenswarm.userinput import BadInput

QUESTION_BODY = '{\r\n  "conversation_id": "",\r\n  "question": "${randomquestion}"\r\n}'

PEAK_LOAD = """\
# peak load
threadCount=10
rampUpSeconds=30
durationSeconds=360
delaySeconds=10
loopCount=1
randomDelayMillis=1000
constantDelayMillis=1000
functionApp=fnorch0
jmeter.save.saveservice.thread_name=false
"""


def prop(name: str, value: str, kind: str = "string") -> str:
    return f'<{kind}Prop name="{name}">{escape(value)}</{kind}Prop>'


def element(tag: str, content: str = "", below: str = "", name: str = "", enabled: bool = True) -> str:
    switch = "" if enabled else ' enabled="false"'
    return f'<{tag} testname="{name or tag}"{switch}>{content}</{tag}><hashTree>{below}</hashTree>'


def group(below: str, loops: str = "${__P(loopCount,1)}", scheduler: str = "true", name: str = "Users") -> str:
    content = (
        prop("ThreadGroup.num_threads", "${__P(threadCount,1)}")
        + prop("ThreadGroup.ramp_time", "${__P(rampUpSeconds,1)}")
        + prop("ThreadGroup.duration", "${__P(durationSeconds,30)}")
        + prop("ThreadGroup.delay", "${__P(delaySeconds,30)}")
        + prop("ThreadGroup.scheduler", scheduler, "bool")
        + prop("ThreadGroup.same_user_on_next_iteration", "false", "bool")
        + prop("ThreadGroup.on_sample_error", "continue")
        + '<elementProp name="ThreadGroup.main_controller">'
        + prop("LoopController.loops", loops)
        + prop("LoopController.continue_forever", "false", "bool")
        + "</elementProp>"
    )
    return element("ThreadGroup", content, below, name)


def request(
    path: str = "/api/orc",
    body: str = QUESTION_BODY,
    domain: str = "${__P(functionApp,1)}.azurewebsites.net",
    port: str = "443",
    below: str = "",
    name: str = "HTTP Request",
) -> str:
    content = (
        prop("HTTPSampler.domain", domain)
        + prop("HTTPSampler.port", port)
        + prop("HTTPSampler.protocol", "https")
        + prop("HTTPSampler.path", path)
        + prop("HTTPSampler.method", "POST")
        + '<elementProp name="HTTPsampler.Arguments"><collectionProp name="Arguments.arguments">'
        + f'<elementProp name="">{prop("Argument.value", body)}</elementProp></collectionProp></elementProp>'
    )
    return element("HTTPSamplerProxy", content, below, name)


def headers(**values: str) -> str:
    items = "".join(
        f'<elementProp name="">{prop("Header.name", name.replace("_", "-"))}{prop("Header.value", value)}</elementProp>'
        for name, value in values.items()
    )
    return element("HeaderManager", f'<collectionProp name="HeaderManager.headers">{items}</collectionProp>')


def timer(tag: str, delay: str, spread: str = "0") -> str:
    return element(tag, prop("ConstantTimer.delay", delay) + prop("RandomTimer.range", spread))


def think(below: str, duration: str = "0") -> str:
    content = prop("ActionProcessor.action", "1", "int") + prop("ActionProcessor.duration", duration)
    return element("TestAction", content, below, "Think Time")


def questions(**values: str) -> str:
    given = {"filename": "dataset.csv", "variableNames": "randomquestion", "shareMode": "shareMode.all", **values}
    return element("CSVDataSet", "".join(prop(name, value) for name, value in given.items()))


def plan(below: str) -> bytes:
    return f"<jmeterTestPlan><hashTree>{element('TestPlan', '', below)}</hashTree></jmeterTestPlan>".encode()


THINK = think(timer("UniformRandomTimer", "${__P(constantDelayMillis,1000)}", "${__P(randomDelayMillis,100)}"))
VIRTUAL_TESTERS = plan(group(request(below=headers(x_functions_key="${secret}")) + THINK) + questions())


def translate(xml: bytes, properties: str = PEAK_LOAD, dataset: Path | None = None) -> Scenario:
    return scenario_of(read_plan(xml, parse_properties(properties), "p.jmx"), dataset)


def problems_of(xml: bytes, properties: str = PEAK_LOAD) -> list[str]:
    with pytest.raises(BadInput) as caught:
        translate(xml, properties)
    return caught.value.problems


def warnings_with(scenario: Scenario, text: str) -> list[str]:
    return [warning for warning in scenario.warnings if text in warning]


def conf_values(text: str) -> dict[str, str]:
    return dict(configargparse.DefaultConfigFileParser().parse(io.StringIO(text)))
