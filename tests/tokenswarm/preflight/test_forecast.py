from __future__ import annotations

import pytest

from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import read_environment
from tokenswarm.preflight.forecast import describe_forecast


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["about 60 requests in 60 s", "at most 30000 tokens (24000 prompt, 6000 completion)", "no price of d is"]),
        ({"steps": "3..12", "tool_time": "0.1"}, ["about 60 sessions in 60 s"]),
        ({"arrivals_of": "sessions", "turns": "3"}, ["about 60 sessions in 60 s"]),
    ],
    ids=["requests", "agents", "conversations"],
)
def test_what_arrives_is_foretold_and_tokens_where_they_are_known(
    given: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "a-key-of-somebody")
    options = {"host": "https://x.openai.azure.com", "deployment": "d", "rate": "60"}
    options |= {"context_tokens": "400", "max_tokens": "100", **given}
    lines = describe_forecast(build_settings(options, read_environment([]), {"chat"}), {"run_time": 60})
    assert [line.startswith(f"Forecast: {begin}") for line, begin in zip(lines, expected, strict=True)] == [
        True for _ in expected
    ], lines
