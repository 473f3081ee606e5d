"""Blobs that are there: looking them up, lending them out, copying, claiming, deleting."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime

from gimle.asgard.core.errors import (
    AlreadyExistsError,
    AsgardError,
    BlobOwnedError,
    BlobTooLargeError,
    NotFoundError,
    StorageUnavailableError,
    UploadEndedError,
)

from asgard_server.blob import domain, limits
from asgard_server.blob.domain import Blob, NewUpload, State
from asgard_server.blob.names import checked_name, checked_prefix
from asgard_server.blob.store import Bytes, Grant, Grants, Table
from asgard_server.blob.whose import SERVICES, Whose

# Blobs of a prefix that are removed in one go.
_PAGE = 1_000
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """A download asked for: all bytes, or from `first` to `last`, both inclusive."""

    blob_id: str
    first: int | None = None
    last: int | None = None
    save_as: str = ""


@dataclass(frozen=True, slots=True)
class Deleted:
    """What deleting a prefix did."""

    count: int
    size_bytes: int
    owned: int


class Keeper:
    """What can be done with blobs beside uploading them.

    It works for the services until it is told for whom (`of`).
    """

    def __init__(
        self, table: Table, held: Bytes, grants: Grants, clock: Callable[[], datetime]
    ) -> None:
        self._table = table
        self._bytes = held
        self._grants = grants
        self._clock = clock
        self._whose = SERVICES

    def of(self, whose: Whose) -> Keeper:
        """The same for a caller: names are theirs, and others' blobs are not there."""
        theirs = copy(self)
        theirs._whose = whose
        return theirs

    async def blob(self, name: str) -> Blob:
        """Look up a blob by its id, or by its name behind "name:". Raises `NotFoundError`."""
        return (await self._found([name]))[0]

    async def lend(self, wanted: Sequence[Wanted], seconds: int | None) -> list[tuple[Blob, Grant]]:
        """Grant downloads. Raises `NotFoundError`, `BlobNotReadyError`, `InvalidFieldError`."""
        limits.batch(len(wanted), "downloads")
        each = limits.grant_seconds(seconds)
        blobs = await self._found([one.blob_id for one in wanted])
        return [
            (blob, self._grants.get(blob, each, _bytes_of(blob, one), _file_name(one.save_as)))
            for blob, one in zip(map(domain.require_ready, blobs), wanted, strict=True)
        ]

    async def page(self, prefix: str, behind: str, limit: int) -> list[Blob]:
        """Blobs of the caller's whose names begin with `prefix`, those > `behind`, by name."""
        return await self._table.page(prefix, behind, limit, self._whose.maker)

    async def delete(self, blob_id: str) -> None:
        """Delete a blob and its bytes. Raises `NotFoundError`, `BlobOwnedError`; `ForbiddenError`
        by a worker's key.
        """
        blob = await self.blob(blob_id)
        self._whose.require_deleting()
        await self._delete(blob)

    async def delete_all(self, prefix: str) -> Deleted:
        """Delete all blobs of the caller's whose names begin with `prefix` and that nobody has
        claimed. Raises `ForbiddenError`.
        """
        self._whose.require_deleting()
        prefix = checked_prefix(prefix, "name_prefix")
        count = size = owned = 0
        behind = ""
        while page := await self._table.page(prefix, behind, _PAGE, self._whose.maker):
            behind = page[-1].name
            for blob, problem in zip(page, await self._delete_many(page), strict=True):
                if problem is None:
                    count += 1
                    size += blob.size_bytes or 0
                elif isinstance(problem, BlobOwnedError):
                    owned += 1
        return Deleted(count, size, owned)

    async def copy(self, blob_id: str, name: str) -> Blob:
        """Copy a blob within the store. Raises `NotFoundError`, `BlobNotReadyError`,
        `AlreadyExistsError` for a name that other bytes have, and `UploadEndedError` where the
        copy was deleted while it was made.
        """
        source = domain.require_ready(await self.blob(blob_id))
        now = self._clock()
        asked = replace(
            domain.begin(
                NewUpload(name=checked_name(name, "name"), plain=True), now, self._whose.maker
            ),
            content_type=source.content_type,
            size_bytes=source.size_bytes,
            sha256=source.sha256,
            grants_until=now,
        )
        (row,) = await self._table.begin([asked])
        if row.state == "ready":
            return row
        held = await self._bytes.head(source.key)
        if held is None:
            raise StorageUnavailableError(source.key, "its bytes are gone; see `asgard fsck`")
        there = await self._bytes.copy(source.key, held, row.key, row.content_type)
        if there is None:
            raise StorageUnavailableError(source.key, "its bytes changed while they were copied")
        done = domain.ready(
            row,
            there,
            self._clock(),
            sha256=there.sha256 or source.sha256,
            verified=there.sha256 is not None,
        )
        now_there = await self._table.settle(row, done)
        if now_there.state != "ready":
            await self._bytes.remove(row)  # somebody has deleted it meanwhile
            raise UploadEndedError(row.id, now_there.state)
        return now_there

    async def claim(self, ids: Sequence[str], owner: str) -> None:
        """Note that somebody needs blobs, for services: else `ServiceCallersOnlyError`. Raises
        `NotFoundError`; none is claimed then.
        """
        self._whose.require_service()
        limits.batch(len(ids), "blob_ids")
        await self._table.claim(ids, limits.checked_owner(owner))

    async def release(self, ids: Sequence[str], owner: str) -> int:
        """Take claims back, for services, and delete what nobody claims any more; answer how many
        those are.
        """
        self._whose.require_service()
        if ids:
            limits.batch(len(ids), "blob_ids")
        left = await self._table.release(ids, limits.checked_owner(owner))
        # What was claimed again, or deleted, meanwhile is not deleted here.
        return (await self._delete_many(left)).count(None)

    async def read(self, blob_id: str) -> tuple[Blob, bytes]:
        """Read a small blob. Raises `NotFoundError`, `BlobNotReadyError`, `BlobTooLargeError`."""
        blob = domain.require_ready(await self.blob(blob_id))
        if (blob.size_bytes or 0) > limits.INLINE_BYTES:
            raise BlobTooLargeError(limits.INLINE_BYTES)
        body = await self._bytes.read(blob.key)
        if body is None:
            raise StorageUnavailableError(blob.key, "its bytes are gone; see `asgard fsck`")
        return blob, body

    async def write(self, new: NewUpload, body: bytes) -> Blob:
        """Write a small blob. Raises `AlreadyExistsError`, `DeletedError`, `BlobTooLargeError`."""
        if len(body) > limits.INLINE_BYTES:
            raise BlobTooLargeError(limits.INLINE_BYTES)
        sha256 = hashlib.sha256(body).hexdigest()
        now = self._clock()
        asked = domain.begin(
            replace(new, size_bytes=len(body), sha256=sha256), now, self._whose.maker
        )
        (row,) = await self._table.begin([replace(asked, grants_until=now)])
        if row.state == "ready":
            return row
        held = await self._bytes.write(row, body)
        if held.sha256 not in (None, sha256):
            raise AlreadyExistsError("blob", row.id)
        done = domain.ready(row, held, now, sha256=sha256, verified=held.sha256 is not None)
        return await self._table.settle(row, done)

    async def _delete_many(self, blobs: Sequence[Blob]) -> list[AsgardError | None]:
        """Delete many, a page at a time; answer of each why it was not deleted."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def ended(blob: Blob) -> AsgardError | None:
            try:
                async with turns:
                    await self._end(blob)
            except (BlobOwnedError, NotFoundError) as error:
                return error
            return None

        problems: list[AsgardError | None] = []
        for first in range(0, len(blobs), _PAGE):
            some = blobs[first : first + _PAGE]
            done = await self._table.end_ready([blob.id for blob in some if blob.state == "ready"])
            rest = [blob for blob in some if blob.id not in done]
            found = await asyncio.gather(*map(ended, rest))
            why = {blob.id: problem for blob, problem in zip(rest, found, strict=True)}
            # From the row on they are gone for everybody; what dies here the sweeper finishes.
            await self._bytes.remove_all([blob for blob in some if why.get(blob.id) is None])
            problems += [why.get(blob.id) for blob in some]
        return problems

    async def _delete(self, blob: Blob) -> None:
        await self._end(blob)
        await self._bytes.remove(blob)

    async def _end(self, blob: Blob) -> None:
        """Let the row say that it is gone."""
        while True:
            after: State = "deleted" if blob.state == "ready" else "abandoned"
            now = await self._table.settle(blob, domain.moved_to(blob, after))
            if now.state in ("deleted", "abandoned"):
                return
            blob = now  # completed meanwhile

    async def _found(self, names: Sequence[str]) -> list[Blob]:
        found = self._whose.seen(await self._table.find(names, self._whose.maker))
        for name in names:
            if name not in found:
                raise NotFoundError("blob", name)
        return [found[name] for name in names]


def _bytes_of(blob: Blob, wanted: Wanted) -> tuple[int, int] | None:
    return limits.byte_range(wanted.first, wanted.last, blob.size_bytes or 0)


def _file_name(text: str) -> str:
    return checked_name(text, "save_as").rpartition("/")[2] if text else ""
