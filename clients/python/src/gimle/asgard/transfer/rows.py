"""Small files that go over one connection in a row, without waiting for answers between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from gimle.asgard.transfer.grants import Grant, Measured
from gimle.asgard.transfer.wire import Request

_ROW_BYTES = 1 << 16


class Small(NamedTuple):
    """A file that goes in one request, and is in memory until it has gone."""

    file: Measured
    grant: Grant
    body: bytes

    @property
    def request(self) -> Request:
        """The one that its grant allows."""
        return Request(self.grant.method, self.grant.url, self.grant.headers, self.body)


def rows(files: Sequence[Small]) -> Iterator[Sequence[Small]]:
    """Neighbours that go together; one that has more bytes than a row goes alone."""
    row: list[Small] = []
    left = _ROW_BYTES
    for each in files:
        left -= each.file.size
        if row and left < 0:
            yield row
            row, left = [], _ROW_BYTES - each.file.size
        row.append(each)
    if row:
        yield row


def read_whole(path: Path) -> bytes:
    """All bytes of a file that is small. Raises OSError."""
    with FileIO(path) as file:
        return file.readall()
