"""The table of jobs and its change log in SQLite: `Jobs`, `Upkeep` and `Log`."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.core.job_errors import DuplicateJobError

from asgard_server.sim_data.domain import LIVE, MOST_CLAIMS, UPLOAD_SECONDS, Job
from asgard_server.sim_data.store import Change, Changing, News, Page, RevisionGoneError
from asgard_server.store.blob_rows import micros
from asgard_server.store.job_rows import COLUMNS, SHORT, job_of, row_of
from asgard_server.store.sqlite_database import SqliteDatabase

_ALL = ", ".join(COLUMNS)
_INSERT = (
    f"INSERT INTO jobs ({', '.join(COLUMNS[1:])}) VALUES ({', '.join('?' * (len(COLUMNS) - 1))})"  # noqa: S608 - ours
)
_REPLACE = f"UPDATE jobs SET {', '.join(f'{name} = ?' for name in COLUMNS[1:])} WHERE id = ?"  # noqa: S608 - ours
_LIVE = ", ".join(f"'{status}'" for status in LIVE)
_NAMELESS = "nameless"
_LISTED = "owner = ? AND superseded_by IS NULL AND deleted_at IS NULL"


class SqliteJobs:
    """Rows of jobs in one database file.

    `name` answers what its log is called, the same in every process of this storage: a log without
    an entry may have no file yet that could say so, and is resumed all the same.
    """

    def __init__(self, database: SqliteDatabase, name: Callable[[], str] = lambda: "") -> None:
        self._database = database
        self._name = name

    # Jobs

    async def create(self, job: Job, since: datetime) -> Job:
        """Add a job; answer it with its id. Raises `DuplicateJobError`."""

        def create(connection: sqlite3.Connection) -> Job:
            twin = connection.execute(
                f"SELECT id FROM jobs WHERE {_LISTED} AND created_at >= ? AND status IN ({_LIVE})"  # noqa: S608 - ours
                " AND seed_text = ? AND goal = ? AND tier = ?",
                (job.owner, micros(since), job.seed_text, job.goal, job.tier),
            ).fetchone()
            if twin is not None:
                raise DuplicateJobError(twin[0])
            return self._insert(connection, job)

        return await self._database.write(create)

    async def add(self, job: Job) -> Job:
        """Add a draft; answer it with its id."""
        return await self._database.write(lambda connection: self._insert(connection, job))

    async def retry(self, job_id: int, make: Changing) -> Job:
        """Add the job that `make` makes of another, and note in that which supersedes it."""

        def retry(connection: sqlite3.Connection) -> Job:
            before = _there(connection, job_id)
            made = self._insert(connection, make(before))
            self._update(connection, replace(before, superseded_by=made.id))
            return made

        return await self._database.write(retry)

    async def find(self, job_id: int) -> Job | None:
        """Look up a job."""
        return await self._database.read(
            lambda connection: _row(connection, "id = ? AND deleted_at IS NULL", job_id)
        )

    async def find_shared(self, token: str) -> Job | None:
        """Look up the job with this share token."""
        return await self._database.read(
            lambda connection: _row(connection, "share_token = ? AND deleted_at IS NULL", token)
        )

    async def change(self, job_id: int, change: Changing) -> Job:
        """Replace a row by what `change` makes of it. Raises `NotFoundError`."""

        def changed(connection: sqlite3.Connection) -> Job:
            return self._changed(connection, _there(connection, job_id), change)

        return await self._database.write(changed)

    async def delete(self, job_id: int, change: Changing) -> Job:
        """Do as `change`, also for a job that is deleted and whose files could not be removed."""

        def deleted(connection: sqlite3.Connection) -> Job:
            before = _there(connection, job_id, "NOT emptied")
            return self._changed(connection, before, change)

        return await self._database.write(deleted)

    async def page(
        self, owner: str, behind: tuple[datetime, int] | None, skip: int, limit: int
    ) -> Page:
        """The owner's jobs that are not superseded, newest first, in short form."""
        further: str = ""
        arguments: tuple[int, ...] = ()
        if behind is not None:
            further, arguments = " AND (created_at, id) < (?, ?)", (micros(behind[0]), behind[1])

        def page(connection: sqlite3.Connection) -> Page:
            (total,) = connection.execute(
                f"SELECT count(*) FROM jobs WHERE {_LISTED}",  # noqa: S608 - ours
                (owner,),
            ).fetchone()
            rows = connection.execute(
                f"SELECT {SHORT} FROM jobs WHERE {_LISTED}{further}"  # noqa: S608 - ours
                " ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?",
                (owner, *arguments, limit, skip),
            )
            return Page([job_of(row) for row in rows], total)

        return await self._database.read(page)

    async def waiting(self, now: datetime, limit: int) -> Sequence[int]:
        """Ids of jobs that can be claimed, the oldest first."""

        def waiting(connection: sqlite3.Connection) -> list[int]:
            rows = connection.execute(
                "SELECT id FROM jobs WHERE status IN ('pending', 'provisioning', 'running')"
                " AND deleted_at IS NULL AND (lease_until IS NULL OR lease_until <= ?)"
                " AND (claims < ? OR status = 'pending') ORDER BY id LIMIT ?",
                (micros(now), MOST_CLAIMS, limit),
            )
            return [job_id for (job_id,) in rows]

        return await self._database.read(waiting)

    # Upkeep

    async def unreported(self, now: datetime, limit: int) -> Sequence[int]:
        """Ids of jobs whose report is due, the oldest first."""
        at = micros(now)

        def unreported(connection: sqlite3.Connection) -> list[int]:
            rows = connection.execute(
                "SELECT id FROM jobs WHERE status = 'reporting' AND deleted_at IS NULL"
                " AND (report_at IS NULL OR report_at <= ?)"
                " AND (report_lease_until IS NULL OR report_lease_until <= ?)"
                " ORDER BY report_at LIMIT ?",
                (at, at, limit),
            )
            return [job_id for (job_id,) in rows]

        return await self._database.read(unreported)

    async def left(self, before: datetime, limit: int) -> Sequence[int]:
        """Ids of jobs in work whose lease ended before then, the longest ago first."""
        at = micros(before)

        def left(connection: sqlite3.Connection) -> list[int]:
            rows = connection.execute(
                "SELECT id FROM jobs WHERE status IN ('provisioning', 'running')"
                " AND deleted_at IS NULL AND lease_until <= ?"
                " AND (claims >= ? OR coalesce(grants_until, lease_until + ?) <= ?)"
                " ORDER BY lease_until LIMIT ?",
                (at, MOST_CLAIMS, UPLOAD_SECONDS * 1_000_000, at, limit),
            )
            return [job_id for (job_id,) in rows]

        return await self._database.read(left)

    async def mark(self, job_id: int, change: Changing) -> Job:
        """Do as `change`, also for a job that is deleted."""

        def marked(connection: sqlite3.Connection) -> Job:
            return self._changed(connection, _there(connection, job_id, "true"), change)

        return await self._database.write(marked)

    async def deleted(self, now: datetime, before: datetime, limit: int) -> Sequence[Job]:
        """Deleted jobs with something left to do."""

        def deleted(connection: sqlite3.Connection) -> list[Job]:
            rows = connection.execute(
                f"SELECT {SHORT} FROM jobs WHERE deleted_at IS NOT NULL"  # noqa: S608 - ours
                " AND (NOT emptied OR grants_until <= ?"
                " OR grants_until IS NULL AND deleted_at <= ?) ORDER BY id LIMIT ?",
                (micros(now), micros(before), limit),
            )
            return [job_of(row) for row in rows]

        return await self._database.read(deleted)

    async def forget(self, job_id: int) -> None:
        """Remove the row of a deleted job."""

        def forget(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM jobs WHERE id = ? AND deleted_at IS NOT NULL", (job_id,)
            )

        await self._database.write(forget)

    async def lock(self, name: str) -> AsyncIterator[bool]:
        """One process has the file: it always has the lock."""
        yield True

    # Log

    async def head(self) -> tuple[str, int]:
        """The log's epoch, and its newest revision."""
        return await self._database.read(lambda connection: self._head(connection)[:2])

    async def news(self, epoch: str, revision: int, limit: int) -> News:
        """Entries that follow a revision. Raises `RevisionGoneError`."""

        def news(connection: sqlite3.Connection) -> News:
            now, head, trimmed = self._head(connection)
            if now == epoch and revision < trimmed:
                raise RevisionGoneError
            rows = connection.execute(
                "SELECT revision, job_id FROM job_log WHERE revision > ? ORDER BY revision LIMIT ?",
                (revision, limit),
            )
            changes = [Change(*row) for row in rows]
            jobs, owners = {}, {}
            for job_id in {each.job_id for each in changes}:
                job = _row(connection, "id = ?", job_id, SHORT)
                if job is not None:
                    owners[job_id] = job.owner
                    if job.deleted_at is None:
                        jobs[job_id] = job
            return News(now, head, changes, jobs, owners)

        return await self._database.read(news)

    async def walk(self, behind: int, limit: int, owner: str | None = None) -> Sequence[Job]:
        """Jobs in the order of their ids, those > `behind`, in short form; of one owner, or all."""

        def walk(connection: sqlite3.Connection) -> list[Job]:
            rows = connection.execute(
                f"SELECT {SHORT} FROM jobs WHERE id > ? AND deleted_at IS NULL"  # noqa: S608 - ours
                " AND coalesce(owner = ?, true) ORDER BY id LIMIT ?",
                (behind, owner, limit),
            )
            return [job_of(row) for row in rows]

        return await self._database.read(walk)

    async def trim(self, keep: int) -> None:
        """Forget all but the newest entries."""

        def trim(connection: sqlite3.Connection) -> None:
            _, head, trimmed = self._head(connection)
            if (until := head - keep) > trimmed:
                connection.execute("DELETE FROM job_log WHERE revision <= ?", (until,))
                connection.execute("UPDATE job_log_head SET trimmed = ?", (until,))

        await self._database.write(trim)

    # Writing, in a transaction

    def _insert(self, connection: sqlite3.Connection, job: Job) -> Job:
        made = connection.execute(_INSERT, row_of(job)[1:]).lastrowid
        assert made is not None  # noqa: S101 - one row was inserted
        self._log(connection, made)
        return replace(job, id=made)

    def _changed(self, connection: sqlite3.Connection, before: Job, change: Changing) -> Job:
        after = change(before)
        if after != before:
            self._update(connection, after, told=before.deleted_at is None)
        return after

    def _update(self, connection: sqlite3.Connection, job: Job, *, told: bool = True) -> None:
        connection.execute(_REPLACE, (*row_of(job)[1:], job.id))
        if told:  # what becomes of a deleted one is told to nobody
            self._log(connection, job.id)

    def _log(self, connection: sqlite3.Connection, job_id: int) -> None:
        connection.execute(
            "UPDATE job_log_head SET revision = revision + 1,"
            " epoch = CASE epoch WHEN '' THEN ? ELSE epoch END",
            (self._name() or _NAMELESS,),
        )
        connection.execute("INSERT INTO job_log SELECT revision, ? FROM job_log_head", (job_id,))

    def _head(self, connection: sqlite3.Connection) -> tuple[str, int, int]:
        epoch, revision, trimmed = connection.execute(
            "SELECT epoch, revision, trimmed FROM job_log_head"
        ).fetchone()
        return epoch or self._name() or _NAMELESS, revision, trimmed


def _there(
    connection: sqlite3.Connection, job_id: int, condition: str = "deleted_at IS NULL"
) -> Job:
    job = _row(connection, f"id = ? AND {condition}", job_id)
    if job is None:
        raise NotFoundError("job", str(job_id))
    return job


def _row(
    connection: sqlite3.Connection, condition: str, value: object, columns: str = _ALL
) -> Job | None:
    row = connection.execute(f"SELECT {columns} FROM jobs WHERE {condition}", (value,)).fetchone()  # noqa: S608 - ours
    return None if row is None else job_of(row)
