"""What the simulator is asked to be: deployments with their limits and latencies, keys, seed. Read from TOML.

Every field of a deployment may also be changed while the simulator runs (`PATCH /admin/config`); `null` restores
the default.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from simulator.config.fault_specs import check_spec

DEFAULT_FILE = Path(__file__).with_name("default.toml")


DEPLOYMENT_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class ConfigError(ValueError):
    """A configuration that cannot be used; `problems` has one line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def _number(default: Any, low: float, high: float = float("inf")) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


def _choice(default: str, *others: str) -> Any:
    return field(default=default, metadata={"choices": (default, *others)})


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model deployment: what it admits, how fast it is, how it answers."""

    model: str = "gpt-4.1-mini"
    """Name of the model in answers and in 429 texts."""

    # Admission. `tpm`: pay-as-you-go, `ptu`: provisioned, neither: no limit.
    tpm: int | None = _number(None, 1)
    """Tokens per minute that the pay-as-you-go limiter admits."""
    minute_from: str = _choice("clock", "first-request")
    """Where minutes and slices of the limiter begin: with the clock's, or with the first request."""
    rpm_per_1000_tpm: float = _number(6.0, 0.001)
    """Requests per minute for each 1000 TPM."""
    rpm_slices_s: tuple[int, ...] = (1, 10)
    """Lengths of the windows in which the request rate is checked."""
    assumed_max_tokens: int = _number(16, 1)
    """What the limiter charges for a request without max_tokens."""
    ptu: int | None = _number(None, 1)
    """Provisioned throughput units."""
    input_tpm_per_ptu: float = _number(2500.0, 0.001)
    output_weight: float = _number(4.0, 0)
    """How many input tokens one output token weighs in utilization."""
    bucket_s: float = _number(60.0, 0.001)
    """Seconds in which a bucket at 100 % utilization drains to 0."""
    spills_to: str | None = None
    """Deployment that serves what a provisioned one refuses."""
    region: str | None = None
    """What x-ms-region says, if another than the simulator's."""

    # Latency.
    ttft_base_ms: float = _number(120.0, 0)
    """From the request to the first token, for an empty prompt on an idle deployment."""
    ttft_per_token_ms: float = _number(0.05, 0)
    """Added for each prompt token that is not cached."""
    ttft_std_ms: float = _number(10.0, 0)
    tbt_ms: float = _number(20.0, 0)
    """Mean time between two tokens."""
    tbt_std_ms: float = _number(3.0, 0)
    """Standard deviation of a single gap; gaps stay within 70 % of the mean."""
    max_concurrent: int = _number(256, 1)
    """Requests generated at the same time by each process; more wait in line."""
    max_waiting: int = _number(1000, 0)
    """Requests waiting in line; more are answered 429."""
    load_factor: float = _number(1.0, 1)
    """Latencies are multiplied by 1 when idle, by this with `max_concurrent` in progress, linearly between."""

    # The answer.
    context_tokens: int = _number(16385, 1)
    max_output_tokens: int = _number(4096, 1)
    completion_tokens: float | None = _number(None, 1)
    """Mean length of a completion. None: the model goes on until max_tokens (200 where the request has none)."""
    completion_std: float = _number(0.0, 0)
    reasoning: bool = False
    """A reasoning model: spends tokens before the answer; refuses max_tokens and sampling unless `further_fields`."""
    reasoning_tokens: float = _number(200.0, 0)
    """Mean, at medium effort."""
    reasoning_std: float = _number(50.0, 0)
    reasoning_shown: bool = False
    """Reasoning is part of the answer: `reasoning_content`, reasoning text or thinking blocks."""
    embedding_dimensions: int | None = _number(None, 1, 16_384)
    """An embedding model with vectors of this length; it serves nothing else."""
    same_answers: bool = False
    """The same request gets the same answer each time, as one with temperature 0 does anyway."""
    wrong_above: int | None = _number(None, 0)
    """Answers are wrong when more requests than this are in progress: JSON off its schema, other words."""
    tokens_per_chunk: int = _number(1, 1)
    content_filter: str = _choice("sync", "buffered", "async")
    """sync: a verdict in each chunk; buffered: bursts of `buffer_tokens`; async: verdicts in chunks of their own."""
    buffer_tokens: int = _number(50, 1)
    obfuscation: bool = False
    """Random padding in each content chunk."""
    further_fields: bool = False
    """Chat and completions take vLLM's fields as well: min_tokens and ignore_eos are heeded, others change nothing."""
    prompt_cache: bool = True
    when_client_leaves: str = _choice("stop", "finish")
    """stop: generation ends when the loss of the connection is noticed; finish: it goes on to its end, unheard."""
    faults: tuple[dict[str, Any], ...] = ()
    """Faults to inject: {fault = "name[:parameter]", share = 0..1, from_s, to_s (since the start)}."""

    @property
    def restricted(self) -> bool:
        """Whether max_tokens and sampling parameters are refused, as OpenAI's reasoning models do."""
        return self.reasoning and not self.further_fields

    @property
    def rpm(self) -> float | None:
        """Requests per minute that the limiter admits, or None without a limiter."""
        return None if self.tpm is None else self.tpm / 1000 * self.rpm_per_1000_tpm


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole simulator."""

    seed: int = 1
    region: str = "Sweden Central"
    api_key: str = "simulator-key"
    entra_token: str = "simulator-token"
    """Accepted in `Authorization: Bearer` besides the API key."""
    functions_key: str = "simulator-function-key"
    admin_token: str | None = None
    """Needed in `Authorization: Bearer` by the admin routes when the simulator listens beyond loopback."""
    deployments: dict[str, Deployment] = field(default_factory=dict)
    rag: dict[str, Any] = field(default_factory=dict)
    """Of the orchestrator: fields of `RagSettings`, read at the start, and `faults`, read at each request."""

    def patched(self, changes: Mapping[str, Any], where: str) -> Settings:
        """A copy with `changes` (the shape of the TOML file) applied. Raises ConfigError listing all problems."""
        problems: list[str] = []
        flat = {key: value for key, value in changes.items() if key not in ("deployments", "rag")}
        deployments = _patched_deployments(self.deployments, changes.get("deployments", {}), where, problems)
        rag = _checked_rag(changes.get("rag", {}), where, problems)
        values = _checked(Settings, flat, where, problems)
        if problems:
            raise ConfigError(problems)
        return dataclasses.replace(self, **values, deployments=deployments, rag={**self.rag, **rag})

    def to_json(self) -> dict[str, Any]:
        """Everything but the keys, in the shape that `patched` takes."""
        plain = dataclasses.asdict(self)
        for secret in ("api_key", "entra_token", "functions_key", "admin_token"):
            del plain[secret]
        return plain


def load_settings(path: Path | None = None) -> Settings:
    """The defaults, with the TOML file at `path` on top. A file that defines deployments replaces the default ones.

    Raises ConfigError for a file that cannot be read, is not TOML, or has mistakes.
    """
    defaults = _read_toml(DEFAULT_FILE)
    if path is None:
        return Settings().patched(defaults, DEFAULT_FILE.name)
    given = _read_toml(path)
    return Settings().patched({**defaults, **given}, str(path))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([f"configuration: expected a readable TOML file, got: {error} ({path})"]) from error


def _patched_deployments(
    current: Mapping[str, Deployment], changes: Any, where: str, problems: list[str]
) -> dict[str, Deployment]:
    deployments = dict(current)
    if not isinstance(changes, Mapping):
        problems.append(f"deployments: expected a table, got {changes!r} ({where})")
        return deployments
    for name, fields in changes.items():
        place = f"deployments.{name} in {where}"
        if not DEPLOYMENT_NAME.fullmatch(name):
            problems.append(f"deployments.{name}: expected a name of 1 to 64 letters, digits, - _ . ({where})")
        elif fields is None:
            deployments.pop(name, None)
        elif not isinstance(fields, Mapping):
            problems.append(f"deployments.{name}: expected a table, got {fields!r} ({where})")
        else:
            values = _checked(Deployment, fields, place, problems)
            one = dataclasses.replace(deployments.get(name, Deployment()), **values)
            if one.tpm is not None and one.ptu is not None:
                problems.append(f"tpm, ptu: expected at most one of them, got both ({place})")
            deployments[name] = one
    for name, one in deployments.items():
        if one.spills_to is not None and (one.ptu is None or one.spills_to not in deployments or one.spills_to == name):
            problems.append(
                f"spills_to: expected another deployment, of a provisioned one (deployments.{name}, {where})"
            )
    return deployments


def _checked_rag(given: Any, where: str, problems: list[str]) -> dict[str, Any]:
    """The orchestrator's table: the fields of `RagSettings` that the server does not fill in, and `faults`."""
    if not isinstance(given, Mapping):
        problems.append(f"rag: expected a table, got {given!r} ({where})")
        return {}
    if wrong := _fault_mismatch(given.get("faults", ())):
        problems.append(f"rag.faults: expected {wrong} ({where})")
    fields = {name: value for name, value in given.items() if name != "faults"}
    values = _checked(RagSettings, fields, f"rag in {where}", problems)
    for name in values.keys() & {"chat_url", "chat_key", "history_path", "functions_key"}:
        problems.append(f"{name}: expected to be left to the simulator ({where})")
    return values | {name: given[name] for name in given if name == "faults"}


def _checked(kind: Any, given: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """The fields of dataclass `kind` out of `given`, with types and ranges checked."""
    fields = {f.name: f for f in dataclasses.fields(kind)}
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in fields or name in ("deployments", "rag"):
            problems.append(f"{name}: expected one of {', '.join(sorted(fields))}, got an unknown name ({where})")
        elif value is None:
            values[name] = fields[name].default
        elif expected := _mismatch(hints[name], fields[name].metadata, value):
            problems.append(f"{name}: expected {expected}, got {value!r} ({where})")
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    return values


def _mismatch(hint: Any, metadata: Mapping[str, Any], value: Any) -> str | None:
    """What was expected instead of `value`, or None when it fits."""
    text = str(hint)
    if "choices" in metadata:
        return None if value in metadata["choices"] else f"one of {', '.join(metadata['choices'])}"
    if hint is bool:
        return None if isinstance(value, bool) else "true or false"
    if "dict" in text:
        return _fault_mismatch(value)
    if "tuple" in text:
        fits = isinstance(value, (list, tuple)) and len(value) > 0 and all(type(v) is int and v > 0 for v in value)
        return None if fits else "a list of whole numbers of seconds"
    if "str" in text:
        return None if isinstance(value, str) and value else "a text"
    whole = "float" not in text
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return "a whole number" if whole else "a number"
    low, high = metadata.get("low", float("-inf")), metadata.get("high", float("inf"))
    return None if low <= value <= high and value < float("inf") else f"a finite number from {low}"


def _fault_mismatch(value: Any) -> str | None:
    if not isinstance(value, (list, tuple)) or not all(isinstance(spec, dict) for spec in value):
        return 'a list of tables {fault = "name", ...}'
    wrong = [f"in entry {number}: {why}" for number, spec in enumerate(value, 1) if (why := check_spec(spec))]
    return "; ".join(wrong) or None


@dataclass(frozen=True, kw_only=True)
class RagSettings:
    """The orchestrator. `chat_url` is the chat target's address without a path.

    Delays are means in ms of a log-normal time added to each read of the history and each search, seeded by `seed`
    and the question, so that a question has the same delay in every run. `low` is the least allowed value.
    """

    chat_url: str
    chat_key: str
    deployment: str
    history_path: Path
    functions_key: str | None = "simulator-function-key"
    api_key: str = "simulator-key"
    dapr_token: str | None = None
    api_version: str = "2024-10-21"
    seed: int = 0
    passages: int = field(default=3, metadata={"low": 1})
    history_turns: int = field(default=4, metadata={"low": 0})
    answer_tokens: int = field(default=200, metadata={"low": 1})
    greeting_tokens: int = field(default=40, metadata={"low": 1})
    groundedness_tokens: int = field(default=8, metadata={"low": 1})
    groundedness_check: bool = True
    history_delay_ms: float = field(default=0.0, metadata={"low": 0})
    retrieval_delay_ms: float = field(default=0.0, metadata={"low": 0})
