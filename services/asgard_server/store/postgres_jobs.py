"""The table of jobs and its change log in PostgreSQL: `Jobs`, `Upkeep` and `Log`.

The entries of the log are numbered by the last statement of a transaction (docs/protocols.md 9).
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.core.job_errors import DuplicateJobError

from asgard_server.sim_data.domain import LIVE, MOST_CLAIMS, UPLOAD_SECONDS, Job
from asgard_server.sim_data.store import Change, Changing, News, Page, RevisionGoneError
from asgard_server.store.blob_rows import micros
from asgard_server.store.job_rows import COLUMNS, SHORT, job_of, row_of
from asgard_server.store.postgres_link import Link

if TYPE_CHECKING:
    from asgard_server.store.postgres_link import Connection

T = TypeVar("T")

_ALL = ", ".join(COLUMNS)
_PLACES = ", ".join(f"${place}" for place in range(1, len(COLUMNS)))
_INSERT = f"INSERT INTO asgard.jobs ({', '.join(COLUMNS[1:])}) VALUES ({_PLACES}) RETURNING id"  # noqa: S608 - ours
_SETTING = ", ".join(f"{name} = ${place}" for place, name in enumerate(COLUMNS[1:], 2))
_REPLACE = f"UPDATE asgard.jobs SET {_SETTING} WHERE id = $1"  # noqa: S608 - ours
_LISTED = "owner = $1 AND superseded_by IS NULL AND deleted_at IS NULL"
_LOG = """
WITH moved AS (
  UPDATE asgard.job_log_head SET revision = revision + cardinality($1::bigint[])
  RETURNING revision - cardinality($1::bigint[]) AS before
)
INSERT INTO asgard.job_log
SELECT before + place, id FROM moved, unnest($1::bigint[]) WITH ORDINALITY AS entry (id, place)
"""


class PostgresJobs:
    """Rows of jobs in one database, shared by all replicas."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def _write(self, job: Callable[[Connection, list[int]], Awaitable[T]]) -> T:
        """Run a job in a transaction; it appends the ids of those it has changed to the list."""
        with self._link.errors():
            try:
                return await self._once(job)
            except asyncpg.DeadlockDetectedError:
                return await self._once(job)

    async def _once(self, job: Callable[[Connection, list[int]], Awaitable[T]]) -> T:
        changed: list[int] = []
        async with self._link.acquired() as connection, connection.transaction():
            answer = await job(connection, changed)
            if changed:
                await connection.execute(_LOG, changed)
            return answer

    # Jobs

    async def create(self, job: Job, since: datetime) -> Job:
        """Add a job; answer it with its id. Raises `DuplicateJobError`."""

        async def create(connection: Connection, changed: list[int]) -> Job:
            # Of two calls that ask for the same one waits, and finds the other's row.
            wish = f"{job.owner}\n{job.tier}\n{job.goal}\n{job.seed_text}"
            await connection.execute("SELECT pg_advisory_xact_lock($1)", zlib.crc32(wish.encode()))
            twin = await connection.fetchval(
                f"SELECT id FROM asgard.jobs WHERE {_LISTED} AND created_at >= $2"  # noqa: S608 - ours
                " AND status = ANY($3) AND seed_text = $4 AND goal = $5 AND tier = $6 LIMIT 1",
                *(job.owner, micros(since), list(LIVE), job.seed_text, job.goal, job.tier),
            )
            if twin is not None:
                raise DuplicateJobError(twin)
            return await _insert(connection, changed, job)

        return await self._write(create)

    async def add(self, job: Job) -> Job:
        """Add a draft; answer it with its id."""
        return await self._write(lambda connection, changed: _insert(connection, changed, job))

    async def retry(self, job_id: int, make: Changing) -> Job:
        """Add the job that `make` makes of another, and note in that which supersedes it."""

        async def retry(connection: Connection, changed: list[int]) -> Job:
            before = await _locked(connection, job_id)
            made = await _insert(connection, changed, make(before))
            await _update(connection, changed, replace(before, superseded_by=made.id))
            return made

        return await self._write(retry)

    async def find(self, job_id: int) -> Job | None:
        """Look up a job."""
        return await self._one("id = $1 AND deleted_at IS NULL", job_id)

    async def find_shared(self, token: str) -> Job | None:
        """Look up the job with this share token."""
        return await self._one("share_token = $1 AND deleted_at IS NULL", token)

    async def change(self, job_id: int, change: Changing) -> Job:
        """Replace a row by what `change` makes of it. Raises `NotFoundError`."""

        async def changing(connection: Connection, changed: list[int]) -> Job:
            return await _changed(connection, changed, await _locked(connection, job_id), change)

        return await self._write(changing)

    async def delete(self, job_id: int, change: Changing) -> Job:
        """Do as `change`, also for a job that is deleted and whose files could not be removed."""

        async def deleting(connection: Connection, changed: list[int]) -> Job:
            before = await _locked(connection, job_id, "NOT emptied")
            return await _changed(connection, changed, before, change)

        return await self._write(deleting)

    async def page(
        self, owner: str, behind: tuple[datetime, int] | None, skip: int, limit: int
    ) -> Page:
        """The owner's jobs that are not superseded, newest first, in short form."""
        further: str = ""
        arguments: tuple[int, ...] = ()
        if behind is not None:
            further, arguments = " AND (created_at, id) < ($4, $5)", (micros(behind[0]), behind[1])

        async def page(connection: Connection) -> Page:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                total = await connection.fetchval(
                    f"SELECT count(*) FROM asgard.jobs WHERE {_LISTED}",  # noqa: S608 - ours
                    owner,
                )
                rows = await connection.fetch(
                    f"SELECT {SHORT} FROM asgard.jobs WHERE {_LISTED}{further}"  # noqa: S608 - ours
                    " ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3",
                    *(owner, limit, skip, *arguments),
                )
            return Page([job_of(tuple(row)) for row in rows], total)

        return await self._link.read(page)

    async def waiting(self, now: datetime, limit: int) -> Sequence[int]:
        """Ids of jobs that can be claimed, the oldest first."""
        return await self._ids(
            "SELECT id FROM asgard.jobs WHERE status IN ('pending', 'provisioning', 'running')"
            " AND deleted_at IS NULL AND (lease_until IS NULL OR lease_until <= $1)"
            " AND (claims < $3 OR status = 'pending') ORDER BY id LIMIT $2",
            *(micros(now), limit, MOST_CLAIMS),
        )

    # Upkeep

    async def unreported(self, now: datetime, limit: int) -> Sequence[int]:
        """Ids of jobs whose report is due, the oldest first."""
        return await self._ids(
            "SELECT id FROM asgard.jobs WHERE status = 'reporting' AND deleted_at IS NULL"
            " AND (report_at IS NULL OR report_at <= $1)"
            " AND (report_lease_until IS NULL OR report_lease_until <= $1)"
            " ORDER BY report_at LIMIT $2",
            *(micros(now), limit),
        )

    async def left(self, before: datetime, limit: int) -> Sequence[int]:
        """Ids of jobs in work whose lease ended before then, the longest ago first."""
        return await self._ids(
            "SELECT id FROM asgard.jobs WHERE status IN ('provisioning', 'running')"
            " AND deleted_at IS NULL AND lease_until <= $1"
            " AND (claims >= $3 OR coalesce(grants_until, lease_until + $4) <= $1)"
            " ORDER BY lease_until LIMIT $2",
            *(micros(before), limit, MOST_CLAIMS, UPLOAD_SECONDS * 1_000_000),
        )

    async def mark(self, job_id: int, change: Changing) -> Job:
        """Do as `change`, also for a job that is deleted."""

        async def marking(connection: Connection, changed: list[int]) -> Job:
            before = await _locked(connection, job_id, "true")
            return await _changed(connection, changed, before, change)

        return await self._write(marking)

    async def deleted(self, now: datetime, before: datetime, limit: int) -> Sequence[Job]:
        """Deleted jobs with something left to do."""
        return await self._jobs(
            f"SELECT {SHORT} FROM asgard.jobs WHERE deleted_at IS NOT NULL"  # noqa: S608 - ours
            " AND (NOT emptied OR grants_until <= $1"
            " OR grants_until IS NULL AND deleted_at <= $3) ORDER BY id LIMIT $2",
            *(micros(now), limit, micros(before)),
        )

    async def forget(self, job_id: int) -> None:
        """Remove the row of a deleted job."""

        async def forget(connection: Connection, changed: list[int]) -> None:
            await connection.execute(
                "DELETE FROM asgard.jobs WHERE id = $1 AND deleted_at IS NOT NULL", job_id
            )

        await self._write(forget)

    def lock(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock among replicas while iterated; yields once whether it was got."""
        return self._link.lock(name)

    # Log

    async def head(self) -> tuple[str, int]:
        """The log's epoch, and its newest revision."""
        row = await self._link.read(
            lambda connection: connection.fetchrow(
                "SELECT epoch, revision FROM asgard.job_log_head"
            )
        )
        assert row is not None  # noqa: S101 - the migration has made it
        return row["epoch"], row["revision"]

    async def news(self, epoch: str, revision: int, limit: int) -> News:
        """Entries that follow a revision. Raises `RevisionGoneError`."""

        async def news(connection: Connection) -> News:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                head = await connection.fetchrow(
                    "SELECT epoch, revision, trimmed FROM asgard.job_log_head"
                )
                assert head is not None  # noqa: S101 - the migration has made it
                if head["epoch"] == epoch and revision < head["trimmed"]:
                    raise RevisionGoneError
                rows = await connection.fetch(
                    "SELECT revision, job_id FROM asgard.job_log WHERE revision > $1"
                    " ORDER BY revision LIMIT $2",
                    *(revision, limit),
                )
                changes = [Change(*row) for row in rows]
                found = await connection.fetch(
                    f"SELECT {SHORT} FROM asgard.jobs WHERE id = ANY($1)",  # noqa: S608 - ours
                    sorted({each.job_id for each in changes}),
                )
            known = {row["id"]: job_of(tuple(row)) for row in found}
            owners = {job.id: job.owner for job in known.values()}
            jobs = {job.id: job for job in known.values() if job.deleted_at is None}
            return News(head["epoch"], head["revision"], changes, jobs, owners)

        return await self._link.read(news)

    async def walk(self, behind: int, limit: int, owner: str | None = None) -> Sequence[Job]:
        """Jobs in the order of their ids, those > `behind`, in short form; of one owner, or all."""
        return await self._jobs(
            f"SELECT {SHORT} FROM asgard.jobs WHERE id > $1 AND deleted_at IS NULL"  # noqa: S608 - ours
            " AND coalesce(owner = $3, true) ORDER BY id LIMIT $2",
            *(behind, limit, owner),
        )

    async def trim(self, keep: int) -> None:
        """Forget all but the newest entries."""

        async def trim(connection: Connection, changed: list[int]) -> None:
            until = await connection.fetchval(
                "UPDATE asgard.job_log_head SET trimmed = revision - $1"
                " WHERE trimmed < revision - $1 RETURNING trimmed",
                keep,
            )
            if until is not None:
                await connection.execute("DELETE FROM asgard.job_log WHERE revision <= $1", until)

        await self._write(trim)

    # Reading

    async def _one(self, condition: str, value: object) -> Job | None:
        found = await self._jobs(f"SELECT {_ALL} FROM asgard.jobs WHERE {condition}", value)  # noqa: S608 - ours
        return found[0] if found else None

    async def _jobs(self, query: str, *arguments: Any) -> list[Job]:
        rows = await self._link.read(lambda connection: connection.fetch(query, *arguments))
        return [job_of(tuple(row)) for row in rows]

    async def _ids(self, query: str, *arguments: Any) -> list[int]:
        rows = await self._link.read(lambda connection: connection.fetch(query, *arguments))
        return [row["id"] for row in rows]


async def _insert(connection: Connection, changed: list[int], job: Job) -> Job:
    made: int = await connection.fetchval(_INSERT, *row_of(job)[1:])
    changed.append(made)
    return replace(job, id=made)


async def _changed(
    connection: Connection, changed: list[int], before: Job, change: Changing
) -> Job:
    after = change(before)
    if after != before:
        # What becomes of a deleted one is told to nobody.
        await _update(connection, changed if before.deleted_at is None else [], after)
    return after


async def _update(connection: Connection, changed: list[int], job: Job) -> None:
    await connection.execute(_REPLACE, *row_of(job))
    changed.append(job.id)


async def _locked(
    connection: Connection, job_id: int, condition: str = "deleted_at IS NULL"
) -> Job:
    row = await connection.fetchrow(
        f"SELECT {_ALL} FROM asgard.jobs WHERE id = $1 AND {condition} FOR UPDATE",  # noqa: S608 - ours
        job_id,
    )
    if row is None:
        raise NotFoundError("job", str(job_id))
    return job_of(tuple(row))
