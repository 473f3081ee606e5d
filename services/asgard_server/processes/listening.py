"""The sockets that processes listen on, and errors that name the option to change."""

from __future__ import annotations

import errno
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line knows these errors, and does not wait for gRPC
    import grpc

GRPC_PORT = 50_051
ASSET_PORT = 50_052
BLOB_PORT = 50_053

# How long a client may leave what it was sent unacknowledged.
_STUCK_MS = 60_000


class PortBusyError(OSError):
    """Somebody else listens on `port` of `host`; `option` chooses another."""

    def __init__(self, host: str, port: int, option: str) -> None:
        super().__init__(errno.EADDRINUSE, f"port {port} of {host} is in use")
        self.host = host
        self.port = port
        self.option = option


class AddressError(OSError):
    """`host`, or this port of it, cannot be listened on."""


def listen(host: str, port: int, option: str) -> socket.socket:
    """Listen for HTTP; port 0 for a free one. Raises `PortBusyError`, `AddressError`."""
    listener = socket.socket(_family(host), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. Without it (uvloop sets it, asyncio's own loop does not for such a
    # listener) an answer in two writes waits 40 ms for a delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        # Inherited too: a browser that takes nothing (a closed laptop) is let go by the kernel.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STUCK_MS)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise _named(error, host, port, option) from None
    listener.setblocking(False)
    return listener


def listen_grpc(
    server: grpc.aio.Server,
    host: str,
    port: int | None,
    credentials: grpc.ServerCredentials | None = None,
    *,
    usual: int = GRPC_PORT,
    else_any: bool = False,
) -> int:
    """Let `server` listen for gRPC; answer the port. None is `usual`, 0 a free one.

    `else_any`: where `usual` is taken and was not asked for, a free one will do. Raises
    `PortBusyError`, `AddressError`.
    """
    wanted = usual if port is None else port
    # gRPC complains of a busy port on standard error, in its own words: a socket asks first.
    if wanted:
        try:
            _probe(host, wanted)
        except PortBusyError:
            if port is not None or not else_any:
                raise
            wanted = 0
    try:
        return _add(server, f"{in_url(host)}:{wanted}", credentials)
    except RuntimeError:  # taken since it was asked for
        if port is not None or not else_any:
            raise PortBusyError(host, wanted, "--grpc-port") from None
    return _add(server, f"{in_url(host)}:0", credentials)


def _add(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    if credentials is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, credentials)


def _probe(host: str, port: int) -> None:
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Two sockets may be bound to one port; only one of them may listen.
            probe.listen(1)
        except OSError as error:
            raise _named(error, host, port, "--grpc-port") from None


def _named(error: OSError, host: str, port: int, option: str) -> OSError:
    if error.errno == errno.EADDRINUSE:
        return PortBusyError(host, port, option)
    return AddressError(error.errno, error.strerror)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def url_of(listener: socket.socket) -> str:
    """The address of a listener as a browser on this machine writes it."""
    host, port = listener.getsockname()[:2]
    shown = "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0", "::") else in_url(host)  # noqa: S104 - compared, not bound
    return f"http://{shown}:{port}"


def in_url(host: str) -> str:
    """Write a host as addresses do: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
