"""Keeps secrets out of whatever a run writes: the one place that knows them and blackens them.

Known values are replaced wherever they stand, also in the encodings in which they travel. Beyond these, whatever
has the form of a credential is replaced: the program need not have seen it before.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import logging
import re
from typing import Any
from urllib.parse import quote, quote_plus

from tokenswarm.record import RequestRecord

MASK = "***"

MIN_LENGTH = 4
"""Shorter values are not remembered: replacing them would tear ordinary words apart and hide nothing."""

_SERVICE_TEXTS = ("error", "finish_reason", "request_id", "region", "model", "conversation_id", "stages")

_HEADERS = (
    "api-key|x-api-key|x-functions-key|ocp-apim-subscription-key|dapr-api-token|proxy-authorization|authorization"
)
_QUERY_KEYS = "code|sig|key|api-key|api_key|subscription-key|access_token|token|password"

_FORMS = (
    # Headers as "name: value", "name=value" or in the repr of a mapping or of pairs; our own "name: expected" is none.
    re.compile(
        rf"(?i)(?P<keep>\b(?:{_HEADERS})\b(?:['\"]?\s*[:=]|['\"]\s*,)\s*(?:b?['\"])?(?:(?:bearer|basic)\s+)?)"
        r"(?P<hide>(?!expected\b)[^\s'\",;)}\]]+)"
    ),
    re.compile(r"(?i)(?P<keep>\bbearer\s+)(?P<hide>(?![a-z]+\b)[a-z0-9._~+/=-]{8,})"),
    re.compile(rf"(?i)(?P<keep>[?&](?:{_QUERY_KEYS})=)(?P<hide>[^&\s'\"#<>]+)"),
    re.compile(r"(?i)(?P<keep>\b[a-z][a-z0-9+.-]{0,15}://)(?P<hide>[^\s/@?#'\"]+)(?=@)"),
    # Assignments as an environment file has them.
    re.compile(r"(?P<keep>\b[A-Z][A-Z0-9_]*(?:KEY|SECRET|TOKEN|PASSWORD)\s*=\s*['\"]?)(?P<hide>[^\s'\"&]+)"),
    re.compile(r"(?P<keep>)(?P<hide>\bsk-[A-Za-z0-9_-]{16,})"),
    re.compile(r"(?P<keep>)(?P<hide>\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)"),
)


class Secrets:
    """The secrets of this process. `add` each as soon as it is known; `redact` whatever leaves the process."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, value: str | None) -> None:
        """Remember a secret; `None` and values under `MIN_LENGTH` characters are passed over."""
        if value is None or len(value.strip()) < MIN_LENGTH:
            return
        self._known |= _spellings(value.strip())
        longest_first = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def redact(self, text: str) -> str:
        """`text` with every known secret, and everything that has the form of one, replaced by `MASK`."""
        text = self._hide(text)
        for form in _FORMS:
            text = form.sub(_mask, text)
        return text

    def clean(self, record: RequestRecord) -> RequestRecord:
        """`record` without secrets in the texts that came from a service: some tell a wrong key back in the error."""
        found = {name: text for name in _SERVICE_TEXTS if (text := getattr(record, name))}
        redacted: dict[str, Any] = {
            name: self.redact(text) if name == "error" else self._hide(text) for name, text in found.items()
        }
        return record if redacted == found else dataclasses.replace(record, **redacted)

    def _hide(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def __repr__(self) -> str:
        return f"Secrets({len(self._known)} spellings)"


class RedactingFilter(logging.Filter):
    """Redacts log records, their tracebacks included. Belongs on handlers: a logger's filter does not see the
    records of the loggers below it."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = self._secrets.redact(_message(record))
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._secrets.redact(record.exc_text)
        if record.stack_info:
            record.stack_info = self._secrets.redact(record.stack_info)
        return True


def redact_handlers(secrets: Secrets, logger: logging.Logger | None = None) -> None:
    """Put one filter for `secrets` on every handler of `logger` (the root logger when not given); again is harmless."""
    for handler in (logger or logging.getLogger()).handlers:
        if not any(isinstance(each, RedactingFilter) and each._secrets is secrets for each in handler.filters):
            handler.addFilter(RedactingFilter(secrets))


def _mask(match: re.Match[str]) -> str:
    return match["keep"] + MASK


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit their format: show both, as they may hold secrets
        return f"{record.msg} {record.args!r}"


def _spellings(value: str) -> set[str]:
    """The forms in which a value may appear: plain, in URLs, JSON, HTML, a Python repr and Base64."""
    encoded = value.encode("utf-8", "surrogatepass")
    spellings = {
        value,
        html.escape(value),
        json.dumps(value)[1:-1],
        repr(value)[1:-1],
        base64.b64encode(encoded).decode(),
        base64.urlsafe_b64encode(encoded).decode(),
        quote(encoded),
        quote(encoded, safe=""),
        quote_plus(encoded),
    }
    return {spelling for spelling in spellings if len(spelling) >= MIN_LENGTH}
