"""Images and schemas as each API has them, judged by the simulator, which reads the requests as the services do."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.simulator_process import API_KEY, ROOT, Simulator, running_simulator
from tests.tokenswarm.config.test_settings import settings
from tokenswarm.apis.named import api_of
from tokenswarm.apis.request import ChatRequest, Sending
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import Client, Reply
from tokenswarm.client.sdk import chat_endpoint
from tokenswarm.config.settings import Settings
from tokenswarm.record import Outcome
from tokenswarm.userinput import BadInput

SCHEMA = ROOT / "scenarios" / "answer-schema.json"
CONFIG = """
[deployments.fast]
ttft_base_ms = 1
tbt_ms = 1
max_output_tokens = 2000
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG, seed=3) as simulator:
        yield simulator


def made(simulator: Simulator, endpoint: str, **options: str) -> Settings:
    variables = {"OPENAI_BASE_URL": simulator.chat_url + "/v1", "OPENAI_API_KEY": API_KEY}
    return settings(variables, deployment="fast", endpoint=endpoint, **options)


def ask(run: Settings, images: list[str], stream: bool) -> Reply:
    assert run.chat is not None
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}]
    request = ChatRequest(
        messages=said, max_tokens=1000, images=images, stream=stream, keep_text=True, body=run.body.fields
    )
    client = Client(api_of(run.chat), chat_endpoint(run.chat, Sending()), Sending(), Caller("w0", 1))
    reply = client.call(request, lambda _record: None)
    client.close()
    assert reply.record.outcome is Outcome.OK, reply.record.error
    return reply


@pytest.mark.parametrize("endpoint", ["chat", "responses", "messages"])
def test_images_are_read_and_counted(simulator: Simulator, endpoint: str) -> None:
    run = made(simulator, endpoint, images="2 of 1024x768")
    assert run.images is not None
    plain = ask(run, [], stream=True).record
    shown = ask(run, run.images.sample(random.Random(1)), stream=True).record
    line = next(line for line in simulator.truth() if line["client_request_id"] == f"{shown.call_id}-1")
    assert shown.prompt_tokens == line["prompt_tokens"]
    assert (shown.prompt_tokens or 0) - (plain.prompt_tokens or 0) > 1000


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_answers_have_the_schema(simulator: Simulator, endpoint: str, stream: bool) -> None:
    reply = ask(made(simulator, endpoint, json_schema=str(SCHEMA)), [], stream)
    jsonschema.validate(json.loads(reply.text), json.loads(SCHEMA.read_text()))


def test_a_schema_for_messages_stands_in_its_output_config(simulator: Simulator) -> None:
    fields: Any = made(simulator, "messages", json_schema=str(SCHEMA)).body.fields
    assert fields["output_config"]["format"]["schema"] == json.loads(SCHEMA.read_text())


def test_what_cannot_be(simulator: Simulator, tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("[]")
    cases = {
        "images: expected endpoint": {"endpoint": "embeddings", "images": "8x8"},
        "json-schema: expected endpoint": {"endpoint": "completions", "json_schema": str(SCHEMA)},
        "json-schema: expected a JSON object": {"endpoint": "chat", "json_schema": str(tmp_path / "none.json")},
        "extra-body: expected no 'response_format'": {
            "endpoint": "chat", "json_schema": str(SCHEMA), "extra_body": '{"response_format": {"type": "text"}}',
        },
    }  # fmt: skip
    for begin, options in cases.items():
        with pytest.raises(BadInput) as raised:
            made(simulator, **options)
        assert raised.value.problems[0].startswith(begin)
