"""Opening a connection: dialling, a proxy's tunnel, TLS, and the kernel's timestamps for what will be received."""

from __future__ import annotations

import errno
import re
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Any

import gevent.socket

from tokenswarm.transport.proxies import Proxy
from tokenswarm.transport.tls import tls_context

if TYPE_CHECKING:
    from gevent.hub import Hub

READ_BYTES = 65536
_TLS_RECORD_BYTES = 16384

_SO_TIMESTAMPNS = 35  # Linux; the socket module has no name for it


class ReadBuffer:
    """What the answers of a hub are read into, one at a time. `into`: its part for what the socket gives; the rest is
    for a record whose beginning came before."""

    __slots__ = ("data", "into", "view")

    def __init__(self) -> None:
        self.data = bytearray(READ_BYTES + 2 * _TLS_RECORD_BYTES)
        self.view = memoryview(self.data)
        self.into = [self.view[:READ_BYTES]]

    @classmethod
    def of(cls, hub: Hub) -> ReadBuffer:
        """The buffer of a hub, made on first use."""
        found = getattr(hub, "tokenswarm_read_buffer", None)
        if found is None:
            found = hub.tokenswarm_read_buffer = cls()
        assert isinstance(found, cls)
        return found


class Tls:
    """A TLS session over memory: the socket stays ours, and with it the kernel's timestamps."""

    __slots__ = ("incoming", "outgoing", "session")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.session: Any = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)

    def decrypt(self, buffer: memoryview, size: int) -> int:
        """Put what the records say that the first `size` bytes of `buffer` complete in their place: how many bytes of
        it. An unfinished record waits for its rest in the session."""
        self.incoming.write(buffer[:size])
        said = 0
        try:
            while piece := self.session.read(READ_BYTES, buffer[said:] if said else buffer):
                said += piece
                if not self.incoming.pending:
                    break  # asking once more would only raise, which costs as much as decrypting
        except ssl.SSLWantReadError:
            pass
        return said

    def encrypt(self, data: bytes) -> bytes:
        self.session.write(data)
        return self.outgoing.read()


def kernel_timestamps() -> bool:
    """Whether this machine stamps received data in the kernel (then `run.json` says clock: kernel)."""
    if not sys.platform.startswith("linux"):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return ask_for_stamps(probe)


def dial(address: tuple[str, int]) -> Any:
    """A TCP connection. A numeric address needs no resolver, whose threads cost milliseconds when many connect.

    Raises `OSError`.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address[0])
        except OSError:
            continue
        plain = gevent.socket.socket(family)
        try:
            plain.connect(address)
        except BaseException:
            plain.close()
            raise
        return plain
    return gevent.socket.create_connection(address)


def ask_for_stamps(sock: Any) -> bool:
    """Have the kernel stamp what the socket receives; whether it will."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def shake_hands(plain: Any, context: ssl.SSLContext | None, host: str) -> Tls:
    """A TLS session on a connected socket. Raises `ssl.SSLError`, or `OSError` when the peer goes away."""
    tls = Tls(context if context is not None else tls_context(), host)
    while True:
        try:
            tls.session.do_handshake()
        except ssl.SSLWantReadError:
            plain.sendall(tls.outgoing.read())
            data = plain.recv(READ_BYTES)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "connection closed during the TLS handshake") from None
            tls.incoming.write(data)
        except ssl.SSLError:
            plain.sendall(tls.outgoing.read())  # the alert that tells the peer why
            raise
        else:
            break
    plain.sendall(tls.outgoing.read())
    return tls


def open_tunnel(plain: Any, host: str, port: int, proxy: Proxy) -> None:
    """Ask an HTTP proxy for a tunnel. Raises `ConnectionError` when it refuses."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    plain.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    reply = b""
    while b"\r\n\r\n" not in reply and len(reply) < READ_BYTES:
        data = plain.recv(1)
        if not data:
            break
        reply += data
    status = reply.split(b"\r\n", 1)[0].decode("latin-1")
    if not re.match(r"HTTP/1\.[01] 200\b", status):
        raise ConnectionError(f"the proxy refused the tunnel: {status or 'no answer'}")
