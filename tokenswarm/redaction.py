"""The one way out for text: what is printed, logged, written to a file or shown in a page passes here.

Secrets are replaced: known values wherever they stand, also in the encodings in which they travel, and whatever has
the form of a credential, which the program need not have seen before. Characters that move a terminal's cursor, begin
its escape sequences or turn the direction of a line are taken out: texts come from servers and files of other people.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import logging
import re
import sys
from itertools import takewhile
from operator import attrgetter
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

from tokenswarm.record import RequestRecord

MASK = "***"

MIN_LENGTH = 4
"""Shorter values are not remembered: replacing them would tear ordinary words apart and hide nothing."""

MIN_CUT = 8
"""Characters from which the beginning of a secret counts as one that was cut; fewer at the end of a text."""

_OUR_TEXTS = ("name", "target", "worker", "question_id")
_SERVICE_TEXTS = ("error", "finish_reason", "request_id", "region", "model", "conversation_id", "stages")

_TEXTS = attrgetter(*_OUR_TEXTS, *_SERVICE_TEXTS)

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""C0 but tab and line feed, DEL, C1, line separators, bidirectional controls, byte order
marks, lone surrogates and tag characters."""

_HEADERS = (
    "api-key|x-api-key|x-functions-key|ocp-apim-subscription-key|dapr-api-token|proxy-authorization|authorization"
)
_QUERY_KEYS = (
    "code|sig|key|api[-_]?key|function[-_]?key|x-functions-key|subscription-key|(?:access|id|refresh)[-_]?token|token|"
    "password|client[-_]?secret|secret"
)
_PLAIN_QUERY_KEYS = (
    "sig|api[-_]?key|function[-_]?key|subscription-key|(?:access|refresh)[-_]?token|client[-_]?secret|password|pwd|"
    "(?:shared[-_]?)?access[-_]?key|account[-_]?key|instrumentation[-_]?key"
)
"""What no sentence has before an equals sign: hidden also where no question mark comes before, as in connection
strings."""

_FIELD_KEYS = rf"{_PLAIN_QUERY_KEYS}|token|id[-_]?token|secret|passwd|private[-_]?key|connection[-_]?string"
"""Names of fields of a JSON object or a mapping."""

_QUERY_FORMS = (
    re.compile(rf"(?i)(?P<keep>(?:[?&]|&amp;|%3f|%26|\\u0026)(?:{_QUERY_KEYS})(?:=|%3d))(?P<hide>[^&\s'\"#<>]+)"),
    re.compile(rf"(?i)(?P<keep>(?<![\w-])(?:{_PLAIN_QUERY_KEYS})=)(?P<hide>(?!expected\b)[^&\s'\"#<>;,]+)"),
)
_FORMS = (
    *_QUERY_FORMS,
    # Headers as "name: value", "name=value" or in the repr of a mapping or of pairs; our own "name: expected" is none.
    re.compile(
        rf"(?i)(?P<keep>\b(?:{_HEADERS})\b(?:['\"]?\s*[:=]|['\"]\s*,)\s*(?:b?['\"])?(?:(?:bearer|basic)\s+)?)"
        r"(?P<hide>(?!expected\b|keys are\b)[^\s'\",;)}\]]+)"
    ),
    re.compile(r"(?i)(?P<keep>\bbearer\s+)(?P<hide>(?![a-z]+\b)[a-z0-9._~+/=-]{8,})"),
    re.compile(r"(?i)(?P<keep>\b[a-z][a-z0-9+.-]{0,15}://)(?P<hide>[^\s/@?#'\"]+)(?=@)"),
    re.compile(rf"(?i)(?P<keep>(?P<quote>\\*['\"])(?:{_FIELD_KEYS})(?P=quote)\s*:\s*(?P=quote))(?P<hide>[^'\"\\]+)"),
    # Assignments as an environment file has them.
    re.compile(r"(?P<keep>\b[A-Z][A-Z0-9_]*(?:KEY|SECRET|TOKEN|PASSWORD)\s*=\s*['\"]?)(?P<hide>[^\s'\"&]+)"),
    # Keys that say by themselves whose they are: of model services, code hosts, AWS, Azure.
    re.compile(
        r"(?P<keep>)(?P<hide>\b(?:sk-|gsk_|hf_|nvapi-|pplx-|xai-|AIza|gh[opsu]_|github_pat_)[A-Za-z0-9_-]{16,}"
        r"|\bA(?:KI|SI)A[A-Z0-9]{16}\b"
        r"|(?<![\w+/-])[\w+/-]{40,80}?(?:JQQJ99|AzFu|AzSe|ACDb|\+ASt)[\w+/-]{4,40}={0,2})"
    ),
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
        self._known |= _spellings(value.strip()) | _spellings(without_controls(value).strip())
        longest_first = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def redact(self, text: str) -> str:
        """`text` without control characters, and with every known secret, and everything that has the form of one,
        replaced by `MASK`."""
        joined = _CONTROLS.sub("", text)  # a secret may be cut by what is taken out
        text = self.hide(joined) if self.hide(joined) != joined else without_controls(text)
        for form in _FORMS:
            text = form.sub(_mask, text)
        return text

    def clean(self, record: RequestRecord) -> RequestRecord:
        """`record` without secrets and control characters in its texts: some services tell a wrong key back in the
        error."""
        if record.error is None and self._is_clean("".join(filter(None, _TEXTS(record)))):
            return record
        found = {name: text for name in (*_OUR_TEXTS, *_SERVICE_TEXTS) if (text := getattr(record, name))}
        redacted: dict[str, Any] = {
            name: self.redact(self.hide_cut(text)) if name == "error" else self.hide(one_line(text))
            for name, text in found.items()
        }
        if "error" in redacted:
            redacted["error"] = one_line(redacted["error"])
        return record if redacted == found else dataclasses.replace(record, **redacted)

    def _is_clean(self, text: str) -> bool:
        """Whether there is nothing to take out of a text, as of nearly every record's."""
        return text.isascii() and text.isprintable() and not any(secret in text for secret in self._known)

    def redact_values(self, value: Any) -> Any:
        """The same for every text in plain data, the names in it included."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, dict):
            return {self.redact_values(name): self.redact_values(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_values(each) for each in value]
        return value

    def hide(self, text: str) -> str:
        """`text` with the known secrets replaced, and nothing else touched."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def hide_cut(self, text: str) -> str:
        """`text` with the known secrets replaced, also those of which only the beginning is there: answers are cut at
        a length, wherever that is."""
        text = self.hide(text)
        for spelling in sorted(self._known):
            head = spelling[:MIN_CUT]
            while len(head) == MIN_CUT and (at := text.find(head)) >= 0:
                text = text[:at] + MASK + text[at + _same(text[at:], spelling) :]
            ends = (length for length in range(MIN_CUT - 1, MIN_LENGTH - 1, -1) if text.endswith(spelling[:length]))
            if (length := next(ends, 0)) and MASK not in spelling[:length]:
                text = text[:-length] + MASK
        return text

    def __repr__(self) -> str:
        return f"Secrets({len(self._known)} spellings)"


SECRETS = Secrets()
"""Those of this process."""


def without_controls(text: str) -> str:
    """`text` with `?` for what a terminal or a browser would obey, and for what cannot be encoded."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROLS.sub("?", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """`without_controls`, with line feeds and tabs as blanks: a text that stands in a line of ours."""
    return without_controls(text).replace("\n", " ").replace("\t", " ")


def escape(text: str) -> str:
    """A text for an HTML page."""
    return html.escape(SECRETS.redact(text))


def write_line(text: str = "", file: TextIO | None = None, end: str = "\n") -> None:
    """Print a text, less this process's secrets and control characters; to standard output when no file is given."""
    (file or sys.stdout).write(SECRETS.redact(text) + end)
    (file or sys.stdout).flush()


def accept_any_text() -> None:
    """Let this process print what its terminal has no sign for (– in ASCII, a name in Latin-1): `?` stands for it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")


class Redacted:
    """A file that is written through `SECRETS`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write one piece; a secret that is cut into two pieces is not found."""
        return self._file.write(SECRETS.redact(text))


def secret_query_values(text: str) -> list[str]:
    """Values of a URL's query that have the names of credentials."""
    return [match["hide"] for form in _QUERY_FORMS for match in form.finditer(text)]


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


def _same(text: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False)))


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
