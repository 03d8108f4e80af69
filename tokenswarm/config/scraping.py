"""The Prometheus endpoints of the option `server-metrics`, with the credentials that they are read with. Pure."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

from tokenswarm.config.request_extras import Lookup, parse_headers
from tokenswarm.metrics.server_metrics import PrometheusEndpoint, parse_server_metrics
from tokenswarm.userinput import BadInput


def read_endpoints(text: str, lookup: Lookup) -> tuple[list[PrometheusEndpoint], list[str]]:
    """The endpoints with their headers, and what of them must never be shown.

    Raises `BadInput` with every problem: of the entries, or a reference to what is not set.
    """
    endpoints: list[PrometheusEndpoint] = []
    secrets: list[str] = []
    problems: list[str] = []
    for endpoint in parse_server_metrics(text)[1]:
        try:
            name, value, hidden = _header(endpoint, lookup)
        except BadInput as error:
            problems += [f"server-metrics: {endpoint.name}: {each.partition(': ')[2]}" for each in error.problems]
            continue
        endpoints.append(replace(endpoint, headers=((name, value),) if name else ()))
        secrets += hidden
    if problems:
        raise BadInput(problems)
    return endpoints, secrets


def _header(endpoint: PrometheusEndpoint, lookup: Lookup) -> tuple[str, str, list[str]]:
    """Name and value of the header that authenticates, and its secrets; empty without a credential."""
    if endpoint.credential is None:
        return "", "", []
    kind, reference = endpoint.credential
    name, _, value = reference.partition(":") if kind == "header" else ("Authorization", "", reference)
    extras = parse_headers(json.dumps({name: f"Bearer {value}" if kind == "bearer" else value}), lookup)
    resolved = extras.values[name]
    if kind != "basic":
        return name, resolved, list(extras.secrets)
    encoded = base64.b64encode(resolved.encode()).decode()  # RFC 7617
    return name, f"Basic {encoded}", [*extras.secrets, encoded]
