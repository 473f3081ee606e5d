"""An upload in parts that somebody goes on with, and of which the store knows no more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gimle.asgard.core.errors import DigestMismatchError, UploadEndedError

from asgard_server.blob import domain
from asgard_server.blob.assembling import appeared, begun
from asgard_server.blob.domain import Blob
from asgard_server.blob.store import Bytes, Table


async def taken_up(table: Table, store: Bytes, blob: Blob, clock: Callable[[], datetime]) -> Blob:
    """The row with parts that the store takes, for one whose own have ended there.

    Either who completed it died when the bytes were together and the row did not say so yet: then
    it does now, and `UploadEndedError` is raised. Or the store has let the parts expire, as MinIO
    does after a day: then an upload of fresh parts is begun under the same key, which has no bytes.
    """
    held = await appeared(store, blob.key)
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
    return await begun(table, store, blob)
