"""From a declaration to grants for its bytes (docs/protocols.md 12)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta

from gimle.asgard.core.errors import NotFoundError, UploadEndedError

from asgard_server.blob import domain, limits
from asgard_server.blob.assembling import begun
from asgard_server.blob.domain import Blob, NewUpload
from asgard_server.blob.lately import Lately
from asgard_server.blob.parts import Part, part_bytes
from asgard_server.blob.resuming import taken_up
from asgard_server.blob.room import require_room
from asgard_server.blob.store import Bytes, Grant, Grants, Table
from asgard_server.blob.together import together, unless_few
from asgard_server.blob.whose import SERVICES, Whose


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload, and the grant for its bytes where one request carries them."""

    blob: Blob
    put: Grant | None = None


class Uploader:
    """Begins uploads, grants what they need, and gives them up.

    It works for the services until it is told for whom (`of`). `lately`: what it tells a Completer
    beside it of what it has begun.
    """

    def __init__(
        self,
        table: Table,
        held: Bytes,
        grants: Grants,
        clock: Callable[[], datetime],
        lately: Lately | None = None,
    ) -> None:
        self._table = table
        self._bytes = held
        self._grants = grants
        self._clock = clock
        self._lately = Lately() if lately is None else lately
        self._whose = SERVICES

    def of(self, whose: Whose) -> Uploader:
        """The same for a caller: what is begun is theirs, and others' uploads are not there."""
        theirs = copy(self)
        theirs._whose = whose
        return theirs

    async def begin(self, asked: Sequence[NewUpload]) -> list[Begun]:
        """Add rows for uploads, or find those there are, and grant them.

        Raises `InvalidFieldError`, `AlreadyExistsError`, `DeletedError`, `StorageFullError` for
        what does not fit; nothing is begun then.
        """
        limits.batch(len(asked), "uploads")
        now = self._clock()
        if any(new.lent_to for new in asked):
            self._whose.require_service()
        maker = self._whose.maker
        attempt = domain.FIRST if self._bytes.lists is None else together(len(asked), now)
        rows = [
            domain.begin(new, now, maker, f"uploads[{at}].", attempt)
            for at, new in enumerate(asked)
        ]
        await require_room(self._table, self._bytes, rows, maker)
        there = await self._table.begin(unless_few(rows))
        if attempt != domain.FIRST:
            self._lately.note(blob for blob in there if blob.attempt == attempt)
        await self._lend(there, [new.lent_to for new in asked])
        seconds = [limits.grant_seconds(new.seconds) for new in asked]
        return await self._granted(there, seconds)

    async def renew(
        self, ids: Sequence[str], seconds: int | None, lent_to: str = ""
    ) -> list[Begun]:
        """Grant uploads that go on anew, and lend them. Raises `NotFoundError`,
        `UploadEndedError`.
        """
        limits.batch(len(ids), "blob_ids")
        if lent_to:
            self._whose.require_service()
        each = limits.grant_seconds(seconds)
        blobs = [domain.require_uploading(blob) for blob in await self._found(ids)]
        await self._lend(blobs, [lent_to] * len(blobs))
        return await self._granted(blobs, [each] * len(blobs))

    async def sign_parts(
        self, blob_id: str, parts: Sequence[tuple[int, str]], seconds: int | None
    ) -> list[Grant]:
        """Grant parts, each for the bytes of a SHA-256.

        Raises `NotFoundError`, `UploadEndedError`, `InvalidFieldError`.
        """
        limits.batch(len(parts), "parts")
        each = limits.grant_seconds(seconds)
        blob = await self._in_parts(blob_id)
        for number, sha256 in parts:
            part_bytes(blob.size_bytes or 0, number)
            limits.checked_sha256(sha256, "parts.sha256")
        await self._note([blob], [each])
        return [self._grants.part(blob, number, sha.lower(), each) for number, sha in parts]

    async def parts(self, blob_id: str) -> tuple[Blob, list[Part]]:
        """The parts that have arrived. Raises `NotFoundError`, `UploadEndedError`."""
        blob = await self._in_parts(blob_id)
        arrived = await self._bytes.parts(blob)
        if arrived is None:
            blob = await taken_up(self._table, self._bytes, blob, self._clock)
        return blob, arrived or []

    async def abort(self, ids: Sequence[str]) -> None:
        """Give uploads up. Raises `UploadEndedError` when one is ready; then none is given up."""
        limits.batch(len(ids), "blob_ids")
        blobs = list(self._whose.seen(await self._table.find(ids)).values())
        for blob in blobs:
            if blob.state == "ready":
                raise UploadEndedError(blob.id, blob.state)
        for blob in blobs:
            if blob.state == "uploading":
                now = await self._table.settle(blob, domain.moved_to(blob, "abandoned"))
                if now.state == "ready":
                    raise UploadEndedError(now.id, now.state)
                await self._bytes.remove(blob)

    async def _granted(self, blobs: Sequence[Blob], seconds: Sequence[int]) -> list[Begun]:
        open_ones = [
            (blob, each)
            for blob, each in zip(blobs, seconds, strict=True)
            if blob.state == "uploading"
        ]
        if open_ones:
            await self._note([blob for blob, _ in open_ones], [each for _, each in open_ones])
        return [
            Begun(blob, self._grants.put(blob, each))
            if blob.state == "uploading" and blob.way != "parts"
            else Begun(blob)
            for blob, each in zip(blobs, seconds, strict=True)
        ]

    async def _lend(self, blobs: Sequence[Blob], to: Sequence[str]) -> None:
        """Before the upload is told of to those who are to bring its parts."""
        lacking: dict[str, list[str]] = {}
        for blob, sub in zip(blobs, to, strict=True):
            if sub and sub not in blob.lent_to:
                lacking.setdefault(sub, []).append(blob.id)
        for sub, ids in lacking.items():
            await self._table.lend(ids, sub)

    async def _note(self, blobs: Sequence[Blob], seconds: Sequence[int]) -> None:
        """Before a grant leaves: the sweeper must not forget a key that it may still change."""
        until = self._clock() + timedelta(seconds=max(seconds))
        later = [blob for blob in blobs if blob.grants_until < until - domain.UNNOTED]
        if later:
            await self._table.grant(later, until)

    async def _in_parts(self, blob_id: str) -> Blob:
        found = await self._table.find([blob_id], self._whose.maker)
        blob = found.get(blob_id)
        if blob is None or not self._whose.brings(blob):
            raise NotFoundError("blob", blob_id)
        domain.require_uploading(blob)
        if blob.way != "parts":
            raise UploadEndedError(blob_id, "uploaded in one request")
        if blob.upload_id is not None:
            return blob
        # Only now: most uploads that are begun anew have bytes that are there already.
        return await begun(self._table, self._bytes, blob)

    async def _found(self, ids: Sequence[str]) -> list[Blob]:
        found = self._whose.seen(await self._table.find(ids, self._whose.maker))
        for blob_id in ids:
            if blob_id not in found:
                raise NotFoundError("blob", blob_id)
        return [found[blob_id] for blob_id in ids]
