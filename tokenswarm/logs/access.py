"""Access logs of web servers, read as the requests that they tell of. Pure.

A line of text does not say what its numbers are, so its format has to be told: nginx's `log_format` or Apache's
`LogFormat`, as it stands in the server's configuration. A line of JSON names its values: Caddy's, and nginx's where
the keys are called as its variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from datetime import datetime
from typing import Any

from tokenswarm.logs.logged import Fields, LoggedRequest, Reader, object_of, tokens_of
from tokenswarm.recordings.bodies import BadLine, asks_of
from tokenswarm.recordings.lines import read_timestamp
from tokenswarm.userinput import BadInput

_LOCAL = r"\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"
_COUNT = r"\d*|-"
_NGINX = {
    "msec": ("end_s", r"\d+\.\d+"),
    "time_iso8601": ("end_iso", r"[\d:T.-]+(?:Z|[+-]\d\d:\d\d)"),
    "time_local": ("end", _LOCAL),
    "request_time": ("took_s", r"\d+\.\d+"),
    "request": ("request", None),
    "request_method": ("method", r"[A-Z]*"),
    "request_uri": ("url", None),
    "uri": ("url", None),
    "status": ("status", r"\d{3}"),
    "content_length": ("body", _COUNT),
    "http_content_length": ("body", _COUNT),
    "request_length": ("received", _COUNT),
    "body_bytes_sent": ("sent_body", _COUNT),
    "bytes_sent": ("sent", _COUNT),
}
_APACHE = {
    "t": ("begin", rf"\[{_LOCAL}\]"),
    **dict.fromkeys(("{sec}t", "{msec}t", "{usec}t"), ("begin_s", r"\d{10,16}")),
    "r": ("request", None),
    "m": ("method", r"[A-Z]+"),
    "U": ("url", None),
    "s": ("status", r"\d{3}|-"),
    "{content-length}i": ("body", _COUNT),
    "I": ("received", _COUNT),
    "b": ("sent_body", _COUNT),
    "B": ("sent_body", _COUNT),
    "O": ("sent", _COUNT),
}
"""What a variable tells, and how it is written where it is more than text."""
_PROXIES: dict[str, dict[str, str]] = {
    "StartUTC": {"StartUTC": "begin", "RequestMethod": "method", "RequestPath": "url", "DownstreamStatus": "status",
                 "RequestContentSize": "body", "DownstreamContentSize": "sent_body"},
    "response_code": {"start_time": "begin", "method": "method", "path": "url", "response_code": "status",
                      "bytes_received": "body", "bytes_sent": "sent_body"},
}  # fmt: skip
"""The keys of Traefik's lines, and of Envoy's as Istio has them, by one that others have not."""
_NGINX_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_APACHE_DIRECTIVE = re.compile(r"%[<>!\d,]*((?:\{[^}]*\}\^?)?[aAbBCDefhHiIkKlLmnoOpPqrRsStTuUvVX])")
_QUOTED, _LISTED, _USER, _WORD = r'(?:[^"\\]|\\.)*?', r"\S+(?:(?:,| :) \S+)*", r'[^"\[]*?', r"\S*"
_NEEDED = {
    "a time ($time_local, $time_iso8601, $msec or %t)": {"end", "end_s", "end_iso", "begin", "begin_s"},
    "the request ($request or %r, or its method and URL)": {"request", "url"},
    "the status ($status or %>s)": {"status"},
    "the length of the request ($content_length or $request_length, %{Content-Length}i or %I)": {"body", "received"},
    "the length of the answer ($body_bytes_sent, %b or %O)": {"sent_body", "sent"},
}


def access_reader(log_format: str | None) -> Reader:
    """Reads a line as the request it tells of, if that went to a model that writes. Raises `BadInput` for a format
    that does not say what is needed; the reader raises `BadLine`."""
    pattern = None if log_format is None else _pattern(log_format)

    def read(data: bytes) -> Iterator[LoggedRequest]:
        if pattern is None:
            return _request(_of_json(data))
        found = pattern.fullmatch(data.decode("utf-8", "replace").rstrip())
        if found is None:
            raise BadLine("expected a line as --log-format says, got another")
        return _request(found.groupdict())

    return read


def _pattern(log_format: str) -> re.Pattern[str]:
    text = _plain(log_format)
    variable, known = (_NGINX_VARIABLE, _NGINX) if _NGINX_VARIABLE.search(text) else (_APACHE_DIRECTIVE, _APACHE)
    made, told, at = "", set[str](), 0
    for found in variable.finditer(text):
        made += _literal(text[at : found.start()], variable)
        name = next(group for group in found.groups() if group)
        tells, written = known.get(name.lower() if name.startswith("{") else name, (None, None))
        written = written or _text(name, is_quoted=text[: found.start()].count('"') % 2 == 1)
        made += f"(?P<{tells}>{written})" if tells and tells not in told else f"(?:{written})"
        told |= {tells} if tells else set()
        at = found.end()
    made += _literal(text[at:], variable)
    if missing := _missing(told):
        raise BadInput([f"log-format: expected {what}, got a format without it" for what in missing])
    return re.compile(made)


def _missing(told: Set[str]) -> list[str]:
    return [what for what, names in _NEEDED.items() if not names & told]


def _plain(log_format: str) -> str:
    """A format without the directive, the quotes and the line ends that a configuration has around it."""
    text = re.sub(r"^(?:log_format\s+\S+\s+(?:escape=\w+\s+)?|LogFormat\s+)", "", log_format.strip()).strip("';")
    text = re.sub(r"\s*\n\s*", " ", re.sub(r"'\s+'", "", text))
    return re.sub(r'^"(.*\\".*)"(?:\s+\w+)?$', r"\1", text).replace(r"\"", '"').replace(r"\t", "\t")


def _literal(text: str, variable: re.Pattern[str]) -> str:
    if variable is _APACHE_DIRECTIVE and "%" in (rest := text.replace("%%", "")):
        raise BadInput([f"log-format: expected variables of nginx or Apache, got {rest[rest.index('%') :][:20]!r}"])
    return re.escape(text.replace("%%", "%"))


def _text(name: str, is_quoted: bool) -> str:
    if is_quoted:
        return _QUOTED
    if name == "request" or name == "r":
        return r"\S+ \S+ \S+"
    return _LISTED if name.startswith("upstream_") else _USER if name in ("remote_user", "u", "l") else _WORD


def _of_json(data: bytes) -> Mapping[str, Any]:
    if not data.lstrip().startswith(b"{"):
        raise BadLine(
            "expected --log-format, which says where a request's length ($request_length, %I) stands, got none "
            "(lines of other servers can be described by nginx's variables, too)"
        )
    entry = object_of(data.decode("utf-8", "replace").encode())  # the bytes of others than clients of HTTP, too
    request = entry.get("request")
    if isinstance(request, dict):
        return _of_caddy(Fields(entry), request)
    keys = next((keys for key, keys in _PROXIES.items() if key in entry), None)
    keys = {name: tells for name, (tells, _) in reversed(_NGINX.items())} if keys is None else keys
    found = {tells: entry[name] for name, tells in keys.items() if name in entry}
    if missing := _missing(found.keys()):
        raise BadLine(f"expected {', '.join(missing)} under the names of the variables, or --log-format; got none")
    return found


def _of_caddy(entry: Fields, request: Mapping[str, Any]) -> Mapping[str, Any]:
    headers = {str(name).lower(): value for name, value in (request.get("headers") or {}).items()}
    return {
        "end_s": entry.get("ts"),
        "took_s": entry.get("duration"),
        "method": request.get("method"),
        "url": request.get("uri"),
        "status": entry.get("status"),
        "body": next(iter(headers.get("content-length") or []), None),
        "received": entry.get("bytes_read"),
        "sent_body": entry.get("size"),
    }


def _request(values: Mapping[str, Any]) -> Iterator[LoggedRequest]:
    found = Fields({name: value for name, value in values.items() if value != "-"})
    method, url = str(found.get("method") or ""), str(found.get("url") or "")
    if (line := found.get("request")) is not None:
        method, url, *_ = [*str(line).split(" "), ""]  # a line that is no request, as of TLS, has no method
    if method != "POST" or asks_of(url) in (None, "embeddings"):
        return
    length = found.count("body", "received")
    is_answered = str(found.get("status")).startswith("2")
    if length is None and is_answered:
        raise BadLine("expected the length of a request, got none")
    answer_bytes = found.count("sent_body", "sent") if is_answered else None
    begin, took_s = found.get("begin_s", "begin"), found.get("took_s")
    at_s = _instant(str(begin).strip("[]") if begin is not None else found.get("end_s", "end_iso", "end"))
    yield LoggedRequest(
        # nginx and Caddy write the instant of the end, Apache that of the beginning.
        at_s if begin is not None or took_s is None else at_s - float(took_s),
        context_tokens=tokens_of(length),
        answer_bytes=answer_bytes,
        is_end=begin is None and took_s is None,
    )


def _instant(value: Any) -> float:
    try:
        return datetime.strptime(str(value), "%d/%b/%Y:%H:%M:%S %z").timestamp()
    except ValueError:
        return read_timestamp(value)
