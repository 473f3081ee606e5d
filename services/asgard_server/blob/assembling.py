"""Parts of an upload that become one object: whether all are there, and the whole is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from gimle.asgard.core.errors import DigestMismatchError, UploadIncompleteError

from asgard_server.blob import domain
from asgard_server.blob.domain import Blob, Held, Target
from asgard_server.blob.parts import Part, missing_parts, part_count, sha256_of_parts
from asgard_server.blob.store import Bytes, Table

# Until an object appears that another call is putting together: 4 s in all.
_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


async def begun(table: Table, store: Bytes, blob: Blob) -> Blob:
    """The row with parts that have begun in the store, somebody else's who was faster or ours.

    Raises `UploadEndedError`.
    """
    started = replace(blob, upload_id=await store.begin_parts(blob))
    now = await table.settle(blob, started)
    if now.upload_id != started.upload_id:
        await store.drop_upload(started)  # nobody will ever be told of it
    return domain.require_uploading(now)


async def put_together(
    store: Bytes, blob: Blob, sha256: str | None, clock: Callable[[], datetime]
) -> Blob:
    """Put the parts together, unless somebody else has; answer the row that says so.

    `sha256`: of all bytes, where who completes it says that. Raises `UploadIncompleteError`,
    `DigestMismatchError`.
    """
    size = blob.size_bytes or 0
    # In this order: parts that somebody else puts together go when the whole is there.
    parts = await store.parts(blob) or []
    held = await store.head(blob.key)
    if held is None:
        held = await finished(store, blob, blob.id, parts)
    else:
        # Of somebody who died before he had removed them: the row will forget their name.
        await store.drop_parts(blob)
    if held is None:
        raise UploadIncompleteError(blob.id, "its parts are gone: upload it again")
    wanted = blob.sha256 or sha256
    if held.size_bytes != size or (None not in (held.sha256, wanted) and held.sha256 != wanted):
        raise DigestMismatchError(blob.id, "other bytes lie there than were declared")
    return domain.ready(
        blob,
        held,
        clock(),
        sha256=held.sha256 or wanted,
        verified=held.sha256 is not None,
        sha256_parts=held.sha256_parts or (sha256_of_parts(parts) if parts else None),
    )


async def finished(store: Bytes, target: Target, name: str, parts: Sequence[Part]) -> Held | None:
    """The whole that we make of these parts, or somebody else of those that are gone.

    Raises `UploadIncompleteError` of `name`.
    """
    # Versitygw takes the parts away a moment before the whole is there.
    if not parts and (held := await appeared(store, target.key)) is not None:
        return held
    require_parts(name, target.size_bytes or 0, parts)
    await store.finish_parts(target, parts)
    return await appeared(store, target.key)


async def appeared(store: Bytes, key: str) -> Held | None:
    """The whole: where somebody else is putting it together, the parts go a moment before."""
    for pause in _PAUSES_S:
        if (held := await store.head(key)) is not None:
            return held
        await asyncio.sleep(pause)
    return await store.head(key)


def require_parts(name: str, size: int, arrived: Sequence[Part]) -> None:
    """Raise `UploadIncompleteError` unless all parts have arrived."""
    if missing := missing_parts(size, arrived):
        raise UploadIncompleteError(
            name,
            f"{len(missing):,} of {part_count(size):,} parts are missing, "
            f"the first is {missing[0]}",
            tuple(missing[:1_000]),
        )
