"""The tables of jobs that tests compare, SQLite and PostgreSQL, and jobs to put into them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from asgard_server.sim_data.domain import Job
from asgard_server.store.postgres_jobs import PostgresJobs
from asgard_server.store.postgres_link import Link
from asgard_server.store.sqlite_database import SqliteDatabase
from asgard_server.store.sqlite_jobs import SqliteJobs

from tests.engines import postgres

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
TABLES = ("sqlite", "postgres")
Table = SqliteJobs | PostgresJobs


@asynccontextmanager
async def table(name: str, folder: Path) -> AsyncIterator[Table]:
    """Open the table `name`, empty, in `folder` or in a database of its own."""
    if name == "sqlite":
        database = await SqliteDatabase.open(folder / "asgard.sqlite3")
        yield SqliteJobs(database)
        await database.close()
        return
    link = await Link.open(await postgres.database_of(folder), 4)
    yield PostgresJobs(link)
    await link.close()
    postgres.give_back(folder)


def a_job(minutes: float = 0, **fields: Any) -> Job:
    """A pending job, made so many minutes after noon."""
    at = NOON + timedelta(minutes=minutes)
    given: dict[str, Any] = {
        "owner": "ada",
        "status": "pending",
        "seed_text": "Once upon a time",
        "goal": f"goal {minutes}",
        "tier": "small",
        "forecast_days": 7,
        **fields,
    }
    return Job(id=0, created_at=at, updated_at=at, **given)
