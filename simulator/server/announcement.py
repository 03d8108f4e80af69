"""What the simulator prints once it serves: lines to paste into a shell or a .env file. Pure."""

from __future__ import annotations

from simulator.config.settings import Settings

HIDDEN = "(as in your configuration)"
"""Stands for a key that the user has chosen: only the built-in ones are printed."""


def announcement(settings: Settings, url: str) -> str:
    """Address, deployments, and variables with addresses and keys for each target."""
    key = _shown("api_key", settings)
    first = next(iter(settings.deployments), "")
    groups = {
        "Chat and the other model APIs, as Azure OpenAI": {
            "AZURE_OPENAI_ENDPOINT": url,
            "AZURE_OPENAI_API_KEY": key,
            "AZURE_OPENAI_DEPLOYMENT": first,
        },
        "or as an OpenAI-compatible server": {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": key},
        "or in Anthropic's format": {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key},
        "RAG orchestrator, version 1": {
            "ORCHESTRATOR_ENDPOINT": url,
            "ORCHESTRATOR_FUNCTION_KEY": _shown("functions_key", settings),
        },
        "RAG orchestrator, version 2": {"ORCHESTRATOR_APP_ENDPOINT": url, "ORCHESTRATOR_APP_APIKEY": key},
    }
    lines = [f"Simulator: {url} (deployments: {', '.join(settings.deployments)})"]
    for title, variables in groups.items():
        lines += ["", f"# {title}:", *(f"export {name}={_quoted(value)}" for name, value in variables.items())]
    return "\n".join(lines)


def _shown(name: str, settings: Settings) -> str:
    value: str = getattr(settings, name)
    return value if value == getattr(Settings(), name) else HIDDEN


def _quoted(value: str) -> str:
    return f"'{value}'" if any(sign in value for sign in " ()[]") else value
