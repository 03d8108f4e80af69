from __future__ import annotations

import pytest

from simulator.config.settings import ConfigError, Deployment, Settings, load_settings


def test_the_defaults_offer_both_quotas_an_unlimited_a_provisioned_and_a_reasoning_deployment():
    deployments = load_settings().deployments
    assert (deployments["gpt-4.1-mini-20k"].tpm, deployments["gpt-4.1-mini-20k"].rpm) == (20_000, 20)
    assert (deployments["gpt-4.1-mini-200k"].tpm, deployments["gpt-4.1-mini-200k"].rpm) == (200_000, 200)
    assert (deployments["gpt-4.1-nano"].tpm, deployments["gpt-4.1-nano"].ptu) == (None, None)
    assert deployments["gpt-4.1-ptu"].ptu == 50
    assert deployments["gpt-5-mini"].reasoning


def test_a_file_with_deployments_replaces_the_default_ones(tmp_path):
    path = tmp_path / "one.toml"
    path.write_text("seed = 9\n[deployments.mine]\ntpm = 1000\nrpm_slices_s = [10]\n")
    settings = load_settings(path)
    assert settings.seed == 9
    assert settings.deployments == {"mine": Deployment(tpm=1000, rpm_slices_s=(10,))}


def test_all_mistakes_are_reported_at_once(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(
        """
        sead = 1
        region = 7
        [deployments.a]
        tpm = -5
        tbt_ms = "fast"
        content_filter = "none"
        reasoning = 1
        rpm_slices_s = []
        faults = ["http_500"]
        load_factor = inf
        [deployments.b]
        tpm = 1
        ptu = 1
        """
    )
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    words = [problem.split(":")[0] for problem in caught.value.problems]
    wrong = ["sead", "region", "tpm", "tbt_ms", "content_filter", "reasoning", "rpm_slices_s", "faults", "load_factor"]
    assert sorted(words) == sorted([*wrong, "tpm, ptu"])
    assert all("expected" in problem and "got" in problem and str(path) in problem for problem in caught.value.problems)


@pytest.mark.parametrize("content", [b"[deployments", b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path, content):
    path = tmp_path / "unreadable.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="expected a readable TOML file"):
        load_settings(path)


def test_a_patch_changes_only_what_it_names_and_null_restores_the_default():
    settings = Settings(deployments={"d": Deployment(tpm=5, tbt_ms=1)})
    patched = settings.patched({"deployments": {"d": {"tpm": None}, "e": {"ptu": 3}}}, "a test")
    assert patched.deployments == {"d": Deployment(tbt_ms=1), "e": Deployment(ptu=3)}
    assert settings.patched({"deployments": {"d": None}}, "a test").deployments == {}
    assert settings.patched(settings.to_json(), "itself") == settings


def test_keys_are_not_shown():
    assert not any("key" in name or "token" in name for name in Settings().to_json())
