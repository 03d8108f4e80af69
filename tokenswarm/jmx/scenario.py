"""The scenario that a JMeter plan means, in Locust's configuration format.

Warns where the plan does not mean what its author probably thinks; the scenario does what the plan does, with the
probable intention beside it as a comment.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tokenswarm.config.environment import endpoint_problems
from tokenswarm.jmx.bodies import bodies_of
from tokenswarm.jmx.load_test_config import LoadTestConfig, name_criteria
from tokenswarm.jmx.plan import DataFile, PlannedPause, PlannedThreadGroup, TestPlan
from tokenswarm.userinput import BadInput, decode_text, format_number, read_file
from tokenswarm.workload.dataset import load_dataset

MAX_FILE_BYTES = 50_000_000

KEY_NAMES = {
    "x-functions-key": "ORCHESTRATOR_FUNCTION_KEY (or functionKey)",
    "x-api-key": "ORCHESTRATOR_APP_APIKEY",
    "dapr-api-token": "DAPR_API_TOKEN",
    "api-key": "AZURE_OPENAI_API_KEY",
    "authorization": "OPENAI_API_KEY, for an orchestrator ORCHESTRATOR_BEARER_TOKEN (as a bearer token)",
}
"""Header that carries a key in a plan, and the name under which it is given here."""

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_DEPLOYMENT_PATH = re.compile(r"/openai/deployments/([^/]+)/chat/completions")


@dataclass(slots=True)
class Scenario:
    """Keys and values of a scenario in the order in which they are written, comments under them, and warnings."""

    values: dict[str, str] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """What stands beside the scenario's file, by name."""

    def set(self, key: str, value: str, comment: str = "") -> None:
        self.values[key] = value
        if comment:
            self.comments[key] = comment

    def warn(self, text: str) -> None:
        self.warnings.append(" ".join(text.split()))


def scenario_of(plan: TestPlan, dataset: Path | None = None) -> Scenario:
    """The scenario that does what `plan` does. `dataset`: the questions, where the plan's own file is elsewhere.

    Raises `BadInput` when its request is none that the locustfiles can send.
    """
    scenario = Scenario()
    whole = _VARIABLE.fullmatch(plan.request.body)
    rows_are_bodies = whole is not None and not whole[1].startswith("__")
    if whole is not None and rows_are_bodies:
        _set_bodies(scenario, plan, whole[1], dataset)
    body = None if rows_are_bodies else _read_body(plan.request.body)
    _set_target(scenario, plan, body)
    _set_load(scenario, plan.group)
    scenario.set("think-time", _think_time(plan.pauses, scenario))
    if rows_are_bodies:
        del scenario.values["stream"]  # as each body says
    else:
        _set_questions(scenario, plan, body, dataset)
    _warn_of_connections(scenario, plan.group)
    for header in plan.request.headers:
        if header in KEY_NAMES:
            scenario.warn(f"header {header}: keys are not taken over; give it as {KEY_NAMES[header]} or in an env-file")
    for note in plan.notes:
        scenario.warn(note)
    return scenario


def _set_bodies(scenario: Scenario, plan: TestPlan, variable: str, dataset: Path | None) -> None:
    """Each row of the plan's file is a whole body: they become a file of recorded requests."""
    request, used = plan.request, [each for each in plan.data_files if not each.variables or variable in each.variables]
    if not used or not urlsplit(request.path).path.rstrip("/").endswith("/chat/completions"):
        expected = "a body with a question in it, or rows that are bodies of chat completions"
        found = f"${{{variable}}} alone for {request.path!r:.100}"
        raise BadInput([f"request {request.name!r}: expected {expected}, got {found}"])
    if dataset is None:
        raise BadInput([f"{used[0].filename}: expected it beside the plan or by --dataset, got none"])
    data = read_file(dataset, "dataset", MAX_FILE_BYTES)
    bodies = bodies_of(decode_text(data, str(dataset)), used[0], variable)
    name = f"{dataset.stem}.requests.jsonl"
    scenario.files[name] = "\n".join(bodies) + "\n"
    scenario.set("requests", name, "each row of the plan's file, sent as it is")
    _warn_of_order(scenario, used[0], [variable])


def apply_config(scenario: Scenario, plan: TestPlan, config: LoadTestConfig) -> None:
    """Take over what the load test's configuration says beside its plan."""
    request_name = "orchestrator" if "rag-contract" in scenario.values else "chat"
    criteria, warnings = name_criteria(config, plan.request.name, request_name)
    if criteria:
        scenario.set("failure-criteria", "; ".join(criteria))
    if config.auto_stop is not None:
        scenario.set("auto-stop", config.auto_stop)
    if config.engines > 1:
        users = config.engines * plan.group.threads
        scenario.warn(
            f"engineInstances is {config.engines}: each engine runs all threads of the plan, {users} users in all; the "
            f"scenario has one engine's {plan.group.threads}"
        )
    for warning in (*warnings, *config.notes):
        scenario.warn(warning)


def write_scenario(scenario: Scenario, sources: Sequence[str]) -> str:
    """The text of the scenario's file; `sources` are named in its first line."""
    lines = [f"# What {' '.join(' and '.join(sources).split())} mean, as python -m tokenswarm.jmx reads them."]
    lines += [f"# Warning: {warning}" for warning in scenario.warnings]
    lines.append("")
    for key, value in scenario.values.items():
        lines.append(f"{key} = {_conf_value(key, value)}")
        if key in scenario.comments:
            lines.append(f"# {scenario.comments[key]}")
    return "\n".join(lines) + "\n"


def _set_target(scenario: Scenario, plan: TestPlan, body: dict[str, Any] | None) -> None:
    request = plan.request
    host: str | None = f"{request.protocol}://{request.host}" + (f":{request.port}" if _is_unusual_port(plan) else "")
    if endpoint_problems(host or "", "host"):
        scenario.warn(f"host {request.host!r:.80} is not taken over: name the target with -H or in an env-file")
        host = None
    elif re.match(r"\d+\.|.*[A-Z_]{6,}", request.host) and not re.fullmatch(r"[\d.]+", request.host):
        scenario.warn(f"host {request.host} looks like a placeholder or a fall-back: set the property or use -H")
    parts = urlsplit(request.path)
    path = parts.path.rstrip("/")
    deployment = _DEPLOYMENT_PATH.fullmatch(path)
    if path.endswith("/chat/completions"):
        scenario.set("locustfile", "locustfiles/chat_completions.py")
        _set_chat(scenario, host, path, parse_qs(parts.query), deployment[1] if deployment else None, body or {})
    elif path == "/api/orc" or (body is not None and {"question", "ask"} & body.keys()):
        contract = "v2" if path == "/orchestrator" or "ask" in (body or {}) else "v1"
        scenario.set("locustfile", "locustfiles/rag_orchestrator.py")
        if host is not None:
            scenario.set("host", host)
        scenario.set("rag-contract", contract)
        if path != {"v1": "/api/orc", "v2": "/orchestrator"}[contract]:
            scenario.set("rag-path", path or "/")
        _set_rag_body(scenario, body or {})
    else:
        expected = f"request {request.name!r}: expected a chat completion or a question to an orchestrator"
        raise BadInput([f"{expected}, got {request.method} {request.path!r:.100}"])
    if request.method != "POST":
        scenario.warn(f"request {request.name!r}: {request.method} in the plan, POST in the scenario")


def _is_unusual_port(plan: TestPlan) -> bool:
    usual = {"https": "443", "http": "80"}.get(plan.request.protocol)
    return plan.request.port not in ("", "0", usual)


def _set_chat(
    scenario: Scenario,
    host: str | None,
    path: str,
    query: dict[str, list[str]],
    deployment: str | None,
    body: dict[str, Any],
) -> None:
    model = deployment or body.get("model")
    is_azure_v1 = path == "/openai/v1/chat/completions"
    if host is not None:
        whole = deployment is None and not is_azure_v1
        scenario.set("host", host + path.removesuffix("/chat/completions") if whole else host)
    if deployment:
        scenario.set("api", "azure")
        if "api-version" in query:
            scenario.set("api-version", query["api-version"][0])
    else:
        scenario.set("api", "azure-v1" if is_azure_v1 else "openai")
    if isinstance(model, str):
        scenario.set("deployment", model)
    for key, option in (("temperature", "temperature"), ("top_p", "top-p"), ("n", "n"), ("max_tokens", "max-tokens")):
        if _is_number(body.get(key)):
            scenario.set(option, format_number(body[key]))
    if _is_number(body.get("max_completion_tokens")):
        scenario.set("max-tokens", format_number(body["max_completion_tokens"]))
        scenario.set("max-tokens-field", "max_completion_tokens")
    scenario.set("stream", "yes" if body.get("stream") is True else "no")
    messages = body.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    if isinstance(first, dict) and first.get("role") == "system" and isinstance(first.get("content"), str):
        scenario.set("system-prompt", " ".join(first["content"].split()))


def _set_rag_body(scenario: Scenario, body: dict[str, Any]) -> None:
    further = {key: value for key, value in body.items() if key not in ("conversation_id", "question", "ask")}
    if further:
        scenario.set("rag-body", json.dumps(further))
    if body.get("conversation_id", "") == "":
        scenario.set("turns-per-conversation", "1")
        scenario.warn(
            "conversation_id is always empty: every request opens a new conversation, so history and summary are never "
            "exercised; real testers go on with one (turns-per-conversation = 3)"
        )
    else:
        scenario.warn("conversation_id is a variable of the run: say how many turns with turns-per-conversation")


def _set_load(scenario: Scenario, group: PlannedThreadGroup) -> None:
    scenario.set("users", str(group.threads))
    scenario.set("shape", "thread-group")
    parts = [f"threads={group.threads}", f"delay={_seconds(group.delay_s)}", f"ramp={_seconds(group.ramp_s)}"]
    if group.duration_s is not None:
        parts.append(f"duration={_seconds(group.duration_s)}")
    stages = ", ".join([*parts, f"loops={group.loops}"])
    if group.duration_s is None or group.loops < 0:
        scenario.set("stages", stages)
        return
    intended = ", ".join([*parts, "loops=-1"])
    scenario.set("stages", stages, f"Load for the whole duration would be: stages = {intended}")
    scenario.warn(_loops_warning(group, group.duration_s))


def _loops_warning(group: PlannedThreadGroup, duration_s: float) -> str:
    last_s = group.delay_s + group.ramp_s * (group.threads - 1) / group.threads
    if group.loops == 1:
        return (
            f"loops is 1: each thread sends one request and ends, {group.threads} in all, the last at "
            f"{format_number(last_s)} s; not {format_number(duration_s)} s of load, and no think time has an effect; "
            "a percentile of so few requests is nearly their maximum (loops = -1 loads for the whole duration)"
        )
    return (
        f"loops is {group.loops}: the plan ends after at most {group.threads * group.loops} requests, even before its "
        f"{format_number(duration_s)} s are over (loops = -1 loads for the whole duration)"
    )


def _think_time(pauses: Sequence[PlannedPause], scenario: Scenario) -> str:
    """The pauses of one loop as one distribution in seconds."""
    offset_s = sum(pause.offset_ms for pause in pauses) / 1000
    drawn = [pause for pause in pauses if pause.kind != "constant" and pause.spread_ms > 0]
    uniform_s = sum(pause.spread_ms for pause in drawn if pause.kind == "uniform") / 1000
    spread = [pause for pause in drawn if pause.kind != "uniform"]
    if len(drawn) > 1:
        scenario.warn(
            f"{len(drawn)} random pauses per loop: taken over as one with the same mean and range or deviation"
        )
    if not spread:
        end = format_number(round(offset_s + uniform_s, 6))
        start = format_number(round(offset_s, 6))
        return start if start == end else f"uniform({start}, {end})"
    mean_s = offset_s + uniform_s / 2 + sum(pause.spread_ms for pause in spread if pause.kind == "poisson") / 1000
    variance = (uniform_s**2) / 12 + sum(_variance_s2(pause) for pause in spread)
    return f"normal({format_number(round(mean_s, 6))}, {format_number(round(math.sqrt(variance), 6))})"


def _variance_s2(pause: PlannedPause) -> float:
    """Variance in s2 of a Gaussian timer (deviation `spread_ms`) or a Poisson timer (mean `spread_ms`)."""
    return pause.spread_ms**2 / 1e6 if pause.kind == "gaussian" else pause.spread_ms / 1e6


def _set_questions(scenario: Scenario, plan: TestPlan, body: dict[str, Any] | None, dataset: Path | None) -> None:
    asked = _VARIABLE.findall(plan.request.body)
    used = [each for each in plan.data_files if not each.variables or set(each.variables) & set(asked)]
    if body is None:
        scenario.warn("the request's body is no JSON object: its fields are not taken over")
    if used:
        data_file = used[0]
        scenario.set("dataset", str(dataset or data_file.filename))
        scenario.set("dataset-order", "sequential")
        _warn_of_order(scenario, data_file, asked)
        if dataset is not None:
            _warn_of_questions(scenario, data_file, dataset)
        else:
            scenario.warn(f"{data_file.filename}: not found beside the plan; say where it is with --dataset")
    elif dataset is not None:
        scenario.set("dataset", str(dataset))
        scenario.warn("the plan asks from no CSV data set; the scenario asks from --dataset")
    else:
        scenario.warn("the plan asks the same question in every request: caches answer it better than real questions")


def _warn_of_order(scenario: Scenario, data_file: DataFile, asked: Sequence[str]) -> None:
    random_names = [name for name in asked if "random" in name.lower() and name in data_file.variables]
    if random_names:
        scenario.warn(
            f"{random_names[0]} is not random: JMeter reads {data_file.filename} from top to bottom, shared by all "
            "threads (dataset-order = random would draw)"
        )
    if data_file.shared != "all":
        scenario.warn(f"{data_file.filename} is shared by {data_file.shared} in the plan; by all users in the scenario")
    if not data_file.recycles:
        scenario.warn(f"{data_file.filename} is read once in the plan; the scenario starts again at its end")


def _warn_of_questions(scenario: Scenario, data_file: DataFile, dataset: Path) -> None:
    """What JMeter makes of the file's questions that the scenario does not."""
    data = read_file(dataset, "dataset", 1_000_000_000)
    try:
        questions = load_dataset(dataset)
    except BadInput as error:
        scenario.warn(
            f"{dataset.name} has to be mended before the run: {error.problems[0]} (JMeter ends a question without "
            f"quotes at its first {data_file.delimiter!r})"
        )
        return
    if data.startswith(b"\xef\xbb\xbf"):
        scenario.warn(f"{dataset.name} begins with a byte order mark, which JMeter puts into the first question")
    cut = sum(data_file.delimiter in each.question for each in questions)
    if cut and not data_file.quoted:
        scenario.warn(
            f"{dataset.name}: JMeter ends {cut} of {len(questions)} questions at their first {data_file.delimiter!r} "
            "(quoted data is off); the scenario asks them whole"
        )
    breaking = sum(bool(set('"\\\n') & set(each.question)) for each in questions)
    if breaking:
        scenario.warn(
            f"{dataset.name}: {breaking} of {len(questions)} questions hold a quote, a backslash or a line break; it "
            "breaks the JSON that JMeter sends; the scenario escapes them"
        )


def _warn_of_connections(scenario: Scenario, group: PlannedThreadGroup) -> None:
    if not group.same_user:
        scenario.warn(
            "each loop is a new user in the plan, for which JMeter 5 opens a new connection; users of the scenario "
            "keep theirs, so connecting is in the first request only"
        )
    if group.on_error != "continue":
        scenario.warn(
            f"on an error the plan does {group.on_error}; the scenario goes on (auto-stop ends a failing run)"
        )


def _read_body(text: str) -> dict[str, Any] | None:
    """The JSON object of a request's body, with its variables as texts; `None` when it is none."""
    quoted = _VARIABLE.sub(lambda match: match[0].replace('"', "").replace("\\", ""), text)
    for candidate in (quoted, _VARIABLE.sub('"variable"', quoted)):
        try:
            body = json.loads(candidate, strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(body, dict):
            return body
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12


def _seconds(value: float) -> str:
    return f"{format_number(value)}s"


def _conf_value(key: str, value: str) -> str:
    """A value as Locust's configuration parser gives it back: quoted where a comment or a list would be seen in it."""
    if not value.isprintable() or not value.strip() or re.fullmatch(r"\[.*\]", value.strip("'\"")):
        raise BadInput([f"{key}: expected text in one line and not in brackets, got {value!r:.80}"])
    if not re.search(r"\s[;#]|^[\[\"']|[\"']$|^\s|\s$", value):
        return value
    quote = "'" if '"' in value else '"'
    if quote in value:
        raise BadInput([f"{key}: expected one kind of quotes in it, got {value!r:.80}"])
    return f"{quote}{value}{quote}"
