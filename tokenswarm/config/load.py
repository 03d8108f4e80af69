"""The load as options describe it: lengths, arrivals, shape, turns, search. No clock, no socket."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tokenswarm.config.checked_options import CheckedOptions
from tokenswarm.traffic.settings import Traffic, recorded_plan
from tokenswarm.userinput import BadInput
from tokenswarm.workload import arrivals
from tokenswarm.workload.arrivals import Plan, parse_rate
from tokenswarm.workload.distributions import Length, parse_count, parse_length
from tokenswarm.workload.levels import RPM, SESSIONS, SearchRange, parse_search
from tokenswarm.workload.prompts import SHAPE_PROFILES
from tokenswarm.workload.stages import Shape, parse_shape, parse_stages
from tokenswarm.workload.traces import parse_trace_window, read_trace

MAX_TURNS = 1000


def read_lengths(reader: CheckedOptions) -> tuple[Length, Length | None]:
    """Tokens of a prompt and of an answer; `None` where the answer is not limited."""
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


def read_smoothness(reader: CheckedOptions) -> float:
    """How even the arrivals of `arrival = gamma` are."""
    return reader.number("arrival-smoothness", arrivals.MIN_SMOOTHNESS, arrivals.MAX_SMOOTHNESS, 1.0) or 1.0


def read_plan(
    reader: CheckedOptions, seed: int, context: Length, output: Length | None, traffic: Traffic
) -> Plan | None:
    """When requests are due; `None` where users or a search decide."""
    sources = [name for name in ("rate", "rate-stages", "trace", "search") if reader.get(name)]
    if len(sources) > 1:
        reader.problems.append(
            f"open load: expected one of rate, rate-stages, trace and search, got {', '.join(sources)}"
        )
        return None
    kind = reader.choice("arrival", "constant")
    smoothness = read_smoothness(reader)
    lengths = arrivals.Lengths(seed, context, output)
    if sources == ["trace"]:
        return _trace_plan(reader, lengths, traffic)
    recorded = traffic.recording if not sources and not reader.get("shape") else None
    plan = None if recorded is None else recorded_plan(reader, recorded)
    if plan is None:
        _check_recorded(reader, traffic)
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


def _check_recorded(reader: CheckedOptions, traffic: Traffic) -> None:
    """Nothing is sent at recorded times: what is said of them would be ignored."""
    is_wrong = bool(reader.get("requests")) and traffic.recording is None
    if reader.number("trace-speed", 0.001, arrivals.MAX_SPEED, 1.0) not in (1.0, None) and not is_wrong:
        reader.problems.append("trace-speed: expected a trace, or requests with timestamps and no rate, got neither")
    if reader.get("trace-window") and not reader.get("requests"):
        reader.problems.append("trace-window: expected a trace or requests beside it, got none")


def _trace_plan(reader: CheckedOptions, lengths: arrivals.Lengths, traffic: Traffic) -> Plan | None:
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


def read_shape(reader: CheckedOptions) -> Shape | None:
    """The shape of users over time; `None` without one."""
    kind = reader.get("shape")
    if kind is None:
        if reader.get("stages"):
            reader.problems.append("stages: expected a shape beside it, got none (rates are given by rate-stages)")
        return None
    if not reader.get("stages"):
        reader.problems.append(f"shape: expected stages beside {kind}, got none")
        return None
    return reader.read("stages", lambda text: parse_shape(kind, text), None)


def read_turns(reader: CheckedOptions) -> Length:
    """Turns of a conversation."""
    turns = Length("fixed", 1.0, upper=MAX_TURNS)
    for name in ("turns", "turns-per-conversation", "steps"):  # the last wins
        turns = reader.read(name, partial(parse_count, upper=MAX_TURNS, where=name), turns)
    return turns


def read_search(reader: CheckedOptions, traffic: Traffic) -> tuple[SearchRange | None, Traffic]:
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
