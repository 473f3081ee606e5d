"""Bytes that arrive: written, hashed and compared."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gimle.asgard.transfer.answer import Answer
from gimle.asgard.transfer.errors import WrongBytesError
from gimle.asgard.transfer.partial import Partial

if TYPE_CHECKING:
    from hashlib import _Hash


def copied(answer: Answer, buffer: memoryview, file: int, hash: _Hash, target: Path) -> int:
    """Write the body of an answer, and hash it; answer its size. Raises WireError, OSError."""
    size = 0
    while count := answer.read_into(buffer):
        hash.update(buffer[:count])
        written(file, buffer[:count], size, target)
        size += count
    return size


def written(file: int, chunk: memoryview, offset: int, target: Path) -> None:
    """Write a chunk for `target`. Raises OSError, which names it."""
    try:
        while chunk:
            count = os.pwrite(file, chunk, offset)
            chunk, offset = chunk[count:], offset + count
    except OSError as error:  # of a full disk, which by itself names no file
        raise OSError(error.errno, error.strerror, str(target)) from error


def rehashed(file: Partial, offset: int, end: int, hash: _Hash, buffer: memoryview) -> int:
    """Hash what is there from `offset` to `end`; answer `end`."""
    while offset < end:
        count = os.preadv(file.file, [buffer[: min(end - offset, len(buffer))]], offset)
        hash.update(buffer[:count])
        offset += count
    return offset


def compare(name: str, found: bytes, expected: bytes) -> None:
    """Raise WrongBytesError unless the digest of what has come is the expected one."""
    if found != expected:
        raise WrongBytesError(name, f"its digest is {found.hex()}, not {expected.hex()}")
