"""What makes the figures of a run doubtful, in plain words and with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from analysis.figures.metrics import SHORT_ANSWER_PCT, says_more
from analysis.findings.summary import Summary
from analysis.sources.run import MINUTE_S
from tokenswarm.metrics.answers import in_words
from tokenswarm.userinput import counted

FEW_ANSWERS = 100
CACHE_TOLERANCE_PCT = 5.0
"""Shared tokens are partly estimates."""
WIDE_INTERVAL = 0.2
LONG_PAUSE_MINUTES = 10
"""Whole clock minutes in a row without a request, after which a file may well hold several runs."""
PAUSE_SHARE = 0.2
UNFINISHED_PCT = 5.0
"""Sessions that the end of a run cut, from which on p95 of their durations is no longer what it would have been."""


def warnings_of(summary: Summary) -> list[str]:
    """One line for each doubt, gravest first."""
    return [
        *_replaced(summary),
        *_target(summary),
        *_window(summary),
        *_load(summary),
        *_sessions(summary),
        *_answers(summary),
        *_precision(summary),
    ]


def _target(summary: Summary) -> Iterator[str]:
    options = summary.settings.get("options")
    if isinstance(options, Mapping) and options.get("tls-verify") == "no":
        yield "TLS certificates were not checked (tls-verify = no): nobody knows that this was the right host."


def _replaced(summary: Summary) -> Iterator[str]:
    for replacement in summary.judgement.replaced:
        yield f"The verdict does not tell what was agreed: {replacement}."


def _window(summary: Summary) -> Iterator[str]:
    window = summary.window
    if window is not None and window.length_s <= 0:
        yield "Warm-up and cool-down leave nothing of the run: shorten them, or run longer."
    yield from _pauses(summary)
    if summary.skipped_lines:
        were = ("line could not be read and is", "lines could not be read and are")
        yield f"{counted(summary.skipped_lines, *were)} missing in every figure."


def _pauses(summary: Summary) -> Iterator[str]:
    """Long pauses make every rate too low: a file that was appended to holds several runs."""
    if not len(summary.minutes) or summary.minutes["started"].isna().all():
        return
    busy = summary.minutes.loc[summary.minutes["started"].fillna(0) > 0, "minute"].to_numpy()
    gaps = np.diff(np.sort(busy)) / MINUTE_S - 1
    longest, idle = gaps.max(initial=0), gaps[gaps >= LONG_PAUSE_MINUTES].sum()
    if idle > PAUSE_SHARE * len(summary.minutes):
        length = f"{longest / 60:.0f} h" if longest >= 120 else f"{longest:.0f} min"
        yield (
            f"No request was started for {length} in between: several runs appended to one file? Rates are over the "
            "whole time, pauses included."
        )


def _load(summary: Summary) -> Iterator[str]:
    values = summary.overall.values
    for warning in summary.self_check("beyond_self_check"):
        yield f"A worker carried too much: {warning}."
    if summary.generator.get("saturated") is True:
        yield "The load generator was saturated: use more processes or machines, or less load."
    elif summary.generator.get("windows_late"):
        lag = summary.generator.get("loop_lag_max_ms")
        late = f" (by up to {lag:.0f} ms)" if isinstance(lag, int | float) else ""
        yield (
            f"The generator's event loop was late in {summary.generator['windows_late']} of "
            f"{summary.generator.get('windows', '?')} windows{late}: latencies of those moments contain it."
        )
    yield from _traffic(summary)
    if resent := summary.accounting.resent:
        met = "met a kept connection that the server had just closed, and"
        sent_again = counted(resent, f"request {met} was", f"requests {met} were")
        yield (
            f"{sent_again} sent again on a new one: no failures of the service (see connect_ms and resent in the rows)."
        )
    if dropped := values.get("dropped"):
        found = ("arrival found no free user and was", "arrivals found no free user and were")
        yield (
            f"{counted(round(dropped), *found)} not sent: raise users (or max-lag), or the "
            "service is slower than the rate needs."
        )
    lags = summary.overall.distribution("lag_ms")
    due, sent = (
        summary.overall.distribution("e2e_from_due_ms").avg.value,
        summary.overall.distribution("e2e_ms").avg.value,
    )
    if lags.n and sent is not None and says_more(due, sent):
        yield f"Requests started late ({lags.avg.value:.0f} ms on average): judge by the figures from the due instant."


def _traffic(summary: Summary) -> Iterator[str]:
    """What of recorded traffic was left out."""
    traffic = summary.settings.get("traffic")
    recorded = traffic.get("requests") if isinstance(traffic, Mapping) else None
    if isinstance(recorded, Mapping) and recorded.get("skipped"):
        lines = counted(recorded["skipped"], "line was left out", "lines were left out")
        yield f"{recorded.get('file')}: {lines}, being no request (skip-bad)."


def _sessions(summary: Summary) -> Iterator[str]:
    found = summary.sessions
    if found is not None and found.unfinished and 100.0 * found.unfinished >= UNFINISHED_PCT * found.begun:
        yield (
            f"{found.unfinished} of {counted(found.begun, 'session')} had not ended when the run did: how long "
            "sessions took is of the others, among which long ones are missing. Run longer."
        )


def _answers(summary: Summary) -> Iterator[str]:
    values = summary.overall.values
    length = values.get("answer_length_pct")
    if length is not None and length < SHORT_ANSWER_PCT:
        yield (
            f"Answers used {length:.0f} % of max_tokens: a run with full answers would show higher E2E and lower RPM."
        )
    usage = values.get("usage_pct")
    if usage is not None and 0.0 < usage < 100.0:  # without any there is no TPM that could be too low
        yield f"The service reported tokens for {usage:.0f} % of the answers only: TPM is too low by the rest."
    yield from doubtful(summary)
    cached, most = values.get("cached_pct"), values.get("cacheable_pct")
    if cached is not None and cached >= 5.0:
        yield f"{cached:.0f} % of the prompt tokens came from the prompt cache: TTFT is that of a warm cache."
    if cached is not None and most is not None and cached > most + CACHE_TOLERANCE_PCT:
        yield (
            f"The prompts of this run allowed {most:.0f} % at most: the cache had prompts from before it, as with the "
            "recorded requests, or the prompt-salt and seed, of an earlier run."
        )


def _other_model(summary: Summary) -> Iterator[str]:
    """A name that is asked for at an OpenAI-compatible server and answered by another; on Azure a deployment has a name
    of its own."""
    target = summary.settings.get("target")
    asked = target.get("deployment") if isinstance(target, Mapping) and target.get("api") == "openai" else None
    if not isinstance(asked, str) or not asked:
        return
    for model, count in summary.models.items():
        if asked.lower() not in model.lower() and model.lower() not in asked.lower():
            yield f"{counted(count, 'answer is', 'answers are')} of {model}, asked was {asked}."


def doubtful(summary: Summary) -> Iterator[str]:
    """What the rows say of answers that count all the same, and of how bodies went on after answers had ended."""
    yield from _other_model(summary)
    yield from in_words(summary.answer_doubts)
    if summary.end_notes:
        notes = ", ".join(f"{count} x {note}" for note, count in summary.end_notes.items())
        yield (
            f"After {counted(sum(summary.end_notes.values()), 'answer')} the connection was not in good order "
            f"({notes}): the answers count, the connections were not used again."
        )


def _precision(summary: Summary) -> Iterator[str]:
    e2e = summary.overall.distribution("e2e_ms")
    if 0 < e2e.n < FEW_ANSWERS:
        answers = counted(e2e.n, "answer")
        yield f"Only {answers}: no p99, and p95 moves by itself from run to run. Run longer to compare builds."
        return
    estimate = e2e.percentile("p95")
    if estimate.value and estimate.low is not None and estimate.high is not None:
        width = (estimate.high - estimate.low) / estimate.value
        if width > WIDE_INTERVAL:
            yield f"p95 of E2E is known to {100 * width / 2:.0f} % only (95 % interval): run longer for a finer answer."
