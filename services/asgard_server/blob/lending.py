"""Grants for objects that RunService keeps: the arrays of results (docs/protocols.md 12).

Nothing of them is remembered here: which keys they are, until when, and what becomes of them
when nobody goes on, is in RunService's intents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gimle.asgard.core.errors import (
    DigestMismatchError,
    UploadEndedError,
    UploadIncompleteError,
)

from asgard_server.blob import limits
from asgard_server.blob.assembling import finished
from asgard_server.blob.domain import Held
from asgard_server.blob.kept import Kept, kept_key
from asgard_server.blob.parts import (
    Part,
    part_bytes,
    sha256_of_parts,
)
from asgard_server.blob.room import require_room_for_arrays
from asgard_server.blob.store import Bytes, Grant, Grants

_AT_ONCE = 16

Outcome = Held | UploadIncompleteError | DigestMismatchError


@dataclass(frozen=True, slots=True)
class Lent:
    """How an object is to come: in one request, or in parts; or what is there already."""

    kept: Kept
    put: Grant | None = None
    held: Held | None = None
    arrived: tuple[Part, ...] = ()


class Lender:
    """Grants requests for keys that its caller has chosen, and looks what has arrived."""

    def __init__(self, held: Bytes, grants: Grants) -> None:
        self._bytes = held
        self._grants = grants
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def uploads(self, asked: Sequence[Kept], seconds: int | None) -> list[Lent]:
        """Grant uploads. Raises `InvalidFieldError`, `StorageFullError` for what does not fit."""
        limits.batch(len(asked), "objects")
        each = limits.grant_seconds(seconds)
        await require_room_for_arrays(self._bytes, asked)
        return await asyncio.gather(*(self._upload(kept, each) for kept in asked))

    async def _upload(self, kept: Kept, seconds: int) -> Lent:
        async with self._turns:
            if (held := await self._bytes.head(kept.key)) is not None:
                return Lent(kept, held=await self._known(kept, held))
            if kept.way == "checked":
                return Lent(kept, put=self._grants.put(kept, seconds))
            kept = await self._going_on(kept)
            if kept.upload_id is None:
                kept = replace(kept, upload_id=await self._bytes.begin_parts(kept))
            return Lent(kept, arrived=tuple(await self._bytes.parts(kept) or ()))

    async def parts(
        self, kept: Kept, parts: Sequence[tuple[int, str]], seconds: int | None
    ) -> list[Grant]:
        """Grant parts. Raises `InvalidFieldError`, `UploadEndedError`."""
        limits.batch(len(parts), "parts")
        each = limits.grant_seconds(seconds)
        for number, sha256 in parts:
            part_bytes(kept.size_bytes, number)
            limits.checked_sha256(sha256, "parts.sha256")
        kept = await self._going_on(kept)
        if kept.upload_id is None:
            raise UploadEndedError(kept.key, "there or given up")
        return [self._grants.part(kept, number, sha.lower(), each) for number, sha in parts]

    async def settle(self, asked: Sequence[Kept]) -> list[Outcome]:
        """Put together what has come in parts; answer what is there, or why it is not whole."""
        limits.batch(len(asked), "objects")

        async def one(kept: Kept) -> Outcome:
            try:
                async with self._turns:
                    return await self._settled(kept)
            except (UploadIncompleteError, DigestMismatchError) as error:
                return error

        return await asyncio.gather(*map(one, asked))

    async def _settled(self, kept: Kept) -> Held:
        parts: list[Part] = []
        if kept.way == "parts":
            # In this order: parts that somebody else puts together go when the whole is there.
            kept = await self._going_on(kept)
            parts = await self._bytes.parts(kept) or []
        held = await self._bytes.head(kept.key)
        if held is None and kept.way == "parts":
            held = await finished(self._bytes, kept, kept.key, parts)
        if held is None:
            raise UploadIncompleteError(kept.key, "nothing has arrived")
        held = await self._known(kept, held)
        if held.size_bytes != kept.size_bytes or (
            None not in (held.sha256, kept.sha256) and held.sha256 != kept.sha256
        ):
            raise DigestMismatchError(kept.key, "other bytes lie there than were declared")
        if held.sha256_parts is None and parts:
            held = held._replace(sha256_parts=sha256_of_parts(parts))
        return held

    async def _known(self, kept: Kept, held: Held) -> Held:
        """What is there with its digest, where the place itself has to compute that."""
        if held.sha256 is None and held.sha256_parts is None:
            return held._replace(sha256=await self._bytes.sha256(kept.key))
        return held

    async def _going_on(self, kept: Kept) -> Kept:
        """With the upload in parts that was begun first, where there is one."""
        begun = await self._bytes.going_on(kept.key)
        return replace(kept, upload_id=begun[0]) if begun else kept

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove objects, and what has come of them. Raises `InvalidFieldError`."""
        limits.batch(len(keys), "keys")
        for key in keys:
            kept_key(key, "keys")

        async def one(key: str) -> None:
            async with self._turns:
                await self._bytes.clear(key)

        await asyncio.gather(*map(one, keys))

    async def downloads(
        self, keys: Sequence[str], seconds: int | None
    ) -> list[tuple[Grant, Held] | None]:
        """Grant downloads; None for a key that has no bytes. Raises `InvalidFieldError`."""
        limits.batch(len(keys), "keys")
        each = limits.grant_seconds(seconds)
        kept = [Kept(kept_key(key, "keys"), 0) for key in keys]

        async def one(kept: Kept) -> tuple[Grant, Held] | None:
            async with self._turns:
                held = await self._bytes.head(kept.key)
            return None if held is None else (self._grants.get(kept, each, None, ""), held)

        return await asyncio.gather(*map(one, kept))
