"""What lists that know permissions read in PostgreSQL where they were planned for a few rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.auth.principal import Principal
from asgard_server.store import postgres_search
from asgard_server.store.postgres import PostgresRunIndex
from asgard_server.store.postgres_readers import count
from asgard_server.store.sql import access
from asgard_server.store.sql.newest import Position
from asgard_server.store.sql.postgres import PostgresSession
from asgard_server.store.sql.session import Session

from tests.contract.asset_rows import NOON
from tests.contract.index_places import NOW, Shelf, a_run, open_index
from tests.contract.sql_homes import database

MANY = 6_000
MINE = 200
TEAMS = [f"team_{number}" for number in range(300)]
READ = (
    "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)"
    " FROM pg_stat_xact_user_tables WHERE relname = ANY(?::text[])"
)


def readers(numbers: Iterable[int]) -> list[tuple[str, int, str]]:
    """One reader of each asset: now and then a team of the caller's, each time another."""
    each = MANY // MINE
    return [
        ("eve" if number % each else TEAMS[number // each * 7 % 300], NOON + number, f"a{number}")
        for number in numbers
    ]


async def add(session: Session, numbers: Iterable[int]) -> None:
    await session.many(
        "INSERT INTO readers (object_kind, principal, created_at, object_id)"
        " VALUES ('asset', ?, ?, ?)",
        readers(numbers),
    )


@pytest.mark.parametrize("size", [51, 10])
async def test_a_list_of_assets_for_many_teams_reads_what_is_theirs(
    tmp_path: Path, size: int
) -> None:
    who = Principal("ada", teams=frozenset(TEAMS))

    async def page(session: Session) -> list[Position]:
        return await access.page(session, "asset", who, None, size)

    async def read(session: Session) -> tuple[list[Position], int]:
        found = await page(session)
        return found, int(await session.value(READ, ["readers"]))

    async with database("postgres", tmp_path) as opened:
        await opened.write(lambda session: add(session, range(3)))
        await opened.look(page)  # what is planned while the table is small serves from then on
        await opened.write(lambda session: add(session, range(3, MANY)))
        found, rows = await opened.read(read)
    mine = [(at, id) for team, at, id in readers(range(MANY)) if team != "eve"]
    assert found == sorted(mine, reverse=True)[:size]
    assert rows < 2 * MINE + len(TEAMS)


async def test_a_list_of_runs_for_many_teams_reads_and_counts_what_is_theirs(
    tmp_path: Path,
) -> None:
    by = frozenset(["ada", "everyone", *TEAMS])
    shelf = Shelf()

    async def grow(index: PostgresRunIndex, numbers: range) -> None:
        keys = [
            shelf.put(
                a_run(
                    f"r{number:05}",
                    created_at=NOW - timedelta(seconds=MANY - number),
                    extra={"owner": team, "visibility": "private"},
                )
            )
            for number, (team, _, _) in zip(numbers, readers(numbers), strict=True)
        ]
        for first in range(0, len(keys), 500):
            await index.observe(keys[first : first + 500])

    async def read(connection: Any) -> tuple[int, int, int]:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows, _ = await postgres_search.list_runs(connection, "", None, 51, by)
            session = PostgresSession(connection)
            total = await count(session, by, postgres_search.COUNTED_TO)
            return len(rows), total, int(await session.value(READ, ["runs", "run_readers"]))

    async with open_index("postgres", shelf, tmp_path) as index:
        await grow(index, range(3))
        for _ in range(10):  # so often that a plan is kept
            await index.list_runs("", None, 2, by)
        await grow(index, range(3, MANY))
        shown, total, rows = await index._link.read(read)
    assert (shown, total) == (51, MINE)
    assert rows < 5 * MINE + len(TEAMS)
