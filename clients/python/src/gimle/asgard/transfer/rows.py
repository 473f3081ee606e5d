"""Small files that go over one connection in a row, without waiting for answers between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from gimle.asgard.transfer.grants import Grant, Measured, Outgoing
from gimle.asgard.transfer.wire import Request

_FEWEST, _MOST = 8, 128
_BATCH_BYTES = 1 << 22
_ROW_BYTES = 1 << 16


def batches(sized: Sequence[tuple[Outgoing, int]], lanes: int) -> Iterator[Sequence[Outgoing]]:
    """Files with their sizes in bytes, by so many as one call asks for: some for each lane.

    A call costs its service and its store as much as 20 files; 2,000 files by 128 take an eighth
    less processor time than by 32.
    """
    most = min(_MOST, max(_FEWEST, -(-len(sized) // lanes)))
    batch: list[Outgoing] = []
    bytes = 0
    for file, size in sized:
        if len(batch) == most or (batch and bytes + size > _BATCH_BYTES):
            yield batch
            batch, bytes = [], 0
        batch.append(file)
        bytes += size
    if batch:
        yield batch


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
