"""Secrets from Azure Key Vault: references to them, and the secrets, fetched once before anything is sent.

App Service and Functions resolve settings of the form `@Microsoft.KeyVault(...)` themselves; anywhere else the
variable holds that very text. Here the references are fetched with azure-keyvault-secrets, each secret once, and
every one that cannot be had is reported together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tokenswarm.config.environment import NAMES, Environment, endpoint_problems, is_key_vault_reference
from tokenswarm.keys.entra import INSTALL, default_credential, first_line
from tokenswarm.userinput import BadInput

_KEY_VAULT = re.compile(r"@Microsoft\.KeyVault\((?P<body>.*)\)", re.IGNORECASE | re.DOTALL)
_SECRET_PATH = re.compile(r"/secrets/(?P<name>[0-9A-Za-z-]{1,127})(?:/(?P<version>[0-9A-Za-z]*))?/?", re.ASCII)
_VAULT_NAME = re.compile(r"[A-Za-z][0-9A-Za-z-]{2,23}", re.ASCII)
_SECRET_NAME = re.compile(r"[0-9A-Za-z-]{1,127}", re.ASCII)
_SECRET_VERSION = re.compile(r"[0-9A-Za-z]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyVaultReference:
    """A secret in a vault; `version` is `None` for the newest."""

    vault_url: str
    name: str
    version: str | None = None


def parse_key_vault_reference(value: str, where: str = "Key Vault reference") -> KeyVaultReference | None:
    """The secret that a value refers to, in App Service's syntax; `None` when the value is no reference.

    `@Microsoft.KeyVault(SecretUri=https://V.vault.azure.net/secrets/NAME[/VERSION])` or
    `@Microsoft.KeyVault(VaultName=V;SecretName=NAME[;SecretVersion=X])`. Raises `BadInput` for a malformed one.
    """
    if not is_key_vault_reference(value):
        return None
    match = _KEY_VAULT.fullmatch(value.strip())
    reference = _read_reference(match["body"]) if match else None
    if reference is None:
        by_uri = "@Microsoft.KeyVault(SecretUri=https://VAULT.vault.azure.net/secrets/NAME)"
        by_name = "@Microsoft.KeyVault(VaultName=VAULT;SecretName=NAME)"
        raise BadInput([f"{where}: expected {by_uri} or {by_name}, got {value.strip()!r:.120}"])
    return reference


def key_vault_references(environment: Environment, also: Iterable[str] = ()) -> dict[str, KeyVaultReference]:
    """The references among the values of `NAMES` and `also`, by name. Raises `BadInput` with every malformed one."""
    references: dict[str, KeyVaultReference] = {}
    problems: list[str] = []
    for name in sorted({*NAMES, *also} & set(environment)):
        try:
            reference = parse_key_vault_reference(environment[name], f"{name} ({environment.source(name)})")
        except BadInput as error:
            problems += error.problems
        else:
            if reference is not None:
                references[name] = reference
    if problems:
        raise BadInput(problems)
    return references


def fetch_secrets(references: Mapping[str, KeyVaultReference], credential: Any = None) -> dict[str, str]:
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


def _problem(variable: str, reference: KeyVaultReference, error: Exception) -> str:
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


def _read_reference(body: str) -> KeyVaultReference | None:
    fields: dict[str, str] = {}
    for part in body.split(";"):
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if not equals or key in fields:
            return None
        fields[key] = value.strip()
    if set(fields) == {"secreturi"}:
        return _read_secret_uri(fields["secreturi"])
    if {"vaultname", "secretname"} <= set(fields) <= {"vaultname", "secretname", "secretversion"}:
        return _read_vault_fields(fields["vaultname"], fields["secretname"], fields.get("secretversion"))
    return None


def _read_secret_uri(uri: str) -> KeyVaultReference | None:
    if endpoint_problems(uri, ""):
        return None
    parts = urlsplit(uri)
    path = _SECRET_PATH.fullmatch(parts.path)
    if parts.scheme != "https" or path is None:
        return None
    return KeyVaultReference(f"https://{parts.netloc.lower()}", path["name"], path["version"] or None)


def _read_vault_fields(vault: str, name: str, version: str | None) -> KeyVaultReference | None:
    if not _VAULT_NAME.fullmatch(vault) or not _SECRET_NAME.fullmatch(name):
        return None
    if version and not _SECRET_VERSION.fullmatch(version):
        return None
    return KeyVaultReference(f"https://{vault.lower()}.vault.azure.net", name, version or None)
