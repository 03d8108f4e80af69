"""The tables of a load: its levels (or the runs of a sweep), wrong answers by how much was in progress, its cost."""

from __future__ import annotations

from analysis.figures.formats import ABSENT, format_figure, money
from analysis.figures.levels import LevelFigures
from analysis.findings.cost import HOURS_PER_MONTH, Cost
from analysis.findings.load_curve import CurveLevel, LoadCurve
from analysis.findings.summary import Summary
from analysis.report.table import BAD, GOOD, Cell, Column, Row, Table, format_estimate, share_cell

TITLE = "By level of load"
FRONT_NOTE = (
    "not beaten: no other level has both more tokens/s in all (or answers) and more for each user (or a lower E2E p95)."
)
SETTLED_NOTE = "The first tenth of each level is left out; a ramp is cut into five levels of its mean loads."
OF_NOTE = (
    "Requests, latencies and not ok are of the requests that were started in a level; RPM and tokens/s of the answers "
    "that ended in it, also of requests that were started before."
)
COLUMNS = (
    "requests", "RPM", "tokens/s", "per user", "TTFT p95 ms", "TBT p95 ms", "E2E p95 ms",
    "not ok",
)  # fmt: skip


def levels(summary: Summary) -> Table | None:
    """The levels of a run's load; `None` where one load was offered."""
    return None if summary.curve is None else curve_table(summary.curve)


def curve_table(curve: LoadCurve) -> Table:
    """A line a level: figures with their 95 % intervals, cost, and whether its criteria held. What broke is said below:
    beside the figures there is no room for it."""
    has_cost = any(level.cost_per_1000 is not None for level in curve.levels)
    has_verdict = any(level.holds is not None for level in curve.levels)
    columns = [Column("load"), *([Column("holds")] if has_verdict else [])]
    columns += [*(Column(title, brief=title in ("requests", "not ok")) for title in COLUMNS)]
    columns += [Column(f"{curve.currency} a 1,000")] if has_cost else []
    rows = [_row(level, curve, has_cost, has_verdict) for level in curve.levels]
    notes = [curve.knee_sentence[:1].upper() + curve.knee_sentence[1:] + "."] if curve.knee_sentence else []
    notes += [SETTLED_NOTE] if curve.settled else []
    notes.append(OF_NOTE)
    notes += [f"{level.label}: {'; '.join(level.breaks)}." for level in curve.levels if level.breaks]
    notes += [f"{curve.currency} a 1,000: what 1,000 answers cost."] if has_cost else []
    notes += [FRONT_NOTE] if any(level.on_front for level in curve.levels) else []
    return Table(TITLE, columns, rows, notes)


def _row(level: CurveLevel, curve: LoadCurve, has_cost: bool, has_verdict: bool) -> Row:
    cost = [Cell(money(level.cost_per_1000, "").strip())] if has_cost else []
    verdict = [_verdict(level.holds)] if has_verdict else []
    knee = curve.knee
    is_knee = knee is not None and knee.high is not None and knee.load == level.figures.span.load
    tags = [*(["knee"] if is_knee else []), *(["not beaten"] if level.on_front else [])]
    label = f"{level.label} ({', '.join(tags)})" if tags else level.label
    return Row(label, [*verdict, *_figures(level.figures), *cost], is_strong=is_knee)


def _figures(found: LevelFigures) -> list[Cell]:
    bad = found.sent + found.dropped - found.ok
    p95 = [format_estimate(each) for each in (found.ttft_p95, found.tbt_p95, found.e2e_p95)]
    return [
        Cell(f"{found.sent:,}"),
        Cell(format_figure(found.rpm)),
        Cell(format_figure(found.tokens_per_s)),
        Cell(format_figure(found.per_user.value)),
        *p95,
        Cell(f"{bad:,}"),
    ]


def _verdict(holds: bool | None) -> Cell:
    if holds is None:
        return Cell(ABSENT)
    return Cell("yes" if holds else "no", state=GOOD if holds else BAD)


def by_load(summary: Summary) -> Table | None:
    """Wrong answers by how many requests were in progress; `None` where none was judged."""
    if not summary.by_load:
        return None
    rows = [
        Row(
            str(level.low) if level.low == level.high else f"{level.low} to {level.high}",
            [Cell(f"{level.judged:,}"), Cell(f"{level.wrong:,}"), share_cell(level.wrong, level.judged)],
        )
        for level in summary.by_load
    ]
    same = summary.same_answer_pct
    note = (
        "" if same is None else f"{format_figure(same, '%')} of the questions asked again got the same words each time."
    )
    columns = [Column("requests in progress"), Column("answers judged"), Column("wrong"), Column("wrong, share")]
    return Table("Right and wrong answers by load", columns, rows, [note] if note else [])


def cost(summary: Summary) -> Table | None:
    """What the run cost and its load would cost; `None` where no answer says what it used."""
    found = summary.cost
    if found is None:
        return None
    figures = (
        ("the run", found.run),
        ("its provisioned units", found.of_units),
        ("an answered request", found.per_request),
        ("a session", found.per_session),
        ("1,000 answers", found.per_1000_answers),
        ("a month (730 h) at this load", found.per_month),
    )
    optional = {"a session", *(["its provisioned units"] if found.units is None else [])}
    shown = [
        Row(title, [Cell(money(value, found.currency))])
        for title, value in figures
        if value is not None or title not in optional
    ]
    return Table("Cost", [Column("of"), Column(found.currency)], shown, _cost_notes(found))


def ways_to_buy(summary: Summary) -> Table | None:
    """What a month of the measured load costs in three ways; `None` where throughput or prices are not known."""
    found = summary.cost.ways if summary.cost is not None else None
    if found is None:
        return None
    spilled = f"{found.spill_units} PTUs; {format_figure(found.spilled_pct, '%')} of the cost of tokens passed on"
    ways = (
        ("pay-as-you-go", found.pay_as_you_go, ""),
        ("provisioned", found.provisioned, f"{found.units} PTUs carry the fullest minute"),
        ("provisioned with spillover", found.with_spillover, spilled),
    )
    rows = [
        Row(name, [Cell(money(value, found.currency)), Cell(note)], "", name == found.cheapest)
        for name, value, note in ways
    ]
    hours = found.provisioned_from_h
    never = f"; a month has {HOURS_PER_MONTH}" if hours > HOURS_PER_MONTH else ""
    note = f"Provisioned is cheaper than pay-as-you-go from {hours:,.0f} h a month at this load on{never}."
    columns = [Column("730 h at this load"), Column(found.currency), Column("how", words=True)]
    return Table("Ways to buy it", columns, rows, [note])


def _cost_notes(found: Cost) -> list[str]:
    notes = [f"Prices: {found.source}{f', as of {found.as_of}' if found.as_of else ''}; used tokens only."]
    if found.missing:
        notes.append(
            f"–: no price is known of {', '.join(found.missing)} (price-table, price-prompt, price-completion, "
            "price-ptu-hour)."
        )
    if found.units is not None:
        notes.append(
            f"{format_figure(found.units)} provisioned units are paid for by the hour, the whole run long; tokens are "
            "billed of requests that were passed on alone."
        )
    if found.says_provisioned:
        notes.append(
            "Answers came from provisioned units, which are paid for by the hour: give their number (ptu); these are "
            "the prices of pay-as-you-go."
        )
    if found.no_ways and not found.missing:
        notes.append(f"No comparison with provisioned units: {found.no_ways}.")
    if found.of_answers < found.answers:
        notes.append(f"Of {found.of_answers:,} of {found.answers:,} answers: the others do not say what they used.")
    return notes
