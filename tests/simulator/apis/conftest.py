"""One simulator for the tests of its APIs, and other people's clients for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.simulator_process import API_KEY, Simulator, running_simulator

FAST = "ttft_base_ms = 5\nttft_std_ms = 0\nttft_per_token_ms = 0\ntbt_ms = 1\ntbt_std_ms = 0\n"
CONFIG = f"""
[deployments.plain]
model = "gpt-4.1"
context_tokens = 4000
max_output_tokens = 1000
{FAST}
[deployments.thinker]
model = "gpt-5-mini"
reasoning = true
reasoning_tokens = 20
reasoning_std = 0
{FAST}
[deployments.shows-thoughts]
model = "gpt-oss-120b"
reasoning = true
reasoning_shown = true
reasoning_tokens = 6
reasoning_std = 0
completion_tokens = 4
{FAST}
[deployments.open]
model = "llama-3.3-70b"
further_fields = true
completion_tokens = 5
{FAST}
[deployments.open-thinker]
model = "gpt-oss-120b"
reasoning = true
further_fields = true
reasoning_tokens = 10
reasoning_std = 0
{FAST}
[deployments.vectors]
model = "text-embedding-3-small"
embedding_dimensions = 1536
{FAST}
[deployments.small-quota]
model = "gpt-4.1"
tpm = 1000
minute_from = "first-request"
rpm_slices_s = [60]
rpm_per_1000_tpm = 1000
{FAST}
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(CONFIG) as simulator:
        yield simulator


@pytest.fixture(scope="module", params=["azure", "azure-v1", "openai"])
def client(request: Any, simulator: Simulator) -> Iterator[openai.OpenAI]:
    """The openai SDK for each style of address."""
    if request.param == "azure":
        made: openai.OpenAI = openai.AzureOpenAI(
            azure_endpoint=simulator.chat_url, api_key=API_KEY, api_version="2025-04-01-preview", max_retries=0
        )
    else:
        path = {"azure-v1": "/openai/v1/", "openai": "/v1/"}[request.param]
        made = openai.OpenAI(base_url=simulator.chat_url + path, api_key=API_KEY, max_retries=0)
    with made:
        yield made


@pytest.fixture(scope="module")
def plain_client(simulator: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=simulator.chat_url + "/v1/", api_key=API_KEY, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def claude(simulator: Simulator) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=simulator.chat_url, api_key=API_KEY, max_retries=0) as made:
        yield made


def last_row(simulator: Simulator) -> dict[str, Any]:
    return simulator.truth()[-1]
