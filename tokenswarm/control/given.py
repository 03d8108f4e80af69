"""What a run was given, as run.json tells it: options, scenario, target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenswarm.apis.request import ChatTarget
from tokenswarm.config.options import OPTIONS
from tokenswarm.config.settings import Settings


def shown_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that were given, under their names; Locust's own load options too."""
    named = {option.name: options.get(option.attribute) for option in OPTIONS if option.name != "run-directory"}
    own = {name: options.get(name.replace("-", "_")) for name in ("spawn-rate", "run-time", "stop-timeout", "host")}
    shown = {**named, "users": options.get("num_users"), **own}
    return {name: value for name, value in shown.items() if value not in (None, "")}


def scenario_facts(scenario: Path | None) -> dict[str, str | None]:
    """Path and text of a scenario; `None` where there is none, or it cannot be read."""
    if scenario is None:
        return {"path": None, "text": None}
    try:
        text: str | None = scenario.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = None
    return {"path": str(scenario), "text": text}


def target_facts(settings: Settings) -> dict[str, str | None]:
    """Where the load goes: kind, host, API, deployment."""
    chat, rag = settings.chat, settings.rag
    several = settings.several.targets if settings.several is not None else {}
    kind = "mixed" if chat and rag else settings.target
    api = chat.api if isinstance(chat, ChatTarget) else rag.contract if rag else None
    return {
        "kind": kind,
        "host": settings.url,
        "api": api,
        "deployment": ", ".join(several) if several else chat.deployment if chat else None,
    }
