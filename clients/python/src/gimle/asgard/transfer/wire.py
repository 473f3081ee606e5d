"""HTTP/1.1 as far as an object store needs it: kept connections, bodies straight from and to files.

A few dozen microseconds a request, which is what moving thousands of small files is made of; all
waiting, copying and hashing of bytes is done without the interpreter's lock, so threads are lanes.
"""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from urllib.parse import urlsplit

from gimle.asgard.transfer.errors import TransferError

CHUNK_BYTES = 1 << 19
"""How much is read, hashed and written at a time: what fits a core's own cache."""

UNDERWAY_BYTES = 1 << 20
"""How much may be under way to us on one connection: what a kill makes us fetch again."""

CONNECT_S = 10.0
SILENCE_S = 120.0
"""How long a store may say nothing: completing a large upload takes it a while."""

_TOLD_BYTES = 1 << 20
_MOST_HEAD_BYTES = 1 << 16
_DEFAULT_PORTS = {"http": 80, "https": 443}


class WireError(TransferError):
    """The connection broke, or what came over it was not HTTP."""


def _broken(error: OSError, silence_s: float) -> WireError:
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


Body = bytes | FilePart


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


class Answer:
    """A status, headers (names in lower case), and a body that is read once, whole or in steps."""

    def __init__(self, line: _Line, method: str, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers
        self._line = line
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length", "")
        if method == "HEAD" or status in (204, 304):
            self._left: int | None = 0
            self._chunked = False
        elif self._chunked or not length.isdigit():
            self._left = None  # until it says so, or closes
        else:
            self._left = int(length)
        self._whole = False

    @property
    def size(self) -> int | None:
        """How many bytes of the body are still to come, None when only its end will tell."""
        return self._left

    def read_into(self, into: memoryview) -> int:
        """Fill a part of `into`; answer how much, 0 at the end. Raises WireError."""
        try:
            return self._read_into(into)
        except WireError:
            raise
        except OSError as error:
            raise _broken(error, self._line.silence_s) from error

    def _read_into(self, into: memoryview) -> int:
        if self._chunked and not self._left:
            self._next_chunk()
        if self._left == 0 or self._whole:
            self._whole = True
            return 0
        if self._left is not None and len(into) > self._left:
            into = into[: self._left]
        count = self._line.receive_into(into)
        if count == 0:
            if self._left is not None:
                raise WireError("the connection was closed in the middle of an answer")
            self._whole = True
        if self._left is not None:
            self._left -= count
            if self._chunked and self._left == 0:
                self._line.receive_line()
        return count

    def _next_chunk(self) -> None:
        if self._whole:
            return
        size = self._line.receive_line().partition(b";")[0]
        try:
            self._left = int(size, 16)
        except ValueError:
            raise WireError(f"not a chunk: {size[:20]!r}") from None
        if self._left == 0:
            while self._line.receive_line():
                pass

    def read(self, most: int = 1 << 24) -> bytes:
        """The rest of the body, of at most `most` bytes. Raises WireError."""
        parts = []
        buffer = memoryview(bytearray(min(self._left or CHUNK_BYTES, CHUNK_BYTES)))
        while count := self.read_into(buffer):
            parts.append(bytes(buffer[:count]))
            most -= count
            if most < 0:
                raise WireError("the answer is far larger than it may be")
        return b"".join(parts)

    @property
    def reusable(self) -> bool:
        """Whether the connection may take another request: the body is read to its end."""
        ended = self._left == 0 and (self._whole or not self._chunked)
        return ended and self.headers.get("connection", "").lower() != "close"


class _Line:
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
        self.socket.close()

    def send(self, head: bytes, body: Body | None, buffer: memoryview) -> None:
        if body is None or isinstance(body, bytes):
            small = body is not None and len(body) < CHUNK_BYTES
            self.socket.sendall(head + body if small and body else head)
            if body and not small:
                self.socket.sendall(body)
            return
        self.socket.sendall(head)
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
        return self._receive_until(b"\r\n")

    def receive_head(self, method: str) -> Answer:
        while True:
            first, *lines = self._receive_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            version, _, rest = first.partition(" ")
            if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
                raise WireError(f"not an answer of HTTP: {first[:40]!r}")
            status = int(rest[:3])
            if status >= 200:
                break
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Answer(self, method, status, headers)


class Wire:
    """The connections of one thread, and its buffer. Not thread-safe: each lane has its own.

    `silence_s` is how long the other side may neither take nor give a byte.
    """

    def __init__(self, connect_s: float = CONNECT_S, silence_s: float = SILENCE_S) -> None:
        self._waits = connect_s, silence_s
        self.buffer = memoryview(bytearray(CHUNK_BYTES))
        self._lines: dict[Origin, _Line] = {}
        self._process = os.getpid()

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> Exchange:
        """Ask, and answer what is asked for: `with wire.request(...) as answer`.

        Raises WireError when no answer came; whether the request was carried out is not known.
        """
        origin, target = divided(url)
        size = 0 if body is None else len(body) if isinstance(body, bytes) else body.size
        lines = [f"{method} {target} HTTP/1.1\r\nhost: {origin.name}\r\n"]
        sized = method not in ("PUT", "POST")
        for name, value in headers.items():
            sized = sized or name.lower() == "content-length"
            lines.append(f"{name}: {value}\r\n")
        if not sized:
            lines.append(f"content-length: {size}\r\n")
        lines.append("\r\n")
        head = "".join(lines)
        if head.count("\n") != len(headers) + (not sized) + 3:
            raise WireError("a header has more than one line")
        return Exchange(self, origin, method, head.encode("latin-1"), body)

    def _exchange(self, origin: Origin, method: str, head: bytes, body: Body | None) -> Answer:
        if self._process != os.getpid():  # forked: the connections are the parent's
            self.close()
            self._process = os.getpid()
        while True:
            line = self._lines.get(origin)
            try:
                if line is None:
                    line = self._lines[origin] = _Line(origin, *self._waits)
                try:
                    line.send(head, body, self.buffer)
                except (BrokenPipeError, ConnectionResetError):
                    if line.fresh is False:
                        raise
                    # It has refused before it read all; its answer says why.
                answer = line.receive_head(method)
            except OSError as error:
                kept = line is not None and not line.fresh
                self._drop(origin)
                if kept and isinstance(error, ConnectionError | WireError):
                    continue  # closed by the other side while it was idle
                if isinstance(error, TransferError):
                    raise
                said = _broken(error, self._waits[1]) if line else error
                raise WireError(f"{origin.name}: {said or type(error).__name__}") from error
            line.fresh = False
            return answer

    def _drop(self, origin: Origin) -> None:
        line = self._lines.pop(origin, None)
        if line is not None:
            line.close()


class Exchange:
    """One request and its answer; the connection is kept when the answer was read whole."""

    def __init__(
        self, wire: Wire, origin: Origin, method: str, head: bytes, body: Body | None
    ) -> None:
        self._wire, self._origin = wire, origin
        self._method, self._head, self._body = method, head, body
        self._answer: Answer | None = None

    def __enter__(self) -> Answer:
        self._answer = self._wire._exchange(self._origin, self._method, self._head, self._body)
        return self._answer

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None or self._answer is None or not self._answer.reusable:
            self._wire._drop(self._origin)


class Lanes(threading.local):
    """A Wire for each thread that asks."""

    def __init__(self) -> None:
        self.wire = Wire()
