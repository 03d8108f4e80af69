"""Who may be a worker, and a master: whoever has the cluster token. Without one, only processes of this machine.

The token is `TOKENSWARM_CLUSTER_TOKEN` in the environment of the master and of every worker. Keys are derived from it
for ZeroMQ's CURVE, so that every message of Locust and of ours is encrypted, and nobody without the token gets as
far as sending one: the public key that a client has to know is derived from the token, too, and is never sent.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from typing import Any

import zmq
from zmq.utils import z85

from tokenswarm.userinput import BadInput

VARIABLE = "TOKENSWARM_CLUSTER_TOKEN"
MIN_LENGTH = 16
EVERY_INTERFACE = "*"
LOOPBACK = "127.0.0.1"


def read_cluster_token(environment: Mapping[str, str]) -> str | None:
    """The token, `None` without one. Raises `BadInput` for one that could be guessed."""
    token = environment.get(VARIABLE, "").strip()
    if token and len(token) < MIN_LENGTH:
        raise BadInput([f"{VARIABLE}: expected {MIN_LENGTH} characters or more, got {len(token)}"])
    return token or None


def bind_host(token: str | None) -> str:
    """Where a master listens that was not told where."""
    return LOOPBACK if token is None else EVERY_INTERFACE


def check_bind_host(host: str, token: str | None) -> list[str]:
    """Why a master must not listen on `host`, one line each."""
    if token is not None or _is_loopback(host):
        return []
    return [
        f"{VARIABLE}: expected it in the environment of a master that listens on {host} and of its workers, got none"
    ]


def secure_sockets(token: str) -> None:
    """Let Locust's sockets of this process talk to those with the same token only."""
    from locust.rpc import zmqrpc  # importing Locust patches the process

    secret, public = _key_pair(token)
    make_socket = zmqrpc.BaseSocket.__init__

    def make_secured(self: Any, kind: int, ipv4_only: bool) -> None:
        make_socket(self, kind, ipv4_only)  # type: ignore[no-untyped-call]
        self.socket.curve_secretkey, self.socket.curve_publickey = secret, public
        if kind == zmq.ROUTER:
            self.socket.curve_server = True
        else:
            self.socket.curve_serverkey = public

    zmqrpc.BaseSocket.__init__ = make_secured  # type: ignore[method-assign]


def _key_pair(token: str) -> tuple[bytes, bytes]:
    """Secret and public key in Z85."""
    digest = hashlib.scrypt(token.encode(), salt=b"tokenswarm cluster", n=2**14, r=8, p=1, dklen=32)
    secret: bytes = z85.encode(digest)
    return secret, zmq.curve_public(secret)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
