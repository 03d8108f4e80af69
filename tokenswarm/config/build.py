"""Settings made of options: every one checked and given its meaning, all problems at once. No clock, no socket."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tokenswarm.apis.request import ChatTarget, Sending, TokenProvider
from tokenswarm.config.checked_options import CheckedOptions
from tokenswarm.config.environment import Environment
from tokenswarm.config.key_owner import OWN_API_KEY, KeyOwner, parse_endpoints
from tokenswarm.config.load import (
    read_lengths,
    read_plan,
    read_search,
    read_shape,
    read_smoothness,
    read_turns,
)
from tokenswarm.config.options import OPTIONS
from tokenswarm.config.request_extras import (
    BodyFields,
    parse_extra_body,
    parse_header_name,
    parse_headers,
    parse_json_schema,
    parse_query,
    schema_field,
)
from tokenswarm.config.scraping import read_endpoints
from tokenswarm.config.settings import Settings
from tokenswarm.config.targets import (
    SeveralTargets,
    build_app_target,
    build_chat_target,
    build_host,
    build_rag_target,
    build_several,
    takes_limit,
)
from tokenswarm.metrics.autostop import parse_auto_stop
from tokenswarm.metrics.criteria import parse_criteria
from tokenswarm.metrics.goodput import parse_goodput
from tokenswarm.metrics.prices import PRICES, PriceTable, built_in, price_problem, read_table
from tokenswarm.metrics.refusals import DEFAULT_LIMIT
from tokenswarm.metrics.server_metrics import PrometheusEndpoint
from tokenswarm.redaction import one_line
from tokenswarm.traffic.settings import read_traffic
from tokenswarm.traffic.tools import Tools, tool_names
from tokenswarm.transport.proxies import ProxyError, proxy_for
from tokenswarm.transport.tls import tls_context
from tokenswarm.userinput import BadInput
from tokenswarm.workload.abort import parse_abort
from tokenswarm.workload.dataset import load_dataset
from tokenswarm.workload.distributions import Length, Pause, parse_length, parse_pause
from tokenswarm.workload.images import Images, parse_images

MAX_NAME = 120
"""Characters of a test name; a file system takes 255 bytes."""

TOOLS_OF = ("chat", "responses", "messages")
"""Endpoints whose answers can call tools."""


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
    reader = CheckedOptions(options, environment)
    seed = reader.whole("seed", 0, 2**53, 1)
    context, output = read_lengths(reader)
    search, traffic = read_search(reader, read_traffic(reader, targets))
    plan = read_plan(reader, seed, context, output, traffic)
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
        turns=read_turns(reader),
        think_time=reader.read("think-time", parse_pause, Pause("fixed", 0.0)),
        start_turn=reader.read("start-conversations-at", lambda text: parse_length(text, 1000), Length("fixed", 1.0)),
        abort=reader.read("abort", parse_abort, None),
        images=_images(reader, chat),
        by_reference=_by_reference(reader, chat),
        answers_sample_pct=reader.number("answers-sample", 0, 100) or 0.0,
        plan=plan,
        arrival=reader.choice("arrival", "constant"),
        arrival_smoothness=read_smoothness(reader),
        max_lag_s=reader.duration("max-lag", 10.0),
        shape=read_shape(reader),
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


def _images(reader: CheckedOptions, chat: ChatTarget | None) -> Images | None:
    images = reader.read("images", parse_images, None)
    if images is not None and chat is not None and chat.asks not in ("chat", "responses", "messages"):
        reader.problems.append(f"images: expected endpoint = chat, responses or messages, got {chat.asks}")
    return images


def _by_reference(reader: CheckedOptions, chat: ChatTarget | None) -> bool:
    by_reference = reader.choice("earlier-turns", "sent") == "previous_response_id"
    if by_reference and chat is not None and chat.asks != "responses":
        reader.problems.append(
            f"earlier-turns: expected endpoint = responses beside previous_response_id, got {chat.asks}"
        )
    return by_reference


def _chat(
    reader: CheckedOptions, environment: Environment, token: TokenProvider | None, owner: KeyOwner
) -> ChatTarget | None:
    """The service that is asked, or the application."""
    asks = reader.choice("endpoint", "chat")
    if asks == "app":
        return build_app_target(reader.get, environment, owner, reader.carries_keys, reader.problems)
    given = [option.name for option in OPTIONS if option.group == "app" and reader.get(option.name)]
    if given:
        reader.problems.append(f"{', '.join(given)}: expected endpoint = app beside it, got {asks!r}")
    return build_chat_target(reader.get, environment, token, owner, reader.problems)


def _several(
    reader: CheckedOptions, environment: Environment, token: TokenProvider | None, owner: KeyOwner, targets: set[str]
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


def _price_table(reader: CheckedOptions) -> PriceTable:
    given = {name: reader.number(f"price-{name.replace('_', '-')}", 0, 1e6) for name in PRICES}
    per_million = {name: value for name, value in given.items() if name in ("prompt", "completion")}
    reader.problems += filter(None, (price_problem(f"price-{name}", value) for name, value in per_million.items()))
    return (reader.read("price-table", read_table, None) or built_in()).with_given(given)


def _sending(reader: CheckedOptions) -> Sending:
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


def _endpoints(reader: CheckedOptions, environment: Environment) -> list[PrometheusEndpoint]:
    none: tuple[list[PrometheusEndpoint], list[str]] = ([], [])
    endpoints, secrets = reader.read("server-metrics", lambda text: read_endpoints(text, environment.get), none)
    reader.secrets += secrets
    return endpoints


def _body(reader: CheckedOptions, chat: ChatTarget | None) -> BodyFields:
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
    if len(text) > MAX_NAME or one_line(text) != text:
        raise BadInput([f"test-name: expected at most {MAX_NAME} characters that can be printed, got {text!r:.80}"])
    return text


def _check_proxies(reader: CheckedOptions, urls: list[str]) -> None:
    """A proxy that cannot be used is a mistake to be told before the start, not a row of each request."""
    for parts in map(urlsplit, urls):
        try:
            proxy_for(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        except ProxyError as error:
            reader.problems.append(f"proxy for {parts.netloc}: {error}")


def _check_together(reader: CheckedOptions, settings: Settings, targets: set[str]) -> None:
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
