"""The `.env` that `init` writes: endpoint, key and model, in a file that only its owner can read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tokenswarm.config.chat_url import AZURE_HOSTS
from tokenswarm.config.environment import Environment, check_environment, endpoint_problems, parse_env
from tokenswarm.userinput import BadInput


def env_values(endpoint: str, key: str, model: str) -> dict[str, str]:
    """Names and values for an endpoint: an Azure host has names of its own. Empty values are left out.

    Raises `BadInput` with what is wrong with them.
    """
    if problems := endpoint_problems(endpoint, "endpoint"):
        raise BadInput(problems)
    is_azure = (urlsplit(endpoint).hostname or "").endswith(AZURE_HOSTS)
    names = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY") if is_azure else ("OPENAI_BASE_URL", "OPENAI_API_KEY")
    given = dict(zip((*names, "AZURE_OPENAI_DEPLOYMENT"), (endpoint, key, model), strict=True))
    values = {name: value.strip() for name, value in given.items() if value.strip()}
    if problems := check_environment(Environment(values, dict.fromkeys(values, "as it was given"))):
        raise BadInput(problems)
    return values


def env_text(values: Mapping[str, str]) -> str:
    """The file's text, which is read back as the same values. Raises `BadInput` for one that would not be."""
    lines = ["# Written by `tokenswarm init`. It holds a key: keep it out of version control."]
    lines += [f"{name}={_quoted(value)}" for name, value in values.items()]
    text = "\n".join(lines) + "\n"
    entries = parse_env(text.encode(), ".env")
    if wrong := [name for name, value in values.items() if entries[name].value != value]:
        raise BadInput([f"{name}: expected a value that a .env file can hold, got another one" for name in wrong])
    return text


def _quoted(value: str) -> str:
    if all(character.isalnum() or character in "-_./:@=+" for character in value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def write_env(path: Path, text: str) -> None:
    """Write it whole, readable by its owner only from its first byte on."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)
