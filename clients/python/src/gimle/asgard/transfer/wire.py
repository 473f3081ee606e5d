"""HTTP/1.1 as far as an object store needs it: kept connections, bodies straight from and to files.

A few dozen microseconds a request, which is what moving thousands of small files is made of; all
waiting, copying and hashing of bytes is done without the interpreter's lock, so threads are lanes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from itertools import takewhile
from types import TracebackType
from typing import NamedTuple

from gimle.asgard.transfer.answer import Answer
from gimle.asgard.transfer.errors import TransferError, WireError
from gimle.asgard.transfer.line import CHUNK_BYTES, Body, Line, Origin, broken, divided

CONNECT_S = 10.0
SILENCE_S = 120.0
"""How long a store may say nothing: completing a large upload takes it a while."""


class Request(NamedTuple):
    """A small request that may be repeated: what is asked for, and a body in memory."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Said(NamedTuple):
    """The answer to a small request, whose body has been read."""

    answer: Answer
    body: bytes


class Wire:
    """The connections of one thread, and its buffer. Not thread-safe: each lane has its own.

    `silence_s` is how long the other side may neither take nor give a byte.
    """

    def __init__(self, connect_s: float = CONNECT_S, silence_s: float = SILENCE_S) -> None:
        self._waits = connect_s, silence_s
        self.buffer = memoryview(bytearray(CHUNK_BYTES))
        self._lines: dict[Origin, Line] = {}
        self._one_by_one: set[Origin] = set()
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
        size = 0 if body is None else len(body) if isinstance(body, bytes) else body.size
        origin, head = _asked(method, url, headers, size)
        return Exchange(self, origin, method, head, body)

    def in_a_row(self, requests: Sequence[Request]) -> Sequence[Said | None]:
        """Send small requests without waiting for answers between them (RFC 9112 9.3.2).

        Answers what was said to those that were sent, None where it is not known what has become of
        a request. An origin that has cut a row short is sent no other, unless it took leave behind
        the second answer or a later one; whoever asks must be able to ask for what is left one by
        one.
        """
        origin, _ = divided(requests[0].url)
        if origin in self._one_by_one:
            return []
        asked = [_asked(one.method, one.url, one.headers, len(one.body)) for one in requests]
        alike = [*takewhile(lambda each: each[0][0] == origin, zip(asked, requests, strict=True))]
        sent = b"".join([piece for (_, head), one in alike for piece in (head, one.body)])
        methods = [one.method for _, one in alike]
        kept = origin in self._lines
        said = self._answered(origin, methods, sent)
        if kept and not said:  # closed by the other side while it was idle
            said = self._answered(origin, methods, sent)
        # nginx takes leave after so many requests, wherever in a row that is.
        took_leave = len(said) > 1 and not said[-1].answer.reusable
        if len(said) < len(methods) and not took_leave:
            self._one_by_one.add(origin)
        return [*said, *[None] * (len(methods) - len(said))]

    def _answered(self, origin: Origin, methods: Sequence[str], sent: bytes) -> list[Said]:
        said: list[Said] = []
        try:
            line = self._line(origin)
            line.send(sent, None, self.buffer)
            for method in methods:
                answer = Answer(line, method, line.receive_head())
                said.append(Said(answer, answer.read()))
                line.fresh = False
                if not answer.reusable:
                    self._drop(origin)
                    break
        except OSError:
            self._drop(origin)
        return said

    def _line(self, origin: Origin) -> Line:
        if self._process != os.getpid():  # forked: the connections are the parent's
            self.close()
            self._process = os.getpid()
        line = self._lines.get(origin)
        if line is None:
            line = self._lines[origin] = Line(origin, *self._waits)
        return line

    def _exchange(self, origin: Origin, method: str, head: bytes, body: Body | None) -> Answer:
        while True:
            line = None
            try:
                line = self._line(origin)
                try:
                    line.send(head, body, self.buffer)
                except (BrokenPipeError, ConnectionResetError):
                    if line.fresh is False:
                        raise
                    # It has refused before it read all; its answer says why.
                answer = Answer(line, method, line.receive_head())
            except OSError as error:
                kept = line is not None and not line.fresh
                self._drop(origin)
                if kept and isinstance(error, ConnectionError | WireError):
                    continue  # closed by the other side while it was idle
                if isinstance(error, TransferError):
                    raise
                said = broken(error, self._waits[1]) if line else error
                raise WireError(f"{origin.name}: {said or type(error).__name__}") from error
            line.fresh = False
            return answer

    def _drop(self, origin: Origin) -> None:
        line = self._lines.pop(origin, None)
        if line is not None:
            line.close()


def _asked(method: str, url: str, headers: Mapping[str, str], size: int) -> tuple[Origin, bytes]:
    """Who is asked, and the head of the request, whose body has so many bytes."""
    origin, target = divided(url)
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
    return origin, head.encode("latin-1")


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
