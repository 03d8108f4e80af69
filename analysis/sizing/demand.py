"""From users to quota: requests and tokens per minute to ask for, provisioned units per model, monthly cost.

The demand model is that of the GPT-RAG performance guide: users x active share x sessions x interactions give the
requests of the peak, spread over its length, plus a margin of 10 %. The guide calls two things `n`: its text takes n
as the hours of the peak, its list of parameters as the network calls of one interaction. They are two parameters here
(`peak_hours` divides, `model_calls` multiplies). Its worked example (10 000 users, 10 %, 1 session, 2 interactions,
n = 1) is 33.3 requests a minute; the 17 that it prints is the result for n = 2 hours.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from importlib import resources

from tokenswarm.metrics.prices import Prices

HOURS_PER_MONTH = 730
WORK_DAYS_PER_MONTH = 22
CORRECTION = (
    "The guide names both the peak's hours and the calls per interaction n; here hours divide and calls multiply. "
    "Its example (10 000 users, 10 %, 1 session, 2 interactions, n = 1) is 33.3 RPM; it prints 17, the value of n = 2."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Requests to expect in the peak. `active_share` is 0-1, `margin` a share on top."""

    users: float
    active_share: float = 1.0
    sessions: float = 1.0
    interactions: float = 1.0
    model_calls: float = 1.0
    peak_hours: float = 1.0
    margin: float = 0.1

    @property
    def rpm(self) -> float:
        """Model requests per minute in the peak, without margin."""
        requests = self.users * self.active_share * self.sessions * self.interactions * self.model_calls
        return requests / (self.peak_hours * 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Mean tokens of one request. `max_tokens` is the limit asked for; `cached_share` (0-1) of the prompt is cached."""

    prompt: float
    completion: float
    max_tokens: float
    cached_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Units:
    """Provisioned units (PTUs) one model needs: exact, and rounded up to what can be deployed."""

    model: str
    exact: float
    global_units: int
    regional_units: int | None
    output_weight: float
    as_of: str
    global_monthly: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """What to ask for. Rates are per minute; `_with_margin` ones are for the quota, costs are per month."""

    rpm: float
    rpm_with_margin: float
    rpm_for_bursts: int
    tpm_used: float
    tpm_with_margin: float
    tpm_to_ask: int
    rpm_of_that_tpm: float
    requests_per_month: float
    pay_per_token_monthly: float | None
    currency: str
    units: list[Units]


@dataclass(frozen=True, slots=True)
class Model:
    """One row of ptu.csv."""

    name: str
    input_tpm_per_ptu: float
    output_weight: float
    min_global: int
    step_global: int
    min_regional: int | None
    step_regional: int | None
    as_of: str


def read_models() -> list[Model]:
    """The dated table of provisioned throughput per unit, `analysis/sizing/ptu.csv`."""
    text = resources.files("analysis.sizing").joinpath("ptu.csv").read_text(encoding="utf-8")
    return [_model(row) for row in csv.DictReader(text.splitlines())]


def _model(row: dict[str, str]) -> Model:
    return Model(
        name=row["model"],
        input_tpm_per_ptu=float(row["input_tpm_per_ptu"]),
        output_weight=float(row["output_weight"]),
        min_global=int(row["min_global"]),
        step_global=int(row["step_global"]),
        min_regional=int(row["min_regional"]) if row["min_regional"] else None,
        step_regional=int(row["step_regional"]) if row["step_regional"] else None,
        as_of=row["as_of"],
    )


def size(
    rpm: float,
    tokens: Tokens,
    *,
    margin: float = 0.1,
    prices: Prices | None = None,
    busy_hours: float = WORK_DAYS_PER_MONTH,
    rpm_per_1000_tpm: float = 6.0,
    models: list[Model] | None = None,
) -> Sizing:
    """Size a deployment for `rpm` requests a minute.

    The limiter counts prompt + max_tokens at admission, so that is what the TPM to ask for is made of; what is used
    and billed is prompt + completion. The quota of requests comes with that of tokens (`rpm_per_1000_tpm`): the TPM
    is raised where the requests need it. `busy_hours` a month run at this rate (for the cost of tokens).
    """
    prices = prices or Prices()
    asked = rpm * (1 + margin)
    bursts = burst_rpm(asked)
    estimate = asked * (tokens.prompt + tokens.max_tokens)
    to_ask = math.ceil(round(max(estimate, bursts / rpm_per_1000_tpm * 1000) / 1000, 9)) * 1000
    requests = rpm * 60 * busy_hours
    return Sizing(
        rpm=rpm,
        rpm_with_margin=asked,
        rpm_for_bursts=bursts,
        tpm_used=rpm * (tokens.prompt + tokens.completion),
        tpm_with_margin=estimate,
        tpm_to_ask=to_ask,
        rpm_of_that_tpm=to_ask / 1000 * rpm_per_1000_tpm,
        requests_per_month=requests,
        pay_per_token_monthly=_monthly(requests, tokens, prices),
        currency=prices.currency,
        units=[_units(model, asked, tokens, prices) for model in (read_models() if models is None else models)],
    )


def burst_rpm(rpm: float, slice_s: float = 10.0, risk: float = 0.01) -> int:
    """RPM limit at which at most `risk` of the 10 s slices refuse, when requests arrive at random (Poisson).

    The service checks requests per minute over slices of 1 or 10 s; a limit equal to the mean refuses nearly half of
    the slices.
    """
    mean = rpm * slice_s / 60
    fits = 0
    term = math.exp(-mean) if mean < 700 else 0.0
    if not term:  # normal limit; 2.326 is the 99th percentile
        fits = math.ceil(mean + 2.326 * math.sqrt(mean))
    else:
        total = term
        while total < 1 - risk:
            fits += 1
            term *= mean / fits
            total += term
    return math.ceil(max(fits * 60 / slice_s, rpm))


def _monthly(requests: float, tokens: Tokens, prices: Prices) -> float | None:
    if prices.completion is None:
        return None
    each = prices.cost(tokens.prompt, tokens.prompt * tokens.cached_share, tokens.completion)
    return None if each is None else requests * each


def _units(model: Model, rpm: float, tokens: Tokens, prices: Prices) -> Units:
    fresh = rpm * tokens.prompt * (1 - tokens.cached_share)
    exact = (fresh + model.output_weight * rpm * tokens.completion) / model.input_tpm_per_ptu
    in_global = _deployable(exact, model.min_global, model.step_global)
    regional = None
    if model.min_regional is not None and model.step_regional is not None:
        regional = _deployable(exact, model.min_regional, model.step_regional)
    monthly = None if prices.ptu_hour is None else in_global * prices.ptu_hour * HOURS_PER_MONTH
    return Units(model.name, exact, in_global, regional, model.output_weight, model.as_of, monthly)


def _deployable(exact: float, least: int, step: int) -> int:
    return max(least, math.ceil(round(exact / step, 9)) * step)
