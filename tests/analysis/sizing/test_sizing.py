from __future__ import annotations

import argparse
import json

import pytest
import scipy

from analysis.__main__ import main
from analysis.commands import sizing
from analysis.sizing.demand import Demand, Prices, Tokens, Units, burst_rpm, read_models, size
from tokenswarm.userinput import BadInput


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    parser = argparse.ArgumentParser()
    sizing.add_arguments(parser)
    assert sizing.main(parser.parse_args(words)) == 0
    return capsys.readouterr().out


def units(model: str, rpm: float, tokens: Tokens, **options: float) -> Units:
    table = [row for row in read_models() if row.name == model]
    return size(rpm, tokens, margin=0.0, models=table, **options).units[0]


def test_the_guides_own_example_is_33_and_its_17_is_that_of_two_hours():
    demand = {"users": 10_000, "active_share": 0.1, "sessions": 1, "interactions": 2}
    assert Demand(**demand).rpm == pytest.approx(33.33, abs=0.01)
    assert Demand(**demand, peak_hours=2).rpm == pytest.approx(16.67, abs=0.01)
    assert Demand(**demand, model_calls=5).rpm == pytest.approx(166.67, abs=0.01)


def test_tpm_to_ask_is_the_admission_estimate():
    # 50 RPM + 10 % = 55; 55 x (4500 + 500) = 275 000; used 50 x (4500 + 120) = 231 000
    sized = size(50, Tokens(prompt=4500, completion=120, max_tokens=500))
    assert sized.rpm_with_margin == pytest.approx(55)
    assert sized.tpm_with_margin == pytest.approx(275_000)
    assert sized.tpm_to_ask == 275_000
    assert sized.tpm_used == pytest.approx(231_000)
    assert sized.rpm_of_that_tpm == pytest.approx(1650)


def test_many_small_requests_need_tokens_for_their_requests():
    # 600 RPM of 20 + 10 tokens are 18 000 TPM, which would bring 108 RPM only
    sized = size(600, Tokens(prompt=20, completion=10, max_tokens=10), margin=0.0)
    assert sized.tpm_with_margin == pytest.approx(18_000)
    assert sized.rpm_of_that_tpm >= sized.rpm_for_bursts >= 600


@pytest.mark.parametrize("rpm", [1, 6, 55, 600, 3000, 60_000])
def test_burst_rpm_agrees_with_scipy(rpm):
    expected = max(scipy.stats.poisson.ppf(0.99, rpm / 6) * 6, rpm)
    assert burst_rpm(rpm) == pytest.approx(expected, rel=0.002, abs=1)


def test_units_of_microsofts_worked_example():
    # gpt-5.2, 1000 RPM of 200 in and 20 out: 360 000 normalised TPM / 3400 = 105.9 -> 110; half cached -> 80
    assert units("gpt-5.2", 1000, Tokens(prompt=200, completion=20, max_tokens=20)).exact == pytest.approx(
        105.88, abs=0.01
    )
    assert units("gpt-5.2", 1000, Tokens(prompt=200, completion=20, max_tokens=20)).global_units == 110
    half = Tokens(prompt=200, completion=20, max_tokens=20, cached_share=0.5)
    assert units("gpt-5.2", 1000, half).global_units == 80


def test_units_keep_to_minimum_and_step():
    one = Tokens(prompt=100, completion=1, max_tokens=1)
    small = units("gpt-4o", 1, one)
    assert (small.global_units, small.regional_units) == (15, 50)
    exactly = units("gpt-4o", 1000, Tokens(prompt=50, completion=0, max_tokens=1))
    assert (exactly.exact, exactly.global_units) == (20, 20)
    assert units("Llama-3.3-70B-Instruct", 1, one).regional_units is None


def test_cost_of_tokens_and_units():
    # 100 RPM x 60 x 10 h = 60 000 requests; (800 x 2 + 200 x 1 + 100 x 8) / 1e6 = 0.0026 each
    tokens = Tokens(prompt=1000, completion=100, max_tokens=100, cached_share=0.2)
    sized = size(100, tokens, margin=0.0, prices=Prices(prompt=2, cached=1, completion=8, ptu_hour=1), busy_hours=10)
    assert sized.pay_per_token_monthly == pytest.approx(156)
    by_model = {unit.model: unit for unit in sized.units}
    assert by_model["gpt-4.1-mini"].global_monthly == pytest.approx(15 * 730)
    assert size(100, tokens).pay_per_token_monthly is None


def test_every_row_of_the_table_is_dated_and_positive():
    models = read_models()
    assert len(models) == len({model.name for model in models}) >= 15
    for model in models:
        assert model.input_tpm_per_ptu > 0 and model.output_weight >= 1 and model.as_of
        assert model.min_global % model.step_global == 0


def test_text_says_what_it_multiplied(capsys):
    out = run(capsys, "--users", "10000", "--active-share", "10%", "--interactions", "2", "--prompt-tokens", "4500",
              "--completion-tokens", "120", "--max-tokens", "500", "--model", "gpt-4o")  # fmt: skip
    assert "= 33.3 RPM" in out
    assert "184,000" in out
    assert "4.2 times the mean answer" in out
    assert "gpt-4o" in out and "gpt-5 " not in out
    assert "it prints 17" in out


def test_json_holds_inputs_and_result(capsys):
    out = json.loads(
        run(capsys, "--rpm", "50", "--prompt-tokens", "10", "--completion-tokens", "5", "--format", "json")
    )
    assert out["demand"] is None
    assert out["tokens"]["max_tokens"] == 5
    assert out["sizing"]["rpm_with_margin"] == pytest.approx(55)


def test_all_problems_are_listed_at_once():
    parser = argparse.ArgumentParser()
    sizing.add_arguments(parser)
    words = ["--active-share", "140%", "--margin", "much", "--model", "gpt-9", "--peak-hours", "0"]
    with pytest.raises(BadInput) as caught:
        sizing.main(parser.parse_args(words))
    text = str(caught.value)
    assert len(caught.value.problems) == 6
    for part in ("--users and --rpm", "--active-share", "--margin", "--model", "--peak-hours", "--prompt-tokens"):
        assert part in text


def test_the_text_says_which_ratio_of_requests_to_tokens_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    """It is 6 for older models, 1 for gpt-4.1 and gpt-5-mini: a quota that is a sixth of what it seems."""
    words = ["sizing", "--rpm", "18", "--prompt-tokens", "2000", "--completion-tokens", "200"]
    assert main(words) == 0
    assert " RPM at 6 per 1,000 TPM (--rpm-per-1000-tpm: it differs by model)" in capsys.readouterr().out
    assert main([*words, "--rpm-per-1000-tpm", "1"]) == 0
    assert " RPM at 1 per 1,000 TPM" in capsys.readouterr().out
