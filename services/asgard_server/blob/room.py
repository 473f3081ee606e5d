"""Whether what is declared has room, before a byte of it comes.

A moment later that may be otherwise: what comes then is refused by the store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from gimle.asgard.core.errors import StorageFullError

from asgard_server.blob import domain
from asgard_server.blob.domain import Blob, Target
from asgard_server.blob.kept import Kept
from asgard_server.blob.parts import part_size
from asgard_server.blob.store import Bytes, Table


async def require_room(table: Table, store: Bytes, asked: Sequence[Blob], maker: str) -> None:
    """Raise `StorageFullError` unless these uploads fit together, with what there is of them."""

    async def needs() -> list[int]:
        names = [blob.id for blob in asked] + [f"name:{blob.name}" for blob in asked]
        found = await table.find(names, maker)
        return [
            await _of_blob(store, blob, found.get(blob.id) or found.get(f"name:{blob.name}"))
            for blob in asked
        ]

    await _require(store, asked, [blob.name for blob in asked], needs)


async def require_room_for_arrays(store: Bytes, asked: Sequence[Kept]) -> None:
    """Raise `StorageFullError` unless these arrays fit together, with what there is of them."""

    async def needs() -> list[int]:
        return [await _of_array(store, kept) for kept in asked]

    await _require(store, asked, [""] * len(asked), needs)


async def _require(
    store: Bytes,
    asked: Sequence[Target],
    names: Sequence[str],
    needs: Callable[[], Awaitable[list[int]]],
) -> None:
    room = await store.room()
    if room is None or sum(map(_from_the_beginning, asked)) <= room.free_bytes:
        return
    # Only now it is asked what is there: of most uploads nothing is, and most have room.
    needed = await needs()
    if sum(needed) > room.free_bytes:
        lacking = [name for name, size in zip(names, needed, strict=True) if size and name]
        raise StorageFullError(room.place, _together(lacking), sum(needed), room.free_bytes)


def _from_the_beginning(blob: Target) -> int:
    """How many bytes an upload needs until it is ready, as far as it is declared."""
    size = blob.size_bytes or 0
    match blob.way:
        case "parts":  # a folder copies them one by one
            return size + min(size, part_size(size))
        case "checked" | "plain":
            return size


async def _of_blob(store: Bytes, asked: Blob, there: Blob | None) -> int:
    if there is None:
        return _from_the_beginning(asked)
    if there.state != "uploading" or not domain.same_upload(asked, there):
        return 0  # it is ready, or will be refused for another reason
    return await _left(store, there)


async def _of_array(store: Bytes, kept: Kept) -> int:
    if await store.head(kept.key) is not None:
        return 0
    begun = await store.going_on(kept.key) if kept.way == "parts" else []
    return await _left(store, replace(kept, upload_id=begun[0]) if begun else kept)


async def _left(store: Bytes, blob: Target) -> int:
    """How many bytes are still to come of an upload that may go on."""
    size = _from_the_beginning(blob)
    if blob.way != "parts":
        held = await store.head(blob.arrives_at)
        return size if held is None else max(0, size - held.size_bytes)
    arrived = await store.parts(blob)
    if not arrived:
        return size
    # Without that of a part: whoever has come far sees at the end whether there is so much.
    return max(0, (blob.size_bytes or 0) - sum(part.size_bytes for part in arrived))


def _together(names: Sequence[str]) -> str:
    more = len(names) - 1
    return f"{names[0]} and {more:,} more" if more > 0 else "".join(names)
