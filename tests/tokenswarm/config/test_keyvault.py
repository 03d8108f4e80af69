from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.services.fake_azure import Azure
from tokenswarm.config.keyvault import fetch_secrets
from tokenswarm.userinput import BadInput


@dataclass(frozen=True)
class Reference:
    vault_url: str
    name: str
    version: str | None = None


TEAM = "https://team.vault.azure.net"


def test_fetches_each_secret_once_through_the_vaults_challenge(azure: Azure) -> None:
    azure.secrets = {"team/aoai-key": "k-1", "team/function-key/v7": "f-7"}
    values = fetch_secrets(
        {
            "AZURE_OPENAI_API_KEY": Reference(TEAM, "aoai-key"),
            "OPENAI_API_KEY": Reference(TEAM, "aoai-key"),
            "FUNCTION_KEY": Reference(TEAM, "function-key", "v7"),
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
                "GOOD": Reference(TEAM, "good"),
                "LOCKED": Reference(TEAM, "locked"),
                "MISSING": Reference(TEAM, "missing", "v2"),
            }
        )
    locked, missing = caught.value.problems
    assert locked.startswith("LOCKED: expected the secret https://team.vault.azure.net/secrets/locked, got: forbidden")
    assert missing == "MISSING: expected the secret https://team.vault.azure.net/secrets/missing/v2, got: not found"


def test_an_empty_secret_is_a_problem(azure: Azure) -> None:
    azure.secrets = {"team/empty": ""}
    with pytest.raises(BadInput, match=r"EMPTY: expected the secret .*, got: an empty secret"):
        fetch_secrets({"EMPTY": Reference(TEAM, "empty")})


def test_no_identity_is_one_line_for_each_variable(azure: Azure) -> None:
    azure.token_status = 401
    with pytest.raises(BadInput) as caught:
        fetch_secrets({"KEY": Reference(TEAM, "key")})
    (problem,) = caught.value.problems
    assert problem.startswith("KEY: expected the secret https://team.vault.azure.net/secrets/key, got: ")
    assert "AADSTS7000215" in problem


def test_an_unreachable_vault_is_one_line(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match=r"KEY: expected the secret https://other.vault.azure.net/secrets/key, got: "):
        fetch_secrets({"KEY": Reference("https://other.vault.azure.net", "key")})


def test_nothing_to_fetch_asks_for_no_credential() -> None:
    assert fetch_secrets({}) == {}
