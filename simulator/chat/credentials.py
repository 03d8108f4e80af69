"""Who may ask: the key in Azure's header or as a bearer token, or the stand-in for an Entra token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from simulator.config.settings import Settings


def is_authorized(headers: Mapping[str, str], settings: Settings) -> bool:
    """Whether lower-case `headers` hold a credential that the chat target accepts."""
    key = headers.get("api-key")
    if key is not None and hmac.compare_digest(key.encode(), settings.api_key.encode()):
        return True
    scheme, _, token = headers.get("authorization", "").partition(" ")
    accepted = (settings.api_key, settings.entra_token)
    return scheme.lower() == "bearer" and any(
        hmac.compare_digest(token.strip().encode(), one.encode()) for one in accepted
    )
