"""The printed lines work as they are: in a .env file, in a shell, for other people's clients."""

from __future__ import annotations

import io
import subprocess

import dotenv
import openai

from simulator.config.settings import Settings, load_settings
from simulator.server.announcement import announcement
from tests.simulator_process import running_simulator
from tokenswarm.config.environment import NAMES


def test_the_lines_are_a_dotenv_file_and_a_shell_script_of_names_that_tokenswarm_reads():
    text = announcement(load_settings(), "http://127.0.0.1:8000")
    first, _, lines = text.partition("\n")
    assert "gpt-4.1-mini" in first and "gpt-4.1-mini-20k" in first
    values = dotenv.dotenv_values(stream=io.StringIO(lines))
    assert {name for name in values if not name.startswith("ANTHROPIC")} <= set(NAMES)
    assert values["ORCHESTRATOR_FUNCTION_KEY"] == "simulator-function-key"
    shell = subprocess.run(["sh", "-euc", lines + "\nenv"], env={}, capture_output=True, text=True, check=True)
    for name, value in values.items():
        assert f"{name}={value}" in shell.stdout.splitlines()


def test_a_key_of_the_users_own_is_not_printed():
    text = announcement(Settings(api_key="of-my-own", functions_key="mine-too"), "http://[::1]:8000")
    assert "of-my-own" not in text and "mine-too" not in text
    values = dotenv.dotenv_values(stream=io.StringIO(text.partition("\n")[2]))
    assert values["AZURE_OPENAI_ENDPOINT"] == "http://[::1]:8000"


def test_the_default_deployments_answer_with_what_is_printed(monkeypatch):
    with running_simulator() as simulator:
        lines = announcement(load_settings(), simulator.chat_url).partition("\n")[2]
        for name, value in dotenv.dotenv_values(stream=io.StringIO(lines)).items():
            monkeypatch.setenv(name, value or "")
        with openai.OpenAI(max_retries=0) as client:
            names = [model.id for model in client.models.list()]
            assert client.responses.create(model="gpt-4.1-mini", input="hi", max_output_tokens=16).output_text
            assert client.embeddings.create(model="text-embedding-3-small", input="hi").data
            thinking = client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "hi"}])
            assert thinking.usage.completion_tokens_details.reasoning_tokens > 0
    assert {"gpt-4.1-nano", "gpt-4.1-mini-20k", "gpt-4.1-mini-200k", "gpt-4.1-ptu", "gpt-5-mini"} <= set(names)
