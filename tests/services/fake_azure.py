"""Azure on this machine, for the real SDKs: an HTTPS proxy that answers for the public host names itself.

`login.microsoftonline.com`, `*.vault.azure.net` and `*.metrics.monitor.azure.com` are reached through
`HTTPS_PROXY` and a certificate authority made for the test (`REQUESTS_CA_BUNDLE`), so that nothing in an SDK is
replaced: addresses, TLS, token requests, the vault's challenge and the batch query are what goes over the wire.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.certificate import begin_certificate

HOSTS = ["login.microsoftonline.com", "*.vault.azure.net", "*.metrics.monitor.azure.com"]
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "99999999-8888-7777-6666-555555555555"


@dataclass
class Seen:
    """One request that reached the fake."""

    host: str
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: str


@dataclass
class Azure:
    """What the fake answers with, and what it has seen."""

    environment: dict[str, str]
    expires_in_s: int = 3600
    tokens_issued: int = 0
    token_status: int = 200
    secrets: dict[str, str] = field(default_factory=dict)
    forbidden: set[str] = field(default_factory=set)
    metrics: Callable[[Seen], tuple[int, Any]] = lambda seen: (200, {"values": []})
    seen: list[Seen] = field(default_factory=list)

    def requests_to(self, host_end: str) -> list[Seen]:
        return [one for one in self.seen if one.host.endswith(host_end)]

    def answer(self, seen: Seen) -> tuple[int, dict[str, str], Any]:
        if seen.host == "login.microsoftonline.com":
            return self._login(seen)
        if seen.host.endswith(".vault.azure.net"):
            return self._vault(seen)
        status, body = self.metrics(seen)
        return status, {}, body

    def _login(self, seen: Seen) -> tuple[int, dict[str, str], Any]:
        base = f"https://login.microsoftonline.com/{TENANT}"
        if seen.path.endswith("/discovery/instance"):
            configuration = f"{base}/v2.0/.well-known/openid-configuration"
            return 200, {}, {"tenant_discovery_endpoint": configuration, "metadata": []}
        if seen.path.endswith("/openid-configuration"):
            return (
                200,
                {},
                {
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "issuer": f"{base}/v2.0",
                },
            )
        if self.token_status != 200:
            return (
                self.token_status,
                {},
                {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."},
            )
        self.tokens_issued += 1
        return (
            200,
            {},
            {"token_type": "Bearer", "expires_in": self.expires_in_s, "access_token": f"token-{self.tokens_issued}"},
        )

    def _vault(self, seen: Seen) -> tuple[int, dict[str, str], Any]:
        if "authorization" not in seen.headers:
            authority = f"https://login.microsoftonline.com/{TENANT}"
            challenge = f'Bearer authorization="{authority}", resource="https://vault.azure.net"'
            return 401, {"WWW-Authenticate": challenge}, {"error": {"code": "Unauthorized", "message": "no token"}}
        _, _, name, version = (seen.path.rstrip("/") + "/").split("/")[:4]
        key = f"{seen.host.split('.')[0]}/{name}" + (f"/{version}" if version else "")
        if key in self.forbidden:
            return (
                403,
                {},
                {
                    "error": {
                        "code": "Forbidden",
                        "message": "Caller is not authorized to perform action on resource.\nCaller: appid=x",
                        "innererror": {"code": "ForbiddenByRbac"},
                    }
                },
            )
        if key not in self.secrets:
            message = f"A secret with (name/id) {name} was not found in this key vault."
            return 404, {}, {"error": {"code": "SecretNotFound", "message": message}}
        address = f"https://{seen.host}/secrets/{name}/{version or 'v1'}"
        return 200, {}, {"value": self.secrets[key], "id": address, "attributes": {"enabled": True}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_CONNECT(self) -> None:
        self.tunnel_host = self.path.rpartition(":")[0]
        self.send_response(200)
        self.end_headers()
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.tunnel_host, self.command, parts.path, parse_qs(parts.query), headers, body)
        with self.server.lock:
            self.server.azure.seen.append(seen)
            status, extra, payload = self.server.azure.answer(seen)
        content = json.dumps(payload).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **extra}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, azure: Azure, tls: ssl.SSLContext) -> None:
        self.azure, self.tls, self.lock = azure, tls, threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)


def start(folder: Path) -> tuple[Azure, ThreadingHTTPServer]:
    """Make certificates in `folder`, start the fake; `Azure.environment` is what a process needs to reach it."""
    ca_file = _write_certificates(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem")
    azure = Azure(environment={})
    server = _Server(azure, tls)
    azure.environment.update(
        HTTPS_PROXY=f"http://127.0.0.1:{server.server_address[1]}",
        NO_PROXY="127.0.0.1,localhost",
        REQUESTS_CA_BUNDLE=str(ca_file),
        AZURE_TENANT_ID=TENANT,
        AZURE_CLIENT_ID=CLIENT,
        AZURE_CLIENT_SECRET="not-a-secret",
        AZURE_TOKEN_CREDENTIALS="EnvironmentCredential",
    )
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return azure, server


def _write_certificates(folder: Path) -> Path:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tokenswarm test authority")])
    authority = (
        begin_certificate(authority_name, authority_name, authority_key.public_key(), days=1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    server = (
        begin_certificate(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "azure")]), authority_name, key.public_key(), days=1
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(key_pem + server.public_bytes(serialization.Encoding.PEM))
    ca_file = folder / "authority.pem"
    ca_file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    return ca_file
