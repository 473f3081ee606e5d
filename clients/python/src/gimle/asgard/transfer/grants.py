"""What the engine asks of a place: leave to make single requests, and word when they are done.

A bucket we hold the keys of answers these questions itself (`direct`); a service that keeps the
keys answers them over the wire. The bytes go the same way in both cases. All methods are called
from several threads at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gimle.asgard.transfer.digests import Digest

LARGE_BYTES = 1 << 26
"""Above this a file goes in parts."""

LARGEST_BYTES = 5 << 40
"""What a store takes as one object."""

RANGE_BYTES = 1 << 24
"""Up to this an object is fetched in one request, above by ranges."""

UNDERWAY_BYTES = 1 << 25
"""How much of the last file may be under way in parts; of others it is one part."""

_PART_BYTES = 1 << 25
_FEW_PARTS_BYTES, _FEW_PART_BYTES = 1 << 30, 1 << 24
_MOST_PARTS = 10_000
_MIB = 1 << 20


def part_bytes(size: int) -> int:
    """The size of the parts of a file, a function of its size alone.

    16 MiB up to 1 GiB, 32 MiB above, and whole MiB more where 10,000 are not enough.
    """
    if size <= _FEW_PARTS_BYTES:
        return _FEW_PART_BYTES
    needed = -(-size // _MOST_PARTS)
    return max(_PART_BYTES, -(-needed // _MIB) * _MIB)


def parts_at_once(each: int) -> int:
    """How many parts of so many bytes of the last file may be sent at once, at least one."""
    return max(1, UNDERWAY_BYTES // each)


@dataclass(frozen=True, slots=True)
class Grant:
    """One request that is allowed: it must be sent with these headers, before `expire_time`."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    expire_time: float | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file to send, and what it is called where it goes."""

    path: Path
    name: str
    content_type: str = "application/octet-stream"
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """An outgoing file that was read: its size in bytes, and the digest of all of it if asked."""

    file: Outgoing
    size: int
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file, numbered from 1; the `etag` is known when it has arrived."""

    number: int
    size: int
    sha256: bytes
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload in parts. `arrived` are those the place has already, of an earlier attempt."""

    id: str
    name: str
    part_bytes: int
    arrived: Mapping[int, Part] = field(default_factory=dict)


class Uploads(Protocol):
    """A place that files can be sent to. All methods raise TransferError or an AsgardError."""

    @property
    def wants_sha256(self) -> bool:
        """Whether `complete` is to be told the digest of the whole file as well."""

    def whole(self, files: Sequence[Measured]) -> Sequence[Grant | None]:
        """Leave to send each of these in one request; None for one that is there already."""

    def arrived(self, files: Sequence[Measured]) -> None:
        """Those have been sent whole."""

    def there(self, file: Measured) -> bool:
        """Whether a file that is sent whole has arrived: asked when an attempt's answer was lost.

        False where a repeat does no harm, and is no more work than to look.
        """

    def begin(self, file: Outgoing, size: int) -> Begun | None:
        """Begin an upload in parts, or go on with one; None when the file is there already."""

    def parts(self, begun: Begun, parts: Sequence[Part]) -> Sequence[Grant]:
        """Leave to send each of these parts."""

    def complete(self, begun: Begun, file: Measured, parts: Sequence[Part]) -> None:
        """All parts have arrived: make the file of them. Again is no error."""


@dataclass(frozen=True, slots=True)
class Remote:
    """An object to fetch: `size` and `etag` from a listing; `digest` where it is known."""

    name: str
    size: int
    etag: str = ""
    digest: Digest | None = None

    @property
    def is_small(self) -> bool:
        """Whether one request fetches it: what was sent in parts is checked by parts."""
        if self.digest is not None:
            return self.size <= RANGE_BYTES and self.digest.part_bytes in (None, self.size)
        return self.size <= RANGE_BYTES and "-" not in self.etag


class Downloads(Protocol):
    """A place that objects can be fetched from."""

    def grants(self, objects: Sequence[Remote]) -> Sequence[Grant]:
        """Leave to read each of these, whole or by ranges."""

    def described(self, remote: Remote) -> Remote:
        """The object with its digest, if the place has any."""
