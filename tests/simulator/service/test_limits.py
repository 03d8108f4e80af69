"""The limiters by hand-worked numbers; the time is given."""

from __future__ import annotations

import pytest

from simulator.config.settings import Deployment
from simulator.service.limits import Charge, Decision, State, admit, settle

MINUTE = 1_795_515_600.0  # a whole minute
PAYGO = Deployment(tpm=20_000, rpm_per_1000_tpm=6)  # 120 RPM: 2 in 1 s, 20 in 10 s


def paygo(state: State, at: float, prompt: int = 4507, output: int = 500) -> Decision:
    return admit(PAYGO, state, MINUTE + at, Charge(prompt, 0, output))


def test_four_large_requests_a_minute_fit_in_20k_and_the_fifth_does_not():
    state: State = {}
    # 5007 each: before the fourth the counter stands at 15,021, before the fifth at 20,028.
    assert [paygo(state, at).refusal is None for at in (0, 15, 30, 45, 50)] == [True, True, True, True, False]


def test_the_counter_starts_anew_with_the_clock_minute_not_a_minute_later():
    state: State = {}
    for at in (50, 52, 54, 56):
        paygo(state, at)
    refused = paygo(state, 58.5)
    assert refused.refusal == ("tokens", 1.5)
    assert refused.headers["retry-after-ms"] == "1500"
    assert refused.headers["retry-after"] == "2"
    assert refused.headers["x-ratelimit-reset-tokens"] == "2"
    assert paygo(state, 60).refusal is None


def test_minutes_may_begin_with_the_first_request():
    deployment, state = Deployment(tpm=20_000, minute_from="first-request"), {}
    instants = [MINUTE + at for at in (50, 55, 65, 75, 80, 109.9, 110)]
    decisions = [admit(deployment, state, at, Charge(4507, 0, 500)) for at in instants]
    assert [decision.refusal is None for decision in decisions] == [True] * 4 + [False, False, True]
    assert decisions[4].refusal == ("tokens", 30)


def test_refused_requests_count_too():
    state: State = {}
    for at in (0, 2, 4, 6, 8):
        decision = paygo(state, at)
    assert decision.refusal is not None
    assert state["tokens"] == 5 * 5007
    assert decision.headers["x-ratelimit-remaining-tokens"] == "0"
    assert decision.headers["x-ratelimit-remaining-requests"] == "115"
    assert decision.headers["x-ratelimit-limit-tokens"] == "20000"
    assert decision.headers["x-ratelimit-limit-requests"] == "120"


def test_50_rpm_on_200k_admits_40_in_each_minute():
    deployment, state = Deployment(tpm=200_000), {}
    # 40 x 5007 = 200,280: the fortieth crosses the limit and is the last one.
    instants = [MINUTE + n * 1.2 for n in range(100)]
    admitted = [admit(deployment, state, at, Charge(4507, 0, 500)).refusal is None for at in instants]
    assert (sum(admitted[:50]), sum(admitted[50:])) == (40, 40)
    assert admitted[:41] == [True] * 40 + [False]


def test_requests_are_counted_in_slices_of_one_and_ten_seconds():
    state: State = {}
    assert [paygo(state, at, 1, 1).refusal is None for at in (0.0, 0.1, 0.9, 1.0)] == [True, True, False, True]
    assert paygo(state, 1.25, 1, 1).refusal is None
    refused = paygo(state, 1.25, 1, 1)
    assert refused.refusal == ("requests", 0.75)
    assert refused.headers["retry-after-ms"] == "750"


def test_the_ten_second_slice_refuses_what_each_second_admits():
    deployment, state = Deployment(tpm=1_000_000, rpm_per_1000_tpm=0.06, rpm_slices_s=(10,)), {}  # 60 RPM
    decisions = [admit(deployment, state, MINUTE + n * 0.1, Charge(1, 0, 1)) for n in range(11)]
    assert [d.refusal is None for d in decisions] == [True] * 10 + [False]
    assert decisions[-1].refusal == ("requests", pytest.approx(9))


def test_a_request_out_of_order_does_not_start_the_counters_anew():
    state: State = {}
    paygo(state, 59.999)
    paygo(state, 60.001)
    paygo(state, 59.998)  # read earlier, handled later
    assert state["tokens"] == 2 * 5007
    paygo(state, -3600)  # the clock was set back
    assert state["tokens"] == 5007


PTU = Deployment(ptu=10, input_tpm_per_ptu=600, output_weight=4, bucket_s=60)  # 6000 per bucket, drains 100/s


def test_a_provisioned_deployment_admits_up_to_and_slightly_above_100_percent():
    state: State = {}
    first = admit(PTU, state, 0.0, Charge(2000, 0, 500))  # 4000
    second = admit(PTU, state, 0.0, Charge(2000, 0, 500))  # 8000
    third = admit(PTU, state, 0.0, Charge(1, 0, 1))
    assert first.headers == {"azure-openai-deployment-utilization": "66.7%"}
    assert (second.refusal, second.headers) == (None, {"azure-openai-deployment-utilization": "133.3%"})
    assert third.refusal == ("utilization", pytest.approx(20))
    assert third.headers == {
        "azure-openai-deployment-utilization": "133.3%",
        "retry-after-ms": "20000",  # 2000 above, 100 a second
        "retry-after": "20",
    }


def test_it_drains_all_the_time_and_refused_requests_leave_nothing():
    state: State = {}
    admit(PTU, state, 0.0, Charge(8000, 0, 0))
    assert admit(PTU, state, 19.0, Charge(8000, 0, 0)).refusal is not None
    assert admit(PTU, state, 20.0, Charge(1000, 0, 0)).utilization_pct == pytest.approx(100 * 7000 / 6000)


def test_cached_tokens_are_free_and_the_estimate_is_corrected_at_the_end():
    state: State = {}
    estimate = Charge(2000, 1500, 1000)  # 500 + 4000
    admit(PTU, state, 0.0, estimate)
    assert state["level"] == 4500
    settle(PTU, state, 10.0, estimate, Charge(2000, 1500, 100))  # drained to 3500, 3600 too much
    assert state["level"] == 0
    settle(PTU, state, 10.0, Charge(0, 0, 16), Charge(0, 0, 266))
    assert state["level"] == 1000


def test_a_deployment_without_limits_admits_everything():
    decision = admit(Deployment(), {}, 0.0, Charge(10**9, 0, 10**9))
    assert (decision.refusal, decision.headers) == (None, {})
