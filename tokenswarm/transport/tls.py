"""The TLS context that all connections share."""

from __future__ import annotations

import ssl


def tls_context(ca_file: str | None = None, verify: bool = True) -> ssl.SSLContext:
    """A client context; certificates are verified unless told otherwise. Raises `OSError`/`ssl.SSLError` for `ca_file`.

    One context serves all users: making one costs tens of milliseconds.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
