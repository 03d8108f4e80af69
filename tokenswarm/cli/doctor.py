"""`tokenswarm doctor`: what would be used, where each value comes from, one small request, and what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tokenswarm.cli.init import describe_answer
from tokenswarm.cli.one_request import send_one
from tokenswarm.config.build import build_settings
from tokenswarm.config.environment import (
    AZURE_KEY_NAMES,
    ENDPOINT_NAMES,
    OPENAI_KEY_NAMES,
    OPTION_NAMES,
    RAG_ENDPOINT_NAMES,
    Environment,
    check_environment,
    option_source,
    read_environment,
)
from tokenswarm.config.options import OPTIONS
from tokenswarm.config.settings import Settings
from tokenswarm.exit_codes import ExitCode
from tokenswarm.installation import command_name
from tokenswarm.preflight.machine_limits import Machine
from tokenswarm.redaction import write_line
from tokenswarm.transport.connect import kernel_timestamps
from tokenswarm.transport.proxies import ProxyError, proxy_for
from tokenswarm.userinput import BadInput

ADVICE = {
    "chat endpoint": "give the endpoint: {command} init, or OPENAI_BASE_URL or AZURE_OPENAI_ENDPOINT in .env",
    "API key": "put the key into .env, under the name that is asked for; the service's portal shows it",
    "deployment": "put the deployment's or model's name into .env: AZURE_OPENAI_DEPLOYMENT=...",
    "request": "see the server's own log, and docs/faults.md for what each outcome means",
}
"""What to do about a problem, by how it begins."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was inferred: its value, and where that comes from."""

    what: str
    value: str
    source: str = ""


def examine(env_files: Sequence[Path], request: bool) -> int:
    """Print everything. Exit code 0 when nothing was found wrong, else 2."""
    paths = env_files or ([Path(".env")] if Path(".env").is_file() else [])
    try:
        environment = read_environment(paths)
    except BadInput as error:
        return _end(error.problems)
    problems = [*check_environment(environment)]
    findings = [
        Finding("env file", ", ".join(map(str, paths)) or "none"),
        *chat_findings(environment, problems),
        *machine_findings(),
    ]
    for finding in findings:
        write_line(f"{finding.what:<10} {finding.value}" + (f"  ({finding.source})" if finding.source else ""))
    if request and not problems:
        answer = send_one(_asks(environment), {}, paths)
        problems += answer.problems
        if not answer.problems:
            write_line(f"{'request':<10} {describe_answer(answer)[0]}")
    return _end(dict.fromkeys(problems))


def chat_findings(environment: Environment, problems: list[str]) -> list[Finding]:
    """The chat target as a run would have it; what is wrong is added to `problems`."""
    if _asks(environment) == "rag" and (name := environment.first(RAG_ENDPOINT_NAMES)):
        return [Finding("endpoint", environment[name], f"{name}, {environment.source(name)}")]
    given = {option.attribute: os.environ.get(option.variable) for option in OPTIONS}
    try:
        settings = build_settings({**given, "host": os.environ.get("LOCUST_HOST")}, environment, {"chat"})
    except BadInput as error:
        problems += error.problems
        return []
    target = settings.chat
    if target is None:
        return []
    proxy = Finding("proxy", *_proxy(target.endpoint, problems))
    if target.app is not None:
        return [*_app_findings(environment, settings), proxy]
    return [
        Finding("endpoint", target.endpoint, _source(environment, "host")),
        Finding("API", target.api, "LOCUST_API" if given["api"] else "inferred from the endpoint and the names used"),
        Finding("key", *_key(environment, settings)),
        Finding("model", target.deployment, _source(environment, "deployment")),
        proxy,
    ]


def _asks(environment: Environment) -> str:
    """Which users a run with this environment would have: chat, or rag."""
    is_rag = not environment.first(ENDPOINT_NAMES) and environment.first(RAG_ENDPOINT_NAMES) is not None
    return "rag" if is_rag and os.environ.get("LOCUST_ENDPOINT") != "app" else "chat"


def _proxy(endpoint: str, problems: list[str]) -> tuple[str, str]:
    parts = urlsplit(endpoint)
    try:
        proxy = proxy_for(parts.scheme, parts.hostname or "", parts.port)
    except ProxyError as error:
        problems.append(str(error))
        return "not usable", ""
    return ("none", "") if proxy is None else (f"{proxy.host}:{proxy.port}", proxy.source)


def _source(environment: Environment, option: str) -> str:
    variable = "LOCUST_" + option.replace("-", "_").upper()
    if os.environ.get(variable):
        return variable
    looked_for = " and ".join(OPTION_NAMES[option])
    return option_source(environment, option) or f"the default; looked for {looked_for}"


def _app_findings(environment: Environment, settings: Settings) -> list[Finding]:
    """An application gets the keys of the option `headers` and no others, and knows its model itself."""
    preset = os.environ.get("LOCUST_APP_PRESET")
    host = "host" if os.environ.get("LOCUST_HOST") else "rag-host"
    names = ", ".join(settings.sending.headers)
    key = (f"in headers: {names}", "LOCUST_HEADERS") if names else ("none was given", "an application's are in headers")
    return [
        Finding("endpoint", settings.url, _source(environment, host)),
        Finding("API", f"app-preset {preset}" if preset else "app", "LOCUST_ENDPOINT"),
        Finding("key", *key),
    ]


def _key(environment: Environment, settings: Settings) -> tuple[str, str]:
    target = settings.chat
    assert target is not None
    names = OPENAI_KEY_NAMES if target.api == "openai" else AZURE_KEY_NAMES
    names = ("ANTHROPIC_API_KEY", *names) if target.asks == "messages" else names
    name = next((each for each in names if environment.get(each) == target.key), None)
    if name is None:
        return "none was given", f"looked for {' and '.join(names)}"
    return "given, not shown", f"{name}, {environment.source(name)}"


def machine_findings() -> list[Finding]:
    """What this machine allows a run, and how exactly it sees bytes arrive."""
    machine = Machine.here()
    limits = f"{machine.cores} processors, {machine.descriptors or 'any number of'} open files"
    ports = f", {machine.ports} local ports" if machine.ports else ""
    clock = "the kernel's time of arrival" if kernel_timestamps() else "this process's clock after each read"
    return [Finding("limits", limits + ports), Finding("clock", clock)]


def _end(problems: Iterable[str]) -> int:
    listed = list(problems)
    if not listed:
        write_line(f"Nothing is wrong. Next: {command_name()} run smoke")
        return int(ExitCode.OK)
    for line in ["What is wrong:", *(f"  - {problem}" for problem in listed), *_advice(listed)]:
        write_line(line, sys.stderr)
    return int(ExitCode.BAD_INPUT)


def _advice(problems: Sequence[str]) -> list[str]:
    asked = [text for begin, text in ADVICE.items() if any(problem.startswith(begin) for problem in problems)]
    return ["What to do:", *(f"  - {text.format(command=command_name())}" for text in asked)] if asked else []
