"""Who may ask: the key in Azure's or Anthropic's header or as a bearer token, or the stand-in for an Entra token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from simulator.config.settings import Settings

KEY_HEADERS = ("api-key", "x-api-key")


def is_authorized(headers: Mapping[str, str], settings: Settings) -> bool:
    """Whether lower-case `headers` hold a credential that the model service accepts."""
    given = [(headers.get(name, ""), settings.api_key) for name in KEY_HEADERS]
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given += [(token.strip(), settings.api_key), (token.strip(), settings.entra_token)]
    return any([hmac.compare_digest(one.encode(), accepted.encode()) for one, accepted in given])
