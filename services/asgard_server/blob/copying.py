"""Bytes of a plain PUT may change while its URL holds: so a copy is what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gimle.asgard.core.errors import DigestMismatchError, UploadEndedError, UploadIncompleteError
from gimle.asgard.core.ids import new_id

from asgard_server.blob import domain, limits
from asgard_server.blob.domain import Blob
from asgard_server.blob.store import Bytes, Table


async def copied(
    table: Table,
    store: Bytes,
    blob: Blob,
    sha256: str | None,
    clock: Callable[[], datetime],
) -> Blob:
    """Copy what has arrived to a key of its own; answer the row that won, somebody else's or ours.

    `sha256`: of all bytes, where who completes it says that. Raises `UploadIncompleteError`,
    `DigestMismatchError`, `UploadEndedError`.
    """
    arrived = await store.head(blob.arrives_at)
    if arrived is None:
        raise UploadIncompleteError(blob.id, "nothing has arrived")
    if arrived.size_bytes > limits.PLAIN_BYTES:
        raise UploadIncompleteError(
            blob.id, f"it has more than {limits.PLAIN_BYTES:,} bytes: upload it in parts"
        )
    if blob.size_bytes not in (None, arrived.size_bytes):
        raise DigestMismatchError(blob.id, f"{arrived.size_bytes:,} bytes have arrived")
    copy = replace(blob, attempt=new_id(clock()))
    # Whoever dies from here on leaves bytes that no row names: the sweeper finds them by this.
    await table.note_copy(copy, clock())
    held = await store.copy(blob.arrives_at, arrived, copy.key, blob.content_type)
    if held is None:
        # A store that was asked twice may have copied the first time.
        await store.remove(copy)
        raise UploadIncompleteError(blob.id, "other bytes arrived meanwhile: complete it again")
    wanted = blob.sha256 or sha256
    if wanted is not None and held.sha256 != wanted:
        await store.remove(copy)
        raise DigestMismatchError(blob.id, f"bytes with SHA-256 {held.sha256} have arrived")
    done = domain.ready(copy, held, clock(), sha256=held.sha256, verified=True)
    now = await table.settle(blob, done)
    if now.attempt != done.attempt or now.state != "ready":
        await store.remove(copy)  # somebody else's copy is the blob
    if now.state != "ready":
        raise UploadEndedError(blob.id, now.state)
    await store.remove(blob)
    return now
