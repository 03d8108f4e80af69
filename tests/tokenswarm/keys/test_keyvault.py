from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.services.fake_azure import Azure
from tokenswarm.config.environment import Environment
from tokenswarm.keys.keyvault import (
    KeyVaultReference,
    fetch_secrets,
    key_vault_references,
    parse_key_vault_reference,
)
from tokenswarm.userinput import BadInput

TEAM = "https://team.vault.azure.net"


def test_fetches_each_secret_once_through_the_vaults_challenge(azure: Azure) -> None:
    azure.secrets = {"team/aoai-key": "k-1", "team/function-key/v7": "f-7"}
    values = fetch_secrets(
        {
            "AZURE_OPENAI_API_KEY": KeyVaultReference(TEAM, "aoai-key"),
            "OPENAI_API_KEY": KeyVaultReference(TEAM, "aoai-key"),
            "FUNCTION_KEY": KeyVaultReference(TEAM, "function-key", "v7"),
        }
    )
    assert values == {"AZURE_OPENAI_API_KEY": "k-1", "OPENAI_API_KEY": "k-1", "FUNCTION_KEY": "f-7"}
    asked = [(one.path.rstrip("/"), "authorization" in one.headers) for one in azure.requests_to(".vault.azure.net")]
    assert asked == [("/secrets/aoai-key", False), ("/secrets/aoai-key", True), ("/secrets/function-key/v7", True)]
    assert azure.tokens_issued == 1


def test_lists_every_secret_that_cannot_be_had(azure: Azure) -> None:
    azure.secrets = {"team/good": "g"}
    azure.forbidden = {"team/locked"}
    with pytest.raises(BadInput) as caught:
        fetch_secrets(
            {
                "GOOD": KeyVaultReference(TEAM, "good"),
                "LOCKED": KeyVaultReference(TEAM, "locked"),
                "MISSING": KeyVaultReference(TEAM, "missing", "v2"),
            }
        )
    locked, missing = caught.value.problems
    assert locked.startswith("LOCKED: expected the secret https://team.vault.azure.net/secrets/locked, got: forbidden")
    assert missing == "MISSING: expected the secret https://team.vault.azure.net/secrets/missing/v2, got: not found"


def test_an_empty_secret_is_a_problem(azure: Azure) -> None:
    azure.secrets = {"team/empty": ""}
    with pytest.raises(BadInput, match=r"EMPTY: expected the secret .*, got: an empty secret"):
        fetch_secrets({"EMPTY": KeyVaultReference(TEAM, "empty")})


def test_no_identity_is_one_line_for_each_variable(azure: Azure) -> None:
    azure.token_status = 401
    with pytest.raises(BadInput) as caught:
        fetch_secrets({"KEY": KeyVaultReference(TEAM, "key")})
    (problem,) = caught.value.problems
    assert problem.startswith("KEY: expected the secret https://team.vault.azure.net/secrets/key, got: ")
    assert "AADSTS7000215" in problem


def test_an_unreachable_vault_is_one_line(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match=r"KEY: expected the secret https://other.vault.azure.net/secrets/key, got: "):
        fetch_secrets({"KEY": KeyVaultReference("https://other.vault.azure.net", "key")})


def test_nothing_to_fetch_asks_for_no_credential() -> None:
    assert fetch_secrets({}) == {}


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("SecretUri=https://V1.vault.azure.net/secrets/name", ("https://v1.vault.azure.net", "name", None)),
        ("SecretUri=https://v.vault.azure.net/secrets/name/", ("https://v.vault.azure.net", "name", None)),
        ("SecretUri=https://v.vault.azure.net/secrets/n-1/0aF", ("https://v.vault.azure.net", "n-1", "0aF")),
        ("SecretUri=https://v.vault.azure.cn/secrets/n", ("https://v.vault.azure.cn", "n", None)),
        ("VaultName=kv-a;SecretName=n", ("https://kv-a.vault.azure.net", "n", None)),
        ("SecretName=n; VaultName=kv-a; SecretVersion=0a", ("https://kv-a.vault.azure.net", "n", "0a")),
        ("vaultname=kv-a;secretname=n;SecretVersion=", ("https://kv-a.vault.azure.net", "n", None)),
    ],
)
def test_key_vault_references(text, reference):
    assert parse_key_vault_reference(f" @Microsoft.KeyVault({text}) ") == KeyVaultReference(*reference)


@pytest.mark.parametrize("text", ["", "a key", "@Microsoft.KeyVaults(x)", "see @Microsoft.KeyVault(SecretUri=x)"])
def test_other_values_are_no_references(text):
    assert parse_key_vault_reference(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "@Microsoft.KeyVault(",
        "@Microsoft.KeyVault()",
        "@Microsoft.KeyVault(SecretUri=http://v.vault.azure.net/secrets/n)",
        "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/keys/n)",
        "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/n/1/2)",
        "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/n;SecretName=n)",
        "@Microsoft.KeyVault(VaultName=kv-a)",
        "@Microsoft.KeyVault(VaultName=kv.evil.com/;SecretName=n)",
        "@Microsoft.KeyVault(VaultName=kv-a;SecretName=n/../m)",
        "@Microsoft.KeyVault(VaultName=kv-a;VaultName=kv-b;SecretName=n)",
        "@Microsoft.KeyVault(VaultName=kv-a;SecretName=n;SecretVersion=../x)",
        "@Microsoft.KeyVault(VaultName=kv-a;SecretName=n) and more",
    ],
)
def test_malformed_references_are_problems(text):
    with pytest.raises(BadInput, match=re.escape("OPENAI_API_KEY (x.env:1): expected @Microsoft.KeyVault(SecretUri=")):
        key_vault_references(Environment({"OPENAI_API_KEY": text}, {"OPENAI_API_KEY": "x.env:1"}))


@settings(max_examples=300)
@given(st.text(st.sampled_from("SecretUriVaultNm=;:/.-ahtps1 ")))
def test_any_reference_is_read_or_bad_input(text):
    try:
        reference = parse_key_vault_reference(f"@Microsoft.KeyVault({text})")
    except BadInput:
        return
    assert reference is not None
