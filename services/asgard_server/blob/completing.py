"""From bytes that have arrived to bytes known to be the right ones (docs/protocols.md 12)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from datetime import datetime
from typing import NamedTuple, TypeAlias

from gimle.asgard.core.errors import (
    DigestMismatchError,
    NotFoundError,
    UploadEndedError,
    UploadIncompleteError,
)
from gimle.asgard.core.ids import check_id

from asgard_server.blob import domain, limits, metrics
from asgard_server.blob.assembling import put_together, require_parts
from asgard_server.blob.copying import copied
from asgard_server.blob.domain import Blob, Held
from asgard_server.blob.lately import Lately
from asgard_server.blob.store import Bytes, Table
from asgard_server.blob.together import arrived
from asgard_server.blob.whose import SERVICES, Whose

# Questions to the store that one call has open at a time.
_AT_ONCE = 16

# What concerns one upload of many; anything else ends the call.
_OF_ONE = (NotFoundError, UploadIncompleteError, UploadEndedError, DigestMismatchError)


class _Looked(NamedTuple):
    """An upload whose bytes are there, and the row that says so."""

    before: Blob
    done: Blob


_Answer: TypeAlias = Blob | Exception | _Looked


class Completer:
    """Completes uploads after looking at what has arrived.

    It works for the services until it is told for whom (`of`). `lately`: what an Uploader beside it
    has begun.
    """

    def __init__(
        self,
        table: Table,
        held: Bytes,
        clock: Callable[[], datetime],
        lately: Lately | None = None,
    ) -> None:
        self._table = table
        self._bytes = held
        self._clock = clock
        self._lately = Lately() if lately is None else lately
        self._whose = SERVICES
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def of(self, whose: Whose) -> Completer:
        """The same for a caller: others' uploads are not there."""
        theirs = copy(self)
        theirs._whose = whose
        return theirs

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
        # A digest is held against what the row says, and a dry run is to tell what it says now.
        quick = {} if dry_run or any(digests) else await self._begun_lately(asked)
        wanted = [
            (blob_id, sha256)
            for (blob_id, _), sha256 in zip(asked, digests, strict=True)
            if blob_id not in quick
        ]
        others = iter(await self._looked_up(wanted, dry_run=dry_run) if wanted else ())
        answers = [quick[blob_id] if blob_id in quick else next(others) for blob_id, _ in asked]
        if not dry_run:
            metrics.count_uploads(answers)
        return answers

    async def _begun_lately(self, asked: Sequence[tuple[str, str | None]]) -> dict[str, Blob]:
        """Make those ready that were begun here and are whole, by what their rows said then."""
        begun = self._whose.seen(self._lately.of([blob_id for blob_id, _ in asked]))
        there = await arrived(self._bytes, begun.values())
        now = self._clock()
        whole = [
            _Looked(begun[blob_id], _ready(begun[blob_id], held, now))
            for blob_id, held in there.items()
        ]
        settled = await self._table.settle_all(whole) if whole else []
        self._lately.forget(there)
        return {blob.id: blob for blob in settled if blob is not None and blob.state == "ready"}

    async def _looked_up(
        self, asked: Sequence[tuple[str, str | None]], *, dry_run: bool
    ) -> list[Blob | Exception]:
        """Make those ready that are whole, by what their rows say now."""
        found = self._whose.seen(await self._table.find([blob_id for blob_id, _ in asked]))
        there = await arrived(self._bytes, found.values())
        now = self._clock()
        answers: list[_Answer] = []
        waiting: dict[int, Awaitable[_Answer]] = {}
        for place, (blob_id, sha256) in enumerate(asked):
            blob, held = found.get(blob_id), there.get(blob_id)
            if blob is None:
                answers.append(NotFoundError("blob", blob_id))
            elif held is None:
                answers.append(blob)
                waiting[place] = self._one(blob, sha256, dry_run)
            else:
                answers.append(blob if dry_run else _listed(blob, held, sha256, now))
        for place, answer in zip(waiting, await asyncio.gather(*waiting.values()), strict=True):
            answers[place] = answer
        return await self._or_by_others(asked, await self._settled_all(answers))

    async def _one(self, blob: Blob, sha256: str | None, dry_run: bool) -> _Answer:
        """What becomes of one upload that has to be looked at by itself."""
        try:
            async with self._turns:
                return await (self._looked(blob) if dry_run else self._complete(blob, sha256))
        except _OF_ONE as error:
            return error

    async def _settled_all(self, looked: Sequence[_Answer]) -> list[Blob | Exception]:
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

    async def _or_by_others(
        self, asked: Sequence[tuple[str, str | None]], answers: Sequence[Blob | Exception]
    ) -> list[Blob | Exception]:
        """The answers, but for what somebody has completed meanwhile, and cleared away what was
        looked for.
        """
        lacking = {
            blob_id
            for (blob_id, _), answer in zip(asked, answers, strict=True)
            if isinstance(answer, UploadIncompleteError)
        }
        if not lacking:
            return list(answers)
        now = await self._table.find(sorted(lacking))

        def one(blob_id: str, sha256: str | None, answer: Blob | Exception) -> Blob | Exception:
            blob = now.get(blob_id) if blob_id in lacking else None
            if blob is None or blob.state != "ready":
                return answer
            try:
                _require_same(blob, sha256)
            except DigestMismatchError as error:
                return error
            return blob

        return [one(*each, answer) for each, answer in zip(asked, answers, strict=True)]

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
        require_parts(blob.id, blob.size_bytes or 0, await self._bytes.parts(blob) or [])
        return blob

    async def _complete(self, blob: Blob, sha256: str | None) -> Blob | _Looked:
        if blob.state != "uploading":
            if blob.state == "ready":
                _require_same(blob, sha256)
                return blob
            raise UploadEndedError(blob.id, blob.state)
        _require_same(blob, sha256)
        return await self._arrived(blob, sha256)

    async def _arrived(self, blob: Blob, sha256: str | None) -> Blob | _Looked:
        match blob.way:
            case "checked":
                return _Looked(blob, await self._checked(blob))
            case "parts":
                done = await put_together(self._bytes, blob, sha256, self._clock)
                return await self._settled(blob, done)
            case "plain":
                return await copied(self._table, self._bytes, blob, sha256, self._clock)

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
        return _ready(blob, held, self._clock())


def _listed(blob: Blob, held: Held, sha256: str | None, now: datetime) -> _Answer:
    """An upload whose right bytes a list has told of."""
    try:
        _require_same(blob, sha256)
    except DigestMismatchError as error:
        return error
    return _Looked(blob, _ready(blob, held, now))


def _ready(blob: Blob, held: Held, now: datetime) -> Blob:
    return domain.ready(blob, held, now, sha256=blob.sha256, verified=held.sha256 is not None)


def _require_same(blob: Blob, sha256: str | None) -> None:
    if sha256 is not None and blob.sha256 is not None and sha256 != blob.sha256:
        raise DigestMismatchError(blob.id, f"its SHA-256 was declared as {blob.sha256}")
