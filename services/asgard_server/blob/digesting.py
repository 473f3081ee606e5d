"""The digests of bytes that are read: of all of them, and over those of their parts."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import NamedTuple


class Digests(NamedTuple):
    """What was read, in hexadecimal. `sha256_parts`: where a size of parts was given."""

    size_bytes: int
    sha256: str
    sha256_parts: str | None


async def digests(pieces: AsyncIterator[bytes], part_bytes: int | None) -> Digests:
    """Read all pieces; of parts of `part_bytes` the digest over their digests, as S3 has it."""
    whole, over = hashlib.sha256(), hashlib.sha256()
    part, left, size = hashlib.sha256(), part_bytes or 0, 0
    async for piece in pieces:
        whole.update(piece)
        size += len(piece)
        rest = memoryview(piece)
        while part_bytes is not None and rest:
            taken = rest[:left]
            part.update(taken)
            rest, left = rest[len(taken) :], left - len(taken)
            if not left:
                over.update(part.digest())
                part, left = hashlib.sha256(), part_bytes
    if part_bytes is None:
        return Digests(size, whole.hexdigest(), None)
    if left != part_bytes:
        over.update(part.digest())
    return Digests(size, whole.hexdigest(), over.hexdigest())
