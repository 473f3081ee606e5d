"""The table of blobs in PostgreSQL: `Table` and `Upkeep`, shared by all replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    BlobOwnedError,
    DeletedError,
    NotFoundError,
)

from asgard_server.blob.domain import MARGIN, Blob, copy_at, same_upload, was
from asgard_server.store.blob_rows import (
    COLUMNS,
    after_prefix,
    blob_of,
    lent,
    micros,
    moment,
    row_of,
)
from asgard_server.store.gathering import COMPANY_S, Gathering
from asgard_server.store.postgres_link import Link
from asgard_server.store.postgres_rows import said

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

T = TypeVar("T")

_COLUMNS = ", ".join(COLUMNS)
_OWNERS = (
    "ARRAY(SELECT owner FROM asgard.blob_owners o WHERE o.blob_id = b.id ORDER BY owner) AS owners"
)
_BLOBS = f"SELECT {', '.join(f'b.{name}' for name in COLUMNS)}, {_OWNERS} FROM asgard.blobs b"  # noqa: S608 - ours
_THERE = "b.state IN ('uploading', 'ready')"
# One by one: of many at once PostgreSQL looks up all that are there, or all of a maker, where it
# planned so while the table was small.
_OF_IDS = (
    "SELECT one.* FROM unnest($1::text[]) AS wanted (id) CROSS JOIN LATERAL"  # noqa: S608 - ours
    f" ({_BLOBS} WHERE {_THERE} AND b.id = wanted.id LIMIT 1) AS one"
)
_OF_NAMES = (
    "SELECT one.* FROM unnest($1::text[]) AS wanted (name) CROSS JOIN LATERAL"  # noqa: S608 - ours
    f" ({_BLOBS} WHERE {_THERE} AND b.maker = $2 AND b.name = wanted.name LIMIT 1) AS one"
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
_COMPLETING = ("uploading", "ready")
_SETTING = ", ".join(f"{name} = ${place}" for place, name in enumerate(COLUMNS[1:], 2))
_REPLACE = f"UPDATE asgard.blobs SET {_SETTING} WHERE id = $1"  # noqa: S608 - ours
_OVERDUE = (
    f"({_BLOBS} WHERE b.state = 'uploading' AND b.expires_at <= $1 LIMIT $2) UNION ALL"
    f" ({_BLOBS} WHERE b.state IN ('abandoned', 'deleted') AND b.grants_until <= $3 LIMIT $2)"
    " LIMIT $2"
)


class PostgresBlobs:
    """Rows of blobs in one database."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._beginning: Gathering[Sequence[Blob], bool] = Gathering(
            self._begin_anew, company_s=COMPANY_S
        )

    async def _write(self, job: Callable[[Connection], Awaitable[T]]) -> T:
        with self._link.errors():
            try:
                return await self._once(job)
            except asyncpg.DeadlockDetectedError:
                return await self._once(job)

    async def _once(self, job: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._link.acquired() as connection, connection.transaction():
            return await job(connection)

    async def _fetch(self, query: str, *arguments: Any) -> list[Blob]:
        rows = await self._link.read(lambda connection: connection.fetch(query, *arguments))
        return [_blob(row) for row in rows]

    # Table

    async def begin(self, blobs: Sequence[Blob]) -> list[Blob]:
        """Add rows, all or none; answer them, or those that are there for the same upload."""

        if await self._beginning.ask(blobs):
            return list(blobs)

        async def begin(connection: Connection) -> list[Blob]:
            # In the order of names, so that two calls with the same ones wait for each other.
            done: dict[int, Blob] = {}
            for place in sorted(range(len(blobs)), key=lambda place: blobs[place].name):
                done[place] = await _begin(connection, blobs[place])
            return [done[place] for place in range(len(blobs))]

        return await self._write(begin)

    async def _begin_anew(self, calls: Sequence[Sequence[Blob]]) -> Sequence[bool]:
        """Add the rows of each call, unless one of them is there in some way."""
        if await self._added([blob for blobs in calls for blob in blobs]):
            return [True] * len(calls)
        # One call does not stand in the way of the others.
        return [len(calls) > 1 and await self._added(blobs) for blobs in calls]

    async def _added(self, blobs: Sequence[Blob]) -> bool:
        """Add rows in one statement, all or none."""
        # In the order of names, so that two calls with the same ones wait for each other.
        statement, arguments = insert_all(sorted(blobs, key=lambda blob: blob.name))
        with self._link.errors():
            async with self._link.acquired() as connection:
                try:
                    done = await connection.execute(statement, *arguments)
                except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
                    return False  # added by others meanwhile, or twice by this call
        return bool(done == f"INSERT 0 {len(blobs)}")

    async def find(self, names: Sequence[str], maker: str = "") -> dict[str, Blob]:
        """Look up blobs by ids, or by a maker's names behind "name:"; without those missing."""
        labels = [name.removeprefix("name:") for name in names if name.startswith("name:")]
        ids = [name for name in names if not name.startswith("name:")]
        # One question each: of both in one PostgreSQL reads all that there is.
        found = await self._fetch(_OF_IDS, ids) if ids else []
        if labels:
            found += await self._fetch(_OF_NAMES, labels, maker)
        by_id = {blob.id: blob for blob in found}
        by_name = {f"name:{blob.name}": blob for blob in found if blob.maker == maker}
        both = {**by_name, **by_id}
        return {name: both[name] for name in names if name in both}

    async def grant(self, blobs: Sequence[Blob], until: datetime) -> None:
        """Note that grants for these uploads have been given out that hold until then."""
        ids = sorted(blob.id for blob in blobs)
        await self._write(
            lambda connection: connection.execute(
                "UPDATE asgard.blobs SET grants_until = greatest(grants_until, $1)"
                " WHERE id = ANY($2)",
                micros(until),
                ids,
            )
        )

    async def lend(self, ids: Sequence[str], sub: str) -> None:
        """Note that `sub` may bring the parts of these uploads, too."""
        await self._write(
            lambda connection: connection.execute(
                "UPDATE asgard.blobs SET lent_to = lent_to || $1"
                " WHERE id = ANY($2) AND strpos(lent_to, $1) = 0",
                lent(sub),
                sorted(ids),
            )
        )

    async def settle(self, before: Blob, after: Blob) -> Blob:
        """Replace a row that is as `before` says in state and attempt; answer what is there."""
        return await self._write(lambda connection: _settle(connection, before, after))

    async def settle_all(self, changes: Sequence[tuple[Blob, Blob]]) -> list[Blob | None]:
        """Settle many at once, each by itself; None where a row is gone."""
        completed = [one for one in changes if (one[0].state, one[1].state) == _COMPLETING]
        done = await self._complete(completed) if completed else {}
        answers: list[Blob | None] = []
        for before, after in changes:
            if before.id in done:
                owners = done[before.id]
                answers.append(after if after.owners == owners else replace(after, owners=owners))
                continue
            try:
                answers.append(await self.settle(before, after))
            except NotFoundError:
                answers.append(None)
        return answers

    async def _complete(self, changes: Sequence[tuple[Blob, Blob]]) -> dict[str, tuple[str, ...]]:
        """Make uploads ready in one statement; answer the owners of those that it has found."""
        statement, arguments = complete_all(sorted(changes, key=lambda one: one[0].id))
        with self._link.errors():
            async with self._link.acquired() as connection:
                try:
                    found = await connection.fetch(statement, *arguments)
                except asyncpg.DeadlockDetectedError:
                    return {}  # one by one then
        return {row["id"]: tuple(row["owners"]) for row in found}

    async def end_ready(self, ids: Sequence[str]) -> set[str]:
        """Delete those that are ready and nobody has claimed; answer which those were."""

        async def end(connection: Connection) -> set[str]:
            # Locked first: a claim under way is seen by the statement behind that.
            await connection.execute(
                "SELECT FROM asgard.blobs WHERE id = ANY($1) ORDER BY id FOR UPDATE", list(ids)
            )
            rows = await connection.fetch(
                "UPDATE asgard.blobs AS b SET state = 'deleted' WHERE b.id = ANY($1)"
                " AND b.state || '' = 'ready' AND NOT EXISTS"
                " (SELECT FROM asgard.blob_owners AS o WHERE o.blob_id = b.id) RETURNING b.id",
                list(ids),
            )
            return {row["id"] for row in rows}

        return await self._write(end)

    async def note_copy(self, copy: Blob, now: datetime) -> None:
        """Note that the key of `copy` is about to get bytes, before it has any."""
        await self._write(
            lambda connection: connection.execute(
                "INSERT INTO asgard.blob_copies VALUES ($1, $2, $3)",
                *(copy.id, copy.attempt, micros(now)),
            )
        )

    async def page(self, prefix: str, behind: str, limit: int, maker: str = "") -> list[Blob]:
        """A maker's blobs that are uploading or ready by name, those > `behind` that begin with
        `prefix`.
        """
        return await self._fetch(
            f"{_BLOBS} WHERE {_THERE} AND b.maker = $5 AND b.name > $1 AND b.name >= $2"
            " AND b.name < $3 ORDER BY b.name LIMIT $4",
            *(behind, prefix, after_prefix(prefix), limit, maker),
        )

    async def claim(self, ids: Sequence[str], owner: str) -> None:
        """Note that `owner` needs these blobs, all or none. Raises `NotFoundError`."""

        async def claim(connection: Connection) -> None:
            # Locked, so that none of them is deleted meanwhile.
            rows = await connection.fetch(
                f"SELECT b.id FROM asgard.blobs b WHERE {_THERE} AND b.id = ANY($1)"  # noqa: S608 - ours
                " ORDER BY b.id FOR UPDATE",
                list(ids),
            )
            there = {row["id"] for row in rows}
            for blob_id in ids:
                if blob_id not in there:
                    raise NotFoundError("blob", blob_id)
            await connection.executemany(
                "INSERT INTO asgard.blob_owners VALUES ($1, $2) ON CONFLICT DO NOTHING",
                [(owner, blob_id) for blob_id in ids],
            )

        await self._write(claim)

    async def release(self, ids: Sequence[str], owner: str) -> list[Blob]:
        """Forget claims, all of `owner`'s without ids; answer ready ones nobody claims any more."""

        async def release(connection: Connection) -> list[Blob]:
            rows = await connection.fetch(
                "DELETE FROM asgard.blob_owners WHERE owner = $1"
                " AND (cardinality($2::text[]) = 0 OR blob_id = ANY($2)) RETURNING blob_id",
                *(owner, list(ids)),
            )
            gone = [row["blob_id"] for row in rows]
            left = await connection.fetch(
                f"{_BLOBS} WHERE b.state = 'ready' AND b.id = ANY($1) AND NOT EXISTS"
                " (SELECT FROM asgard.blob_owners o WHERE o.blob_id = b.id)",
                gone,
            )
            return [_blob(row) for row in left]

        return await self._write(release)

    # Upkeep

    async def overdue(self, now: datetime, limit: int) -> list[Blob]:
        """Uploads whose time is up, and ended ones whose grants are, margin and all."""
        return await self._fetch(_OVERDUE, micros(now), limit, micros(now - MARGIN))

    async def forget(self, ids: Sequence[str]) -> None:
        """Remove rows of ended blobs whose bytes are gone."""
        await self._write(
            lambda connection: connection.execute(
                "DELETE FROM asgard.blobs WHERE id = ANY($1) AND state IN ('abandoned', 'deleted')",
                list(ids),
            )
        )

    async def copies(self, before: datetime, limit: int) -> list[Blob]:
        """Copies that were noted before then, as rows that say no more than their keys."""
        rows = await self._link.read(
            lambda connection: connection.fetch(
                "SELECT blob_id, attempt, begun_at FROM asgard.blob_copies WHERE begun_at <= $1"
                " ORDER BY begun_at LIMIT $2",
                *(micros(before), limit),
            )
        )
        return [copy_at(row[0], row[1], moment(row[2])) for row in rows]

    async def forget_copies(self, copies: Sequence[Blob]) -> None:
        """Remove the notes of copies."""
        keys = [(copy.id, copy.attempt) for copy in copies]
        await self._write(
            lambda connection: connection.executemany(
                "DELETE FROM asgard.blob_copies WHERE blob_id = $1 AND attempt = $2", keys
            )
        )

    async def known(self, ids: Sequence[str]) -> dict[str, Blob]:
        """Look up rows in any state by their ids; without those missing."""
        found = await self._fetch(f"{_BLOBS} WHERE b.id = ANY($1)", list(ids))
        return {blob.id: blob for blob in found}

    async def walk(self, behind: str, limit: int) -> list[Blob]:
        """All ready blobs in the order of their ids, those > `behind`."""
        return await self._fetch(
            f"{_BLOBS} WHERE b.state = 'ready' AND b.id > $1 ORDER BY b.id LIMIT $2", behind, limit
        )

    def lock(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock among replicas while iterated; yields once whether it was got."""
        return self._link.lock(name)


def insert_all(blobs: Sequence[Blob]) -> tuple[str, list[Any]]:
    """A statement that adds rows, all of them or, where one is there in some way, none."""
    how, arguments = said(_TYPES, list(zip(*map(row_of, blobs), strict=True)), each=("id", "name"))
    statement = (
        f"INSERT INTO asgard.blobs ({_COLUMNS}) SELECT {', '.join(how.of.values())} FROM {how.rows}"  # noqa: S608 - ours
        " WHERE NOT EXISTS (SELECT FROM asgard.blobs WHERE id = ANY($1))"
        # One by one: of two arrays PostgreSQL may look up all that a maker has, and go on so.
        f" AND NOT EXISTS (SELECT FROM {how.rows} WHERE (SELECT true FROM asgard.blobs b"
        f" WHERE {_THERE} AND b.maker = {how.of['maker']} AND b.name = n.name LIMIT 1))"
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


async def _begin(connection: Connection, asked: Blob) -> Blob:
    if await connection.execute(_INSERT, *row_of(asked)) == "INSERT 0 1":
        return asked
    there = await _row(connection, "b.id = $1", asked.id) or await _row(
        connection, f"{_THERE} AND b.name = $1 AND b.maker = $2", asked.name, asked.maker
    )
    if there is None:  # it went between the two
        return await _begin(connection, asked)
    if was(asked, there):
        raise DeletedError(asked.id, there.grants_until)
    if not same_upload(asked, there):
        raise AlreadyExistsError("blob", asked.id if there.id == asked.id else asked.name)
    return there


async def _settle(connection: Connection, before: Blob, after: Blob) -> Blob:
    now = await _row(connection, "b.id = $1", before.id, lock=True)
    if now is None:
        raise NotFoundError("blob", before.id)
    if (now.state, now.attempt) != (before.state, before.attempt):
        return now
    if before.upload_id is None and after.upload_id is not None and now.upload_id is not None:
        return now  # somebody else has begun the parts
    if after.state == "deleted" and now.owners:
        raise BlobOwnedError(now.id, now.owners[0])
    if after.state in ("abandoned", "deleted"):
        await connection.execute("DELETE FROM asgard.blob_owners WHERE blob_id = $1", after.id)
    later = replace(
        after,
        grants_until=max(now.grants_until, after.grants_until),
        owners=now.owners,
        lent_to=now.lent_to,
    )
    await connection.execute(_REPLACE, *row_of(later))
    return later


async def _row(
    connection: Connection, condition: str, *values: str, lock: bool = False
) -> Blob | None:
    row = await connection.fetchrow(
        f"{_BLOBS} WHERE {condition}{' FOR UPDATE' if lock else ''}", *values
    )
    return None if row is None else _blob(row)


def _blob(row: Any) -> Blob:
    return blob_of(row[: len(COLUMNS)], row["owners"])
