"""The one table of metrics, and the functions that compute them from the table of requests.

Reports, exports and documentation take names, units and definitions from `METRICS`. Functions are pure: they take a
table of requests (see `analysis.sources.rows`) and numbers, and return numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.figures.populations import Mask, Values, is_ok, is_sent, numbers, outcome_is
from analysis.sources.rows import RowTable
from tokenswarm.metrics.goodput import Goodput
from tokenswarm.record import Outcome, SessionEnd

LIKE = {
    "ttft_visible_ms": "ttft_ms",
    "ttft_from_due_ms": "ttft_ms",
    "e2e_from_due_ms": "e2e_ms",
    "response_time_ms": "e2e_ms",
}
"""Metrics that are shown only where they say something else than the one they are like (both are in the JSON)."""
DIFFERENT_FROM = 0.01


def says_more(mean: float | None, plain_mean: float | None) -> bool:
    """Whether the mean of a metric differs by more than 1 % from that of the metric it is like."""
    if mean is None or plain_mean is None:
        return mean is not None
    return abs(mean - plain_mean) > DIFFERENT_FROM * abs(plain_mean)


SHORT_ANSWER_PCT = 90.0
"""Answers that use less of max_tokens on average make latency and RPM look better than the load that was asked for."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `better` says which direction is good, `None` when neither is.

    `kind`: count, total (tokens), rate (per minute), share (percent) or distribution (a value per request).
    """

    name: str
    title: str
    unit: str
    better: str | None
    kind: str
    definition: str
    formula: str


# fmt: off
_TABLE = (
    ("requests", "Requests", "", None, "count",
     "HTTP requests sent, attempts of retries included",
     "rows with an outcome other than dropped, started in the window"),
    ("ok", "OK", "", "higher", "count",
     "Requests answered completely", "rows with outcome ok"),
    ("failed", "Failed", "", "lower", "count",
     "Requests that failed; throttled, cancelled and aborted ones are told apart",
     "rows with any outcome but ok, throttled, cancelled, aborted, dropped"),
    ("throttled", "Throttled (429)", "", "lower", "count",
     "Requests the service refused with 429", "rows with outcome throttled"),
    ("cancelled", "Cancelled", "", None, "count",
     "Requests given up by the generator when it stopped", "rows with outcome cancelled"),
    ("aborted", "Aborted", "", None, "count",
     "Requests that a virtual user left before their answer had ended (option abort): neither answered nor failed",
     "rows with outcome aborted"),
    ("dropped", "Dropped", "", "lower", "count",
     "Arrivals that were due and found no free user in time: never sent", "rows with outcome dropped"),
    ("error_pct", "Errors", "%", "lower", "share",
     "Failed requests; a 429 is none", "failed / (sent - cancelled - aborted) x 100"),
    ("throttled_pct", "Throttled", "%", "lower", "share",
     "Requests refused with 429", "throttled / (sent - cancelled - aborted) x 100"),
    ("dropped_pct", "Dropped", "%", "lower", "share",
     "Arrivals that were not sent", "dropped / offered x 100"),
    ("goodput_pct", "Goodput", "%", "higher", "share",
     "Requests that met every limit of the option goodput", "met / (sent + dropped - cancelled - aborted) x 100"),
    ("wrong_pct", "Wrong answers", "%", "lower", "share",
     "Answers that missed what the dataset expects", "answer_check other than right / answers with answer_check x 100"),
    ("rpm_offered", "RPM offered", "1/min", None, "rate",
     "Arrivals that were due, retries not counted", "(first attempts by their due instant + dropped) / window length"),
    ("rpm_started", "RPM started", "1/min", None, "rate",
     "Requests sent, retries included", "sent by started_at / window length"),
    ("rpm", "RPM completed", "1/min", "higher", "rate",
     "Requests answered completely", "ok by started_at + e2e_ms / window length"),
    ("rpm_max_minute", "RPM, best clock minute", "1/min", "higher", "rate",
     "Most requests completed in one full clock minute", "max over full UTC minutes in the window"),
    ("rpm_max_60s", "RPM, best 60 s", "1/min", "higher", "rate",
     "Most requests completed in any 60 s", "max over t of ok ended in (t - 60 s, t]"),
    ("goodput_rpm", "Goodput rate", "1/min", "higher", "rate",
     "Requests per minute that met every limit of the option goodput", "met by started_at / window length"),
    ("tpm_prompt", "TPM prompt", "tokens/min", "higher", "rate",
     "Prompt tokens per minute, as the service reports them in usage",
     "sum of prompt_tokens by the end of the answer / window length"),
    ("tpm_generated", "TPM generated", "tokens/min", "higher", "rate",
     "Completion tokens per minute, reasoning included, as reported in usage",
     "sum of completion_tokens by the end of the answer / window length"),
    ("tpm", "TPM total", "tokens/min", "higher", "rate",
     "Used tokens per minute", "sum of prompt + completion tokens by the end of the answer / window length"),
    ("tpm_max_minute", "TPM, best clock minute", "tokens/min", "higher", "rate",
     "Most tokens used in one full clock minute", "max over full UTC minutes in the window"),
    ("tpm_max_60s", "TPM, best 60 s", "tokens/min", "higher", "rate",
     "Most tokens used in any 60 s", "max over t of tokens of answers that ended in (t - 60 s, t]"),
    ("tpm_estimated", "TPM estimated", "tokens/min", None, "rate",
     "Tokens per minute as the limiter counts them at admission, refused requests included",
     "sum of (prompt + max_tokens) of every sent request by started_at / window length"),
    ("tpm_estimated_max_minute", "TPM estimated, top clock minute", "tokens/min", None, "rate",
     "Most estimated tokens in one full clock minute", "max over full UTC minutes in the window"),
    ("tpm_estimated_max_60s", "TPM estimated, top 60 s", "tokens/min", None, "rate",
     "Most estimated tokens in any 60 s", "max over t of estimates started in (t - 60 s, t]"),
    ("tokens_prompt", "Prompt tokens", "tokens", None, "total",
     "Prompt tokens of the window", "sum of prompt_tokens with token_source usage"),
    ("tokens_generated", "Generated tokens", "tokens", None, "total",
     "Completion tokens of the window", "sum of completion_tokens with token_source usage"),
    ("tokens", "Tokens", "tokens", None, "total",
     "Prompt and completion tokens of the window", "tokens_prompt + tokens_generated"),
    ("usage_pct", "Tokens from usage", "%", "higher", "share",
     "Answered requests whose token counts the service reported itself", "ok with token_source usage / ok x 100"),
    ("cached_pct", "Prompt cache", "%", None, "share",
     "Prompt tokens served from the prompt cache", "sum of cached_tokens / sum of prompt_tokens x 100"),
    ("cacheable_pct", "Prompt cache, at most", "%", None, "share",
     "Prompt tokens that could have come from the cache: those that an earlier prompt of the run began with, too",
     "sum of shared_tokens, less those sent for the first time / sum of prompt_tokens x 100, of made-up and recorded "
     "prompts whose answers report cached_tokens"),
    ("reasoning_pct", "Reasoning", "%", None, "share",
     "Completion tokens spent on reasoning", "sum of reasoning_tokens / sum of completion_tokens x 100"),
    ("answer_length_pct", "Answer length", "%", None, "share",
     "How much of max_tokens the answers used: much below 100 % the run is lighter than was asked for",
     "sum of completion_tokens / sum of max_tokens x 100, ok requests with both"),
    ("calls", "Calls", "", None, "count",
     "Calls a user made: all attempts of one are one call", "distinct call_id of sent requests"),
    ("calls_ok_pct", "Calls answered", "%", "higher", "share",
     "Calls of which some attempt was answered", "calls with an ok attempt / calls x 100"),
    ("attempts_per_call", "Attempts per call", "", "lower", "rate",
     "Requests sent for one call", "sent / calls"),
    ("ttft_ms", "TTFT", "ms", "lower", "distribution",
     "Time to first token: start to the first chunk that carries one", "ttft_ms of ok requests"),
    ("ttft_visible_ms", "TTFT visible", "ms", "lower", "distribution",
     "Start to the first token that is not reasoning", "ttft_visible_ms of ok requests"),
    ("first_progress_ms", "First progress", "ms", "lower", "distribution",
     "Start to the first event with which an application shows progress, such as a search, before its answer",
     "first_progress_ms of ok requests"),
    ("tbt_ms", "TBT", "ms", "lower", "distribution",
     "Mean time between tokens of one request",
     "tbt_ms of ok requests: (last - first) / (chunks - 1) x chunks / tokens"),
    ("e2e_ms", "E2E", "ms", "lower", "distribution",
     "Start to the last byte of the answer", "e2e_ms of ok requests"),
    ("ttft_from_due_ms", "TTFT from due", "ms", "lower", "distribution",
     "Intended start to the first token", "ttft_ms + lag_ms of ok requests"),
    ("e2e_from_due_ms", "E2E from due", "ms", "lower", "distribution",
     "Intended start to the last byte of the answer", "e2e_ms + lag_ms of ok requests"),
    ("response_time_ms", "Response time", "ms", "lower", "distribution",
     "What Locust, JMeter and Azure Load Testing call response time: failures and 429s included",
     "e2e_ms of every sent request but aborted ones"),
    ("latency", "First byte", "ms", "lower", "distribution",
     "Start to the first byte of the response, as JMeter and Azure Load Testing define it",
     "first_byte_ms of every sent request"),
    ("gap_max_ms", "Longest gap", "ms", "lower", "distribution",
     "Longest pause between two chunks of one answer", "gap_max_ms of ok requests"),
    ("tokens_per_s_per_user", "Tokens/s per user", "tokens/s", "higher", "distribution",
     "Speed at which one user sees an answer grow", "1000 / tbt_ms of ok requests"),
    ("prompt_tokens", "Prompt length", "tokens", None, "distribution",
     "Prompt tokens of one request", "prompt_tokens of ok requests"),
    ("completion_tokens", "Answer length", "tokens", None, "distribution",
     "Completion tokens of one request", "completion_tokens of ok requests"),
    ("utilization_pct", "Utilization", "%", None, "distribution",
     "Provisioned utilization that the service reported with a response", "utilization_pct of every sent request"),
    ("lag_ms", "Lag", "ms", "lower", "distribution",
     "How late the generator started a request after it was due (retries: after the first attempt)",
     "lag_ms of every sent request that has one"),
    ("read_lag_ms", "Read lag", "ms", "lower", "distribution",
     "Greatest age of received data when the generator read it: its own lateness",
     "read_lag_ms of every sent request"),
    ("session_s", "Session", "s", "lower", "distribution",
     "A whole session: from the instant at which it was due to the end of its last answer, pauses included",
     "session_s of ok requests whose session_end is done"),
    ("call_e2e_ms", "Call E2E", "ms", "lower", "distribution",
     "What a user waits in all: from the due instant of the first attempt to the end of the answer, waits "
     "before retries included",
     "end of the ok attempt - due instant of attempt 1, per answered call"),
    ("first_attempt_e2e_ms", "First-attempt E2E", "ms", "lower", "distribution",
     "E2E of requests that were answered at once", "e2e_ms of ok requests with attempt 1"),
)
# fmt: on

METRICS: dict[str, Metric] = {row[0]: Metric(*row) for row in _TABLE}

DISTRIBUTIONS = tuple(name for name, metric in METRICS.items() if metric.kind == "distribution")
PER_REQUEST = tuple(name for name in DISTRIBUTIONS if name not in ("call_e2e_ms", "first_attempt_e2e_ms"))
LOW_IS_BAD = frozenset(name for name in DISTRIBUTIONS if METRICS[name].better == "higher")
_OF_ALL_SENT = frozenset({"response_time_ms", "latency", "utilization_pct", "lag_ms", "read_lag_ms"})
_COLUMN = {
    "response_time_ms": "e2e_ms",
    "latency": "first_byte_ms",
    "tokens_per_s_per_user": "tbt_ms",
    "ttft_from_due_ms": "ttft_ms",
    "e2e_from_due_ms": "e2e_ms",
}


def markdown_table() -> str:
    """The metrics table for the documentation."""
    head = "| metric | unit | better | definition | formula |\n|---|---|---|---|---|\n"
    return head + "".join(
        f"| `{metric.name}` | {metric.unit} | {metric.better or ''} | {metric.definition} | {metric.formula} |\n"
        for metric in METRICS.values()
    )


def values_of(rows: RowTable, metric: str) -> Values:
    """Values of a distribution metric over its population in `rows`; NaN for requests without one."""
    population = is_sent(rows) if metric in _OF_ALL_SENT else is_ok(rows)
    if metric == "response_time_ms":
        population &= ~outcome_is(rows, Outcome.ABORTED)
    if metric == "session_s":
        population &= (rows["session_end"] == SessionEnd.DONE).to_numpy(bool)
    values = numbers(rows[_COLUMN.get(metric, metric)])[population]
    if metric.endswith("_from_due_ms"):
        lag = rows["lag_ms"].to_numpy()[population]
        return values + np.where(np.isnan(lag), 0.0, lag)
    if metric == "tokens_per_s_per_user":
        return 1000.0 / values[values > 0]
    return values


def is_good(rows: RowTable, goodput: Goodput) -> Mask:
    """Requests that met every limit, as `Goodput.met` judges one record."""
    good = is_ok(rows)
    for metric, limit in goodput.limits:
        values = _limited(rows, metric)
        good &= np.where(np.isnan(values), _cannot_exceed(rows, metric), values < limit)
    return good


def _limited(rows: RowTable, metric: str) -> Values:
    values = numbers(rows[_COLUMN.get(metric, metric)])
    if not metric.endswith("_from_due_ms"):
        return values
    lag = rows["lag_ms"].to_numpy()
    return np.asarray(values + np.where(np.isnan(lag), 0.0, lag))


def _cannot_exceed(rows: RowTable, metric: str) -> Mask:
    """Without plan there is no lag, with one chunk no time between tokens: such a limit is not broken."""
    if metric == "tbt_ms":
        return np.asarray(numbers(rows["chunks"]) < 2)
    return np.full(len(rows), metric == "lag_ms")
