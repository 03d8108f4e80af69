"""Whatever is posted is understood or refused with 400, never anything else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.chat.request import KNOWN_FIELDS, ChatRequest, Refused, check_prompt, parse_chat, parse_json
from simulator.config.settings import Deployment

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
        request = parse_chat(parsed, deployment)
        check_prompt(parsed, request, deployment)
    except Refused as refused:
        assert refused.refusal.status == 400
        json.loads(refused.refusal.body)
        return
    assert isinstance(request, ChatRequest)
    assert request.prompt_tokens >= 7
    assert request.max_tokens is None or 1 <= request.max_tokens <= deployment.max_output_tokens
    assert 1 <= request.n <= 128


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
