"""The answer of a report, before its figures: one sentence, four tiles, and the criteria in words. Pure.

Terminal, Markdown, page and JSON show this one answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.figures.formats import ABSENT, format_figure, money
from analysis.findings.kind import Kind, kind_of, tested
from analysis.findings.load_curve import CurveLevel, load_text
from analysis.findings.summary import Summary
from analysis.findings.verdict import Judged
from tokenswarm.metrics.criterion_words import finding, must
from tokenswarm.metrics.samples import needed
from tokenswarm.metrics.verdict import ReasonKind, described

WORDS = {
    "passed": "Passed",
    "failed": "Failed",
    "untrusted": "Not to be trusted",
    "interrupted": "Interrupted",
    "none": "No verdict",
}
REMEDIES = {
    ReasonKind.SATURATED: "Run it again with more processes or machines, or less load.",
    ReasonKind.NOT_DELIVERED: "Raise users (or max-lag) so that the load can be sent, and run it again.",
    ReasonKind.LOST: "Run it again: rows of this run are missing.",
    ReasonKind.ACCOUNTING: "Run it again: rows of this run are missing.",
    ReasonKind.CLOCK: "Mend the clocks of the machines (NTP), and run it again.",
    ReasonKind.EVIDENCE: "See what could not be written, and run it again.",
    ReasonKind.SEARCH: "Give the search more time, search from a lower load, or hold each level longer.",
    ReasonKind.NOTHING_SENT: "See the log for what kept the run from sending.",
    ReasonKind.NOTHING_ANSWERED: "Check address, key and model with `tokenswarm doctor`.",
    ReasonKind.CRASHED: "See the log for why it ended, and run it again.",
    ReasonKind.STOPPED: "See why it was stopped, and run it again.",
    ReasonKind.OTHER: "See the reasons, and run it again.",
}
METRIC_REMEDIES = {
    "error": "See the failures by kind, mend their cause, and run it again.",
    "requests": "Run longer, or offer more load.",
    "dropped": "Raise users, or offer less: arrivals found no free user.",
    "throttled": "Ask for more quota, or offer less load.",
}
SLOWER = "Offer less load, ask for shorter answers, or add capacity, and run it again."


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the answer. `limit` and `headroom` are empty where nothing limits it; `state`: good, bad or
    empty."""

    name: str
    value: str
    limit: str = ""
    headroom: str = ""
    note: str = ""
    state: str = ""

    @property
    def more(self) -> str:
        """What stands below the figure."""
        return "; ".join(filter(None, (self.limit, self.headroom))) or self.note


@dataclass(frozen=True, slots=True)
class InWords:
    """A criterion: what must hold, what was found, and its state: held, failed or no_data."""

    demand: str
    finding: str
    state: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.demand}, {self.finding}"


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """`word`: the verdict. `tested`, `why` and `to_do` are the parts of `sentence`."""

    state: str
    word: str
    tested: str
    why: str
    to_do: str
    tiles: Sequence[Tile]
    criteria: Sequence[InWords]

    @property
    def sentence(self) -> str:
        """What was tested, why the verdict is what it is, and what to do."""
        said = f"{self.tested[:1].upper()}{self.tested[1:]}: {self.why}"
        return f"{said if said.endswith(('.', '!', '?')) else said + '.'} {self.to_do}".strip()

    def as_json(self) -> dict[str, Any]:
        """The `answer` of summary.json."""
        return {
            "state": self.state,
            "sentence": f"{self.word}: {self.sentence}",
            "tested": self.tested,
            "why": self.why,
            "to_do": self.to_do,
            "tiles": [
                {"name": tile.name, "value": tile.value, "limit": tile.limit, "headroom": tile.headroom}
                for tile in self.tiles
            ],
            "criteria": [{"text": str(item), "state": item.state, "note": item.note} for item in self.criteria],
        }


def answer_of(summary: Summary) -> RunAnswer:
    """The answer of one run."""
    judgement = summary.judgement
    word = WORDS.get(judgement.state, judgement.state)
    if judgement.state == "untrusted" and judgement.has_failed:
        word += ", and failed"
    if judgement.replaced:
        word += f" ({described(judgement.replaced)})"
    return RunAnswer(
        judgement.state, word, tested(summary), _why(summary), _to_do(summary), _tiles(summary), in_words(summary)
    )


def in_words(summary: Summary) -> list[InWords]:
    """The criteria of a run: failed ones first."""
    judged = sorted(summary.judgement.criteria, key=lambda item: item.state == "held")
    return [InWords(must(item.criterion), finding(item.result), item.state, item.note) for item in judged]


def _why(summary: Summary) -> str:
    others = [str(reason) for reason in summary.judgement.other_reasons]
    if said := _search_sentence(summary):
        return "; but ".join(filter(None, (said, _some([reason for reason in others if said not in reason]))))
    return "; ".join(filter(None, (_carried(summary), _verdict_why(summary, others))))


def _verdict_why(summary: Summary, others: Sequence[str]) -> str:
    judgement = summary.judgement
    broken = [f"{item}" for item in in_words(summary) if item.state != "held"]
    if judgement.state == "untrusted":
        return _some(others or broken)
    if judgement.state == "interrupted":
        return f"ended before its time; {_so_far(summary)}"
    if judgement.state == "failed":
        return _some([*others, *broken])
    if judgement.state == "passed":
        return _all_held(summary) + _stopped(summary)
    answered = f"{summary.accounting.ok:,} of {summary.accounting.sent:,} requests were answered"
    return f"no criterion was given; {answered}{_stopped(summary)}"


def _stopped(summary: Summary) -> str:
    """That a budget ended the run before its time; empty where none did."""
    reason = summary.settings.get("stop_reason")
    return f"; stopped early, {reason}" if isinstance(reason, str) and reason.startswith("budget") else ""


def _so_far(summary: Summary) -> str:
    held = sum(item.state == "held" for item in summary.judgement.criteria)
    return f"{held} of {len(summary.judgement.criteria)} criteria held until then" if held else "nothing was judged"


def _all_held(summary: Summary) -> str:
    criteria = summary.judgement.criteria
    held = "its criterion held" if len(criteria) == 1 else f"all {len(criteria)} criteria held"
    return held if (nearest := _nearest(criteria)) is None else f"{held}, the nearest to its limit: {nearest}"


def _nearest(criteria: Sequence[Judged]) -> str | None:
    """The criterion with the least headroom, in words; `None` when none has a limit above 0."""
    near = [(room, item) for item in criteria if (room := headroom_pct(item)) is not None]
    if not near:
        return None
    _, item = min(near, key=lambda pair: pair[0])
    return f"{must(item.criterion)}, {finding(item.result)}"


def headroom_pct(item: Judged) -> float | None:
    """How far the value is from the limit, in percent of the limit; negative beyond it. `None` without a value, or with
    a limit of 0."""
    if item.value is None or not item.threshold:
        return None
    room = item.threshold - item.value if item.operator == ">" else item.value - item.threshold
    return 100.0 * room / item.threshold


def _search_sentence(summary: Summary) -> str:
    """The answer of a capacity search as the search itself words it; empty for another run."""
    found = summary.settings.get("search")
    sentence = found.get("sentence") if isinstance(found, Mapping) else None
    return sentence if isinstance(sentence, str) else ""


def _carried(summary: Summary) -> str:
    """Up to which level the criteria held, and where the knee is; empty of a run with one load."""
    curve = summary.curve
    if curve is None or curve.is_search:
        return ""
    return "; ".join(filter(None, (curve.carried_sentence, curve.short_knee)))


def _some(reasons: Sequence[str]) -> str:
    """The first two reasons, and how many more there are."""
    shown = "; ".join(reason.rstrip(".") for reason in reasons[:2])
    more = len(reasons) - 2
    return f"{shown} (and {more} more)" if more > 0 else shown


def _to_do(summary: Summary) -> str:
    state = summary.judgement.state
    if state == "none":
        return "Give failure-criteria to have a verdict."
    if state == "interrupted":
        return "Run it to its end before you decide."
    if state == "passed":
        return _when_passed(summary)
    reason = next(iter(summary.judgement.reasons), None)
    if reason is None:
        return ""
    if state == "untrusted" or reason.kind is not ReasonKind.CRITERION:
        return REMEDIES.get(reason.kind, REMEDIES[ReasonKind.OTHER])
    return _when_broken(summary)


def _when_passed(summary: Summary) -> str:
    if kind_of(summary) is Kind.SEARCH:
        return "Plan with this load, and leave room above it."
    refused, failed = summary.overall.counts.throttled or 0, summary.overall.counts.failed
    if _is_unjudged(summary, "throttled", refused) or _is_unjudged(summary, "error", failed):
        return (
            f"No criterion is about the {_bad(refused, failed)}: add one on throttled or error before you rely on it."
        )
    if summary.judgement.replaced:
        return "Judge it by the criteria of its scenario before you rely on it."
    if (few := _too_few(summary)) is not None:
        return f"Too few values for {few}: run it for longer before you rely on it."
    return "This load can be relied on; scenario find-capacity tells how much more would hold."


def _too_few(summary: Summary) -> str | None:
    """The first criterion whose percentile has fewer values than it needs, in words; `None` when all have enough."""
    for item in summary.judgement.criteria:
        p = float(item.aggregation[1:]) if re.fullmatch(r"p[\d.]+", item.aggregation) else 50.0
        if 0 < p < 100 and item.n < needed(p):
            return f"{item.aggregation}({item.metric}), {item.n} of {needed(p)}"
    return None


def _is_unjudged(summary: Summary, metric: str, count: int) -> bool:
    """Whether requests went wrong in a way that no criterion is about."""
    return count > 0 and metric not in {item.metric for item in summary.judgement.criteria}


def _bad(refused: int, failed: int) -> str:
    parts = [f"{refused:,} refused with 429"] if refused else []
    return f"requests that went wrong ({', '.join([*parts, *([f'{failed:,} failed'] if failed else [])])})"


def _when_broken(summary: Summary) -> str:
    if summary.quota is not None and summary.quota.throttled and summary.quota.advice:
        return summary.quota.advice[0]
    broken = next((item for item in summary.judgement.criteria if item.state != "held"), None)
    return SLOWER if broken is None else METRIC_REMEDIES.get(broken.metric, SLOWER)


def _tiles(summary: Summary) -> list[Tile]:
    if not summary.overall.counts.sent:
        return []
    return [_capacity(summary), _latency("TTFT p95", "ttft_ms", "p95", " ms", summary), _speed(summary), _cost(summary)]


def _capacity(summary: Summary) -> Tile:
    """What a search found; of another run, what was answered, beside the quota."""
    found = summary.settings.get("search")
    if isinstance(found, Mapping):
        rate = found.get("answer", found.get("answer_rpm"))
        unit = str(found.get("unit") or "RPM")
        value = load_text(rate, unit) if isinstance(rate, int | float) else ABSENT
        tpm = found.get("answer_tpm")
        held = found.get("held")
        if value == ABSENT and isinstance(held, int | float):
            return Tile("Capacity", f"{load_text(held, unit)} so far", note="held once; the search was cut")
        return Tile("Capacity", value, note=f"{tpm:,.0f} TPM" if isinstance(tpm, int | float) else "no level confirmed")
    if summary.curve is not None and any(level.holds is not None for level in summary.curve.levels):
        carried = summary.curve.carried
        value = ABSENT if carried is None else load_text(carried, summary.curve.unit)
        return Tile("Capacity", value, note=summary.curve.short_knee or "of the levels that were tried")
    rpm = summary.overall.values.get("rpm")
    limit = _quota_rpm(summary)
    value = f"{format_figure(rpm)} RPM" if rpm is not None else ABSENT
    if limit is None:
        counts = summary.overall.counts
        return Tile("Answered", value, note=f"{counts.ok:,} of {counts.sent:,} sent requests")
    said, rpm_limit = limit
    room = 100.0 * (rpm_limit - rpm) / rpm_limit if rpm is not None else None
    return Tile("Answered", value, said, _room(room))


def _quota_rpm(summary: Summary) -> tuple[str, float] | None:
    """What the quota admits, in requests a minute: the lesser of RPM, and TPM by the estimate of a request."""
    quota = summary.quota
    if quota is None:
        return None
    found = [(f"quota {quota.rpm:,.0f} RPM", quota.rpm)] if quota.rpm else []
    if quota.tpm and quota.estimated_per_request:
        admits = quota.tpm / quota.estimated_per_request
        found.append((f"quota {quota.tpm:,.0f} TPM admits {format_figure(admits)} RPM", admits))
    return min(found, key=lambda pair: pair[1], default=None)


def _speed(summary: Summary) -> Tile:
    """How fast an answer grows for the median user; its limit is one on TBT or on the speed itself."""
    tile = _latency("Speed per user", "tokens_per_s_per_user", "p50", " tokens/s", summary)
    limit = None if tile.limit else _limit(summary, "tbt_ms")
    if limit is None:
        return tile
    return Tile(tile.name, tile.value, f"{must(limit.criterion)}", _room(headroom_pct(limit)), state=_state(limit))


def _cost(summary: Summary) -> Tile:
    """What 1,000 answers cost, and the whole run beside its budget."""
    found = summary.cost
    if found is None:
        return Tile("Cost of 1,000 answers", ABSENT, note="no answer said what it used")
    if found.missing:
        return Tile("Cost of 1,000 answers", ABSENT, note=f"no price of {', '.join(found.missing)} is known")
    value = f"{money(found.per_1000_answers, found.currency)}"
    spent = f"the run: {money(found.run, found.currency)}"
    if found.max_cost is None or found.run is None:
        return Tile(
            "Cost of 1,000 answers",
            value,
            note=f"{spent}; a month at this load {money(found.per_month, found.currency)}",
        )
    room = 100.0 * (found.max_cost - found.run) / found.max_cost
    return Tile("Cost of 1,000 answers", value, f"{spent} of {money(found.max_cost, found.currency)}", _room(room))


def _latency(name: str, metric: str, key: str, unit: str, summary: Summary) -> Tile:
    """A percentile and the limit on it. A run of several loads mixes them: there, it is that of the level that the
    answer names."""
    limit = _limit(summary, metric, key)
    found = summary.overall.distribution(metric)
    value = found.percentile(key).value
    level = _level(summary)
    if kind_of(summary) is Kind.SEARCH or level is not None:
        figure = None if level is None else level.figures.ttft_p95 if metric == "ttft_ms" else level.figures.per_user
        value = None if figure is None else figure.value
        if limit is not None and limit.aggregation == key:
            value = limit.value if value is None and kind_of(summary) is Kind.SEARCH else value
            state = "held" if value is None or not limit.criterion.is_true(value) else "failed"
            limit = None if value is None else replace(limit, value=value, state=state)
        elif kind_of(summary) is not Kind.SEARCH:
            limit = None
    text = ABSENT if value is None else f"{format_figure(value)}{unit}"
    if limit is None:
        return Tile(name, text, note=_without_limit(summary, value, found.n))
    return Tile(name, text, _limit_text(limit), _room(headroom_pct(limit)), state=_state(limit))


def _level(summary: Summary) -> CurveLevel | None:
    """The level that the answer names: the highest load that was carried."""
    curve = summary.curve
    if curve is None or curve.carried is None:
        return None
    held = [level for level in curve.levels if level.figures.span.load == curve.carried and level.holds]
    return held[-1] if held else None


def _without_limit(summary: Summary, value: float | None, n: int) -> str:
    if kind_of(summary) is Kind.SEARCH:
        return "not judged at the level"
    return "no limit given" if value is not None else f"too few answers: {n:,}" if n else "not measured"


def _limit(summary: Summary, metric: str, key: str = "") -> Judged | None:
    """The criterion on a metric of all requests: the one on this percentile, else the first."""
    found = [item for item in summary.judgement.criteria if item.metric == metric and item.name is None]
    return next((item for item in found if item.aggregation == key), found[0] if found else None)


def _limit_text(item: Judged) -> str:
    bound = "at most" if item.operator == ">" else "at least"
    return f"{item.aggregation} {bound} {format_figure(item.threshold)} {item.unit}".rstrip()


def _state(item: Judged) -> str:
    return "good" if item.state == "held" else "bad"


def _room(room_pct: float | None) -> str:
    if room_pct is None:
        return ""
    return f"headroom {room_pct:.0f} %" if room_pct >= 0 else f"over by {-room_pct:.0f} %"
