"""Which rows are counted where, and the columns that figures are made from: pure functions of the table of requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.sources.rows import RowTable
from analysis.statistics import Counts
from tokenswarm.record import NOT_FAILED, RIGHT, Doubt, Outcome, TokenSource

Values = npt.NDArray[Any]


Mask = npt.NDArray[np.bool_]


_BLOCK = 1 << 20


def numbers(column: pd.Series[Any]) -> Values:
    """A numeric column as floats, absent values NaN; no copy when it is held so."""
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    return column.to_numpy(np.float64, na_value=np.nan)


def outcome_is(rows: RowTable, *outcomes: Outcome) -> Mask:
    """Rows that ended in one of `outcomes`."""
    column = rows["outcome"].cat
    known = list(column.categories)
    chosen = np.zeros(len(known) + 1, bool)
    chosen[[known.index(str(outcome)) for outcome in outcomes]] = True
    return np.asarray(chosen[column.codes.to_numpy()])


def is_sent(rows: RowTable) -> Mask:
    """Rows that are HTTP requests: all but dropped arrivals."""
    return ~outcome_is(rows, Outcome.DROPPED)


def is_ok(rows: RowTable) -> Mask:
    """Rows answered completely."""
    return outcome_is(rows, Outcome.OK)


def is_whole(rows: RowTable) -> Mask:
    """Of these, rows whose answers came whole though a stream was asked for."""
    column = rows["doubts"].cat
    chosen = np.array([*(Doubt.WHOLE in str(each) for each in column.categories), False])
    return np.asarray(is_ok(rows) & chosen[column.codes.to_numpy()])


def is_failed(rows: RowTable) -> Mask:
    """Rows that count as failed: not ok, throttled, cancelled, aborted or dropped."""
    return ~outcome_is(rows, *NOT_FAILED)


def is_judged(rows: RowTable) -> Mask:
    """Rows whose answers were compared with what the dataset expects."""
    return rows["answer_check"].notna().to_numpy(bool)


def is_wrong(rows: RowTable) -> Mask:
    """Of these, rows whose answers were not as expected."""
    return is_judged(rows) & (rows["answer_check"] != RIGHT).to_numpy(bool)


def started(rows: RowTable) -> Values:
    """Unix s at which each request was started; of a dropped arrival, when it was due. Not to be written to."""
    at = rows["started_at"].to_numpy()
    elsewhere = np.isnan(at) | outcome_is(rows, Outcome.DROPPED)
    if not elsewhere.any():
        return at
    scheduled = rows["scheduled_at"].to_numpy()
    elsewhere &= ~np.isnan(scheduled)
    placed = at.copy()
    placed[elsewhere] = scheduled[elsewhere]
    return placed


def ended(rows: RowTable) -> Values:
    """Unix s at which each request ended; where it is unknown, its start."""
    end = rows["e2e_ms"].to_numpy().astype(np.float64)
    end[np.isnan(end)] = 0.0
    end /= 1000.0
    end += started(rows)
    return end


def due(rows: RowTable) -> Values:
    """Unix s at which each call should have started: the start less the lag; of a dropped arrival, its schedule."""
    late = rows["lag_ms"].to_numpy().astype(np.float64)
    late[np.isnan(late) | outcome_is(rows, Outcome.DROPPED)] = 0.0
    late /= -1000.0
    late += started(rows)
    return late


def is_offered(rows: RowTable) -> Mask:
    """Arrivals: first attempts, of a session those of its first step, and what was dropped. Retries offer nothing new,
    nor do later steps: when they come is the target's doing, too."""
    return (is_first(rows) & ~(numbers(rows["step"]) > 1)) | outcome_is(rows, Outcome.DROPPED)


def is_first(rows: RowTable) -> Mask:
    """First attempts; a source that knows no attempts has no others."""
    return np.asarray(rows["attempt"].to_numpy(np.int16, na_value=1) == 1)


def used_tokens(rows: RowTable) -> Values:
    """Prompt plus completion tokens of sent requests as reported in usage; NaN where they were not."""
    return _add(usage_tokens(rows, "prompt_tokens"), usage_tokens(rows, "completion_tokens"))


def usage_tokens(rows: RowTable, column: str) -> Values:
    """A token column where the service reported it itself; NaN elsewhere."""
    tokens = numbers(rows[column])
    tokens[~((rows["token_source"] == str(TokenSource.USAGE)).to_numpy(bool) & is_sent(rows))] = np.nan
    return tokens


def cacheable_tokens(rows: pd.DataFrame, common_tokens: float | None) -> Values:
    """Prompt tokens of each row that a prompt cache can have had, by what was really sent; NaN where it is not known.
    `common_tokens`: what all made-up prompts begin with; `None` for recorded ones, whose `shared_tokens` are those that
    earlier prompts had.

    An upper bound. A prompt's `shared_tokens` count in full, except where they were sent for the first time: of the
    first prompt about a document the common beginning counts alone, and of the run's first prompt nothing. A further
    attempt can have its whole prompt from the cache. Caches know less: they begin at some length, go by blocks, forget,
    and have not yet what is under way.
    """
    shared = np.array(numbers(rows["shared_tokens"]), np.float64)
    if common_tokens is not None:
        is_opening = ~np.isnan(shared) & is_sent(rows) & ~(numbers(rows["turn"]) > 1)
        places = np.flatnonzero(is_opening)
        places = places[np.argsort(started(rows)[places], kind="stable")]
        first = places[_first_of_each(rows, places)]
        shared[first] = np.minimum(shared[first], common_tokens)
        shared[places[:1]] = 0.0
    shared[~is_first(rows) & ~np.isnan(shared)] = np.inf
    return np.fmin(shared, numbers(rows["prompt_tokens"]))


def _first_of_each(rows: pd.DataFrame, places: Values) -> Values:
    """Which of the rows at `places`, in the order of time, are the first about their document."""
    if "question_id" not in rows:
        return np.array([], int)  # of big files it is left out; the bound is a little higher then
    codes = rows["question_id"].cat.codes.to_numpy()[places]
    documents, first = np.unique(codes, return_index=True)
    return np.asarray(first[documents >= 0])


def estimated_tokens(rows: RowTable) -> Values:
    """What the limiter counts at admission: prompt plus max_tokens of every sent request; NaN when unknown."""
    prompt = numbers(rows["context_tokens"])
    unknown = np.isnan(prompt)
    if unknown.any():
        prompt[unknown] = numbers(rows["prompt_tokens"])[unknown]
    estimated = _add(prompt, numbers(rows["max_tokens"]))
    estimated[~is_sent(rows)] = np.nan
    return estimated


def _add(first: Values, second: Values) -> Values:
    """`first` plus `second`, in place: an absent part counts 0; absent only when both are."""
    one, other = np.isnan(first), np.isnan(second)
    first[one] = 0.0
    second[other] = 0.0
    first += second
    first[one & other] = np.nan
    return first


def counts(rows: RowTable) -> Counts:
    """Requests by how they ended."""
    by_outcome = rows["outcome"].value_counts()
    outcomes = {str(name): int(n) for name, n in by_outcome.items() if n}
    dropped = outcomes.get(Outcome.DROPPED, 0)
    return Counts(
        sent=len(rows) - dropped,
        ok=outcomes.get(Outcome.OK, 0),
        failed=sum(n for outcome, n in outcomes.items() if outcome not in NOT_FAILED),
        throttled=outcomes.get(Outcome.THROTTLED, 0),
        cancelled=outcomes.get(Outcome.CANCELLED, 0),
        aborted=outcomes.get(Outcome.ABORTED, 0),
        dropped=dropped,
        outcomes=dict(sorted(outcomes.items())),
    )


def sliding_max(instants: Values, amounts: Values, seconds: float = 60.0) -> float | None:
    """Greatest sum of `amounts` in any half-open span (t - seconds, t]; `None` without amounts. Exact."""
    known = ~np.isnan(amounts)
    if not known.any():
        return None
    at, summed = in_time(chosen(instants, known), chosen(amounts, known))
    np.cumsum(summed, out=summed)
    greatest = -np.inf
    for begin in range(0, len(at), _BLOCK):  # whole arrays of bounds would double the memory
        block = slice(begin, begin + _BLOCK)
        before = np.searchsorted(at, at[block] - seconds, side="right")
        outside = np.where(before > 0, summed[before - 1], 0.0)
        greatest = max(greatest, float((summed[block] - outside).max()))
    return greatest


def in_time(instants: Values, amounts: Values) -> tuple[Values, Values]:
    """Both, in the order of the instants, which may be the array given; the amounts are a copy in double precision."""
    if (instants[1:] >= instants[:-1]).all():
        return instants, amounts.astype(np.float64)
    order = np.argsort(instants, kind="stable")
    return instants[order], amounts[order].astype(np.float64, copy=False)


def chosen(values: Values, mask: Mask) -> Values:
    """The values where `mask` holds, without a copy when that is everywhere. Not to be written to."""
    return values if mask.all() else values[mask]


def call_latencies(rows: RowTable) -> tuple[int, int, Values]:
    """Calls, calls answered, and per answered call the ms from the due instant of its first attempt to its end."""
    sent = is_sent(rows)
    calls = rows["call"].to_numpy()[sent]
    if not len(calls):
        return 0, 0, np.empty(0)
    known, place = np.unique(calls, return_inverse=True)
    ok = is_ok(rows)[sent]
    first_due = _least(place, due(rows)[sent], len(known))
    end = _least(place[ok], ended(rows)[sent][ok], len(known))
    answered = np.isfinite(end)
    return len(known), int(answered.sum()), (end[answered] - first_due[answered]) * 1000.0


def _least(place: Values, values: Values, n: int) -> Values:
    """Smallest value per place; infinite for a place without one."""
    least = np.full(n, np.inf)
    np.minimum.at(least, place, values)
    return least
