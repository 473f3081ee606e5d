"""Files on disk against digests."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from gimle.asgard.transfer.digests import Digest
from gimle.asgard.transfer.line import CHUNK_BYTES

if TYPE_CHECKING:
    from hashlib import _Hash


def holds(path: Path, digest: Digest) -> bool:
    """Whether a file has exactly the bytes of this digest."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if digest.part_bytes is None:
            return _hashed(file.fileno(), 0, size, digest.hash()) == digest.value
        parts = (
            _hashed(file.fileno(), start, min(size, start + digest.part_bytes), digest.hash())
            for start in range(0, size, digest.part_bytes)
        )
        return digest.over(parts) == digest.value


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb", buffering=0) as file:
        return _hashed(file.fileno(), 0, os.fstat(file.fileno()).st_size, sha256()).hex()


def _hashed(file: int, offset: int, end: int, hash: _Hash) -> bytes:
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while offset < end:
        count = os.preadv(file, [buffer[: min(end - offset, CHUNK_BYTES)]], offset)
        if count == 0:
            break
        hash.update(buffer[:count])
        offset += count
    return hash.digest()
