"""Figures of sessions: how many there were, how many at once, how long they took, and what one of them comes to.

They are over the whole run: a session that began in its warm-up is as long as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.figures import populations
from analysis.figures.populations import numbers
from analysis.figures.window import window_of
from analysis.sources.rows import RowTable
from analysis.sources.run import Run
from analysis.statistics import Distribution, distribution
from tokenswarm.metrics.open_sessions import OpenSession, RunEnd
from tokenswarm.record import SessionEnd

MOST_ANSWERS = 12
"""Answers of a session whose time is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFigures:
    """begun = done + failed + unfinished (the run or its process ended first). `duration_s`: of those that are done;
    `path_s`: of the same, their longest chain of requests and pauses, which is the least they could take; `model_s`: of
    the same, s that all their requests took together; `to_answer_s`: from the due instant of a session to the end of
    its n-th answer in time, of all that got there. The last two are means over all begun."""

    begun: int
    done: int
    failed: int
    unfinished: int
    most_at_once: int
    mean_at_once: float | None
    duration_s: Distribution
    path_s: Distribution
    model_s: Distribution
    to_answer_s: Mapping[str, Distribution]
    requests: float
    tokens: float | None


def is_in_session(rows: RowTable) -> populations.Mask:
    """Requests that belong to a session."""
    return populations.is_sent(rows) & (numbers(rows["step"]) >= 1)


def session_figures(run: Run) -> SessionFigures | None:
    """The sessions of a run; `None` where it had none."""
    rows = run.rows
    step, in_session = numbers(rows["step"]), is_in_session(rows)
    first = in_session & (step == 1) & populations.is_first(rows)
    begun = int(first.sum())
    if begun == 0:
        return None
    ended = {end: in_session & (rows["session_end"] == end).to_numpy(bool) for end in SessionEnd}
    counts = {end: int(mask.sum()) for end, mask in ended.items()}
    since_s, answered = numbers(rows["session_s"]), in_session & populations.is_ok(rows)
    session = rows["session"].to_numpy(np.uint64)
    done = session[ended[SessionEnd.DONE]]
    model_s = _of_each(done, session[in_session], np.nan_to_num(numbers(rows["e2e_ms"])[in_session]) / 1000, np.add)
    path_s = _of_each(done, session[in_session], np.nan_to_num(numbers(rows["path_s"])[in_session]), np.maximum)
    places = _places(session[answered], since_s[answered])
    most, mean = _at_once(
        populations.due(rows)[first],
        populations.ended(rows)[ended[SessionEnd.DONE] | ended[SessionEnd.FAILED]],
        float(populations.ended(rows)[in_session].max()),
    )
    tokens = _sum(populations.used_tokens(rows)[in_session])
    return SessionFigures(
        begun=begun,
        done=counts[SessionEnd.DONE],
        failed=counts[SessionEnd.FAILED],
        unfinished=begun - sum(counts.values()),
        most_at_once=most,
        mean_at_once=mean,
        duration_s=distribution("session_s", since_s[ended[SessionEnd.DONE] & populations.is_ok(rows)]),
        path_s=distribution("path_s", path_s),
        model_s=distribution("model_s", model_s),
        to_answer_s={
            str(n): distribution("session_s", since_s[answered][places == n])
            for n in range(1, min(MOST_ANSWERS, int(places.max(initial=0))) + 1)
        },
        requests=float(in_session.sum()) / begun,
        tokens=None if tokens is None else tokens / begun,
    )


def run_end(run: Run) -> RunEnd | None:
    """The end of a run for its sessions; `None` where it did not end in order, or does not say who went on until it."""
    window, until, ended_at = window_of(run), run.setting("sessions_until"), run.number("ended_at")
    if ended_at is None or window is None or not isinstance(until, Mapping):
        return None
    known = {worker: run.number("sessions_until", worker) for worker in until}
    return RunEnd(ended_at, window.end, {worker: at for worker, at in known.items() if at is not None})


def open_sessions(rows: RowTable) -> list[OpenSession]:
    """Sessions that no row ends."""
    session = rows["session"].to_numpy(np.uint64)
    ended = session[rows["session_end"].isin(list(SessionEnd)).to_numpy(bool)]
    places = np.flatnonzero(is_in_session(rows) & ~np.isin(session, ended))
    if not len(places):
        return []
    since_s, scheduled_at = np.nan_to_num(numbers(rows["session_s"])), numbers(rows["scheduled_at"])
    places = places[np.lexsort((since_s[places], session[places]))]
    begins = np.flatnonzero(np.append(True, np.diff(session[places]) != 0))
    due_at = np.where(np.isnan(scheduled_at), populations.due(rows), scheduled_at)[places]
    last = places[np.append(begins[1:], len(places)) - 1]
    columns = np.minimum.reduceat(due_at, begins), since_s[last], populations.started(rows)[last]
    texts = (rows[name].astype(str).to_numpy()[last] for name in ("name", "worker"))
    return [OpenSession(*values) for values in zip(*(column.tolist() for column in columns), *texts, strict=True)]


def _of_each(
    wanted: populations.Values, sessions: populations.Values, values: populations.Values, merge: np.ufunc
) -> populations.Values:
    """Of each wanted session, the values of its rows merged into one."""
    known, of_row = np.unique(sessions, return_inverse=True)
    merged = np.zeros(len(known))
    merge.at(merged, of_row, values)
    return merged[np.searchsorted(known, wanted)]


def _places(sessions: populations.Values, ended_s: populations.Values) -> populations.Values:
    """Of each answer which one of its session it is in time, from 1: what is under way at once need not end in the
    order in which it began."""
    order = np.lexsort((ended_s, sessions))
    begins = np.flatnonzero(np.append(True, np.diff(sessions[order]) != 0)) if len(order) else np.array([], int)
    counts = np.diff(np.append(begins, len(order)))
    places = np.empty(len(order), int)
    places[order] = np.arange(len(order)) - np.repeat(begins, counts) + 1
    return places


def _at_once(begins: populations.Values, ends: populations.Values, until: float) -> tuple[int, float | None]:
    """The most sessions at one time, and their mean from the first to the last instant; unfinished ones last to the
    end."""
    instants = np.concatenate([ends, begins])
    changes = np.concatenate([np.full(len(ends), -1), np.ones(len(begins), int)])
    order = np.argsort(instants, kind="stable")  # of equal instants, the end comes first
    most = int(np.cumsum(changes[order]).max())
    length_s = until - float(begins.min())
    busy_s = float((until - begins).sum() - (until - ends).sum())
    return most, busy_s / length_s if length_s > 0 else None


def _sum(values: populations.Values) -> float | None:
    """`None` where nothing was reported."""
    return None if np.isnan(values).all() else float(np.nansum(values))
