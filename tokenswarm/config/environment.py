"""Endpoints, keys and parameters from the environment and from environment files.

An option's value is looked for in this order, the first that has it wins:

1. the command line
2. its `LOCUST_...` variable
3. the scenario file
4. the process environment, under the names of the SDK and of the lab (`NAMES`)
5. environment files (`env-file`), under the same names; with several files the last one that has the name

1 to 3 are Locust's own. 4 before 5 is what python-dotenv and Docker do: a file fills in what the environment leaves
open. An empty value counts as none. Keys come from 4 and 5 only; they are never options.
"""

from __future__ import annotations

import io
import os
import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from dotenv.parser import Binding, parse_stream
from dotenv.variables import Variable, parse_variables

from tokenswarm.userinput import BadInput, decode_text, read_file

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "AZURE_OPENAI_ENDPOINT": "chat endpoint of an Azure resource",
        "AOAI_ENDPOINT": "the same, as the lab calls it",
        "OPENAI_BASE_URL": "base URL of an OpenAI-compatible server",
        "ANTHROPIC_BASE_URL": "server of Anthropic's Messages API, without /v1 (endpoint = messages)",
        "AZURE_OPENAI_API_KEY": "key of the Azure resource",
        "OPENAI_API_KEY": "key of an OpenAI-compatible server; the lab's name for the key of the Azure resource",
        "ANTHROPIC_API_KEY": "key of Anthropic's Messages API (endpoint = messages)",
        "OPENAI_API_VERSION": "api-version of the deployments URL: a date there means API azure",
        "AZURE_OPENAI_DEPLOYMENT": "deployment",
        "OPENAI_MODEL": "model, for OpenAI-compatible servers",
        "AOAI_DEPLOYMENT": "deployment, as the lab calls it",
        "ORCHESTRATOR_ENDPOINT": "RAG orchestrator",
        "ORCHESTRATOR_APP_ENDPOINT": "the same, as GPT-RAG 2 calls it",
        "ORCHESTRATOR_FUNCTION_KEY": "function key of a version 1 orchestrator (x-functions-key)",
        "functionKey": "the same, as GPT-RAG's load test calls it",
        "ORCHESTRATOR_APP_APIKEY": "API key of a version 2 orchestrator (X-API-KEY)",
        "DAPR_API_TOKEN": "token of the orchestrator's Dapr sidecar (dapr-api-token)",
        "ORCHESTRATOR_BEARER_TOKEN": "access token of a user, or key of a Prompt Flow endpoint (Authorization: Bearer)",
        "AZURE_TENANT_ID": "tenant of a service principal",
        "AZURE_CLIENT_ID": "the service principal, or a user-assigned managed identity",
        "AZURE_CLIENT_SECRET": "secret of the service principal",
        "TEST_NAME": "name of the test",
        "CONTEXT_TOKENS": "prompt tokens",
        "MAX_TOKENS": "completion tokens asked for",
        "RETRY": "none or exponential",
        "RATE": "requests per minute",
        "DURATION": "run time",
    }
)
"""Names taken from the process environment, with what they mean."""


def _looks_secret(name: str) -> bool:
    return name.upper().endswith(("KEY", "SECRET", "TOKEN", "PASSWORD"))


SECRET_NAMES = frozenset(filter(_looks_secret, NAMES))
"""Of these, the ones whose values must never be shown."""

ENDPOINT_NAMES = ("AZURE_OPENAI_ENDPOINT", "AOAI_ENDPOINT", "OPENAI_BASE_URL")
MESSAGES_ENDPOINT_NAMES = ("ANTHROPIC_BASE_URL", *ENDPOINT_NAMES)
"""For `endpoint = messages`."""
RAG_ENDPOINT_NAMES = ("ORCHESTRATOR_ENDPOINT", "ORCHESTRATOR_APP_ENDPOINT")
AZURE_KEY_NAMES = ("AZURE_OPENAI_API_KEY", "OPENAI_API_KEY")
OPENAI_KEY_NAMES = ("OPENAI_API_KEY",)
IDENTITY_NAMES = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
"""What azure-identity reads from the process environment, and from nowhere else."""
FUNCTION_KEY_NAMES = ("ORCHESTRATOR_FUNCTION_KEY", "functionKey")

OPTION_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "host": ENDPOINT_NAMES,
        "api-version": ("OPENAI_API_VERSION",),
        "deployment": ("AZURE_OPENAI_DEPLOYMENT", "AOAI_DEPLOYMENT", "OPENAI_MODEL"),
        "rag-host": RAG_ENDPOINT_NAMES,
        "test-name": ("TEST_NAME",),
        "context-tokens": ("CONTEXT_TOKENS",),
        "max-tokens": ("MAX_TOKENS",),
        "retry": ("RETRY",),
        "rate": ("RATE",),
        "run-time": ("DURATION",),
    }
)
"""Names that give an option's value when nothing before them does; the first that is set wins."""

_PORTALS = ("portal.azure.com", "portal.azure.us", "portal.azure.cn", "ai.azure.com", "ai.azure.us", "oai.azure.com",
            "ml.azure.com", "platform.openai.com")  # fmt: skip
_API_VERSION = re.compile(r"api-version=[\w.-]+")
"""What may stand behind a URL that somebody pasted."""

_SAMPLE_HOST = re.compile(r"RESOURCE|NAME|HOST|APP|(?i:your[-_][\w-]+)")
"""First labels of the hosts that guides show."""

MAX_FILE_BYTES = 1_000_000

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_PLACEHOLDER = re.compile(r"<[^>]*>|\{[^}]*\}|x{4,}|\.{3,}|(your|enter|insert)[-_ ].*|changeme|todo", re.IGNORECASE)
_UNFILLED = re.compile(r"\s*(\[.*\]|<[^>]*>|\{[^}]*\}|changeme)\s*", re.IGNORECASE | re.DOTALL)
"""What parameter files hold where a value belongs: `[replace with your ...]`."""
_KEY_VAULT_START = "@microsoft.keyvault("


@dataclass(frozen=True, slots=True)
class Entry:
    """One assignment of an environment file; `line` from 1."""

    value: str
    line: int


class Environment(Mapping[str, str]):
    """Names and their values, and where each came from. Empty values are left out. Shows no value in its repr."""

    def __init__(self, values: Mapping[str, str], sources: Mapping[str, str], warnings: Iterable[str] = ()) -> None:
        self._values = MappingProxyType({name: value for name, value in values.items() if value})
        self._sources = MappingProxyType(dict(sources))
        self.warnings = tuple(warnings)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Environment({', '.join(sorted(self._values))})"

    def source(self, name: str) -> str:
        """Where a name's value comes from, as "lab.env:3" or "environment"; for messages."""
        return self._sources.get(name, "environment")

    def left_blank(self, names: Iterable[str]) -> str:
        """The first of `names` that stands in a file without a value, as "; NAME (.env:2) is empty"; "" for none."""
        blank = next((name for name in names if name in self._sources and name not in self), None)
        return "" if blank is None else f"; {blank} ({self.source(blank)}) is empty"

    def first(self, names: Iterable[str]) -> str | None:
        """The first of `names` that has a value; `None` when none has."""
        return next((name for name in names if name in self), None)

    def resolved(self, values: Mapping[str, str]) -> Environment:
        """The same with the values of some names replaced: what their Key Vault references stand for."""
        return Environment({**self._values, **values}, self._sources, self.warnings)

    def secrets(self) -> list[str]:
        """Every value that must never be shown."""
        return [value for name, value in self._values.items() if _looks_secret(name)]


def read_environment(
    paths: Iterable[str | Path] = (), process: Mapping[str, str] | None = None, also: Iterable[str] = ()
) -> Environment:
    """The process environment (`os.environ` when not given; of it, `NAMES` and `also` only) over the environment files
    `paths`.

    Raises `BadInput` with every problem of every file.
    """
    process = os.environ if process is None else process
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    warnings: list[str] = []
    problems: list[str] = []
    for path in paths:
        try:
            entries = read_env_file(path, {**values, **process})
        except BadInput as error:
            problems += error.problems
            continue
        for name, entry in entries.items():
            if entry.value:
                values[name] = entry.value
            if entry.value or name not in values:
                sources[name] = f"{path}:{entry.line}"
    if problems:
        raise BadInput(problems)
    warnings += [_ignored(name, sources[name]) for name in values if name.startswith("LOCUST_")]
    for name in dict.fromkeys((*NAMES, *also)):
        value = process.get(name, "").strip()
        if not value:
            continue
        if values.get(name, value) != value:
            warnings.append(f"{name}: the environment's value is used, not the other one in {sources[name]}")
        values[name], sources[name] = value, "environment"
    return Environment(values, sources, warnings)


def read_env_file(path: str | Path, variables: Mapping[str, str] | None = None) -> dict[str, Entry]:
    """The assignments of one environment file, `export` or not; `variables` are what `${NAME}` may refer to besides.

    Raises `BadInput` with every problem as "path:line: ...". Values are not shown: they may be secrets.
    """
    data = read_file(path, "env-file", MAX_FILE_BYTES)
    return parse_env(data, str(path), variables)


def parse_env(data: bytes, name: str = "env-file", variables: Mapping[str, str] | None = None) -> dict[str, Entry]:
    """The assignments in the bytes of an environment file; `name` is for messages. See `read_env_file`."""
    text = decode_text(data, name)
    entries: dict[str, Entry] = {}
    known: ChainMap[str, str] = ChainMap(dict(variables or {}), {})
    problems: list[str] = []
    for binding in parse_stream(io.StringIO(text, newline="")):
        problem = _malformed(binding)
        if problem:
            problems.append(f"{name}:{_line(binding)}: {problem}")
        elif binding.key is not None:
            value, missing = _interpolate(binding.value or "", known)
            problems += [
                f"{name}:{_line(binding)}: {binding.key}: refers to {each}, which is not set" for each in missing
            ]
            entries[binding.key] = Entry(value, _line(binding))
            known.maps[1][binding.key] = value
    if problems:
        raise BadInput(problems)
    return entries


def option_defaults(environment: Environment, asks: str | None = None) -> dict[str, str]:
    """Values that the environment gives to options that nothing else has set, by option name; as texts, unchecked.
    `asks`: the option `endpoint`."""
    found = {option: environment.first(_names_of(option, asks)) for option in OPTION_NAMES}
    return {option: environment[name] for option, name in found.items() if name is not None}


def _names_of(option: str, asks: str | None) -> tuple[str, ...]:
    return MESSAGES_ENDPOINT_NAMES if option == "host" and asks == "messages" else OPTION_NAMES.get(option, ())


def option_source(environment: Environment, option: str, asks: str | None = None) -> str | None:
    """Where `option_defaults` has a value from, as "RATE (lab.env:9)"; `None` when it has none."""
    name = environment.first(_names_of(option, asks))
    return None if name is None else f"{name} ({environment.source(name)})"


def api_key_name(environment: Environment, api: str, asks: str = "chat", host: str | None = None) -> str | None:
    """The name of the chat target's key, `None` without one. An Azure resource's is never sent to another server, and
    Anthropic's goes to what is asked for messages, unless that is the server which OpenAI's key stands beside."""
    others = OPENAI_KEY_NAMES if api == "openai" else AZURE_KEY_NAMES
    paired = host is not None and host in map(environment.get, ENDPOINT_NAMES) and environment.first(others) is not None
    return environment.first(others if asks != "messages" or paired else ("ANTHROPIC_API_KEY", *others))


def rag_key_names(environment: Environment, contract: str) -> dict[str, str]:
    """Header to the name of the key in it, for an orchestrator of contract v1 or v2: its key, a user's bearer token."""
    if contract == "v1":
        candidates = [("x-functions-key", name) for name in FUNCTION_KEY_NAMES]
    else:
        candidates = [("dapr-api-token", "DAPR_API_TOKEN"), ("X-API-KEY", "ORCHESTRATOR_APP_APIKEY")]
    names = dict([(header, name) for header, name in candidates if name in environment][:1])
    if "ORCHESTRATOR_BEARER_TOKEN" in environment:
        names["Authorization"] = "ORCHESTRATOR_BEARER_TOKEN"
    return names


def rag_headers(environment: Environment, contract: str) -> dict[str, str]:
    """The headers that authenticate at an orchestrator: see `rag_key_names`."""
    names = rag_key_names(environment, contract)
    prefix = {"Authorization": "Bearer "}
    return {header: prefix.get(header, "") + environment[name] for header, name in names.items()}


def identity_variables(environment: Environment) -> dict[str, str]:
    """What has to be in the process environment for azure-identity to find a service principal given in a file."""
    return {name: environment[name] for name in IDENTITY_NAMES if name in environment}


def check_environment(environment: Environment) -> list[str]:
    """Problems of endpoints and keys, one line each; references to a Key Vault are none. Keys are not shown."""
    problems = []
    for name in (*ENDPOINT_NAMES, *RAG_ENDPOINT_NAMES):
        if name in environment and not is_key_vault_reference(environment[name]):
            check = rag_endpoint_problems if name in RAG_ENDPOINT_NAMES else endpoint_problems
            problems += check(environment[name], f"{name} ({environment.source(name)})")
    for name in dict.fromkeys(name for names in OPTION_NAMES.values() for name in names):
        is_url = name in (*ENDPOINT_NAMES, *RAG_ENDPOINT_NAMES)
        is_name = name in OPTION_NAMES["deployment"]
        if not is_url and is_placeholder(environment.get(name, ""), is_name):
            where = f"{name} ({environment.source(name)})"
            problems.append(f"{where}: expected a value, got what is still a placeholder: {environment[name]!r:.80}")
    for name in sorted(SECRET_NAMES & set(environment)):
        if not is_key_vault_reference(environment[name]):
            problems += _key_problems(environment[name], f"{name} ({environment.source(name)})")
    return problems


def is_placeholder(value: str, is_name: bool) -> bool:
    """Whether a value is what a template had in its place; of a key or a deployment's name words count, too."""
    return bool(_UNFILLED.fullmatch(value) or (is_name and _PLACEHOLDER.fullmatch(value.strip())))


def endpoint_problems(url: str, where: str) -> list[str]:
    """What is wrong with an endpoint's URL. `where` names it in the message."""
    expected = f"{where}: expected an http or https URL"
    if _UNFILLED.fullmatch(url) or ("://" in url and re.search(r"[<>{}$]|\[[^]:]*\]", url.rpartition("@")[2])):
        return [f"{expected}, got one that is still a placeholder"]  # not shown: it may hold a part of a password
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # its text is not shown: it may hold a part of a password
        return [f"{expected}, got one with an unusable host or port"]
    if "://" not in url:  # not shown: it may be the key, put at the wrong name
        return [f"{expected}, got one without http:// or https://"]
    if _SAMPLE_HOST.fullmatch(re.split(r"[.:]", parts.netloc)[0]):
        return [f"{expected}, got one that is still a placeholder: {url!r:.80}"]
    if "@" in parts.netloc:
        return [f"{expected} without credentials, got one with (give the key by its own name)"]
    if not url.isascii() or any(character.isspace() or not character.isprintable() for character in url):
        return [f"{expected} without blanks and special characters, got {url!r:.80}"]
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return [f"{expected}, got {url!r:.80}"]
    if host in _PORTALS:
        return [f"{where}: expected the API's own URL (https://RESOURCE.openai.azure.com), got a page of the portal"]
    if parts.fragment or (parts.query and not _API_VERSION.fullmatch(parts.query)):
        return [f"{expected} without query and fragment, got one with"]
    return []


def rag_endpoint_problems(url: str, where: str) -> list[str]:
    """The same for an orchestrator's URL, whose path is appended: a query would come before it."""
    problems = endpoint_problems(url, where)
    if not problems and urlsplit(url).query:
        problems = [f"{where}: expected a URL without a query (give it by --query), got one with"]
    return problems


def is_key_vault_reference(value: str) -> bool:
    """Whether a value is meant as a reference to a Key Vault, well-formed or not."""
    return value.strip().lower().startswith(_KEY_VAULT_START)


def _line(binding: Binding) -> int:
    """Where a binding stands: python-dotenv counts from the blank lines before it."""
    text = binding.original.string
    blank = text[: len(text) - len(text.lstrip())]
    return binding.original.line + len(re.findall(r"\r\n|\n|\r", blank))


def _malformed(binding: Binding) -> str | None:
    if binding.error:
        return "expected NAME=value, got something else (an unclosed quote?)"
    if binding.key is None:
        return None
    if not _NAME.fullmatch(binding.key):
        return "expected a name of letters, digits and _ before the =, got something else"
    if binding.value is None:
        return "expected NAME=value, got a line without =value"  # not shown: it may be the key alone
    return None


def _interpolate(value: str, known: Mapping[str, str]) -> tuple[str, list[str]]:
    """A value with its `${NAME}` and `${NAME:-default}` replaced, and the names that are not known."""
    atoms = list(parse_variables(value))
    missing = [
        f"${{{atom.name}}}" if _NAME.fullmatch(atom.name) else "a variable"
        for atom in atoms
        if isinstance(atom, Variable) and atom.name not in known and atom.default is None
    ]
    return "".join(atom.resolve(known) for atom in atoms), missing


def _ignored(name: str, source: str) -> str:
    return f"{name} ({source}): Locust reads LOCUST_ names from the real environment only; put it into the scenario"


def _key_problems(value: str, where: str) -> list[str]:
    if is_placeholder(value, is_name=True):
        return [f"{where}: expected a key, got what is still a placeholder"]
    if not value.isascii() or not value.isprintable() or " " in value:
        return [f"{where}: expected a key of printable ASCII characters without blanks, got others in it"]
    return []
