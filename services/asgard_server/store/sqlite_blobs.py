"""The table of blobs in SQLite: `Table` and `Upkeep`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from gimle.asgard.core.errors import (
    AlreadyExistsError,
    DeletedError,
    NotFoundError,
)

from asgard_server.blob.domain import MARGIN, Blob, copy_at, same_upload, was
from asgard_server.blob.settling import settled
from asgard_server.store.blob_rows import (
    COLUMNS,
    after_prefix,
    blob_of,
    lent,
    micros,
    moment,
    row_of,
)
from asgard_server.store.sqlite_database import SqliteDatabase

_ALL = ", ".join(COLUMNS)
_THERE = "state IN ('uploading', 'ready')"
_INSERT = f"INSERT INTO blobs ({_ALL}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - ours
_SETTING = ", ".join(f"{name} = ?" for name in COLUMNS[1:])
_REPLACE = f"UPDATE blobs SET {_SETTING} WHERE id = ?"  # noqa: S608 - ours


class SqliteBlobs:
    """Rows of blobs in one database file."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    # Table

    async def begin(self, blobs: Sequence[Blob]) -> list[Blob]:
        """Add rows, all or none; answer them, or those that are there for the same upload."""
        return await self._database.write(lambda connection: _begin(connection, blobs))

    async def find(self, names: Sequence[str], maker: str = "") -> dict[str, Blob]:
        """Look up blobs by ids, or by a maker's names behind "name:"; without those missing."""
        return await self._database.read(lambda connection: _find(connection, names, maker))

    async def grant(self, blobs: Sequence[Blob], until: datetime) -> None:
        """Note that grants for these uploads have been given out that hold until then."""
        ids = [(micros(until), blob.id) for blob in blobs]

        def note(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE blobs SET grants_until = max(grants_until, ?) WHERE id = ?", ids
            )

        await self._database.write(note)

    async def lend(self, ids: Sequence[str], sub: str) -> None:
        """Note that `sub` may bring the parts of these uploads, too."""
        rows = [(lent(sub), blob_id, lent(sub)) for blob_id in ids]

        def lend(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE blobs SET lent_to = lent_to || ? WHERE id = ? AND instr(lent_to, ?) = 0",
                rows,
            )

        await self._database.write(lend)

    async def settle(self, before: Blob, after: Blob) -> Blob:
        """Replace a row that is as `before` says in state and attempt; answer what is there."""
        return await self._database.write(lambda connection: _settle(connection, before, after))

    async def settle_all(self, changes: Sequence[tuple[Blob, Blob]]) -> list[Blob | None]:
        """Settle many at once, each by itself; None where a row is gone."""

        def settle(connection: sqlite3.Connection) -> list[Blob | None]:
            answers: list[Blob | None] = []
            for before, after in changes:
                try:
                    answers.append(_settle(connection, before, after))
                except NotFoundError:
                    answers.append(None)
            return answers

        return await self._database.write(settle)

    async def end_ready(self, ids: Sequence[str]) -> set[str]:
        """Delete those that are ready and nobody has claimed; answer which those were."""

        def end(connection: sqlite3.Connection) -> set[str]:
            rows = connection.execute(
                "UPDATE blobs SET state = 'deleted' WHERE id IN (SELECT value FROM json_each(?))"
                " AND state = 'ready' AND NOT EXISTS"
                " (SELECT 1 FROM blob_owners AS o WHERE o.blob_id = blobs.id) RETURNING id",
                (json.dumps(list(ids)),),
            )
            return {row[0] for row in rows}

        return await self._database.write(end)

    async def note_copy(self, copy: Blob, now: datetime) -> None:
        """Note that the key of `copy` is about to get bytes, before it has any."""
        row = (copy.id, copy.attempt, micros(now))

        def note(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO blob_copies VALUES (?, ?, ?)", row)

        await self._database.write(note)

    async def page(self, prefix: str, behind: str, limit: int, maker: str = "") -> list[Blob]:
        """A maker's blobs that are uploading or ready by name, those > `behind` that begin with
        `prefix`.
        """

        def page(connection: sqlite3.Connection) -> list[Blob]:
            rows = connection.execute(
                f"SELECT {_ALL} FROM blobs WHERE {_THERE} AND maker = ? AND name > ?"  # noqa: S608 - ours
                " AND name >= ? AND name < ? ORDER BY name LIMIT ?",
                (maker, behind, prefix, after_prefix(prefix), limit),
            )
            return _owned(connection, map(blob_of, rows))

        return await self._database.read(page)

    async def claim(self, ids: Sequence[str], owner: str) -> None:
        """Note that `owner` needs these blobs, all or none. Raises `NotFoundError`."""

        def claim(connection: sqlite3.Connection) -> None:
            for blob_id in ids:
                if not _find(connection, [blob_id]):
                    raise NotFoundError("blob", blob_id)
            connection.executemany(
                "INSERT OR IGNORE INTO blob_owners (owner, blob_id) VALUES (?, ?)",
                [(owner, blob_id) for blob_id in ids],
            )

        await self._database.write(claim)

    async def release(self, ids: Sequence[str], owner: str) -> list[Blob]:
        """Forget claims, all of `owner`'s without ids; answer ready ones nobody claims any more."""
        return await self._database.write(lambda connection: _release(connection, ids, owner))

    # Upkeep

    async def overdue(self, now: datetime, limit: int) -> list[Blob]:
        """Uploads whose time is up, and ended ones whose grants are, margin and all."""
        at, ended = micros(now), micros(now - MARGIN)

        def overdue(connection: sqlite3.Connection) -> list[Blob]:
            rows = connection.execute(
                f"SELECT * FROM (SELECT {_ALL} FROM blobs"  # noqa: S608 - ours
                " WHERE state = 'uploading' AND expires_at <= ? LIMIT ?)"
                f" UNION ALL SELECT * FROM (SELECT {_ALL} FROM blobs"
                " WHERE state IN ('abandoned', 'deleted') AND grants_until <= ? LIMIT ?) LIMIT ?",
                (at, limit, ended, limit, limit),
            )
            return [blob_of(row) for row in rows]

        return await self._database.read(overdue)

    async def forget(self, ids: Sequence[str]) -> None:
        """Remove rows of ended blobs whose bytes are gone."""

        def forget(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "DELETE FROM blobs WHERE id = ? AND state IN ('abandoned', 'deleted')",
                [(blob_id,) for blob_id in ids],
            )

        await self._database.write(forget)

    async def copies(self, before: datetime, limit: int) -> list[Blob]:
        """Copies that were noted before then, as rows that say no more than their keys."""

        def copies(connection: sqlite3.Connection) -> list[Blob]:
            rows = connection.execute(
                "SELECT blob_id, attempt, begun_at FROM blob_copies WHERE begun_at <= ?"
                " ORDER BY begun_at LIMIT ?",
                (micros(before), limit),
            )
            return [copy_at(row[0], row[1], moment(row[2])) for row in rows]

        return await self._database.read(copies)

    async def forget_copies(self, copies: Sequence[Blob]) -> None:
        """Remove the notes of copies."""
        keys = [(copy.id, copy.attempt) for copy in copies]

        def forget(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "DELETE FROM blob_copies WHERE blob_id = ? AND attempt = ?", keys
            )

        await self._database.write(forget)

    async def known(self, ids: Sequence[str]) -> dict[str, Blob]:
        """Look up rows in any state by their ids; without those missing."""

        def known(connection: sqlite3.Connection) -> dict[str, Blob]:
            found = (_row(connection, "id = ?", blob_id) for blob_id in ids)
            return {blob.id: blob for blob in found if blob is not None}

        return await self._database.read(known)

    async def walk(self, behind: str, limit: int) -> list[Blob]:
        """All ready blobs in the order of their ids, those > `behind`."""

        def walk(connection: sqlite3.Connection) -> list[Blob]:
            rows = connection.execute(
                f"SELECT {_ALL} FROM blobs WHERE state = 'ready' AND id > ? ORDER BY id LIMIT ?",  # noqa: S608 - ours
                (behind, limit),
            )
            return [blob_of(row) for row in rows]

        return await self._database.read(walk)

    async def lock(self, name: str) -> AsyncIterator[bool]:
        """One process has the file: it always has the lock."""
        yield True


def _begin(connection: sqlite3.Connection, blobs: Sequence[Blob]) -> list[Blob]:
    answers = []
    for asked in blobs:
        there = _row(connection, "id = ?", asked.id) or _row(
            connection, f"{_THERE} AND maker = ? AND name = ?", asked.maker, asked.name
        )
        if there is None:
            connection.execute(_INSERT, row_of(asked))
            answers.append(asked)
        elif was(asked, there):
            raise DeletedError(asked.id, there.grants_until)
        elif same_upload(asked, there):
            answers.append(_with_owners(connection, there))
        else:
            raise AlreadyExistsError("blob", asked.id if there.id == asked.id else asked.name)
    return answers


def _find(connection: sqlite3.Connection, names: Sequence[str], maker: str = "") -> dict[str, Blob]:
    found = {}
    for name in names:
        label = name.removeprefix("name:")
        if label is name:
            blob = _row(connection, f"{_THERE} AND id = ?", name)
        else:
            blob = _row(connection, f"{_THERE} AND maker = ? AND name = ?", maker, label)
        if blob is not None:
            found[name] = _with_owners(connection, blob)
    return found


def _settle(connection: sqlite3.Connection, before: Blob, after: Blob) -> Blob:
    now = _row(connection, "id = ?", before.id)
    if now is None:
        raise NotFoundError("blob", before.id)
    now = _with_owners(connection, now)
    later = settled(now, before, after)
    if later is now:
        return now
    if later.state in ("abandoned", "deleted"):
        connection.execute("DELETE FROM blob_owners WHERE blob_id = ?", (later.id,))
    connection.execute(_REPLACE, (*row_of(later)[1:], later.id))
    return later


def _release(connection: sqlite3.Connection, ids: Sequence[str], owner: str) -> list[Blob]:
    if not ids:
        ids = [
            blob_id
            for (blob_id,) in connection.execute(
                "SELECT blob_id FROM blob_owners WHERE owner = ?", (owner,)
            )
        ]
    left = []
    for blob_id in ids:
        gone = connection.execute(
            "DELETE FROM blob_owners WHERE owner = ? AND blob_id = ?", (owner, blob_id)
        ).rowcount
        blob = _row(connection, "state = 'ready' AND id = ?", blob_id)
        if gone and blob is not None and not _with_owners(connection, blob).owners:
            left.append(blob)
    return left


def _row(connection: sqlite3.Connection, condition: str, *values: str) -> Blob | None:
    row = connection.execute(f"SELECT {_ALL} FROM blobs WHERE {condition}", values).fetchone()  # noqa: S608 - ours
    return None if row is None else blob_of(row)


def _with_owners(connection: sqlite3.Connection, blob: Blob) -> Blob:
    return _owned(connection, [blob])[0]


def _owned(connection: sqlite3.Connection, blobs: Iterable[Blob]) -> list[Blob]:
    return [
        replace(
            blob,
            owners=tuple(
                owner
                for (owner,) in connection.execute(
                    "SELECT owner FROM blob_owners WHERE blob_id = ? ORDER BY owner", (blob.id,)
                )
            ),
        )
        for blob in blobs
    ]
