"""The ports of BlobService: the table of blobs, the store of their bytes, and grants to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from asgard_server.blob.domain import Blob, Held, Target
from asgard_server.blob.parts import Part


@dataclass(frozen=True, slots=True)
class Grant:
    """A request that the store will accept from whoever sends it, until `expires_at`."""

    url: str
    method: str
    headers: Mapping[str, str]
    expires_at: datetime


class Listed(NamedTuple):
    """An object in a listing of the store. `age_seconds` is by the store's clock."""

    key: str
    size_bytes: int
    age_seconds: float


class Table(Protocol):
    """The rows of blobs: what is known of bytes. Each method is one transaction."""

    async def begin(self, blobs: Sequence[Blob]) -> list[Blob]:
        """Add rows, all or none; answer them, or those that are there for the same upload.

        Raises `AlreadyExistsError` when an id, or a name of the maker's, is another upload's,
        `DeletedError` when an id was a blob of the maker's that is deleted.
        """

    async def find(self, names: Sequence[str], maker: str = "") -> dict[str, Blob]:
        """Look up blobs by ids, or by a maker's names behind "name:"; without those missing.

        By its id a blob is found whoever made it.
        """

    async def grant(self, blobs: Sequence[Blob], until: datetime) -> None:
        """Note that grants for these uploads have been given out that hold until then."""

    async def lend(self, ids: Sequence[str], sub: str) -> None:
        """Note that `sub` may bring the parts of these uploads, too."""

    async def settle(self, before: Blob, after: Blob) -> Blob:
        """Replace a row that is as `before` says in state and attempt; answer what is there now.

        Raises `NotFoundError` when it is gone, `BlobOwnedError` when `after` is deleted and
        somebody has claimed it.
        """

    async def settle_all(self, changes: Sequence[tuple[Blob, Blob]]) -> list[Blob | None]:
        """Settle many at once, each by itself; None where a row is gone.

        Raises `BlobOwnedError` as `settle` does.
        """

    async def end_ready(self, ids: Sequence[str]) -> set[str]:
        """Let the rows of those that are ready and nobody has claimed say that they are deleted;
        answer which those were.
        """

    async def note_copy(self, copy: Blob, now: datetime) -> None:
        """Note that the key of `copy` is about to get bytes, before it has any."""

    async def page(self, prefix: str, behind: str, limit: int, maker: str = "") -> list[Blob]:
        """A maker's blobs that are uploading or ready by name, those > `behind` that begin with
        `prefix`.
        """

    async def claim(self, ids: Sequence[str], owner: str) -> None:
        """Note that `owner` needs these blobs, all or none. Raises `NotFoundError`."""

    async def release(self, ids: Sequence[str], owner: str) -> list[Blob]:
        """Forget claims, all of `owner`'s without ids; answer ready ones nobody claims any more."""


class Upkeep(Protocol):
    """The table's other face, for the sweeper and for fsck."""

    async def overdue(self, now: datetime, limit: int) -> list[Blob]:
        """Uploads whose time is up, and ended ones whose grants are, margin and all."""

    async def forget(self, ids: Sequence[str]) -> None:
        """Remove rows of ended blobs whose bytes are gone."""

    async def copies(self, before: datetime, limit: int) -> list[Blob]:
        """Copies that were noted before then, as rows that say no more than their keys."""

    async def forget_copies(self, copies: Sequence[Blob]) -> None:
        """Remove the notes of copies."""

    async def known(self, ids: Sequence[str]) -> dict[str, Blob]:
        """Look up rows in any state by their ids; without those missing."""

    async def walk(self, behind: str, limit: int) -> list[Blob]:
        """All ready blobs in the order of their ids, those > `behind`."""

    def lock(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock among replicas while iterated; yields once whether it was got."""


class Grants(Protocol):
    """Signs requests to the store. Pure computation: nothing is asked."""

    def put(self, blob: Target, seconds: int) -> Grant:
        """One request for all bytes: write-once with size and digest where those are declared."""

    def part(self, blob: Target, number: int, sha256: str, seconds: int) -> Grant:
        """A request for one part of an upload in parts, with its size and digest."""

    def get(
        self, blob: Target, seconds: int, wanted: tuple[int, int] | None, save_as: str
    ) -> Grant:
        """A request that reads all bytes, or those of a range (both inclusive)."""


class Room(NamedTuple):
    """What is free at a place where bytes lie."""

    place: str
    free_bytes: int


class Lists(Protocol):
    """A store that tells of many objects at once."""

    async def sizes(self, folder: str) -> dict[str, int]:
        """How many bytes lie under the keys of a folder; what it does not tell may be there."""


class Bytes(Protocol):
    """The store that holds the bytes, asked by the service itself.

    `lists` tells of many objects at once, where the store has a use for that. Raises
    `StorageUnavailableError`, `StorageFullError`.
    """

    @property
    def lists(self) -> Lists | None:
        """Who tells of many objects at once; None where each is asked for as quickly."""

    async def room(self) -> Room | None:
        """What is free; None where the store does not tell."""

    async def begin_parts(self, blob: Target) -> str:
        """Begin an upload in parts; answer what the store calls it."""

    async def parts(self, blob: Target) -> list[Part] | None:
        """Parts that have arrived, by number; None when the store knows no such upload."""

    async def finish_parts(self, blob: Target, parts: Sequence[Part]) -> None:
        """Put the parts together, unless the key has bytes already: those are the first's."""

    async def going_on(self, key: str) -> list[str]:
        """Uploads in parts of a key that have not ended, the oldest first."""

    async def drop_upload(self, blob: Target) -> None:
        """Give up the one upload in parts that `blob` names. One that is gone is no error."""

    async def drop_parts(self, blob: Blob) -> None:
        """Remove the parts of a blob that is put together. Without any it is no error."""

    async def head(self, key: str) -> Held | None:
        """What is there under a key, None for nothing."""

    async def sha256(self, key: str) -> str | None:
        """The SHA-256 of all bytes of a key, read if need be; None where that is the store's."""

    async def copy(self, source: str, held: Held, target: str, content_type: str) -> Held | None:
        """Copy the object `held` to a key that has none, up to 5 GB with the store's SHA-256.

        None when the source is another one by now, or gone.
        """

    async def read(self, key: str) -> bytes | None:
        """Read an object whole, None when there is none."""

    async def write(self, blob: Blob, body: bytes) -> Held:
        """Write the bytes of a blob unless its key has some; answer what is there."""

    async def remove(self, blob: Blob) -> None:
        """Remove everything of a blob: object, staged bytes, parts. What is gone is no error."""

    async def remove_all(self, blobs: Sequence[Blob]) -> None:
        """Remove everything of many blobs in few calls; some are gone where it raises."""

    async def clear(self, key: str) -> None:
        """Remove everything under a key: the object, and uploads in parts that go on."""

    def list(self, folder: str) -> AsyncIterator[Listed]:
        """All objects below a folder of keys, in the order of keys."""
