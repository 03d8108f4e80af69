from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.live.criteria_so_far import CriteriaSoFar
from tokenswarm.metrics.criteria import evaluate, parse_criteria, percentile_of
from tokenswarm.metrics.goodput import parse_goodput
from tokenswarm.metrics.samples import Samples
from tokenswarm.record import Doubt, Outcome, RequestRecord, TokenSource
from tokenswarm.userinput import BadInput

START = 1_700_000_040.0  # a full clock minute: 1_700_000_040 = 60 x 28_333_334


def record(at: float = 0.0, e2e_ms: float | None = 1000.0, **fields: Any) -> RequestRecord:
    """One answered request, `at` seconds after START."""
    values: dict[str, Any] = {"call_id": "c", "name": "chat", "outcome": Outcome.OK, "started_at": START + at}
    return RequestRecord(**{**values, "e2e_ms": e2e_ms, **fields})


def judge(text: str, records: list[RequestRecord], window: tuple[float, float] | None = None) -> Any:
    """The one result of a one-criterion text."""
    (result,) = evaluate(parse_criteria(text), Samples.from_records(records), window)
    return result


@pytest.mark.parametrize(
    ("text", "name", "aggregation", "metric", "operator", "threshold"),
    [
        ("p95(response_time_ms) > 10000", None, "p95", "response_time_ms", ">", 10000),
        ("HTTP Request: p95(response_time_ms) > 10000", "HTTP Request", "p95", "response_time_ms", ">", 10000),
        ("POST http://host:80/x: avg(latency)<5", "POST http://host:80/x", "avg", "latency", "<", 5),
        ('"HTTP Request": p95(response_time_ms) > 1', "HTTP Request", "p95", "response_time_ms", ">", 1),
        ("- percentage(error) > 50%", None, "percentage", "error", ">", 50),
        ("percentage(error) > 50, continue", None, "percentage", "error", ">", 50),
        ("  avg ( requests_per_sec )  <  0.5/s ", None, "avg", "requests_per_sec", "<", 0.5),
        ("count(requests) < 100", None, "count", "requests", "<", 100),
        ("p999(ttft_ms) > 1500.5 ms", None, "p999", "ttft_ms", ">", 1500.5),
        ("p9999(e2e_from_due_ms) > 1e3", None, "p9999", "e2e_from_due_ms", ">", 1000),
        ("min(tpm) < 100000", None, "min", "tpm", "<", 100000),
        ("percentage(goodput) < 99", None, "percentage", "goodput", "<", 99),
        ("count(dropped) > 0", None, "count", "dropped", ">", 0),
    ],
)
def test_a_criterion_is_read(
    text: str, name: str | None, aggregation: str, metric: str, operator: str, threshold: float
) -> None:
    (criterion,) = parse_criteria(text)
    assert (criterion.name, criterion.aggregation, criterion.metric) == (name, aggregation, metric)
    assert (criterion.operator, criterion.threshold) == (operator, threshold)


@pytest.mark.parametrize(
    ("text", "expected", "actual"),
    [
        ("p95(ttft) > 1", "a metric of response_time_ms", "'ttft'"),
        ("p100(ttft_ms) > 1", "any other pNN", "'p100'"),
        ("pNN(ttft_ms) > 1", "any other pNN", "'pNN'"),
        ("count(ttft_ms) > 1", "any other pNN", "'count'"),
        ("p95(ttft_ms) >= 1", "> or <", "'>='"),
        ("p95(ttft_ms) > -1", "0 or more", "'-1'"),
        ("p95(ttft_ms) > nan", "0 or more", "'nan'"),
        ("p95(ttft_ms) > 1e999", "0 or more", "'1e999'"),
        ("p95(ttft_ms) > 10s", "the unit ms or none", "'s'"),
        ("count(requests) > 10ms", "no unit", "'ms'"),
        ("p95(response_time_ms) > 10.5", "a whole number", "'10.5'"),
        ("percentage(error) > 101", "from 0 to 100", "'101'"),
        ("percentage(error) < 5", "> with percentage(error)", "'<'"),
        ("p95(ttft_ms) > 1, stop", "no action but continue", "'stop'"),
        ("p95 ttft_ms > 1", "aggregation(metric) > value", "'p95 ttft_ms > 1'"),
        ("p(95)(ttft_ms) > 1", "aggregation(metric) > value", "'p(95)(ttft_ms) > 1'"),
        ("p95(ttft_ms) > ", "aggregation(metric) > value", "'p95(ttft_ms) >'"),
    ],
)
def test_a_wrong_criterion_is_refused_with_expected_and_actual(text: str, expected: str, actual: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_criteria(text)
    (problem,) = caught.value.problems
    assert f"expected {expected}" in problem or expected in problem
    assert actual in problem


def test_a_mistyped_metric_is_told_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"got 'tfft_ms' in 'p95\(tfft_ms\) > 100' \(did you mean ttft_ms\?\)"):
        parse_criteria("p95(tfft_ms) > 100")


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        parse_criteria("p95(x) > 1; avg(ttft_ms) > 5; count(ttft_ms) >= -3\nnonsense")
    assert len(caught.value.problems) == 5


def test_of_equal_criteria_the_strictest_stays_in_the_place_of_the_first() -> None:
    text = "p95(ttft_ms) > 900; avg(rpm) < 5; p95(ttft_ms) > 800; avg(rpm) < 7; chat: p95(ttft_ms) > 100;;"
    found = [str(criterion) for criterion in parse_criteria(text)]
    assert found == ["p95(ttft_ms) > 800", "avg(rpm) < 7", "chat: p95(ttft_ms) > 100"]


@pytest.mark.parametrize(
    ("aggregation", "p"),
    [("p50", 50), ("p05", 5), ("p999", 99.9), ("p9999", 99.99), ("p995", 99.5), ("p00", None), ("p100", None)],
)
def test_percentiles_are_named_as_on_the_service(aggregation: str, p: float | None) -> None:
    assert percentile_of(aggregation) == p


@given(st.text(alphabet=st.sampled_from("p95(t_ms)><= :;-,.%1e0\n\r\"'agfruo"), max_size=60) | st.text(max_size=60))
def test_any_text_gives_criteria_or_bad_input(text: str) -> None:
    try:
        criteria = parse_criteria(text)
    except BadInput as error:
        assert error.problems
    else:
        assert [str(criterion) for criterion in parse_criteria("\n".join(map(str, criteria)))] == list(
            map(str, criteria)
        )


def test_true_means_failed_and_equal_holds() -> None:
    records = [record(e2e_ms=1000.0)] * 20
    assert judge("p95(e2e_ms) > 1000", records).state == "held"
    assert judge("p95(e2e_ms) > 999", records).state == "failed"
    assert judge("p95(e2e_ms) < 1000", records).state == "held"
    assert judge("p95(e2e_ms) < 1001", records).state == "failed"


def test_the_service_s_latencies_include_failures_and_ours_do_not() -> None:
    records = [
        record(e2e_ms=100.0, first_byte_ms=10.0),
        record(e2e_ms=500.0, first_byte_ms=30.0, outcome=Outcome.HTTP_ERROR),
        record(e2e_ms=900.0, first_byte_ms=50.0, outcome=Outcome.THROTTLED),
        record(e2e_ms=None, outcome=Outcome.CONNECTION_ERROR),
    ]
    assert judge("avg(response_time_ms) > 0", records).value == 500.0
    assert judge("avg(latency) > 0", records).value == 30.0
    assert judge("avg(response_time_ms) > 0", [*records, record(e2e_ms=1.0, outcome=Outcome.ABORTED)]).value == 500.0
    found = judge("avg(e2e_ms) > 0", records)
    assert (found.value, found.n) == (100.0, 1)


def test_error_percentage_is_of_sent_less_given_up_and_throttling_is_no_error() -> None:
    outcomes = [Outcome.OK] * 5 + [Outcome.THROTTLED] * 2 + [Outcome.TIMEOUT, Outcome.TRUNCATED, Outcome.STREAM_ERROR]
    records = [record(outcome=outcome) for outcome in [*outcomes, Outcome.CANCELLED, Outcome.ABORTED]]
    records.append(record(outcome=Outcome.DROPPED, started_at=None, scheduled_at=START, e2e_ms=None))
    assert judge("percentage(error) > 29", records).value == 30.0
    assert judge("percentage(throttled) > 19", records).value == 20.0
    assert judge("count(throttled) > 1", records).value == 2.0
    assert judge("count(requests) > 1", records).value == 12.0
    dropped = judge("percentage(dropped) > 1", records)
    assert (dropped.value, dropped.n) == (pytest.approx(100 / 13), 13)


def test_a_retry_is_no_second_arrival() -> None:
    dropped = record(outcome=Outcome.DROPPED, started_at=None, scheduled_at=START, e2e_ms=None)
    records = [record(outcome=Outcome.THROTTLED), record(attempt=2), record(attempt=3), dropped]
    assert judge("percentage(dropped) > 1", records).value == 50.0


def test_latency_from_the_intended_start_has_the_lag_in_it() -> None:
    records = [record(e2e_ms=1000.0, ttft_ms=100.0, lag_ms=250.0), record(e2e_ms=1000.0, ttft_ms=100.0)]
    assert judge("max(e2e_from_due_ms) > 1", records).value == 1250.0
    assert judge("min(ttft_from_due_ms) > 1", records).value == 100.0
    assert judge("avg(lag_ms) > 1", records).value == 250.0


def test_ttft_says_how_many_answers_have_none() -> None:
    streamed, whole = [record(ttft_ms=100.0)] * 20, [record()] * 20
    some, none = judge("p95(ttft_ms) > 200", streamed + whole), judge("p95(ttft_ms) > 200", whole)
    assert (some.state, some.n, some.note) == ("held", 20, "20 of 40 answers have no TTFT: judged on the others")
    assert (none.state, none.value) == ("no_data", None)
    assert judge("p95(ttft_from_due_ms) > 200", streamed).note == ""


def test_an_answer_that_came_whole_has_no_better_ttft_than_its_e2e() -> None:
    """18 first tokens at 100 ms and 2 bodies at 3 s, where streams were asked for: p95 is among the bodies."""
    streamed = [record(ttft_ms=100.0, e2e_ms=500.0)] * 18
    whole = [record(e2e_ms=3000.0, lag_ms=50.0, doubts=f"x;{Doubt.WHOLE}")] * 2
    found, live = (
        judge("p95(ttft_ms) > 200", streamed + whole),
        CriteriaSoFar(parse_criteria("p95(ttft_ms) > 200"), START - 1),
    )
    for each in streamed + whole:
        live.add(each)
    assert (found.state, found.value, found.n) == ("failed", 3000.0, 20)
    assert found.note == "2 of 20 answers came whole, not as a stream: E2E taken for TTFT"
    assert judge("p50(ttft_ms) > 200", streamed + whole).state == "held"
    assert judge("max(ttft_from_due_ms) > 3049", whole).value == 3050.0
    assert [each.state for each in live.read(START + 60, Samples())] == ["failed"]


@pytest.mark.parametrize(("n", "judged_on_extreme"), [(19, True), (20, False)])
def test_a_percentile_that_is_not_carried_is_judged_on_the_extreme(n: int, judged_on_extreme: bool) -> None:
    records = [record(ttft_ms=100.0 * (i + 1)) for i in range(n)]
    above, below = judge("p95(ttft_ms) > 1", records), judge("p95(ttft_ms) < 1", records)
    if judged_on_extreme:
        assert (above.value, below.value) == (1900.0, 100.0)
        assert above.note == "p95 needs 20 values, there are 19: judged on the largest"
        assert below.note.endswith("judged on the smallest")
    else:
        assert above.value == below.value == pytest.approx(1905.0)
        assert above.note == ""


def test_no_data_is_no_pass() -> None:
    result = judge("p95(ttft_ms) > 1000", [])
    assert (result.state, result.value, result.n) == ("no_data", None, 0)
    for text in ("count(requests) < 5", "percentage(error) > 5", "avg(rpm) < 5", "count(dropped) > 0"):
        assert judge(text, []).state == "no_data"
    assert judge("other: p95(e2e_ms) > 1000", [record()]).state == "no_data"


def test_a_window_takes_requests_by_their_start() -> None:
    records = [record(at=at, e2e_ms=1000.0 + at) for at in (0.0, 10.0, 20.0, 30.0)]
    found = judge("max(e2e_ms) > 0", records, (START + 10.0, START + 20.0))
    assert (found.value, found.n) == (1020.0, 2)


def test_rates_per_minute_count_by_the_end_of_the_answer() -> None:
    usage = {"prompt_tokens": 500, "completion_tokens": 100, "token_source": TokenSource.USAGE}
    # Ends at 59, 61, 119.5, 121 s: one in the first minute, two in the second, one after the window.
    records = [record(at=at, e2e_ms=1000.0, **usage) for at in (58.0, 60.0, 118.5, 120.0)]
    window = (START, START + 120.0)
    assert judge("max(rpm) > 0", records, window).value == 2.0
    assert judge("min(rpm) > 0", records, window).value == 1.0
    assert judge("avg(rpm) > 0", records, window).value == 1.5
    assert judge("max(tpm) > 0", records, window).value == 1200.0
    assert judge("avg(tpm) > 0", records, window).value == 900.0
    assert judge("avg(requests_per_sec) > 0", records, window).value == pytest.approx(4 / 120)


def test_an_idle_minute_is_the_least_and_a_part_of_a_minute_is_none() -> None:
    records = [record(at=0.0, e2e_ms=1000.0), record(at=125.0, e2e_ms=1000.0)]
    idle = judge("min(rpm) < 1", records, (START, START + 180.0))
    assert (idle.state, idle.value, idle.n) == ("failed", 0.0, 3)
    assert judge("min(rpm) < 1", records, (START, START + 50.0)).note.startswith("no data: no full clock minute")


def test_tokens_per_minute_are_unknown_when_the_service_reported_none() -> None:
    assert judge("avg(tpm) > 100", [record(), record(at=60.0, context_tokens=500)]).state == "no_data"


def test_goodput_is_of_all_arrivals_that_were_not_given_up() -> None:
    dropped = record(outcome=Outcome.DROPPED, started_at=None, scheduled_at=START, e2e_ms=None)
    records = [record(ttft_ms=999.0), record(ttft_ms=1000.0), record(outcome=Outcome.HTTP_ERROR, ttft_ms=1.0)]
    records += [dropped, record(outcome=Outcome.CANCELLED), record(outcome=Outcome.ABORTED, ttft_ms=1.0)]
    samples = Samples.from_records(records, parse_goodput("ttft_ms<1000"))
    percentage, count = evaluate(parse_criteria("percentage(goodput) < 26; count(goodput) < 1"), samples)
    assert (percentage.value, percentage.n, percentage.state) == (25.0, 4, "failed")
    assert (count.value, count.state) == (1.0, "held")
    assert judge("percentage(goodput) < 26", records).note == "no data: the option goodput says no limits"


def test_a_named_criterion_sees_only_its_requests() -> None:
    records = [record(e2e_ms=100.0), record(e2e_ms=900.0, name="rag")]
    assert judge("rag: max(e2e_ms) > 500", records).state == "failed"
    assert judge("chat: max(e2e_ms) > 500", records).state == "held"
