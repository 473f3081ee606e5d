"""The schema in PostgreSQL: applied once, by one at a time, and refused with what to do."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from pathlib import Path

import asyncpg
import pytest
from asgard_server.run.store import Found, Key
from asgard_server.store.migrate import FOLDER, SchemaError, migrate, migrations, wait
from asgard_server.store.postgres import PostgresRunIndex
from asgard_server.store.postgres_search import conditions
from gimle.asgard.core.errors import StorageUnavailableError

from tests.contract.index_places import Shelf, a_run
from tests.engines import postgres

_numbers = itertools.count(1)


@pytest.fixture
async def dsn() -> str:
    return await postgres.empty_database(f"migrated_{next(_numbers)}")


async def open_index(dsn: str, shelf: Shelf, storage_id: str = "s1") -> PostgresRunIndex:
    async def read(key: Key) -> Found | None:
        return shelf.read(key)

    return await PostgresRunIndex.open(dsn, read, storage_id=storage_id, connections=2)


async def ask(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_many_who_migrate_at_once_apply_each_step_once(dsn: str) -> None:
    done = await asyncio.gather(*(migrate(dsn) for _ in range(4)))
    names = tuple(step.name for step in migrations())
    assert sorted(one.applied for one in done) == [(), (), (), names]
    assert (await migrate(dsn)).applied == ()
    assert await ask(dsn, "SELECT count(*) FROM asgard.migrations") == len(names)


def test_the_transcript_of_a_cluster_by_hand_applies_every_step() -> None:
    said = (Path(__file__).parents[3] / "docs" / "operate" / "by-hand.md").read_text()
    steps = [step.name for step in migrations()]
    assert f"this release needs {len(steps)}:" in said
    assert [line[8:] for line in said.splitlines() if line.startswith("applied ")] == steps


async def test_a_database_that_was_not_migrated_is_refused_with_what_to_do(dsn: str) -> None:
    with pytest.raises(SchemaError, match="run `asgard migrate`"):
        await open_index(dsn, Shelf())


async def test_who_waits_for_the_schema_goes_on_when_somebody_else_has_made_it(dsn: str) -> None:
    waiting = asyncio.create_task(wait(dsn, 60))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    assert await ask(dsn, "SELECT to_regclass('asgard.migrations')::text") is None
    await migrate(dsn)
    await asyncio.wait_for(waiting, 60)


async def test_who_waits_in_vain_is_told_what_is_missing(dsn: str) -> None:
    with pytest.raises(SchemaError, match="run `asgard migrate`"):
        await wait(dsn, 0)
    nobody = "postgresql://asgard@127.0.0.1:1/nowhere"
    with pytest.raises(StorageUnavailableError, match=r"127\.0\.0\.1:1"):
        await wait(nobody, 0)


async def test_a_step_that_fails_leaves_nothing_behind(dsn: str, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "sql")
    number = len(migrations()) + 1
    broken = folder / f"{number:04}_broken.sql"
    broken.write_text("-- needs: 1\nCREATE TABLE asgard.half (); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(dsn, folder)
    assert await ask(dsn, "SELECT to_regclass('asgard.half')::text") is None
    assert await ask(dsn, "SELECT max(number) FROM asgard.migrations") == number - 1
    broken.write_text("-- needs: 1\nCREATE TABLE asgard.half ();")
    assert (await migrate(dsn, folder)).applied == (broken.stem,)


async def test_a_release_works_on_a_newer_schema_until_that_says_otherwise(
    dsn: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(FOLDER, tmp_path / "sql")
    number = len(migrations()) + 1
    (folder / f"{number:04}_more.sql").write_text(
        "-- needs: 1\nALTER TABLE asgard.runs ADD COLUMN owner text NOT NULL DEFAULT '';"
    )
    await migrate(dsn, folder)
    shelf = Shelf()
    index = await open_index(dsn, shelf)
    assert await index.observe([shelf.put(a_run("r1"))]) == 1
    assert (await index.list_runs("r1", None, 5))[1] == 1
    await index.close()
    assert (await migrate(dsn)).applied == ()
    (folder / f"{number + 1:04}_other.sql").write_text(f"-- needs: {number + 1}\nSELECT 1;")
    await migrate(dsn, folder)
    with pytest.raises(SchemaError, match="install the release that migrated it"):
        await open_index(dsn, shelf)
    with pytest.raises(SchemaError, match="install the release that migrated it"):
        await migrate(dsn)


async def test_steps_are_numbered_without_a_gap_and_say_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "0002_second.sql").write_text("-- needs: 1\n")
    with pytest.raises(ValueError, match="not migration 0001"):
        migrations(tmp_path)
    (tmp_path / "0001_first.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match="-- needs: N"):
        migrations(tmp_path)


async def test_the_index_of_another_storage_is_refused(dsn: str) -> None:
    await migrate(dsn)
    await (await open_index(dsn, Shelf(), "s1")).close()
    await (await open_index(dsn, Shelf(), "s1")).close()
    with pytest.raises(StorageUnavailableError, match="give each storage a database of its own"):
        await open_index(dsn, Shelf(), "s2")


async def test_search_works_where_the_extension_may_not_be_made(dsn: str) -> None:
    database = dsn.rpartition("/")[2]
    await postgres.server().execute(
        f"CREATE ROLE {database}_user LOGIN;"
        f"REVOKE CREATE ON DATABASE {database} FROM PUBLIC;"
        f"CREATE SCHEMA asgard AUTHORIZATION {database}_user",
        database,
    )
    humble = dsn.replace("asgard@", f"{database}_user@", 1)
    done = await migrate(humble)
    assert done.applied
    assert done.search_problem is not None
    assert "pg_trgm" in done.search_problem
    shelf = Shelf()
    index = await open_index(humble, shelf)
    await index.observe([shelf.put(a_run("r1", name="Heat 100%"))])
    assert (await index.list_runs("AT 0%", None, 5))[1] == 1
    await index.close()
    await postgres.server().execute("CREATE EXTENSION pg_trgm", database)
    assert (await migrate(humble)).search_problem is None


async def test_a_rare_word_is_found_by_the_index_of_words(dsn: str) -> None:
    await migrate(dsn)
    clauses, arguments = conditions("rareword")
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "INSERT INTO asgard.runs SELECT 'r' || n, n, n, n, n, '', '', '',"
            " CASE WHEN n % 5000 = 0 THEN 'a rareword here' ELSE 'everyday ' || md5(n::text) END"
            " FROM generate_series(1, 20000) n; ANALYZE asgard.runs"
        )
        # At this size looking at each row costs little; it is to be seen that it need not.
        await connection.execute("SET enable_seqscan = off; SET enable_indexscan = off")
        where = clauses[0].replace("$1", repr(arguments[0]))
        plan = await connection.fetch(
            f"EXPLAIN SELECT id FROM asgard.runs WHERE {where}"
            " ORDER BY sorted_at DESC, id DESC LIMIT 50"
        )
    finally:
        await connection.close()
    assert "runs_by_words" in "\n".join(row[0] for row in plan)


async def test_an_address_without_a_server_is_said_without_its_password() -> None:
    with pytest.raises(StorageUnavailableError) as refused:
        await migrate("postgresql://me:secret@127.0.0.1:1/asgard")
    assert "postgresql://127.0.0.1:1/asgard" in str(refused.value)
    assert "secret" not in str(refused.value)
