"""`tokenswarm options`: the options as text for a terminal."""

from __future__ import annotations

from tokenswarm.config.environment import OPTION_NAMES
from tokenswarm.config.option_docs import doc_of, find, near
from tokenswarm.config.options import Option
from tokenswarm.userinput import BadInput


def terminal_text(word: str | None) -> str:
    """The options that have `word` in them, by group. Raises `BadInput` when none has."""
    found = find(word)
    if not found:
        hint = near(word or "")
        also = f"did you mean {' or '.join(hint)}?" if hint else "`options` without a word shows all"
        raise BadInput([f"options: expected a word of an option's name or meaning, got {word!r} ({also})"])
    groups = list(dict.fromkeys(option.group for option in found))
    blocks = [
        "\n".join([f"{group}:", *(line for option in found if option.group == group for line in _lines(option))])
        for group in groups
    ]
    end = "On the command line --NAME VALUE, in a scenario NAME = VALUE, in the environment LOCUST_NAME."
    return "\n\n".join([*blocks, end])


def _lines(option: Option) -> list[str]:
    doc = doc_of(option)
    facts = [
        f"default: {doc.default}" if doc.default else "",
        f"unit: {doc.unit}" if doc.unit else "",
        f"one of: {', '.join(option.choices)}" if option.choices else "",
        f"from the environment: {' or '.join(OPTION_NAMES[option.name])}" if option.name in OPTION_NAMES else "",
        f"example: --{option.name} {_shell(doc.example)}",
    ]
    return [f"  --{option.name}", f"      {option.help}", *(f"      {fact}" for fact in facts if fact)]


def _shell(value: str) -> str:
    safe = value.isascii() and all(character.isalnum() or character in "-_./:,%" for character in value)
    return value if safe else f"'{value}'"
