"""The parts of large uploads: how many, how long, and what they are together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from gimle.asgard.core.errors import InvalidFieldError

MIB = 1 << 20

# S3's own limit of the number of parts.
PARTS = 10_000
PART_BYTES = 32 * MIB

# Smaller files go in smaller parts, so that two of them may be under way in what one takes else.
FEW_PARTS_BYTES = 1_024 * MIB
FEW_PART_BYTES = 16 * MIB


class Part(NamedTuple):
    """A part as the store has it. `sha256` in hexadecimal; `etag` where the store gives one."""

    number: int
    size_bytes: int
    sha256: str
    etag: str = ""


def part_size(size_bytes: int) -> int:
    """How many bytes each part but the last has: a function of the size alone.

    16 MiB up to 1 GiB; above whole MiB, at least 32, so few that 10,000 suffice.
    """
    if size_bytes <= FEW_PARTS_BYTES:
        return FEW_PART_BYTES
    least = -(-size_bytes // PARTS)
    return max(PART_BYTES, -(-least // MIB) * MIB)


def part_count(size_bytes: int) -> int:
    """How many parts bytes of this size have."""
    return -(-size_bytes // part_size(size_bytes))


def part_bytes(size_bytes: int, number: int) -> int:
    """How many bytes the part `number` has, counted from 1. Raises `InvalidFieldError`."""
    count = part_count(size_bytes)
    if not 1 <= number <= count:
        raise InvalidFieldError("parts.number", f"is {number}", f"give 1 to {count}")
    each = part_size(size_bytes)
    return size_bytes - each * (count - 1) if number == count else each


def missing_parts(size_bytes: int, arrived: Sequence[Part]) -> list[int]:
    """Numbers of parts that have not arrived with the size that they must have."""
    whole = {
        part.number
        for part in arrived
        if 1 <= part.number <= part_count(size_bytes)
        and part.size_bytes == part_bytes(size_bytes, part.number)
    }
    return [number for number in range(1, part_count(size_bytes) + 1) if number not in whole]


def sha256_of_parts(parts: Sequence[Part]) -> str:
    """SHA-256 over the digests of all parts in order, as S3 computes it, in hexadecimal."""
    digests = [bytes.fromhex(part.sha256) for part in sorted(parts)]
    return hashlib.sha256(b"".join(digests)).hexdigest()
