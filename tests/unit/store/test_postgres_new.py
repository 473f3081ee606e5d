"""New results in PostgreSQL by one statement: once each, whoever else observes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from asgard_server.run.store import Found, Key, RunRow
from asgard_server.store.postgres import PostgresRunIndex
from asgard_server.store.s3_writing import new_write
from asgard_server.store.written import Written

from tests.contract.index_places import Shelf, a_result, a_run
from tests.engines import postgres


class House:
    """A replica that writes documents of a shelf, and another one that only reads them."""

    def __init__(
        self,
        shelf: Shelf,
        writer: PostgresRunIndex,
        reader: PostgresRunIndex,
        written: Written,
        reads: list[Key],
    ) -> None:
        self.shelf = shelf
        self.writer = writer
        self.reader = reader
        self.written = written
        self.reads = reads  # of the one that writes

    def write(self, result_id: str, run_id: str = "r1") -> Key:
        """Write a result as this process's own."""
        key = self.shelf.put(a_result(result_id, run_id))
        self.written.note(new_write(key, run_id, lists=True), None, self.shelf.read(key))
        return key

    async def count(self, run_id: str = "r1") -> int:
        """How many results the index counts."""
        row = await self.reader.run(run_id)
        assert isinstance(row, RunRow)
        return row.result_count

    async def logged(self) -> list[Key]:
        """The documents that the log names, in its order."""
        changes = await self.reader.changes(0, 1_000)
        assert [change.revision for change in changes] == list(range(1, len(changes) + 1))
        return [change.key for change in changes]


@asynccontextmanager
async def _index(
    shelf: Shelf, folder: Path, written: Written | None, reads: list[Key]
) -> AsyncIterator[PostgresRunIndex]:
    async def read(key: Key) -> Found | None:
        reads.append(key)
        await asyncio.sleep(0)
        return shelf.read(key)

    index = await PostgresRunIndex.open(
        await postgres.database_of(folder),
        read,
        storage_id="s1",
        clock=lambda: shelf.now,
        connections=4,
        written=written,
    )
    try:
        yield index
    finally:
        await index.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    shelf, written, reads = Shelf(), Written(), list[Key]()
    async with (
        _index(shelf, tmp_path, written, reads) as writer,
        _index(shelf, tmp_path, None, []) as reader,
    ):
        await reader.observe([shelf.put(a_run("r1"))])
        yield House(shelf, writer, reader, written, reads)


async def test_a_new_result_is_answered_as_its_row_is(house: House) -> None:
    key = house.write("x1")
    revision, row = await house.writer.take_in([key], key)
    assert revision == 2
    assert row == await house.reader.result("x1")
    assert row is not None
    assert await house.count() == 1
    assert house.written.of([key]) == {}
    assert house.reads == []


async def test_one_that_others_observed_first_is_neither_logged_nor_counted_again(
    house: House,
) -> None:
    key, other = house.write("x1"), house.write("x2")
    await house.reader.observe([key])
    revision, row = await house.writer.take_in([key, other], key)
    assert revision == 3
    assert row == await house.reader.result("x1")
    assert await house.logged() == [Key("run", "r1"), key, other]
    assert await house.count() == 2
    assert house.written.of([key, other]) == {}


async def test_one_observed_by_two_at_the_same_time_is_logged_and_counted_once(
    house: House,
) -> None:
    keys = [house.write(f"x{number}") for number in range(60)]

    async def both(key: Key) -> None:
        await asyncio.gather(house.writer.observe([key]), house.reader.observe([key]))

    for start in range(0, len(keys), 4):
        await asyncio.gather(*map(both, keys[start : start + 4]))
    assert sorted(await house.logged()) == sorted([Key("run", "r1"), *keys])
    assert await house.count() == len(keys)


async def test_digests_of_requests_and_what_was_deleted_go_with_it(house: House) -> None:
    gone = house.shelf.put(a_result("x1", "r1"))
    await house.reader.observe([gone])
    house.shelf.remove(gone)
    await house.reader.observe([gone])
    assert await house.reader.tombstone(gone) is not None
    key = house.write("x1")
    await asyncio.gather(house.writer.remember(key, b"digest"), house.writer.observe([key]))
    assert await house.reader.recall(key) == b"digest"
    assert await house.reader.tombstone(key) is None
    assert await house.count() == 1
