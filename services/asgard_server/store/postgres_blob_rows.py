"""Rows of blobs in PostgreSQL: the statements about them, and what a transaction does with one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gimle.asgard.core.errors import (
    AlreadyExistsError,
    DeletedError,
    NotFoundError,
)

from asgard_server.blob.domain import Blob, same_upload, was
from asgard_server.blob.settling import settled
from asgard_server.store.blob_rows import COLUMNS, blob_of, micros, row_of
from asgard_server.store.postgres_rows import said

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

_COLUMNS = ", ".join(COLUMNS)
_OWNERS = (
    "ARRAY(SELECT owner FROM asgard.blob_owners o WHERE o.blob_id = b.id ORDER BY owner) AS owners"
)
BLOBS = f"SELECT {', '.join(f'b.{name}' for name in COLUMNS)}, {_OWNERS} FROM asgard.blobs b"  # noqa: S608 - ours
THERE = "b.state IN ('uploading', 'ready')"
# One by one: of many at once PostgreSQL looks up all that are there, or all of a maker, where it
# planned so while the table was small.
OF_IDS = (
    "SELECT one.* FROM unnest($1::text[]) AS wanted (id) CROSS JOIN LATERAL"  # noqa: S608 - ours
    f" ({BLOBS} WHERE {THERE} AND b.id = wanted.id LIMIT 1) AS one"
)
OF_NAMES = (
    "SELECT one.* FROM unnest($1::text[]) AS wanted (name) CROSS JOIN LATERAL"  # noqa: S608 - ours
    f" ({BLOBS} WHERE {THERE} AND b.maker = $2 AND b.name = wanted.name LIMIT 1) AS one"
)
_PLACES = ", ".join(f"${place}" for place in range(1, len(COLUMNS) + 1))
_INSERT = f"INSERT INTO asgard.blobs ({_COLUMNS}) VALUES ({_PLACES}) ON CONFLICT DO NOTHING"  # noqa: S608 - ours
_TYPES = {
    **dict.fromkeys(COLUMNS, "text"),
    **dict.fromkeys(
        ("created_at", "expires_at", "grants_until", "size_bytes", "part_size_bytes", "ready_at"),
        "bigint",
    ),
    "sha256_verified": "boolean",
}

_COMPLETED = (
    "state", "attempt", "size_bytes", "sha256", "sha256_verified", "sha256_parts", "upload_id",
    "ready_at",
)  # fmt: skip
# Said when an upload begins, and by nobody else before it is completed.
_DECLARED = ("size_bytes", "sha256")
_SETTING = ", ".join(f"{name} = ${place}" for place, name in enumerate(COLUMNS[1:], 2))
_REPLACE = f"UPDATE asgard.blobs SET {_SETTING} WHERE id = $1"  # noqa: S608 - ours
OVERDUE = (
    f"({BLOBS} WHERE b.state = 'uploading' AND b.expires_at <= $1 LIMIT $2) UNION ALL"
    f" ({BLOBS} WHERE b.state IN ('abandoned', 'deleted') AND b.grants_until <= $3 LIMIT $2)"
    " LIMIT $2"
)


def insert_all(blobs: Sequence[Blob]) -> tuple[str, list[Any]]:
    """A statement that adds rows, all of them or, where one is there in some way, none."""
    how, arguments = said(_TYPES, list(zip(*map(row_of, blobs), strict=True)), each=("id", "name"))
    statement = (
        f"INSERT INTO asgard.blobs ({_COLUMNS}) SELECT {', '.join(how.of.values())} FROM {how.rows}"  # noqa: S608 - ours
        " WHERE NOT EXISTS (SELECT FROM asgard.blobs WHERE id = ANY($1))"
        # One by one: of two arrays PostgreSQL may look up all that a maker has, and go on so.
        f" AND NOT EXISTS (SELECT FROM {how.rows} WHERE (SELECT true FROM asgard.blobs b"
        f" WHERE {THERE} AND b.maker = {how.of['maker']} AND b.name = n.name LIMIT 1))"
    )
    return statement, arguments


def complete_all(changes: Sequence[tuple[Blob, Blob]]) -> tuple[str, list[Any]]:
    """A statement that makes uploads ready, each unless its row is another by now."""
    was = zip(*(_completed(before) for before, _ in changes), strict=True)
    now = zip(*(_completed(after) for _, after in changes), strict=True)
    # Of each blob another: what stays as it is need not be said.
    after = {
        name: new
        for name, old, new in zip(_COMPLETED, was, now, strict=True)
        if old != new or name not in _DECLARED
    }
    types = {name: _TYPES[name] for name in ("id", *after)} | {"was": "text"}
    ids = [before.id for before, _ in changes]
    attempts = [before.attempt for before, _ in changes]
    how, arguments = said(types, [ids, *after.values(), attempts], each=("id",))
    joined = f" FROM {how.rows} WHERE b.id = n.id AND" if len(how.each) > 1 else " WHERE"
    statement = (
        f"UPDATE asgard.blobs b SET {', '.join(f'{name} = {how.of[name]}' for name in after)}"  # noqa: S608 - ours
        # Said so that it is not looked for in the index of what goes on, where all is that went on.
        f"{joined} b.id = ANY($1) AND b.state || '' = 'uploading' AND b.attempt = {how.of['was']}"
        f" RETURNING b.id, {_OWNERS}"
    )
    return statement, arguments


def _completed(blob: Blob) -> tuple[Any, ...]:
    """The columns of `_COMPLETED`."""
    ready_at = None if blob.ready_at is None else micros(blob.ready_at)
    return (
        blob.state, blob.attempt, blob.size_bytes, blob.sha256, blob.sha256_verified,
        blob.sha256_parts, blob.upload_id, ready_at,
    )  # fmt: skip


async def begin_one(connection: Connection, asked: Blob) -> Blob:
    """Add a row; answer it, or the one that is there for the same upload.

    Raises `AlreadyExistsError`, `DeletedError`.
    """
    if await connection.execute(_INSERT, *row_of(asked)) == "INSERT 0 1":
        return asked
    there = await _row(connection, "b.id = $1", asked.id) or await _row(
        connection, f"{THERE} AND b.name = $1 AND b.maker = $2", asked.name, asked.maker
    )
    if there is None:  # it went between the two
        return await begin_one(connection, asked)
    if was(asked, there):
        raise DeletedError(asked.id, there.grants_until)
    if not same_upload(asked, there):
        raise AlreadyExistsError("blob", asked.id if there.id == asked.id else asked.name)
    return there


async def settle_one(connection: Connection, before: Blob, after: Blob) -> Blob:
    """Replace a row that is as `before` says in state and attempt; answer what is there.

    Raises `NotFoundError`, `BlobOwnedError`.
    """
    now = await _row(connection, "b.id = $1", before.id, lock=True)
    if now is None:
        raise NotFoundError("blob", before.id)
    later = settled(now, before, after)
    if later is now:
        return now
    if later.state in ("abandoned", "deleted"):
        await connection.execute("DELETE FROM asgard.blob_owners WHERE blob_id = $1", later.id)
    await connection.execute(_REPLACE, *row_of(later))
    return later


async def _row(
    connection: Connection, condition: str, *values: str, lock: bool = False
) -> Blob | None:
    row = await connection.fetchrow(
        f"{BLOBS} WHERE {condition}{' FOR UPDATE' if lock else ''}", *values
    )
    return None if row is None else blob_with_owners(row)


def blob_with_owners(row: Any) -> Blob:
    """The blob of a row that `BLOBS` selects."""
    return blob_of(row[: len(COLUMNS)], row["owners"])
