"""What a chunk costs does not grow with the answer: hundreds of streams share one process."""

from __future__ import annotations

import random
import time

import pytest

from simulator.apis.call import Saying
from simulator.apis.chat import ChatApi
from simulator.apis.completions import CompletionsApi
from simulator.apis.messages import MessagesApi
from simulator.apis.responses import ResponsesApi
from simulator.config.settings import Deployment
from simulator.service.conversations import Conversations
from simulator.service.latency import Draw, plan_answer
from simulator.wire.azure import Identity

ASKED = {
    "chat": {"messages": [{"role": "user", "content": "hi"}]},
    "completions": {"prompt": "hi"},
    "messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4000},
    "responses": {"input": "hi"},
}


def seconds_per_chunk(api, tokens: int) -> float:
    deployment, rng = Deployment(max_output_tokens=40_000), random.Random(1)
    call = api.read(ASKED[api.name], deployment, Conversations())
    answer = plan_answer(deployment, Draw(rng, rng), 10, tokens, 1.0)
    encoder = api.encoder(Saying(call, Identity("resp_1", 1, "m", "f"), [answer], deployment, 0, rng))
    encoder.opening()
    began = time.process_time()
    for chunk in answer.chunks:
        encoder.lead(0, chunk)
        encoder.piece(0, chunk)
    return (time.process_time() - began) / tokens


@pytest.mark.parametrize("api", [ChatApi(), CompletionsApi(), MessagesApi(), ResponsesApi()], ids=lambda api: api.name)
def test_a_chunk_of_a_long_answer_costs_what_one_of_a_short_answer_does(api):
    short = min(seconds_per_chunk(api, 2_000) for _ in range(5))
    long = min(seconds_per_chunk(api, 40_000) for _ in range(3))
    assert long < 5 * short
