"""What a run will do: every option checked and given its meaning, all problems at once. No clock, no socket."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tokenswarm.apis.request import ChatTarget, RagTarget, Sending, TokenProvider
from tokenswarm.config.environment import Environment, option_defaults, option_source
from tokenswarm.config.key_owner import OWN_API_KEY, KeyOwner, parse_endpoints
from tokenswarm.config.options import OPTIONS
from tokenswarm.config.request_extras import (
    BodyFields,
    Extras,
    Lookup,
    parse_extra_body,
    parse_header_name,
    parse_headers,
    parse_json_schema,
    parse_query,
    schema_field,
)
from tokenswarm.config.scraping import read_endpoints
from tokenswarm.config.targets import (
    SeveralTargets,
    build_app_target,
    build_chat_target,
    build_host,
    build_rag_target,
    build_several,
    takes_limit,
)
from tokenswarm.metrics.autostop import AutoStop, parse_auto_stop
from tokenswarm.metrics.criteria import Criterion, hold_s, parse_criteria
from tokenswarm.metrics.goodput import Goodput, parse_goodput
from tokenswarm.metrics.prices import PRICES, Prices, PriceTable, built_in, price_problem, read_table
from tokenswarm.metrics.refusals import DEFAULT_LIMIT
from tokenswarm.metrics.server_metrics import PrometheusEndpoint
from tokenswarm.redaction import printable, secret_query_values
from tokenswarm.traffic.settings import Traffic, read_traffic, recorded_plan
from tokenswarm.traffic.tools import Tools, tool_names
from tokenswarm.transport.proxies import ProxyError, proxy_for
from tokenswarm.transport.tls import tls_context
from tokenswarm.userinput import BadInput, parse_duration, read_number
from tokenswarm.workload import arrivals
from tokenswarm.workload.abort import Abort, parse_abort
from tokenswarm.workload.arrivals import Plan, parse_rate
from tokenswarm.workload.dataset import load_dataset
from tokenswarm.workload.distributions import Length, Pause, parse_count, parse_length, parse_pause
from tokenswarm.workload.images import Images, parse_images
from tokenswarm.workload.levels import RPM, SESSIONS, USERS, SearchRange, parse_search
from tokenswarm.workload.prompts import SHAPE_PROFILES
from tokenswarm.workload.questions import Question
from tokenswarm.workload.stages import Shape, parse_shape, parse_stages
from tokenswarm.workload.traces import parse_trace_window, read_trace

T = TypeVar("T")

MAX_TURNS = 1000
MAX_NAME = 120
"""Characters of a test name; a file system takes 255 bytes."""

TOOLS_OF = ("chat", "responses", "messages")
"""Endpoints whose answers can call tools."""

OTHER = "other"
"""The target of users that ask an API of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The run's parameters after every check. Durations in s, rates in requests per minute, tokens as counts."""

    chat: ChatTarget | None
    several: SeveralTargets | None
    """Targets that share the requests; the first of them is `chat`. `None` where there is one."""
    rag: RagTarget | None
    host: str | None
    preflight: str
    """Base URL of the API that a locustfile brings itself; `None` when it brings none."""
    sending: Sending
    context: Length
    output: Length | None
    max_tokens_field: str
    questions: list[Question] | None
    traffic: Traffic
    dataset_order: str
    unique_prefix: bool
    system_prompt: str | None
    stream: bool
    stream_usage: bool
    body: BodyFields
    batch: Length
    turns: Length
    think_time: Pause
    start_turn: Length
    abort: Abort | None
    images: Images | None
    by_reference: bool
    """Whether a conversation's earlier turns are named by the id of the last answer instead of being sent again."""
    answers_sample_pct: float
    plan: Plan | None
    arrival: str
    arrival_smoothness: float
    max_lag_s: float
    shape: Shape | None
    confirm_load: bool
    seed: int
    quota_tpm: float | None
    quota_rpm: float | None
    ptu: float | None
    criteria: list[Criterion]
    auto_stop: AutoStop | None
    max_refusals: int
    goodput: Goodput | None
    warm_up_s: float
    cool_down_s: float
    max_total_tokens: float | None
    max_total_requests: float | None
    max_cost: float | None
    prices: PriceTable
    search: SearchRange | None
    search_hold_s: float
    search_precision_pct: float
    results: Path
    test_name: str
    output_format: str
    output_interval_s: float
    endpoints: list[PrometheusEndpoint]
    secrets: list[str] = field(repr=False)

    @property
    def target(self) -> str:
        """Whose arrivals nobody took, and what run.json says was asked first: chat, rag or other."""
        return "chat" if self.chat is not None else "rag" if self.rag is not None else OTHER

    def name_of(self, declared: str) -> str:
        """The name of requests whose user class names them `declared`: `chat`, which is every such class's name, gives
        way to what is asked (responses, embeddings, ...)."""
        return self.chat.asks if declared == "chat" and self.chat is not None else declared

    @property
    def url(self) -> str:
        """Of the first target."""
        if self.chat is not None:
            return self.chat.endpoint
        return self.rag.url if self.rag is not None else self.host or ""

    @property
    def urls(self) -> list[str]:
        """Where requests go."""
        chat = [self.chat.endpoint] if self.chat is not None else []
        if self.several is not None:
            chat = list(dict.fromkeys(target.endpoint for target in self.several.targets.values()))
        return chat + ([self.rag.url] if self.rag is not None else [])

    @property
    def model(self) -> str:
        """The model or deployment that is asked; empty where none is named."""
        return self.chat.deployment if self.chat is not None else ""

    @property
    def price_of_run(self) -> Prices:
        """What tokens of the model that is asked cost."""
        return self.prices.of(self.model)

    @property
    def searches_users(self) -> bool:
        """Whether a search decides how many users there are."""
        return self.search is not None and self.search.unit == USERS

    @property
    def first_level_s(self) -> float:
        """How long a search holds its lowest load at least; `search-hold` without one."""
        if self.search is None or self.searches_users:
            return self.search_hold_s
        by_minutes = self.quota_tpm is not None or self.quota_rpm is not None
        return hold_s(self.search.low, self.criteria, self.search_hold_s, by_minutes)

    @property
    def open_load(self) -> bool:
        """Whether arrivals decide when requests are sent, not users."""
        return self.plan is not None or (self.search is not None and self.search.unit != USERS)


class _Reader:
    """Looks options up, parses them, and collects what is wrong with them."""

    def __init__(self, options: Mapping[str, Any], environment: Environment) -> None:
        self._options = options
        self._environment = environment
        self._asks = str(options.get("endpoint") or "") or None
        self._defaults = option_defaults(environment, self._asks)
        self.problems: list[str] = []
        self.secrets = environment.secrets()
        self.carries_keys = False
        """Whether headers or query parameters hold something secret: it belongs to the endpoint it came with."""
        for name in ("rag-path", "query", "host", "rag-host"):
            self.secrets += secret_query_values("?" + (self.get(name) or ""))

    def get(self, name: str) -> str | None:
        """The option's text, or what the environment says for it; `None` when neither is given."""
        value = self._options.get(name.replace("-", "_"))
        text = ("" if value is None else str(value).strip()) or self._defaults.get(name)
        if text is not None and "\0" in text:
            self.problems.append(f"{self.where(name)}: expected text, got a NUL character in it")
            return None
        if text is not None and not _is_encodable(text):
            self.problems.append(f"{self.where(name)}: expected text, got half of a surrogate pair in it")
            return None
        return text

    def where(self, name: str) -> str:
        given = self._options.get(name.replace("-", "_"))
        source = None if given not in (None, "") else option_source(self._environment, name, self._asks)
        return f"{name}, {source}" if source else name

    def read(self, name: str, parse: Callable[[str], T], default: T) -> T:
        text = self.get(name)
        if text is None:
            return default
        try:
            return parse(text)
        except BadInput as error:
            named = [problem if name in problem else f"{name}: {problem}" for problem in error.problems]
            self.problems += named
        return default

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float | None:
        def parse(text: str) -> float | None:
            value = read_number(text)
            if value is None or not low <= value <= high:
                raise BadInput([f"{self.where(name)}: expected a number from {low:g} to {high:g}, got {text!r}"])
            return value

        return self.read(name, parse, default)

    def whole(self, name: str, low: int, high: int, default: int) -> int:
        value = self.number(name, low, high, float(default))
        if value is None or not value.is_integer():
            self.problems.append(f"{self.where(name)}: expected a whole number, got {self.get(name)!r}")
            return default
        return int(value)

    def choice(self, name: str, default: str) -> str:
        choices = next(option.choices for option in OPTIONS if option.name == name)
        text = self.get(name) or default
        if text not in choices:
            self.problems.append(f"{self.where(name)}: expected {' or '.join(choices)}, got {text!r}")
            return default
        return text

    def extras(self, name: str, parse: Callable[[str, Lookup], Extras]) -> Mapping[str, str]:
        """Headers or query parameters; what is secret in them joins the secrets."""
        found = self.read(name, lambda text: parse(text, self._environment.get), Extras({}))
        self.secrets += found.secrets
        self.carries_keys |= bool(found.secrets)
        return found.values

    def duration(self, name: str, default: float) -> float:
        return self.read(name, lambda text: parse_duration(text, self.where(name)), default)


def build_settings(
    options: Mapping[str, Any],
    environment: Environment,
    targets: set[str],
    scenario: str | None = None,
    token: TokenProvider | None = None,
    launched: Collection[str] | None = None,
) -> Settings:
    """Check everything. `options`: by attribute name, `host` included; `targets`: chat, rag or both, as users need;
    `launched`: see `KeyOwner`.

    Raises `BadInput` with every problem found.
    """
    reader = _Reader(options, environment)
    seed = reader.whole("seed", 0, 2**53, 1)
    context, output = _lengths(reader)
    search, traffic = _search(reader, read_traffic(reader, targets))
    plan = _plan(reader, seed, context, output, traffic)
    owner = KeyOwner(launched, reader.read("send-keys-to", lambda text: parse_endpoints(text, "send-keys-to"), ()))
    get, problems = reader.get, reader.problems
    sending = _sending(reader)
    several = _several(reader, environment, token, owner, targets)
    if several is not None:
        chat: ChatTarget | None = next(iter(several.targets.values()))
    else:
        chat = _chat(reader, environment, token, owner) if "chat" in targets else None
    if chat is not None and chat.app is None and traffic.recording is not None:
        chat = replace(chat, asks=traffic.recording.index.first_asks)
    settings = Settings(
        chat=chat,
        several=several,
        rag=build_rag_target(get, environment, owner, problems) if "rag" in targets else None,
        host=build_host(get, environment, owner, problems) if targets - {"chat", "rag"} else None,
        preflight=reader.choice("preflight", "full"),
        sending=sending,
        context=context,
        output=output if chat is None or takes_limit(chat) else None,
        max_tokens_field=reader.choice("max-tokens-field", "max_tokens"),
        questions=reader.read("dataset", load_dataset, None),
        traffic=traffic,
        dataset_order=reader.choice("dataset-order", "sequential"),
        unique_prefix=reader.choice("prompt-prefix", "unique") == "unique",
        system_prompt=reader.get("system-prompt"),
        stream=reader.choice("stream", "yes") == "yes",
        stream_usage=reader.choice("stream-usage", "yes") == "yes",
        body=_body(reader, chat),
        batch=reader.read("batch-size", lambda text: parse_length(text, 2048, "batch-size"), Length("fixed", 1.0)),
        turns=_turns(reader),
        think_time=reader.read("think-time", parse_pause, Pause("fixed", 0.0)),
        start_turn=reader.read("start-conversations-at", lambda text: parse_length(text, 1000), Length("fixed", 1.0)),
        abort=reader.read("abort", parse_abort, None),
        images=_images(reader, chat),
        by_reference=_by_reference(reader, chat),
        answers_sample_pct=reader.number("answers-sample", 0, 100) or 0.0,
        plan=plan,
        arrival=reader.choice("arrival", "constant"),
        arrival_smoothness=_smoothness(reader),
        max_lag_s=reader.duration("max-lag", 10.0),
        shape=_shape(reader),
        confirm_load=reader.choice("confirm-load", "no") == "yes",
        seed=seed,
        quota_tpm=reader.number("quota-tpm", 1, 1e12),
        quota_rpm=reader.number("quota-rpm", 1, 1e9),
        ptu=reader.number("ptu", 1, 1e6),
        criteria=reader.read("failure-criteria", parse_criteria, []),
        auto_stop=reader.read("auto-stop", parse_auto_stop, None),
        max_refusals=reader.whole("max-refusals", 0, 1_000_000, DEFAULT_LIMIT),
        goodput=reader.read("goodput", parse_goodput, None),
        warm_up_s=reader.duration("warm-up", 0.0),
        cool_down_s=reader.duration("cool-down", 0.0),
        max_total_tokens=reader.number("max-total-tokens", 1, 1e15),
        max_total_requests=reader.number("max-total-requests", 1, 1e12),
        max_cost=reader.number("max-cost", 0.000001, 1e9),
        prices=_price_table(reader),
        search=search,
        search_hold_s=reader.duration("search-hold", 60.0),
        search_precision_pct=reader.number("search-precision", 0.5, 50, 3.0) or 3.0,
        results=Path(reader.get("results-dir") or "results"),
        test_name=reader.read("test-name", _parse_test_name, Path(scenario).stem[:MAX_NAME] if scenario else "run"),
        output_format=reader.choice("output-format", "human"),
        output_interval_s=reader.number("output-interval", 0.1, 86400, 10.0) or 10.0,
        endpoints=_endpoints(reader, environment),
        secrets=reader.secrets,
    )
    _check_together(reader, settings, targets)
    if reader.carries_keys:
        problems += filter(None, [owner.problem(OWN_API_KEY, url, environment) for url in settings.urls])
    if reader.problems:
        raise BadInput(dict.fromkeys(reader.problems))
    return settings


def _images(reader: _Reader, chat: ChatTarget | None) -> Images | None:
    images = reader.read("images", parse_images, None)
    if images is not None and chat is not None and chat.asks not in ("chat", "responses", "messages"):
        reader.problems.append(f"images: expected endpoint = chat, responses or messages, got {chat.asks}")
    return images


def _by_reference(reader: _Reader, chat: ChatTarget | None) -> bool:
    by_reference = reader.choice("earlier-turns", "sent") == "previous_response_id"
    if by_reference and chat is not None and chat.asks != "responses":
        reader.problems.append(
            f"earlier-turns: expected endpoint = responses beside previous_response_id, got {chat.asks}"
        )
    return by_reference


def _chat(reader: _Reader, environment: Environment, token: TokenProvider | None, owner: KeyOwner) -> ChatTarget | None:
    """The service that is asked, or the application."""
    asks = reader.choice("endpoint", "chat")
    if asks == "app":
        return build_app_target(reader.get, environment, owner, reader.carries_keys, reader.problems)
    given = [option.name for option in OPTIONS if option.group == "app" and reader.get(option.name)]
    if given:
        reader.problems.append(f"{', '.join(given)}: expected endpoint = app beside it, got {asks!r}")
    return build_chat_target(reader.get, environment, token, owner, reader.problems)


def _several(
    reader: _Reader, environment: Environment, token: TokenProvider | None, owner: KeyOwner, targets: set[str]
) -> SeveralTargets | None:
    if reader.get("targets") is None:
        return None
    if "chat" not in targets or reader.get("endpoint") == "app":
        reader.problems.append(
            "targets: expected users of a model's API (ChatUser, endpoint other than app), got others"
        )
        return None
    if reader.get("requests") is not None:
        reader.problems.append("targets: expected no requests beside it: recorded requests are for one target")
    if ">" in (reader.get("targets") or "") and reader.get("earlier-turns") == "previous_response_id":
        reader.problems.append("targets: expected weights beside earlier-turns = previous_response_id, got priority")
    return build_several(reader.get, environment, token, owner, reader.problems)


def _lengths(reader: _Reader) -> tuple[Length, Length | None]:
    profile = SHAPE_PROFILES[reader.choice("shape-profile", "custom")]
    context_default = Length("fixed", float(profile.context_tokens if profile else 500))
    output_default = Length("fixed", float(profile.max_tokens)) if profile else None
    context = reader.read(
        "context-tokens", lambda text: parse_length(text, where=reader.where("context-tokens")), context_default
    )
    output = reader.read(
        "max-tokens", lambda text: parse_length(text, where=reader.where("max-tokens")), output_default
    )
    return context, output


def _smoothness(reader: _Reader) -> float:
    return reader.number("arrival-smoothness", arrivals.MIN_SMOOTHNESS, arrivals.MAX_SMOOTHNESS, 1.0) or 1.0


def _plan(reader: _Reader, seed: int, context: Length, output: Length | None, traffic: Traffic) -> Plan | None:
    sources = [name for name in ("rate", "rate-stages", "trace", "search") if reader.get(name)]
    if len(sources) > 1:
        reader.problems.append(
            f"open load: expected one of rate, rate-stages, trace and search, got {', '.join(sources)}"
        )
        return None
    kind = reader.choice("arrival", "constant")
    smoothness = _smoothness(reader)
    lengths = arrivals.Lengths(seed, context, output)
    if sources == ["trace"]:
        return _trace_plan(reader, lengths, traffic)
    recorded = traffic.recording if not sources and not reader.get("shape") else None
    plan = None if recorded is None else recorded_plan(reader, recorded)
    if not sources and plan is None and reader.get("arrival"):
        reader.problems.append(
            f"rate: expected one beside arrival = {kind} (--rate 50, or RATE in the env file: requests per minute), "
            "or rate-stages, trace or search, got none"
        )
    if not sources:
        return plan
    try:
        if sources == ["rate"]:
            rate = reader.read("rate", lambda text: parse_rate(text, reader.where("rate")), None)
            return None if rate is None else arrivals.RatePlan(kind, rate, seed, smoothness, lengths)
        if sources == ["rate-stages"]:
            stages = reader.read("rate-stages", lambda text: parse_stages(text, where="rate-stages"), None)
            return None if stages is None else arrivals.staged(stages, kind, seed, smoothness, lengths)
    except BadInput as error:
        reader.problems += error.problems
    return None


def _trace_plan(reader: _Reader, lengths: arrivals.Lengths, traffic: Traffic) -> Plan | None:
    rows = reader.read("trace", read_trace, None)
    speed = reader.number("trace-speed", 0.001, arrivals.MAX_SPEED, 1.0) or 1.0
    window = reader.read("trace-window", parse_trace_window, None)
    if rows is None:
        return None
    if traffic.prefix is not None and any(row.hash_ids for row in rows):
        reader.problems.append("shared-prefix-tokens, documents: expected a trace without hash_ids, got one with them")
    # A length that was not asked for is the trace's own.
    context = lengths.context if reader.get("context-tokens") else None
    output = lengths.output if reader.get("max-tokens") else None
    try:
        return arrivals.trace(rows, speed, window, arrivals.Lengths(lengths.seed, context, output))
    except BadInput as error:
        reader.problems += error.problems
        return None


def _shape(reader: _Reader) -> Shape | None:
    kind = reader.get("shape")
    if kind is None:
        if reader.get("stages"):
            reader.problems.append("stages: expected a shape beside it, got none (rates are given by rate-stages)")
        return None
    if not reader.get("stages"):
        reader.problems.append(f"shape: expected stages beside {kind}, got none")
        return None
    return reader.read("stages", lambda text: parse_shape(kind, text), None)


def _price_table(reader: _Reader) -> PriceTable:
    given = {name: reader.number(f"price-{name.replace('_', '-')}", 0, 1e6) for name in PRICES}
    per_million = {name: value for name, value in given.items() if name in ("prompt", "completion")}
    reader.problems += filter(None, (price_problem(f"price-{name}", value) for name, value in per_million.items()))
    return (reader.read("price-table", read_table, None) or built_in()).with_given(given)


def _sending(reader: _Reader) -> Sending:
    verify = reader.choice("tls-verify", "yes") == "yes"
    ca_file = reader.get("ca-file")
    try:
        tls = tls_context(ca_file, verify)
    except OSError as error:
        reader.problems.append(f"ca-file: expected a PEM file with certificates, got {ca_file!r} ({error})")
        tls = tls_context()
    timeout_s = reader.number("timeout", 0.01, 86400, 120.0)
    return Sending(
        timeout_s=timeout_s or 120.0,
        retry=reader.choice("retry", "none"),
        tls=tls,
        headers=reader.extras("headers", parse_headers),
        query=reader.extras("query", parse_query),
        route_header=reader.read("route-header", parse_header_name, None),
    )


def _endpoints(reader: _Reader, environment: Environment) -> list[PrometheusEndpoint]:
    none: tuple[list[PrometheusEndpoint], list[str]] = ([], [])
    endpoints, secrets = reader.read("server-metrics", lambda text: read_endpoints(text, environment.get), none)
    reader.secrets += secrets
    return endpoints


def _turns(reader: _Reader) -> Length:
    turns = Length("fixed", 1.0, upper=MAX_TURNS)
    for name in ("turns", "turns-per-conversation", "steps"):  # the last wins
        turns = reader.read(name, partial(parse_count, upper=MAX_TURNS, where=name), turns)
    return turns


def _body(reader: _Reader, chat: ChatTarget | None) -> BodyFields:
    ranges = {
        "temperature": (0.0, 2.0),
        "top-p": (0.0, 1.0),
        "frequency-penalty": (-2.0, 2.0),
        "presence-penalty": (-2.0, 2.0),
    }
    given = {name.replace("-", "_"): reader.number(name, *limits) for name, limits in ranges.items()}
    body: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if reader.get("n"):
        body["n"] = reader.whole("n", 1, 128, 1)
    extra = reader.read("extra-body", parse_extra_body, BodyFields())
    schema = reader.read("json-schema", parse_json_schema, None)
    if schema is not None and chat is not None:
        field_name, value = schema_field(*schema, chat.asks)
        if not field_name:
            reader.problems.append(f"json-schema: expected endpoint = chat, responses or messages, got {chat.asks}")
        elif field_name in extra.fields:
            reader.problems.append(f"extra-body: expected no {field_name!r} beside json-schema, got both")
        body[field_name] = value
    return BodyFields({**body, **extra.fields}, extra.is_drawn)


def _parse_test_name(text: str) -> str:
    """A name that can be a directory's, and a line's in a table."""
    if len(text) > MAX_NAME or printable(text) != text:
        raise BadInput([f"test-name: expected at most {MAX_NAME} characters that can be printed, got {text!r:.80}"])
    return text


def _search(reader: _Reader, traffic: Traffic) -> tuple[SearchRange | None, Traffic]:
    """What is searched over, and the traffic: a search over sessions is of arrivals of sessions."""
    search = reader.read("search", parse_search, None)
    if search is None:
        return None, traffic
    given = reader.get("arrivals-of")
    if search.unit == SESSIONS and given == "requests":
        reader.problems.append("search: expected rpm or users beside arrivals-of = requests, got sessions")
    if search.unit == RPM and traffic.sessions:
        reader.problems.append("search: expected sessions or users where sessions arrive, got rpm")
    if search.unit == SESSIONS:
        return search, replace(traffic, sessions=True)
    return search._replace(unit=search.unit or (SESSIONS if traffic.sessions else RPM)), traffic


def _check_proxies(reader: _Reader, urls: list[str]) -> None:
    """A proxy that cannot be used is a mistake to be told before the start, not a row of each request."""
    for parts in map(urlsplit, urls):
        try:
            proxy_for(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        except ProxyError as error:
            reader.problems.append(f"proxy for {parts.netloc}: {error}")


def _check_together(reader: _Reader, settings: Settings, targets: set[str]) -> None:
    _check_proxies(reader, settings.urls)
    if settings.shape is not None and (settings.plan is not None or settings.search is not None):
        reader.problems.append("shape: expected no rate, rate-stages, trace or search beside it, got both")
    if settings.max_cost is not None and settings.price_of_run.cost(1, 0, 1) is None:
        reader.problems.append(
            f"max-cost: expected prices of {settings.model or 'the model'} (price-table, or price-prompt and "
            "price-completion), got none"
        )
    if settings.max_cost is not None and settings.ptu is not None and settings.price_of_run.ptu_hour is None:
        reader.problems.append("max-cost: expected the price of a provisioned unit and hour beside ptu, got none")
    if settings.search is not None and not settings.criteria:
        reader.problems.append("search: expected failure-criteria that say what the highest rate must hold, got none")
    if "rag" in targets and settings.questions is None and reader.get("dataset") is None:
        reader.problems.append("dataset: expected a file of questions for the orchestrator, got none")
    if settings.chat is not None and settings.chat.app is not None and settings.traffic.recording is not None:
        reader.problems.append("requests: expected another endpoint than app, as their bodies are of a model's API")
    if _wants_tools(settings) and (settings.chat is None or settings.chat.asks not in TOOLS_OF):
        reader.problems.append(
            f"dataset: expected endpoint = {', '.join(TOOLS_OF)} beside expect with tool, got one without tool calls"
        )
    if settings.context.kind == "dataset" and reader.get("dataset") is None:
        reader.problems.append("context-tokens: expected --dataset beside the value dataset, got none")
    if settings.by_reference and settings.body.fields.get("store") is False:
        reader.problems.append("extra-body: expected no store = false beside earlier-turns = previous_response_id")
    if settings.body.fields.get("background") is True and not settings.stream:
        reader.problems.append("extra-body: expected stream = yes beside background, as the answer comes later, got no")
    if settings.traffic.tools is not None and settings.chat is not None:
        reader.problems += _tool_problems(settings.traffic.tools, settings.chat, settings.body)
    prefix, mean = settings.traffic.prefix, settings.context.mean()
    brings_lengths = reader.get("trace") or reader.get("requests")
    if prefix is not None and mean is not None and mean <= prefix.mean_tokens() and not brings_lengths:
        reader.problems.append(
            f"context-tokens: expected more than the {prefix.mean_tokens():.0f} of shared-prefix-tokens and a "
            f"document, which are part of it, got {settings.context}"
        )
    for name, length in (("context-tokens", settings.context), ("max-tokens", settings.output)):
        if length is not None and length.kind == "trace" and reader.get("trace") is None:
            reader.problems.append(f"{name}: expected --trace beside the value trace, got none")


def _wants_tools(settings: Settings) -> bool:
    expected = (question.expect for question in settings.questions or ())
    return any(expect.needs_tools for expect in expected if expect is not None)


def _tool_problems(tools: Tools, chat: ChatTarget, body: BodyFields) -> list[str]:
    """Why tools of a file cannot be those that answers call."""
    if chat.asks not in TOOLS_OF:
        return [f"tool-results: expected endpoint = {', '.join(TOOLS_OF)}, got {chat.asks}"]
    names = tool_names(body.fields.get("tools"))
    if not names:
        return ["tool-results: expected tools with a name in extra-body beside it, got none"]
    return [f"tool-results: expected a result of {name!r}, got none" for name in names if name not in tools.results]


def _is_encodable(text: str) -> bool:
    """Whether it can be the name of a file or go into one; bytes of a command line that are no UTF-8 can."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
