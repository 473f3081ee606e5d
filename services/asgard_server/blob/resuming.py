"""An upload in parts that somebody goes on with, and of which the store knows no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gimle.asgard.core.errors import DigestMismatchError, UploadEndedError

from asgard_server.blob import domain
from asgard_server.blob.domain import Blob, Held
from asgard_server.blob.store import Bytes, Table

# Until an object appears whose parts have just been put together.
_PAUSES_S = (0.05, 0.2, 0.5, 1.0, 2.0)


async def taken_up(table: Table, store: Bytes, blob: Blob, clock: Callable[[], datetime]) -> Blob:
    """The row with parts that the store takes, for one whose own have ended there.

    Either who completed it died when the bytes were together and the row did not say so yet: then
    it does now, and `UploadEndedError` is raised. Or the store has let the parts expire, as MinIO
    does after a day: then an upload of fresh parts is begun under the same key, which has no bytes.
    """
    held = await _appeared(store, blob)
    if held is not None:
        if None not in (held.sha256, blob.sha256) and held.sha256 != blob.sha256:
            raise DigestMismatchError(blob.id, "other bytes lie there than were declared")
        done = domain.ready(
            blob,
            held,
            clock(),
            # What its client would have said of all bytes is lost with it: the store's word counts.
            sha256=held.sha256 or blob.sha256,
            verified=held.sha256 is not None,
            sha256_parts=held.sha256_parts,
        )
        now = await table.settle(blob, done)
        raise UploadEndedError(now.id, now.state)
    started = replace(blob, upload_id=await store.begin_parts(blob))
    return domain.require_uploading(await table.settle(blob, started))


async def _appeared(store: Bytes, blob: Blob) -> Held | None:
    for pause in _PAUSES_S:
        if (held := await store.head(blob.key)) is not None:
            return held
        await asyncio.sleep(pause)
    return await store.head(blob.key)
