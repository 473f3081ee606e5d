"""The ports of fsck: all that lies in the store of bytes, and who says what should lie there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from asgard_server.blob.domain import Blob


class Holding(NamedTuple):
    """Something that lies in the store. `age_seconds` is by the store's clock.

    `key`: of an object; of what is none, where it lies. `upload_id`: of parts that have not been
    put together; a folder knows no key of those.
    """

    key: str
    size_bytes: int
    age_seconds: float
    etag: str = ""
    upload_id: str = ""


class Holdings(Protocol):
    """The store of bytes, looked at from end to end.

    Raises `StorageUnavailableError`, also for a listing that breaks off.
    """

    def objects(self, folder: str) -> AsyncIterator[Holding]:
        """All objects below a folder of keys ("blobs/"), in the order of their keys' bytes."""

    def unfinished(self) -> AsyncIterator[Holding]:
        """Uploads in parts of blobs, as far as the store tells of them, with their parts' bytes."""

    def temporaries(self) -> AsyncIterator[Holding]:
        """What requests that ended with their process have left, which is no object."""

    async def now(self, key: str) -> Holding | None:
        """One object as it is at this moment, None when there is none."""

    def pieces(self, key: str) -> AsyncIterator[bytes]:
        """The bytes of an object, some at a time. Raises `FileNotFoundError`."""

    async def drop(self, holding: Holding) -> None:
        """Remove it. What is gone is no error."""


class Rows(Protocol):
    """What fsck asks of the table of blobs: methods of `Table` and `Upkeep`."""

    async def known(self, ids: Sequence[str]) -> dict[str, Blob]:
        """Look up rows in any state by their ids; without those missing."""

    async def find(self, names: Sequence[str], maker: str = "") -> dict[str, Blob]:
        """Look up blobs that are uploading or ready by their ids; without those missing."""

    async def page(self, prefix: str, behind: str, limit: int, maker: str = "") -> list[Blob]:
        """A maker's blobs that are uploading or ready by name, those > `behind` that begin with
        `prefix`. The services' are those of nobody.
        """

    async def settle(self, before: Blob, after: Blob) -> Blob:
        """Replace a row that is as `before` says in state and attempt; answer what is there now.

        Raises `NotFoundError` when it is gone, `BlobOwnedError` when somebody has claimed it.
        """


class Kept(NamedTuple):
    """Bytes that somebody keeps under a key of his own, as he knows them. None: not known."""

    key: str
    owner: str
    size_bytes: int | None = None
    etag: str | None = None
    sha256: str | None = None


class Owner(Protocol):
    """Somebody who keeps bytes below a folder of keys, asked by fsck and by nobody else."""

    @property
    def folder(self) -> str:
        """Where all of them lie, such as "sim-data/"."""

    async def keys(self, behind: str, limit: int) -> tuple[list[Kept], str]:
        """Some of the keys that should have bytes, and how to ask for those behind them.

        The first page is behind "", and what follows the last one is "". In any order.
        """

    async def kept(self, key: str) -> Kept | None:
        """What should lie under one key at this moment, None when nothing should."""


class Needed(NamedTuple):
    """That somebody needs a blob."""

    blob_id: str
    owner: str


class Claimants(Protocol):
    """Those who claim blobs by names of one kind, asked by fsck and by nobody else."""

    @property
    def kind(self) -> str:
        """What their names begin with, such as "asset/"."""

    async def there(self, owners: Sequence[str]) -> set[str]:
        """Which of these are there."""

    async def needed(self, behind: str, limit: int) -> tuple[list[Needed], str]:
        """Some of the blobs that should be there, and how to ask for those behind them.

        The first page is behind "", and what follows the last one is "". In any order.
        """
