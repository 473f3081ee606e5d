"""One connection over which HTTP goes: bodies straight from files, and answers' heads."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from gimle.asgard.transfer.errors import WireError

CHUNK_BYTES = 1 << 19
"""How much is read, hashed and written at a time: what fits a core's own cache."""

UNDERWAY_BYTES = 1 << 20
"""How much may be under way to us on one connection: what a kill makes us fetch again."""

_TOLD_BYTES = 1 << 20
_MOST_HEAD_BYTES = 1 << 16
_DEFAULT_PORTS = {"http": 80, "https": 443}


def broken(error: OSError, silence_s: float) -> WireError:
    """What an error of a socket means to whoever asked."""
    if isinstance(error, BlockingIOError | TimeoutError):  # of the kernel, of Python
        return WireError(f"silent for {silence_s:g} s")
    return WireError(str(error) or type(error).__name__)


@dataclass(frozen=True, slots=True)
class FilePart:
    """The body of a request: `size` bytes of an open file from `offset` on.

    `told` hears of each MiB or less that has gone, and may raise to end the request.
    """

    file: int
    offset: int
    size: int
    told: Callable[[int], None] | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """The body of a request: what lies in memory, one after the other, and is not copied."""

    parts: tuple[memoryview, ...]

    @property
    def size(self) -> int:
        """Of all of it, in bytes."""
        return sum(part.nbytes for part in self.parts)


Body = bytes | FilePart | Views


@dataclass(frozen=True, slots=True)
class Origin:
    """Who is asked: one connection serves one origin."""

    secure: bool
    host: str
    port: int
    name: str  # the Host header

    def connect(self, connect_s: float, silence_s: float) -> socket.socket:
        """Make a connection that bears a silence of so long. Raises OSError."""
        plain = socket.create_connection((self.host, self.port), connect_s)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNDERWAY_BYTES)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.secure:
            # A socket that blocks, with the kernel's own timeouts: one call fills or sends all.
            plain.settimeout(None)
            silence = struct.pack("@ll", int(silence_s), int(silence_s % 1 * 1e6))  # a timeval
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                plain.setsockopt(socket.SOL_SOCKET, option, silence)
            return plain
        # Python's TLS would begin again at each of the kernel's timeouts, for ever.
        plain.settimeout(silence_s)
        try:
            return trusted().wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


@lru_cache(maxsize=1)
def trusted() -> ssl.SSLContext:
    """Whom connections over TLS trust: the system's authorities, or those of SSL_CERT_FILE."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@lru_cache(maxsize=64)
def _origin(start: str) -> Origin:
    parts = urlsplit(start)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise WireError(f"{start} is not an address of http")
    default = _DEFAULT_PORTS[parts.scheme]
    port = parts.port or default
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = name if port == default else f"{name}:{port}"
    return Origin(parts.scheme == "https", parts.hostname, port, host)


def divided(url: str) -> tuple[Origin, str]:
    """Who is asked, and what for."""
    slash = url.find("/", 8)
    if slash < 0:
        return _origin(url), "/"
    return _origin(url[:slash]), url[slash:]


class Line:
    """One connection: bytes out, bytes in, what came too early kept."""

    def __init__(self, origin: Origin, connect_s: float, silence_s: float) -> None:
        self.socket = origin.connect(connect_s, silence_s)
        self.silence_s = silence_s
        self.fresh = True
        self._early = b""

    def __del__(self) -> None:
        # Of a thread that has ended; one that could not connect has no socket.
        if hasattr(self, "socket"):
            self.close()

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def send(self, head: bytes, body: Body | None, buffer: memoryview) -> None:
        """Send a head and a body; through `buffer` where the kernel cannot send the file itself.

        Raises OSError, WireError for a file that has become shorter.
        """
        if body is None or isinstance(body, bytes):
            small = body is not None and len(body) < CHUNK_BYTES
            self.socket.sendall(head + body if small and body else head)
            if body and not small:
                self.socket.sendall(body)
            return
        self.socket.sendall(head)
        if isinstance(body, Views):
            for part in body.parts:
                self.socket.sendall(part)
            return
        offset, left = body.offset, body.size
        step = left if body.told is None else _TOLD_BYTES
        while left:
            if isinstance(self.socket, ssl.SSLSocket):
                count = os.preadv(body.file, [buffer[: min(left, len(buffer))]], offset)
                self.socket.sendall(buffer[:count])
            else:
                count = os.sendfile(self.socket.fileno(), body.file, offset, min(left, step))
            if count == 0:
                raise WireError("the file became shorter while it was sent")
            if body.told is not None:
                body.told(count)
            offset, left = offset + count, left - count

    def receive_into(self, into: memoryview) -> int:
        """Fill a part of `into` with what comes; answer how much, 0 at the end. Raises OSError."""
        if self._early:
            count = min(len(into), len(self._early))
            into[:count] = self._early[:count]
            self._early = self._early[count:]
            return count
        if isinstance(self.socket, ssl.SSLSocket):
            return self.socket.recv_into(into)
        return self.socket.recv_into(into, 0, socket.MSG_WAITALL)

    def _receive_until(self, end: bytes) -> bytes:
        while end not in self._early:
            more = self.socket.recv(_MOST_HEAD_BYTES)
            if not more:
                raise WireError("the connection was closed before an answer")
            self._early += more
            if len(self._early) > 4 * _MOST_HEAD_BYTES:
                raise WireError("the head of the answer has no end")
        found, _, self._early = self._early.partition(end)
        return found

    def receive_line(self) -> bytes:
        """The next line, without its end. Raises OSError, WireError."""
        return self._receive_until(b"\r\n")

    def receive_head(self) -> str:
        """The head of the next answer that is not a provisional one, without the lines' last end.

        Raises OSError, WireError.
        """
        while True:
            head = self._receive_until(b"\r\n\r\n").decode("latin-1")
            status = head[9:12]
            if not head.startswith("HTTP/1.") or not status.isdigit():
                raise WireError(f"not an answer of HTTP: {head.partition(chr(13))[0][:40]!r}")
            if status[0] != "1":
                return head
