"""Whatever is posted is understood or refused with 400, never anything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.apis.call import Call, Refused, check_prompt, parse_json
from simulator.apis.chat import KNOWN_FIELDS, ChatApi
from simulator.apis.completions import KNOWN_FIELDS as COMPLETIONS_FIELDS
from simulator.apis.completions import CompletionsApi
from simulator.apis.embeddings import EmbeddingsApi
from simulator.apis.messages import KNOWN_FIELDS as MESSAGES_FIELDS
from simulator.apis.messages import MessagesApi
from simulator.apis.responses import KNOWN_FIELDS as RESPONSES_FIELDS
from simulator.apis.responses import ResponsesApi
from simulator.config.settings import Deployment
from simulator.service.conversations import Conversations

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "system", ""]), "content": JSON | st.text()}), max_size=4
)


@given(st.dictionaries(st.sampled_from(sorted(KNOWN_FIELDS)), JSON, max_size=5), MESSAGES | JSON, st.booleans())
def test_any_object_is_a_request_or_a_400(fields, messages, reasoning):
    deployment = Deployment(reasoning=reasoning)
    parsed = parse_json(json.dumps({**fields, "messages": messages}).encode())
    try:
        request = ChatApi().read(parsed, deployment, Conversations())
        check_prompt(request, deployment)
    except Refused as refused:
        assert refused.refusal.status == 400
        json.loads(refused.refusal.body)
        return
    assert isinstance(request, Call)
    assert request.prompt_tokens >= 7
    assert request.max_tokens is None or 1 <= request.max_tokens <= deployment.max_output_tokens
    assert 1 <= request.choices <= 128


@given(
    st.sampled_from(
        [
            (ResponsesApi(), RESPONSES_FIELDS),
            (MessagesApi(), MESSAGES_FIELDS),
            (CompletionsApi(), COMPLETIONS_FIELDS),
            (EmbeddingsApi(), {"input", "dimensions", "encoding_format"}),
        ]
    ),
    st.data(),
)
def test_any_object_is_a_request_or_a_400_of_the_other_apis(api, data):
    api, names = api
    field = st.sampled_from(sorted(names))
    fields = data.draw(st.dictionaries(field, JSON | MESSAGES, max_size=5))
    needed = {"max_tokens": 5, "messages": data.draw(MESSAGES), "input": data.draw(MESSAGES | st.text())}
    deployment = Deployment(embedding_dimensions=8 if api.name == "embeddings" else None)
    parsed = {name: value for name, value in needed.items() if name in names} | fields
    try:
        call = api.read(json.loads(json.dumps(parsed)), deployment, Conversations())
    except Refused as refused:
        assert refused.refusal.status == 400
        json.loads(api.error_body(refused.refusal, "id"))
        return
    assert call.prompt_tokens >= 0


@given(st.binary(max_size=50))
def test_any_bytes_are_json_or_a_400(body):
    try:
        assert isinstance(parse_json(body), dict)
    except Refused as refused:
        assert refused.refusal.status == 400


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"max_tokens": ' + b"9" * 5000 + b"}"])
def test_monstrous_json(body):
    with pytest.raises(Refused):
        parse_json(body)
