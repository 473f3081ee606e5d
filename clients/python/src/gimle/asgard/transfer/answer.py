"""What a store answers: a status, headers, and a body that may be long."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from gimle.asgard.transfer.errors import WireError
from gimle.asgard.transfer.line import CHUNK_BYTES, Line, broken


class Answer:
    """A status, headers (names in lower case), and a body that is read once, whole or in steps."""

    def __init__(self, line: Line, method: str, head: str) -> None:
        self.status = int(head[9:12])
        self._head = head
        self._line = line
        self._chunked = self._says("transfer-encoding") == "chunked"
        length = self._says("content-length")
        if method == "HEAD" or self.status in (204, 304):
            self._left: int | None = 0
            self._chunked = False
        elif self._chunked or not length.isdigit():
            self._left = None  # until it says so, or closes
        else:
            self._left = int(length)
        self._whole = False

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """All of them. Most answers are asked for their status alone."""
        lines = (line.partition(":") for line in self._head.split("\r\n")[1:])
        return {name.lower(): value.strip() for name, _, value in lines}

    def _says(self, name: str) -> str:
        """A header in lower case, "" without it."""
        head = self._lower
        start = head.find(f"\r\n{name}:")
        if start < 0:
            return ""
        start += len(name) + 3
        end = head.find("\r\n", start)
        return head[start : end if end >= 0 else None].strip()

    @cached_property
    def _lower(self) -> str:
        return self._head.lower()

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
            raise broken(error, self._line.silence_s) from error

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
        if self._left == 0 and not self._chunked:
            return b""
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
        return ended and self._says("connection") != "close"
