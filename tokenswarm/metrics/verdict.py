"""The verdict of a run, decided in one place: in the run itself, and again over its rows by `python -m analysis check`.

It fails closed: a run that sent or answered nothing has failed whatever its criteria say, criteria without data have
not held, and a run that was interrupted has not passed. Pure.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tokenswarm.exit_codes import ExitCode
from tokenswarm.metrics.criteria import Criterion, CriterionResult
from tokenswarm.metrics.criterion_words import noted
from tokenswarm.metrics.samples import Samples, TimeSpan
from tokenswarm.userinput import counted

CHECKSUM = "facts_crc32"
"""The key of run.json with the checksum of all others."""
MIN_DELIVERED_PCT = 99.0
"""A run that sent less of what it was to offer has not tested what it was asked to test."""


class ReasonKind(StrEnum):
    """What a reason is about, as run.json names it. `RUN_DISTRUST` are those that rows alone cannot show."""

    CRITERION = "criterion"
    NOT_JUDGED = "not_judged"
    NOTHING_SENT = "nothing_sent"
    NOTHING_ANSWERED = "nothing_answered"
    STOPPED = "stopped"
    CRASHED = "crashed"
    INTERRUPTED = "interrupted"
    NOT_DELIVERED = "not_delivered"
    LOST = "lost"
    ACCOUNTING = "accounting"
    SATURATED = "saturated"
    CLOCK = "clock"
    EVIDENCE = "evidence"
    SEARCH = "search"
    OTHER = "other"


RUN_DISTRUST = frozenset(
    {ReasonKind.SATURATED, ReasonKind.CLOCK, ReasonKind.EVIDENCE, ReasonKind.SEARCH, ReasonKind.OTHER}
)


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a verdict, in a sentence of its own."""

    kind: ReasonKind
    text: str

    def __str__(self) -> str:
        return self.text

    def facts(self) -> dict[str, str]:
        """For run.json and the live page."""
        return {"kind": str(self.kind), "text": self.text}


@dataclass(frozen=True, slots=True)
class Replacement:
    """A criterion of `where` that is not judged, and what is judged in its place: `None` where nothing is. Locust lets
    a flag, a variable or a form win over the scenario file; that must not be mistaken for the file's criterion."""

    criterion: str
    by: str | None
    where: str

    def __str__(self) -> str:
        by = "by nothing" if self.by is None else f"by {self.by}"
        return f"{self.criterion} ({self.where}) was replaced {by}"

    def facts(self) -> dict[str, str | None]:
        """For run.json and the live page."""
        return {"criterion": self.criterion, "by": self.by, "where": self.where}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a verdict is decided from, besides the criteria.

    `sent` and `answered`: requests of the whole run, warm-up included. `not_ok`: what Locust counts as failures: rows
    that are neither answers nor left by their users. `failures`: why the run has failed whatever its
    criteria say. `distrust`: why the measurement is in doubt. `interrupted`: it was ended from outside, early.
    `replaced`: criteria that it was to be held against, and is not.
    """

    sent: int
    answered: int
    not_ok: int = 0
    failures: Sequence[Reason] = ()
    distrust: Sequence[Reason] = ()
    interrupted: bool = False
    replaced: Sequence[Replacement] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run comes to. `state`: passed, failed, untrusted, interrupted or none (no criteria were asked for).
    `has_failed`: whether it has failed too, where `state` is untrusted."""

    state: str
    exit_code: ExitCode
    reasons: list[Reason]
    results: list[CriterionResult]
    has_failed: bool = False
    replaced: Sequence[Replacement] = ()

    @property
    def headline(self) -> str:
        """The state in capitals; of a run that is untrusted and has failed, both; and how many criteria of the scenario
        it says nothing about."""
        said = self.state.upper() + (" AND FAILED" if self.has_failed and self.state == "untrusted" else "")
        return f"{said}, {described(self.replaced)}" if self.replaced else said

    def facts(self) -> dict[str, Any]:
        """For run.json and the live page."""
        return {
            "state": self.state,
            "has_failed": self.has_failed,
            "exit_code": int(self.exit_code),
            "reasons": [reason.facts() for reason in self.reasons],
        }


def decide(results: Sequence[CriterionResult], criteria_given: bool, evidence: Evidence) -> Verdict:
    """The verdict. A measurement that is not to be trusted can neither pass nor fail a build: untrusted wins over
    failed, and says both; failed wins over interrupted."""
    failures = [*evidence.failures, *_nothing(evidence)]
    criteria = [Reason(ReasonKind.CRITERION, noted(result)) for result in results if result.state != "held"]
    if criteria_given and not results:
        criteria.append(Reason(ReasonKind.NOT_JUDGED, "criteria were given and none was judged"))
    cut = [Reason(ReasonKind.INTERRUPTED, "the run was interrupted")] if evidence.interrupted else []
    reasons = [*failures, *evidence.distrust, *criteria, *cut]
    has_failed = bool(failures or criteria)
    state, code = _state(has_failed, evidence, criteria_given)
    return Verdict(state, code, reasons, list(results), has_failed, evidence.replaced)


def _state(has_failed: bool, evidence: Evidence, criteria_given: bool) -> tuple[str, ExitCode]:
    if evidence.distrust:
        return "untrusted", ExitCode.UNTRUSTED
    if has_failed:
        return "failed", ExitCode.CRITERIA_FAILED
    if evidence.interrupted:
        return "interrupted", ExitCode.INTERRUPTED
    if criteria_given:
        return "passed", ExitCode.OK
    return "none", ExitCode.LOCUST if evidence.not_ok else ExitCode.OK


def _nothing(evidence: Evidence) -> list[Reason]:
    if not evidence.sent:
        return [Reason(ReasonKind.NOTHING_SENT, "no request was sent: nothing was measured")]
    if not evidence.answered:
        return [Reason(ReasonKind.NOTHING_ANSWERED, "no request was answered")]
    return []


def checksum_of(facts: Mapping[str, Any]) -> int:
    """CRC-32 of what run.json says, whatever its layout: by it, facts that were changed afterwards are known."""
    said = {key: value for key, value in facts.items() if key != CHECKSUM}
    return zlib.crc32(json.dumps(said, sort_keys=True).encode())


def not_delivered(first_attempts: int, planned: int | None) -> list[Reason]:
    """The reason when less than `MIN_DELIVERED_PCT` of the planned requests, or sessions, were sent; nothing was
    planned in a closed loop (`None`)."""
    if not planned or 100.0 * first_attempts / planned >= MIN_DELIVERED_PCT:
        return []
    share = 100.0 * first_attempts / planned
    text = f"load not delivered: {first_attempts} of {planned} planned were sent ({share:.1f} %)"
    return [Reason(ReasonKind.NOT_DELIVERED, text)]


def delivery(samples: Samples, window: TimeSpan, planned: int | None, first_attempts: int) -> dict[str, float | None]:
    """Rates per minute over the run's window, and the share of the planned requests that was sent (`None`: none was
    planned). Offered lie where they were due, started where they were, completed where they ended, as in a report."""
    minutes = (window[1] - window[0]) / 60
    rates = {
        f"{quantity}_rpm": samples.total(quantity, None, window) / minutes if minutes > 0 else None
        for quantity in ("offered", "started", "completed")
    }
    return {
        **rates,
        "offered_rpm": rates["offered_rpm"] if planned is not None else None,
        "delivered_pct": 100.0 * first_attempts / planned if planned else None,
    }


def read_reasons(value: Any) -> list[Reason]:
    """Reasons as run.json has them; a text alone, as earlier versions wrote it, is of the kind `other`."""
    return [reason for item in value if (reason := _read_reason(item))] if isinstance(value, list) else []


def _read_reason(item: Any) -> Reason | None:
    if isinstance(item, str):
        return Reason(ReasonKind.OTHER, item)
    if not isinstance(item, dict) or not isinstance(item.get("text"), str):
        return None
    kind = item.get("kind")
    return Reason(ReasonKind(kind) if kind in set(ReasonKind) else ReasonKind.OTHER, item["text"])


def replacements(agreed: Iterable[Criterion], given: Sequence[Criterion], where: str) -> list[Replacement]:
    """The criteria of `where` that none of the given ones contains, being of the same figure and as strict."""
    return [
        Replacement(str(criterion), _in_place_of(criterion, given), where)
        for criterion in agreed
        if not any(_contains(other, criterion) for other in given)
    ]


def described(replaced: Sequence[Replacement]) -> str:
    """What a verdict has to say of them in a few words; empty without any."""
    return f"{counted(len(replaced), 'criterion', 'criteria')} replaced" if replaced else ""


def read_replacements(value: Any) -> list[Replacement]:
    """As run.json has them."""
    items = [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
    return [
        Replacement(str(item["criterion"]), _text(item.get("by")), str(item.get("where", "scenario")))
        for item in items
        if item.get("criterion")
    ]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _is_of_same(other: Criterion, criterion: Criterion) -> bool:
    key = (criterion.name, criterion.aggregation, criterion.metric, criterion.operator)
    return key == (other.name, other.aggregation, other.metric, other.operator)


def _contains(other: Criterion, criterion: Criterion) -> bool:
    """Whether whatever fails by `criterion` fails by `other`, too."""
    stricter = (
        other.threshold <= criterion.threshold if other.operator == ">" else other.threshold >= criterion.threshold
    )
    return _is_of_same(other, criterion) and stricter


def _in_place_of(criterion: Criterion, given: Sequence[Criterion]) -> str | None:
    """The given criterion of the same figure; else those of the same metric; else nothing."""
    same = [other for other in given if _is_of_same(other, criterion)]
    near = same or [other for other in given if other.metric == criterion.metric]
    return "; ".join(map(str, near)) or None
