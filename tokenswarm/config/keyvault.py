"""Secrets from Azure Key Vault, fetched once before anything is sent.

App Service and Functions resolve settings of the form `@Microsoft.KeyVault(...)` themselves; anywhere else the
variable holds that very text. Here the references are fetched with azure-keyvault-secrets, each secret once, and
every one that cannot be had is reported together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tokenswarm.config.entra import INSTALL, default_credential, first_line
from tokenswarm.userinput import BadInput


class Reference(Protocol):
    """What a Key Vault reference names; `config.environment.parse_key_vault_reference` makes one from its text."""

    @property
    def vault_url(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str | None: ...


def fetch_secrets(references: Mapping[str, Reference], credential: Any = None) -> dict[str, str]:
    """The secrets behind `references` (variable name to reference), by variable name.

    `credential` is `DefaultAzureCredential()` when not given. Raises `BadInput` with one problem for each variable
    whose secret cannot be had.
    """
    if not references:
        return {}
    client_of = _clients(credential or default_credential())
    fetched: dict[tuple[str, str, str | None], str] = {}
    values: dict[str, str] = {}
    problems = []
    for variable, reference in references.items():
        key = (reference.vault_url, reference.name, reference.version)
        try:
            if key not in fetched:
                secret = client_of(reference.vault_url).get_secret(reference.name, reference.version)
                if not secret.value:
                    raise ValueError("an empty secret")
                fetched[key] = secret.value
            values[variable] = fetched[key]
        except Exception as error:  # of azure.core, of a credential, of the network: each becomes a line for the user
            problems.append(_problem(variable, reference, error))
    if problems:
        raise BadInput(problems)
    return values


def _clients(credential: Any) -> Any:
    try:
        from azure.keyvault.secrets import SecretClient
    except ImportError as error:
        raise BadInput([f"azure-keyvault-secrets: expected it installed, got: {error} ({INSTALL})"]) from error
    clients: dict[str, SecretClient] = {}

    def client_of(vault_url: str) -> SecretClient:
        if vault_url not in clients:
            clients[vault_url] = SecretClient(vault_url, credential, retry_total=2, connection_timeout=10)
        return clients[vault_url]

    return client_of


def _problem(variable: str, reference: Reference, error: Exception) -> str:
    place = f"{reference.vault_url.rstrip('/')}/secrets/{reference.name}"
    if reference.version:
        place += f"/{reference.version}"
    return f"{variable}: expected the secret {place}, got: {_reason(error)}"


def _reason(error: Exception) -> str:
    match getattr(error, "status_code", None):
        case 403:
            return "forbidden: the role Key Vault Secrets User is missing, or the vault's firewall refuses this address"
        case 404:
            return "not found"
        case 401:
            return f"not authenticated: {first_line(error)}"
        case _:
            return first_line(error)
