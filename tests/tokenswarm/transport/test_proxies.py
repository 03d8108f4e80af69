from __future__ import annotations

import base64
import threading

import pytest

from tests.ports import free_port
from tests.scripted_server import scripted_server
from tests.tokenswarm.transport.test_exchange import REQUEST
from tokenswarm.client.attempt import failed_outcome
from tokenswarm.transport.exchange import Transport
from tokenswarm.transport.proxies import Proxy, ProxyError, parse_proxy, proxy_for, proxy_secrets

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        ("http://proxy.example:3128", "proxy.example", 3128),
        ("http://proxy.example:3128/", "proxy.example", 3128),
        ("HTTP://Proxy.Example:3128", "proxy.example", 3128),
        ("proxy.example:3128", "proxy.example", 3128),
        ("10.0.0.1:8080", "10.0.0.1", 8080),
        ("proxy.example", "proxy.example", 80),
        ("http://[fd00::1]:3128", "fd00::1", 3128),
        ("  http://proxy.example:3128 ", "proxy.example", 3128),
    ],
)
def test_a_proxy_is_a_url_or_a_host(value: str, host: str, port: int) -> None:
    proxy = parse_proxy(value, "HTTPS_PROXY")
    assert (proxy.host, proxy.port, proxy.authorization) == (host, port, None)


@pytest.mark.parametrize("value", ["http://us%40er:p%3Aw@proxy.example:3128", "us%40er:p%3Aw@proxy.example:3128"])
def test_credentials_are_decoded_and_never_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = parse_proxy(value, "HTTPS_PROXY")
    assert proxy.authorization == "Basic " + base64.b64encode(b"us@er:p:w").decode()
    assert str(proxy) == "proxy proxy.example:3128 (HTTPS_PROXY)"
    assert proxy.authorization not in repr(proxy)
    monkeypatch.setenv("HTTPS_PROXY", value)
    assert {"p%3Aw", "p:w", base64.b64encode(b"us@er:p:w").decode()} <= set(proxy_secrets())


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks4a", "socks5", "socks5h", "SOCKS5"])
def test_socks_is_refused_by_name(scheme: str) -> None:
    with pytest.raises(ProxyError, match=r"ALL_PROXY: expected an HTTP proxy .* got a SOCKS proxy"):
        parse_proxy(f"{scheme}://user:secret@127.0.0.1:1080", "ALL_PROXY")


@pytest.mark.parametrize(
    "value", ["https://proxy:3128", "ftp://proxy:3128", "http://", "http://a b:1", "http://p:x", ":80"]
)
def test_what_is_no_proxy_is_refused(value: str) -> None:
    with pytest.raises(ProxyError, match="HTTPS_PROXY: expected an HTTP proxy"):
        parse_proxy(value, "HTTPS_PROXY")


def test_the_variable_in_lower_case_comes_first_and_all_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://upper:1")
    assert str(proxy_for("https", "example.com", 443)) == "proxy upper:1 (HTTPS_PROXY)"
    assert str(proxy_for("http", "example.com", 80)) == "proxy all:1 (ALL_PROXY)"
    monkeypatch.setenv("https_proxy", "http://lower:1")
    assert str(proxy_for("https", "example.com", 443)) == "proxy lower:1 (https_proxy)"


@pytest.mark.parametrize(
    ("exceptions", "host", "port"),
    [
        ("*", "example.com", 443),
        ("example.com", "example.com", 443),
        ("example.com", "api.example.com", 443),
        (".example.com", "api.example.com", 443),
        ("*.example.com", "api.example.com", 443),
        ("EXAMPLE.com", "Example.COM", 443),
        ("one, two.net ,example.com", "example.com", 443),
        ("one two.net example.com", "example.com", 443),
        ("10.0.0.0/8", "10.200.3.4", 443),
        ("127.0.0.0/8,localhost", "127.0.0.1", 8080),
        ("172.16.5.9/12", "172.31.255.255", 443),
        ("fd00::/8", "fd12::1", 443),
        ("fd00::/8", "[fd12::1]", 443),
        ("10.1.2.3", "10.1.2.3", 443),
        ("::1", "::1", 443),
        ("example.com:8443", "example.com", 8443),
        ("10.1.2.3:8443", "10.1.2.3", 8443),
        ("[::1]:8443", "::1", 8443),
        ("[::1]", "[::1]", 443),
        ("[fd00::]/8", "fd12::1", 443),
        ("fe80::/10", "fe80::1%eth0", 443),
        ("::ffff:10.1.2.3", "10.1.2.3", 443),
        ("10.0.0.0/8", "::ffff:10.1.2.3", 443),
        ("10.0.0.0/255.0.0.0", "10.1.2.3", 443),
        ("192.168.*", "192.168.3.4", 443),
        ("api-*.example.com", "api-7.example.com", 443),
        ("*.internal:8443", "api.internal", 8443),
        ("localhost;10.*|example.com", "example.com", 443),
        ("http://example.com", "example.com", 443),
        ("https://example.com:8443/", "example.com", 8443),
        (".example.com", "example.com", 443),
    ],
)
def test_what_no_proxy_excepts(exceptions: str, host: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert proxy_for("https", host, port) is None


@pytest.mark.parametrize(
    ("exceptions", "host", "port"),
    [
        ("", "example.com", 443),
        ("example.com", "badexample.com", 443),
        ("example.com:8443", "example.com", 443),
        ("10.0.0.0/8", "11.0.0.1", 443),
        ("10.0.0.0/8", "ten.example", 443),
        ("10.0.0.0/99", "10.0.0.1", 443),
        ("10.1.2.3:8443", "10.1.2.3", 443),
        ("0.0.1", "10.0.0.1", 443),
        ("::1", "::2", 443),
        (".", "example.com", 443),
        ("192.168.*", "10.192.168.1", 443),
        ("api-*.example.com", "api.example.com", 443),
        ("[::1]:8443", "::1", 443),
        ("*.internal:8443", "api.internal", 443),
        ("https://example.com:8443/", "example.com", 443),
        ("/", "example.com", 443),
        ("http://", "example.com", 443),
        ("%eth0", "fe80::1%eth0", 443),
    ],
)
def test_what_no_proxy_does_not_except(exceptions: str, host: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert proxy_for("https", host, port) is not None


def test_through_a_plain_proxy_the_target_is_absolute_and_the_credentials_go_along() -> None:
    with scripted_server([ANSWER]) as server:
        proxy = parse_proxy(f"http://user:pass@127.0.0.1:{server.port}", "HTTP_PROXY")
        transport = Transport(proxy=proxy)
        assert transport.writes_absolute(("http", "example.invalid", 80))
        exchange = transport.send(("http", "example.invalid", 80), REQUEST, lambda _s, _h: None, 5.0)
        transport.close()
    assert exchange.body == b"ok"
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == REQUEST.split(b"\r\n")[0]
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"user:pass") in lines
    assert body == b"{}"


def test_the_credentials_go_to_the_proxy_of_a_tunnel_and_not_through_it() -> None:
    with scripted_server([b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n"]) as server:
        proxy = parse_proxy(f"http://user:pass@127.0.0.1:{server.port}", "HTTPS_PROXY")
        exchange = Transport(proxy=proxy).send(("https", "example.invalid", 443), REQUEST, lambda _s, _h: None, 5.0)
    assert server.requests[0].startswith(b"CONNECT example.invalid:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic " in server.requests[0]
    assert "407" in str(exchange.error) and f"through proxy 127.0.0.1:{server.port} (HTTPS_PROXY)" in str(
        exchange.error
    )


def test_a_plain_proxy_that_asks_who_we_are_is_named() -> None:
    with scripted_server([b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"]) as server:
        proxy = parse_proxy(f"http://user:pass@127.0.0.1:{server.port}", "HTTP_PROXY")
        transport = Transport(proxy=proxy)
        exchange = transport.send(("http", "a.invalid", 80), REQUEST, lambda _s, _h: None, 5.0)
        transport.close()
    outcome, error = failed_outcome(exchange) or ("", "")
    assert outcome == "http_error"
    assert error == f"HTTP 407 (asked by the proxy 127.0.0.1:{server.port} (HTTP_PROXY))"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_error_names_the_proxy(scheme: str) -> None:
    proxy = Proxy("127.0.0.1", free_port(), "ALL_PROXY")
    transport = Transport(proxy=proxy)
    exchange = transport.send((scheme, "example.invalid", 443), REQUEST, lambda _s, _h: None, 5.0)
    assert exchange.failure == "connection_error"
    assert str(exchange.error).endswith(f"Connection refused, through {proxy}")
    assert str(transport.try_connection((scheme, "example.invalid", 443), 5.0)).endswith(f"through {proxy}")


def test_a_timeout_and_a_closed_connection_name_the_proxy() -> None:
    waiting = threading.Event()
    for script in ([lambda connection: connection.close()], [lambda _connection: bool(waiting.wait(5)) or None]):
        with scripted_server(script) as server:
            proxy = Proxy("127.0.0.1", server.port, "HTTP_PROXY")
            exchange = Transport(proxy=proxy).send(("http", "a.invalid", 80), REQUEST, lambda _s, _h: None, 0.3)
            waiting.set()
        assert exchange.status is None
        assert f"through proxy 127.0.0.1:{server.port} (HTTP_PROXY)" in str(exchange.error)


def test_an_error_of_the_target_does_not_name_the_proxy() -> None:
    with scripted_server(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", lambda connection: connection.close()]
    ) as server:
        transport = Transport(proxy=Proxy("127.0.0.1", server.port, "HTTP_PROXY"))
        exchange = transport.send(("http", "a.invalid", 80), REQUEST, lambda _s, _h: None, 5.0)
    assert exchange.failure == "truncated" and "proxy" not in str(exchange.error)
