"""Writes are begun and results taken in by statements that many share, and marks exclude both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from asgard_server.run.ledger import Deletion, Write
from asgard_server.run.store import Key
from asgard_server.store.postgres import PostgresRunIndex
from asgard_server.store.postgres_ledger import PostgresLedger
from asgard_server.store.postgres_transaction import slot_of
from asgard_server.store.s3_writing import new_write
from asgard_server.store.written import Written
from gimle.asgard.core.errors import StorageUnavailableError

from tests.contract.index_places import Shelf, a_result, a_run
from tests.engines import postgres

RUN = Deletion(Key("run", "r1"), "r1", ())


class House:
    """A replica with its ledger and its index, and connections of others to their database."""

    def __init__(self, dsn: str, ledger: PostgresLedger, shelf: Shelf, written: Written) -> None:
        self.dsn = dsn
        self.ledger = ledger
        self.shelf = shelf
        self.written = written
        self.index: PostgresRunIndex

    @asynccontextmanager
    async def another(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Somebody else's connection."""
        connection = await asyncpg.connect(self.dsn)
        try:
            yield connection
        finally:
            await connection.close()

    def write(self, result_id: str) -> Key:
        """Write a result as this process's own."""
        key = self.shelf.put(a_result(result_id, "r1"))
        self.written.note(new_write(key, "r1", lists=True), None, self.shelf.read(key))
        return key

    async def waits(self) -> None:
        """Return when somebody waits for a lock in this database."""
        async with self.another() as connection, asyncio.timeout(30):
            while not await connection.fetchval(  # noqa: ASYNC110 - the database does not tell
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())"
            ):
                await asyncio.sleep(0.01)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    dsn = await postgres.database_of(tmp_path)
    shelf, written = Shelf(), Written()
    ledger = await PostgresLedger.open(dsn, replica="one")

    async def read(key: Key) -> object:
        return shelf.read(key)

    index = await PostgresRunIndex.open(
        *(dsn, read),  # type: ignore[arg-type]  # what a shelf reads is a Found
        storage_id="s1",
        clock=lambda: shelf.now,
        written=written,
        rounds=ledger.rounds,
    )
    await index.observe([shelf.put(a_run("r1"))])
    opened = House(dsn, ledger, shelf, written)
    opened.index = index
    yield opened
    await index.close()
    await ledger.close()
    postgres.give_back(tmp_path)


def a_write(result_id: str) -> Write:
    return Write(uuid4().hex, Key("result", result_id), "r1", lists=True)


async def test_a_write_begun_while_its_run_is_being_marked_is_told_of_the_mark(
    house: House,
) -> None:
    async with house.another() as other:
        mark = other.transaction()
        await mark.start()
        await other.execute(
            "INSERT INTO asgard.deletions"
            " VALUES ('run', 'r1', 'r1', '{}', '{}', clock_timestamp(), false)"
        )
        beginning = asyncio.create_task(house.ledger.begin([a_write("x1")]))
        await house.waits()
        assert not beginning.done()
        await mark.commit()
        assert await beginning == {Key("run", "r1")}


async def test_whoever_marks_a_run_finds_the_writes_that_were_being_begun(house: House) -> None:
    write = a_write("x1")
    async with house.another() as other:
        begin = other.transaction()
        await begin.start()
        gone = await other.fetch(
            "SELECT * FROM asgard.begin_writes('two', $1, $2, $3, $4, $5, $6)",
            *([write.token], ["result"], ["x1"], ["r1"], [""], [True]),
        )
        assert gone == []
        marking = asyncio.create_task(house.ledger.mark(RUN))
        await house.waits()
        assert not marking.done()
        await begin.commit()
        await marking
    assert [one.token for one in await house.ledger.begun(0, "r1")] == [write.token]


async def test_a_round_that_also_takes_in_is_told_of_the_mark(house: House) -> None:
    key = house.write("x1")
    async with house.another() as other:
        mark = other.transaction()
        await mark.start()
        await other.execute(
            "INSERT INTO asgard.deletions"
            " VALUES ('result', 'x2', 'r1', '{}', '{}', clock_timestamp(), false)"
        )
        both = asyncio.gather(
            house.ledger.begin([a_write("x2")]),
            house.ledger.begin([a_write("x3")]),
            house.index.take_in([key], key),
        )
        await house.waits()
        await mark.commit()
        first, second, (revision, row) = await both
    assert first == {Key("result", "x2")}
    assert second == set()
    assert revision == 2
    assert row is not None
    assert row == await house.index.result("x1")


async def test_some_writes_begin_in_the_transaction_that_takes_others_in(house: House) -> None:
    key = house.write("x1")
    await asyncio.gather(
        house.ledger.begin([a_write("x2")]),
        house.index.remember(key, b"digest"),
        house.index.take_in([key], key),
    )
    async with house.another() as other:
        made = await other.fetch(
            "SELECT xmin FROM asgard.results UNION SELECT xmin FROM asgard.writes"
            " UNION SELECT xmin FROM asgard.requests"
        )
    assert len(made) == 1, "one transaction, and one round trip"


async def test_what_keeps_a_result_from_being_taken_in_keeps_nobody_from_beginning(
    house: House,
) -> None:
    key = house.write("x1")
    async with house.another() as other, other.transaction():
        await other.execute("SELECT FROM asgard.run_locks WHERE slot = $1 FOR UPDATE", slot_of(key))
        begun, taken = await asyncio.gather(
            house.ledger.begin([a_write("x2")]),
            house.index.take_in([key], key),
            return_exceptions=True,
        )
    assert begun == frozenset()
    assert isinstance(taken, StorageUnavailableError)
    assert [one.key for one in await house.ledger.begun(0, "r1")] == [Key("result", "x2")]
    assert (await house.index.take_in([key], key))[0] == 2, "it is taken in when it is free"
