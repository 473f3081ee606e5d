"""The table of blobs in PostgreSQL: `Table` and `Upkeep`, shared by all replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
from gimle.asgard.core.errors import NotFoundError

from asgard_server.blob.domain import MARGIN, Blob, copy_at
from asgard_server.store.blob_rows import after_prefix, lent, micros, moment
from asgard_server.store.gathering import COMPANY_S, Gathering
from asgard_server.store.postgres_blob_rows import (
    BLOBS,
    OF_IDS,
    OF_NAMES,
    OVERDUE,
    THERE,
    begin_one,
    blob_with_owners,
    complete_all,
    insert_all,
    settle_one,
)
from asgard_server.store.postgres_link import Link

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

T = TypeVar("T")

_COMPLETING = ("uploading", "ready")


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
        return [blob_with_owners(row) for row in rows]

    # Table

    async def begin(self, blobs: Sequence[Blob]) -> list[Blob]:
        """Add rows, all or none; answer them, or those that are there for the same upload."""

        if await self._beginning.ask(blobs):
            return list(blobs)

        async def begin(connection: Connection) -> list[Blob]:
            # In the order of names, so that two calls with the same ones wait for each other.
            done: dict[int, Blob] = {}
            for place in sorted(range(len(blobs)), key=lambda place: blobs[place].name):
                done[place] = await begin_one(connection, blobs[place])
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
        found = await self._fetch(OF_IDS, ids) if ids else []
        if labels:
            found += await self._fetch(OF_NAMES, labels, maker)
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
        return await self._write(lambda connection: settle_one(connection, before, after))

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
            f"{BLOBS} WHERE {THERE} AND b.maker = $5 AND b.name > $1 AND b.name >= $2"
            " AND b.name < $3 ORDER BY b.name LIMIT $4",
            *(behind, prefix, after_prefix(prefix), limit, maker),
        )

    async def claim(self, ids: Sequence[str], owner: str) -> None:
        """Note that `owner` needs these blobs, all or none. Raises `NotFoundError`."""

        async def claim(connection: Connection) -> None:
            # Locked, so that none of them is deleted meanwhile.
            rows = await connection.fetch(
                f"SELECT b.id FROM asgard.blobs b WHERE {THERE} AND b.id = ANY($1)"  # noqa: S608 - ours
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
                f"{BLOBS} WHERE b.state = 'ready' AND b.id = ANY($1) AND NOT EXISTS"
                " (SELECT FROM asgard.blob_owners o WHERE o.blob_id = b.id)",
                gone,
            )
            return [blob_with_owners(row) for row in left]

        return await self._write(release)

    # Upkeep

    async def overdue(self, now: datetime, limit: int) -> list[Blob]:
        """Uploads whose time is up, and ended ones whose grants are, margin and all."""
        return await self._fetch(OVERDUE, micros(now), limit, micros(now - MARGIN))

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
        found = await self._fetch(f"{BLOBS} WHERE b.id = ANY($1)", list(ids))
        return {blob.id: blob for blob in found}

    async def walk(self, behind: str, limit: int) -> list[Blob]:
        """All ready blobs in the order of their ids, those > `behind`."""
        return await self._fetch(
            f"{BLOBS} WHERE b.state = 'ready' AND b.id > $1 ORDER BY b.id LIMIT $2", behind, limit
        )

    def lock(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock among replicas while iterated; yields once whether it was got."""
        return self._link.lock(name)
