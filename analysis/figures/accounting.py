"""The accounting identity: every request that was planned is a row, or is counted as dropped or lost.

    planned = sent for the first time + dropped      (where sessions arrive: sessions planned = begun + dropped)
    sent = rows = ok + throttled + failed + cancelled + aborted (+ lost)

The left sides are what the generator counted itself (run.json), the right sides what is found in the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.figures import populations
from analysis.sources.run import Run
from tokenswarm.userinput import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountingCheck:
    """Counts over the whole run, window or not. `planned` and `counted` (sent) are the generator's own, `None` when
    it left none; `resent` are requests that were lost with a kept connection and sent again; `problems` has one
    line for each way in which the identity does not hold."""

    planned: int | None = None
    counted: int | None = None
    sent: int = 0
    first_attempts: int = 0
    ok: int = 0
    throttled: int = 0
    failed: int = 0
    cancelled: int = 0
    aborted: int = 0
    dropped: int = 0
    lost: int = 0
    resent: int = 0
    lost_spans: Sequence[Mapping[str, Any]] = field(default_factory=list)
    skipped_lines: int = 0
    are_sessions: bool = False
    """Whether sessions were planned, each of several requests."""
    problems: Sequence[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing is missing and nothing is counted twice."""
        return not self.problems

    def lines(self) -> list[str]:
        """The identity in numbers, for a report."""
        parts = f"{self.ok} ok + {self.throttled} throttled + {self.failed} failed + {self.cancelled} cancelled"
        parts += f" + {self.aborted} aborted" if self.aborted else ""
        lost = f" + {self.lost} lost" if self.lost else ""
        lines = [f"{self.sent + self.lost} sent = {parts}{lost}"]
        if self.planned is not None:
            what, came = ("sessions planned", "begun") if self.are_sessions else ("planned", "sent (first attempts)")
            lines.insert(0, f"{self.planned} {what} = {self.first_attempts} {came} + {self.dropped} dropped{lost}")
        return lines


def account(run: Run) -> AccountingCheck:
    """Counts of `run` and whether they add up."""
    found = populations.counts(run.rows) if run.given is None else run.given.overall.counts
    first = int((populations.is_offered(run.rows) & populations.is_sent(run.rows)).sum())
    lost_spans = [span for span in run.setting("accounting", "lost") or [] if isinstance(span, Mapping)]
    made = AccountingCheck(
        planned=_whole(run.number("accounting", "planned")),
        counted=_whole(run.number("accounting", "sent")),
        sent=found.sent,
        first_attempts=first,
        ok=found.ok,
        throttled=found.throttled or 0,
        failed=found.failed,
        cancelled=found.cancelled or 0,
        aborted=found.aborted or 0,
        dropped=found.dropped or 0,
        lost=sum(_rows_of(span) for span in lost_spans),
        resent=_whole(run.number("accounting", "resent")) or 0,
        lost_spans=lost_spans,
        skipped_lines=run.skipped_lines,
        are_sessions=run.setting("traffic", "arrivals_of") == "sessions",
    )
    return _with_problems(made, [] if run.state in ("crashed", "recovered") else list(_other_counts(run, made)))


def _other_counts(run: Run, made: AccountingCheck) -> Iterator[str]:
    """Outcomes of which the rows have more or fewer than the generator counted, though there are as many in all."""
    for name in ("ok", "throttled", "failed", "cancelled", "aborted"):
        noted, found = run.number("accounting", name), getattr(made, name)
        if noted is not None and noted != found and made.counted == made.sent:
            yield f"the generator counted {int(noted)} {name}, found are {found}"


def _with_problems(made: AccountingCheck, problems: list[str]) -> AccountingCheck:
    if made.counted is not None and made.counted not in (made.sent, made.sent + made.lost):
        problems.append(
            f"the generator counted {counted(made.counted, 'request')} sent, found are {counted(made.sent, 'row')} "
            f"and {made.lost} lost"
        )
    if made.planned is not None and made.planned != made.first_attempts + made.dropped + made.lost:
        problems.append(
            f"{counted(made.planned, 'arrival was', 'arrivals were')} planned, found are {made.first_attempts} sent, "
            f"{made.dropped} dropped and {made.lost} lost"
        )
    problems += [_lost_text(span) for span in made.lost_spans]
    if made.skipped_lines:
        problems.append(f"{counted(made.skipped_lines, 'line')} could not be read")
    return replace(made, problems=problems)


def _lost_text(span: Mapping[str, Any]) -> str:
    reason = f": {span['reason']}" if span.get("reason") else ""
    between = f"between {span.get('from', '?')} and {span.get('to', '?')} (Unix s)"
    of = f"of worker {span.get('worker', 'unknown')}"
    least = "at least " if span.get("at_least") else ""
    return f"{least}{counted(_rows_of(span), f'row {of} was', f'rows {of} were')} lost {between}{reason}"


def _rows_of(span: Mapping[str, Any]) -> int:
    rows = span.get("rows")
    return rows if isinstance(rows, int) else 0


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
