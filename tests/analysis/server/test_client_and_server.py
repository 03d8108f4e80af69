"""Client against server, criteria on server metrics, curves: hand-worked samples."""

from __future__ import annotations

import pytest

from analysis.server.client_and_server import (
    Range,
    ServerCurve,
    compare,
    count_client,
    curves,
    judge,
    parse_server_criteria,
)
from analysis.sources.rows import frame
from tokenswarm.metrics.server_metrics import ServerSample, convert
from tokenswarm.userinput import BadInput


def sample(metric: str, value: float, aggregation: str = "total", *, at: float = 0, unit: str = "Count", **other: str):
    converted, ours = convert(value, unit)
    return ServerSample(
        at=at,
        interval_s=60,
        source=other.get("source", "azure"),
        resource=other.get("resource", "aoai"),
        metric=metric,
        dimensions=other.get("dimensions", ""),
        aggregation=aggregation,
        value=converted,
        unit=ours,
        service_unit=unit,
    )


def table(*rows: dict[str, object]):
    columns = {name for row in rows for name in row}
    return frame({name: [row.get(name) for row in rows] for name in columns}, len(rows))


OK = {"target": "chat", "outcome": "ok", "status": 200, "prompt_tokens": 100, "completion_tokens": 20}
THROTTLED = {"target": "chat", "outcome": "throttled", "status": 429}
GIVEN_UP = {"target": "chat", "outcome": "timeout", "context_tokens": 110, "max_tokens": 50}
CUT = {"target": "chat", "outcome": "truncated", "status": 200, "context_tokens": 110, "max_tokens": 50}
DROPPED = {"target": "chat", "outcome": "dropped"}
ASKED = {"target": "rag", "outcome": "ok", "status": 200}
REQUESTS = "AzureOpenAIRequests"


def test_counts_what_the_service_may_have_counted() -> None:
    counts = count_client(table(OK, OK, THROTTLED, GIVEN_UP, CUT, DROPPED, ASKED), "chat")
    assert counts is not None
    assert counts.requests == Range(4, 5)
    assert counts.served == Range(2, 4)
    assert counts.throttled == 1
    assert counts.prompt_tokens == Range(200, 420)
    assert counts.completion_tokens == Range(40, 140)
    assert (counts.unanswered, counts.without_usage) == (1, 2)


def test_a_target_that_got_nothing_has_no_counts() -> None:
    assert count_client(table(DROPPED, ASKED), "chat") is None


def test_an_answer_without_usage_leaves_the_total_open() -> None:
    counts = count_client(table(OK, {"target": "chat", "outcome": "ok", "status": 200}), "chat")
    assert counts is not None
    assert counts.completion_tokens == Range(20, None)


def states(rows, *samples: ServerSample, **options: float) -> dict[str, str]:
    counts = {target: count_client(rows, target) for target in ("chat", "rag")}
    return {one.what: one.state for one in compare(samples, counts, **options)}


def test_both_sides_agree_exactly_on_requests_and_within_one_percent_on_tokens() -> None:
    assert states(
        table(*[OK] * 3, THROTTLED),
        sample(REQUESTS, 3, dimensions="statuscode=200"),
        sample(REQUESTS, 1, dimensions="statuscode=429"),
        sample("ProcessedPromptTokens", 150),
        sample("ProcessedPromptTokens", 152, at=60),
        sample("GeneratedTokens", 55),
    ) == {"chat requests": "agrees", "chat answers 429": "agrees", "chat prompt tokens": "agrees",
          "chat generated tokens": "differs"}  # fmt: skip


def test_no_429_in_a_split_series_is_zero_and_no_series_is_not_available() -> None:
    assert states(table(OK), sample(REQUESTS, 1, dimensions="statuscode=200")) == {
        "chat requests": "agrees",
        "chat answers 429": "agrees",
        "chat prompt tokens": "n/a",
        "chat generated tokens": "n/a",
    }
    assert states(table(OK), sample("GeneratedTokens", 20))["chat answers 429"] == "n/a"


def test_requests_that_were_given_up_explain_a_difference() -> None:
    counts = {"chat": count_client(table(OK, OK, GIVEN_UP, CUT), "chat")}
    samples = [sample(REQUESTS, 4), sample("ProcessedPromptTokens", 330), sample("GeneratedTokens", 500)]
    requests, _, prompt, generated = compare(samples, counts)
    assert (requests.state, str(requests.client)) == ("explained", "3 to 4")
    assert requests.note.startswith("1 request got no answer here")
    assert (prompt.state, prompt.note[:35]) == ("explained", "2 requests ended without usage (cut")
    assert (generated.state, generated.note[:4]) == ("differs", "360 ")


def test_fewer_at_the_service_soon_after_the_end_says_ask_again() -> None:
    counts = {"chat": count_client(table(OK, OK), "chat")}
    early, late = (compare([sample(REQUESTS, 1)], counts, age_s=age_s)[0] for age_s in (120, 3600))
    assert early.note.startswith("1 fewer at the service") and "2 min after the end" in early.note
    assert early.state == late.state == "differs" and "ask again" not in late.note


def test_more_at_the_service_points_to_other_traffic() -> None:
    (requests, *_) = compare([sample(REQUESTS, 9)], {"chat": count_client(table(OK), "chat")})
    assert (requests.state, requests.note[:22]) == ("differs", "8 more at the service ")


def test_the_orchestrators_own_model_calls_are_not_the_clients() -> None:
    assert states(table(ASKED), sample(REQUESTS, 5), sample("Requests", 1, resource="func")) == {
        "chat requests": "n/a",
        "chat answers 429": "n/a",
        "chat prompt tokens": "n/a",
        "chat generated tokens": "n/a",
        "rag requests": "agrees",
    }


def test_scraped_counts_are_compared_with_what_was_served() -> None:
    assert states(
        table(OK, THROTTLED),
        sample("requests", 1, source="prometheus", dimensions="finished_reason=stop"),
        sample("prompt_tokens", 100, source="prometheus"),
    ) == {
        "chat requests (scraped)": "agrees",
        "chat prompt tokens (scraped)": "agrees",
        "chat generated tokens (scraped)": "n/a",
    }


def test_a_server_that_counts_only_what_its_cache_had_not_is_held_against_that() -> None:
    told = {**OK, "cached_tokens": 90}
    scraped = sample("uncached_prompt_tokens", 20, source="prometheus")
    assert states(table(told, told), scraped)["chat uncached prompt tokens (scraped)"] == "agrees"
    assert states(table(told, OK), scraped)["chat uncached prompt tokens (scraped)"] == "explained"
    assert states(table(told), scraped)["chat uncached prompt tokens (scraped)"] == "differs"


def test_curves_sum_totals_over_their_split_and_average_the_rest() -> None:
    made = curves(
        [
            sample(REQUESTS, 3, dimensions="statuscode=200"),
            sample(REQUESTS, 1, dimensions="statuscode=429"),
            sample(REQUESTS, 2, at=60, dimensions="statuscode=200"),
            sample("HttpResponseTime", 1, "average", unit="Seconds"),
            sample("HttpResponseTime", 3, "average", unit="Seconds"),
        ]
    )
    assert made == [
        ServerCurve("aoai", REQUESTS, "total", "count", [(0, 4), (60, 2)], 60),
        ServerCurve("aoai", "HttpResponseTime", "average", "ms", [(0, 2000)], 60),
    ]


CRITERIA = """
    cosmos: maximum(NormalizedRUConsumption) > 90
    average(HttpResponseTime) > 2 ; total(AzureOpenAIRequests{StatusCode=429}) > 0
    minimum(Replicas) < 2
"""


def test_criteria_are_in_the_services_units_and_true_means_failed() -> None:
    samples = [
        sample("NormalizedRUConsumption", 95, "maximum", unit="Percent", resource="cosmos"),
        sample("NormalizedRUConsumption", 99, "maximum", unit="Percent", resource="other"),
        sample("HttpResponseTime", 1.5, "average", unit="Seconds"),
        sample("HttpResponseTime", 2.1, "average", at=60, unit="Seconds"),
        sample(REQUESTS, 4, dimensions="statuscode=200"),
    ]
    results = judge(parse_server_criteria(CRITERIA), samples)
    assert [(one.state, one.value, one.unit, one.n) for one in results] == [
        ("failed", 95, "%", 1),
        ("held", 1800, "ms", 2),
        ("no_data", None, "", 0),
        ("no_data", None, "", 0),
    ]


def test_every_bad_criterion_is_listed() -> None:
    with pytest.raises(BadInput) as caught:
        parse_server_criteria("p95(X) > 1; maximum(X) >= 1; maximum(X) > many; maximum(X) > 1")
    assert len(caught.value.problems) == 3
