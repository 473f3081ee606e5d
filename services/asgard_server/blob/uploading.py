"""From a declaration to bytes that are known to be the right ones (docs/protocols.md 12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from gimle.asgard.core.errors import (
    DigestMismatchError,
    NotFoundError,
    UploadEndedError,
    UploadIncompleteError,
)
from gimle.asgard.core.ids import check_id, new_id

from asgard_server.blob import domain, limits, metrics
from asgard_server.blob.domain import Blob, Held, NewUpload
from asgard_server.blob.parts import (
    Part,
    missing_parts,
    part_bytes,
    part_count,
    sha256_of_parts,
)
from asgard_server.blob.store import Bytes, Grant, Grants, Table
from asgard_server.blob.together import arrived, together
from asgard_server.blob.whose import SERVICES, Whose

# Questions to the store that one call has open at a time.
_AT_ONCE = 16

# Until an object appears that another call is putting together: 4 s in all.
_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

# What concerns one upload of many; anything else ends the call.
_OF_ONE = (NotFoundError, UploadIncompleteError, UploadEndedError, DigestMismatchError)


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload, and the grant for its bytes where one request carries them."""

    blob: Blob
    put: Grant | None = None


class _Looked(NamedTuple):
    """An upload whose bytes are there, and the row that says so."""

    before: Blob
    done: Blob


class Uploader:
    """Begins uploads, and completes them after looking at what has arrived.

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
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def of(self, whose: Whose) -> Uploader:
        """The same for a caller: what is begun is theirs, and others' uploads are not there."""
        theirs = copy(self)
        theirs._whose = whose
        return theirs

    async def begin(self, asked: Sequence[NewUpload]) -> list[Begun]:
        """Add rows for uploads, or find those there are, and grant them.

        Raises `InvalidFieldError`, `AlreadyExistsError`, `DeletedError`; nothing is begun then.
        """
        limits.batch(len(asked), "uploads")
        now = self._clock()
        if any(new.lent_to for new in asked):
            self._whose.require_service()
        maker = self._whose.maker
        rows = [domain.begin(new, now, maker, f"uploads[{at}].") for at, new in enumerate(asked)]
        if self._bytes.lists is not None:
            rows = together(rows, now)
        there = await self._table.begin(rows)
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
        return blob, await self._bytes.parts(blob) or []

    async def complete(
        self, asked: Sequence[tuple[str, str | None]], *, dry_run: bool = False
    ) -> list[Blob | Exception]:
        """Make uploads ready that are whole; answer each, or why it is not.

        With each id the SHA-256 of all bytes may be given. `dry_run`: look at what has arrived,
        and change nothing. Raises `InvalidFieldError`.
        """
        limits.batch(len(asked), "uploads")
        for blob_id, _ in asked:
            check_id(blob_id, "uploads.blob_id")
        digests = [limits.checked_sha256(sha, "uploads.sha256") for _, sha in asked]
        found = self._whose.seen(await self._table.find([blob_id for blob_id, _ in asked]))
        there = await arrived(self._bytes, found.values())

        async def one(blob_id: str, sha256: str | None) -> Blob | Exception | _Looked:
            blob = found.get(blob_id)
            if blob is None:
                return NotFoundError("blob", blob_id)
            try:
                if (held := there.get(blob.key)) is not None and not dry_run:
                    _require_same(blob, sha256)
                    return _Looked(blob, self._ready(blob, held))
                async with self._turns:
                    if dry_run:
                        return await self._looked(blob)
                    return await self._complete(blob, sha256)
            except _OF_ONE as error:
                return error

        work = [one(blob_id, sha) for (blob_id, _), sha in zip(asked, digests, strict=True)]
        answers = await self._settled_all(await asyncio.gather(*work))
        if not dry_run:
            metrics.count_uploads(answers)
        return answers

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

    # Beginning ----------------------------------------------------------------------------

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
        started = replace(blob, upload_id=await self._bytes.begin_parts(blob))
        now = await self._table.settle(blob, started)
        if now.upload_id != started.upload_id:
            # Somebody else was faster; nobody will ever be told of this one.
            await self._bytes.drop_upload(started)
        return domain.require_uploading(now)

    async def _found(self, ids: Sequence[str]) -> list[Blob]:
        found = self._whose.seen(await self._table.find(ids, self._whose.maker))
        for blob_id in ids:
            if blob_id not in found:
                raise NotFoundError("blob", blob_id)
        return [found[blob_id] for blob_id in ids]

    # Completing ---------------------------------------------------------------------------

    async def _settled_all(
        self, looked: Sequence[Blob | Exception | _Looked]
    ) -> list[Blob | Exception]:
        """What has been found whole becomes ready, all in one transaction."""
        whole = [each for each in looked if isinstance(each, _Looked)]
        settled = iter(await self._table.settle_all(whole) if whole else ())
        answers: list[Blob | Exception] = []
        for each in looked:
            if not isinstance(each, _Looked):
                answers.append(each)
                continue
            now = next(settled)
            if now is None:
                answers.append(NotFoundError("blob", each.before.id))
            elif now.state != "ready":
                answers.append(UploadEndedError(now.id, now.state))
            else:
                answers.append(now)
        return answers

    async def _looked(self, blob: Blob) -> Blob:
        """The blob, if it could be completed now. Raises `UploadIncompleteError`,
        `UploadEndedError`.
        """
        if blob.state not in ("uploading", "ready"):
            raise UploadEndedError(blob.id, blob.state)
        if blob.state == "ready" or await self._bytes.head(blob.arrives_at) is not None:
            return blob
        if blob.way != "parts":
            raise UploadIncompleteError(blob.id, "nothing has arrived")
        _require_parts(blob, await self._bytes.parts(blob) or [])
        return blob

    async def _complete(self, blob: Blob, sha256: str | None) -> Blob | _Looked:
        if blob.state != "uploading":
            if blob.state == "ready":
                _require_same(blob, sha256)
                return blob
            raise UploadEndedError(blob.id, blob.state)
        _require_same(blob, sha256)
        try:
            return await self._arrived(blob, sha256)
        except UploadIncompleteError:
            # Somebody else may have completed it meanwhile, and cleared away what was looked for.
            now = (await self._table.find([blob.id])).get(blob.id)
            if now is not None and now.state == "ready":
                return now
            raise

    async def _arrived(self, blob: Blob, sha256: str | None) -> Blob | _Looked:
        match blob.way:
            case "checked":
                return _Looked(blob, await self._checked(blob))
            case "parts":
                return await self._settled(blob, await self._put_together(blob, sha256))
            case "plain":
                return await self._copied(blob, sha256)

    async def _settled(self, blob: Blob, done: Blob) -> Blob:
        """The row that won: of several who complete, each answers the same."""
        now = await self._table.settle(blob, done)
        if now.state != "ready":
            raise UploadEndedError(blob.id, now.state)
        return now

    async def _checked(self, blob: Blob) -> Blob:
        held = await self._bytes.head(blob.key)
        if held is None:
            raise UploadIncompleteError(blob.id, "nothing has arrived")
        # The store has refused all others; a store that cannot say so is not to be trusted.
        if held.size_bytes != blob.size_bytes or held.sha256 not in (None, blob.sha256):
            raise DigestMismatchError(blob.id, "other bytes lie there than were declared")
        return self._ready(blob, held)

    def _ready(self, blob: Blob, held: Held) -> Blob:
        verified = held.sha256 is not None
        return domain.ready(blob, held, self._clock(), sha256=blob.sha256, verified=verified)

    async def _put_together(self, blob: Blob, sha256: str | None) -> Blob:
        size = blob.size_bytes or 0
        # In this order: parts that somebody else puts together go when the whole is there.
        parts = await self._bytes.parts(blob)
        held = await self._bytes.head(blob.key)
        if held is None:
            _require_parts(blob, parts or [])
            await self._bytes.finish_parts(blob, parts or [])
            held = await self._appeared(blob)
        else:
            # Of somebody who died before he had removed them: the row will forget their name.
            await self._bytes.drop_parts(blob)
        if held is None:
            raise UploadIncompleteError(blob.id, "its parts are gone: upload it again")
        wanted = blob.sha256 or sha256
        if held.size_bytes != size or (None not in (held.sha256, wanted) and held.sha256 != wanted):
            raise DigestMismatchError(blob.id, "other bytes lie there than were declared")
        return domain.ready(
            blob,
            held,
            self._clock(),
            sha256=held.sha256 or wanted,
            verified=held.sha256 is not None,
            sha256_parts=held.sha256_parts or (sha256_of_parts(parts) if parts else None),
        )

    async def _appeared(self, blob: Blob) -> Held | None:
        """The whole: where somebody else is putting it together, the parts go a moment before."""
        for pause in _PAUSES_S:
            if (held := await self._bytes.head(blob.key)) is not None:
                return held
            await asyncio.sleep(pause)
        return await self._bytes.head(blob.key)

    async def _copied(self, blob: Blob, sha256: str | None) -> Blob:
        """Bytes of a plain PUT may change while its URL holds: so a copy is what is kept."""
        arrived = await self._bytes.head(blob.arrives_at)
        if arrived is None:
            raise UploadIncompleteError(blob.id, "nothing has arrived")
        if arrived.size_bytes > limits.PLAIN_BYTES:
            raise UploadIncompleteError(
                blob.id, f"it has more than {limits.PLAIN_BYTES:,} bytes: upload it in parts"
            )
        if blob.size_bytes not in (None, arrived.size_bytes):
            raise DigestMismatchError(blob.id, f"{arrived.size_bytes:,} bytes have arrived")
        copy = replace(blob, attempt=new_id(self._clock()))
        # Whoever dies from here on leaves bytes that no row names: the sweeper finds them by this.
        await self._table.note_copy(copy, self._clock())
        held = await self._bytes.copy(blob.arrives_at, arrived.etag, copy.key, blob.content_type)
        if held is None:
            # A store that was asked twice may have copied the first time.
            await self._bytes.remove(copy)
            raise UploadIncompleteError(blob.id, "other bytes arrived meanwhile: complete it again")
        wanted = blob.sha256 or sha256
        if wanted is not None and held.sha256 != wanted:
            await self._bytes.remove(copy)
            raise DigestMismatchError(blob.id, f"bytes with SHA-256 {held.sha256} have arrived")
        done = domain.ready(copy, held, self._clock(), sha256=held.sha256, verified=True)
        now = await self._table.settle(blob, done)
        if now.attempt != done.attempt or now.state != "ready":
            await self._bytes.remove(copy)  # somebody else's copy is the blob
        if now.state != "ready":
            raise UploadEndedError(blob.id, now.state)
        await self._bytes.remove(blob)
        return now


def _require_same(blob: Blob, sha256: str | None) -> None:
    if sha256 is not None and blob.sha256 is not None and sha256 != blob.sha256:
        raise DigestMismatchError(blob.id, f"its SHA-256 was declared as {blob.sha256}")


def _require_parts(blob: Blob, arrived: Sequence[Part]) -> None:
    """Raise `UploadIncompleteError` unless all parts have arrived."""
    size = blob.size_bytes or 0
    if missing := missing_parts(size, arrived):
        raise UploadIncompleteError(
            blob.id,
            f"{len(missing):,} of {part_count(size):,} parts are missing, "
            f"the first is {missing[0]}",
            tuple(missing[:1_000]),
        )
