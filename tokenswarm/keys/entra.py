"""Entra tokens for `auth = entra`: one per process, renewed in the background, so that no measured request waits.

The credential is azure-identity's `DefaultAzureCredential`: a service principal from `AZURE_CLIENT_ID`,
`AZURE_TENANT_ID` and `AZURE_CLIENT_SECRET`, a workload or managed identity, or the signed-in Azure CLI. Its
synchronous API is cooperative under gevent's monkey patching, and so is the thread that renews: neither holds up
the event loop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenswarm.config.chat_url import DEFAULT_SCOPE
from tokenswarm.userinput import BadInput

RENEW_BEFORE_S = 240.0
"""Seconds before expiry at which a token is renewed. Below 300, because azure-identity and MSAL hand out the cached
token until five minutes before its end; asking earlier would bring nothing."""

RETRY_S = 30.0
"""Seconds to the next attempt after a renewal that brought nothing new; azure-identity itself waits as long."""

INSTALL = "pip install -r requirements-azure.txt"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and the Unix s at which it ends."""

    value: str
    expires_at: float


def renewal_delay_s(token: Token, now: float) -> float:
    """Seconds from `now` to the renewal of `token`: `RENEW_BEFORE_S` before its end, or halfway for a short one."""
    left_s = token.expires_at - now
    return max(left_s - RENEW_BEFORE_S, left_s / 2, 1.0)


class EntraTokens:
    """The current token of this process; calling it never waits.

    Give the object itself to the openai SDK as `azure_ad_token_provider` (or `api_key`). `version` counts up with
    each new token, for callers that keep a prepared request. Start it after a fork, once in each process.
    """

    def __init__(
        self,
        credential: Any,
        scope: str = DEFAULT_SCOPE,
        *,
        clock: Callable[[], float] = time.time,
        on_renewal: Callable[[], None] | None = None,
    ) -> None:
        self.version = 0
        self.problem: str | None = None
        self._credential = credential
        self.scope = scope
        self._clock = clock
        self._on_renewal = on_renewal
        self._token: Token | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self) -> str:
        """The token. Raises `RuntimeError` before `start`."""
        if self._token is None:
            raise RuntimeError("the token source was not started")
        return self._token.value

    def start(self) -> None:
        """Fetch the first token, waiting for it, then renew in the background. Raises `BadInput` when there is none."""
        if self._thread is not None:
            return
        try:
            self._take(self._fetch())
        except Exception as error:  # whatever a credential raises, the user gets the reason and nothing is sent
            raise BadInput([_refusal(self.scope, error)]) from error
        self._thread = threading.Thread(target=self._renew_until_stopped, name="token-renewal", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the renewal; the last token stays readable."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def renew(self) -> float:
        """Try to get a new token; keep the old one if that fails. Returns the seconds to the next attempt."""
        previous = self._token
        try:
            token = self._fetch()
        except Exception as error:  # the run goes on with the old token; its end shows as 401 in the rows
            self.problem = _refusal(self.scope, error)
            logger.warning("%s; next attempt in %g s", self.problem, RETRY_S)
            return RETRY_S
        self.problem = None
        if previous is not None and token.value == previous.value:
            return min(RETRY_S, renewal_delay_s(token, self._clock()))
        self._take(token)
        return renewal_delay_s(token, self._clock())

    def _fetch(self) -> Token:
        answer = self._credential.get_token(self.scope)
        return Token(answer.token, float(answer.expires_on))

    def _take(self, token: Token) -> None:
        self._token = token
        self.version += 1
        if self._on_renewal is not None:
            self._on_renewal()

    def _renew_until_stopped(self) -> None:
        assert self._token is not None
        delay_s = renewal_delay_s(self._token, self._clock())
        while not self._stopped.wait(delay_s):
            delay_s = self.renew()


def default_credential() -> Any:
    """`DefaultAzureCredential()`. Raises `BadInput` when azure-identity is not installed."""
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise BadInput([f"azure-identity: expected it installed, got: {error} ({INSTALL})"]) from error
    return DefaultAzureCredential()


def first_line(error: BaseException) -> str:
    """An Azure error in one line: the SDK's messages go over many, the first ones say what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:3]) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"


def _refusal(scope: str, error: BaseException) -> str:
    return f"auth = entra: expected a token for {scope}, got: {first_line(error)}"
