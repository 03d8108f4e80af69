from __future__ import annotations

import base64

import pytest

from tokenswarm.config.scraping import read_endpoints
from tokenswarm.userinput import BadInput

VALUES = {"TOKEN": "tok-4711-secret", "SCRAPE_USER": "scraper", "SCRAPE_PASSWORD": "pässword-1", "BOTH": "u:pw-4711"}


@pytest.mark.parametrize(
    ("entry", "header"),
    [
        ("bearer=${TOKEN}", ("Authorization", "Bearer tok-4711-secret")),
        ("basic=${BOTH}", ("Authorization", "Basic dTpwdy00NzEx")),
        ("basic=u:${TOKEN}", ("Authorization", "Basic " + base64.b64encode(b"u:tok-4711-secret").decode())),
        (
            "basic=${SCRAPE_USER}:${SCRAPE_PASSWORD}",
            ("Authorization", "Basic " + base64.b64encode("scraper:pässword-1".encode()).decode()),
        ),
        ("header=X-API-Key:${TOKEN}", ("X-API-Key", "tok-4711-secret")),
    ],
)
def test_a_credential_is_a_header_and_a_secret(entry: str, header: tuple[str, str]) -> None:
    (endpoint,), secrets = read_endpoints(f"https://h/metrics every=2s {entry}", VALUES.get)
    assert endpoint.headers == (header,)
    assert header[1].rpartition(" ")[2] in secrets
    assert header[1] not in repr(endpoint)


def test_an_endpoint_without_a_credential_has_no_header() -> None:
    (endpoint,), secrets = read_endpoints("http://h/metrics", VALUES.get)
    assert (endpoint.headers, secrets) == ((), [])


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("bearer=tok-4711-secret", "server-metrics: expected bearer=${NAME}, a name of the environment, got some"),
        ("basic=u:tok-4711-secret", "server-metrics: expected basic=USER:${NAME}, a name of the environment, got"),
        ("header=X-Key:tok-4711-secret", "server-metrics: expected header=HEADER:${NAME}, a name of the environ"),
        ("bear=tok-4711-secret", "server-metrics: expected RESOURCE-ID"),
        ("bearer=${TOKEN} basic=${BOTH}", "server-metrics: expected one of bearer, basic, header, got bearer and"),
        ("bearer=${ABSENT}", "server-metrics: h: refers to ABSENT, which is not set"),
        ("header=Host:${TOKEN}", "server-metrics: h: expected no Host: it belongs to the connection"),
    ],
)
def test_what_is_wrong_is_said_without_the_secret(entry: str, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_endpoints(f"https://h/metrics {entry}", VALUES.get)
    assert caught.value.problems[0].startswith(problem)
    assert "4711" not in str(caught.value.problems)


def test_a_url_has_no_credentials() -> None:
    with pytest.raises(BadInput) as caught:
        read_endpoints("https://u:tok-4711-secret@h/metrics", VALUES.get)
    assert "without credentials" in caught.value.problems[0]
    assert "4711" not in str(caught.value.problems)
