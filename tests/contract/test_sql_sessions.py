"""Work that is written once does the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asgard_server.store.sql.session import Database, Session, marks
from gimle.asgard.core.errors import InvalidFieldError

from tests.contract.sql_homes import ENGINES, database

ADD = "INSERT INTO deleted_ids (object_kind, id, deleted_at) VALUES (?, ?, ?)"


@pytest.fixture(params=ENGINES)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with database(request.param, tmp_path) as opened:
        yield opened


async def test_statements_answer_rows_as_tuples_and_how_many_they_changed(
    sessions: Database,
) -> None:
    async def write(session: Session) -> tuple[int, int]:
        await session.many(ADD, [("asset", f"a{number}", number) for number in range(5)])
        changed = await session.run("UPDATE deleted_ids SET deleted_at = ? WHERE id > ?", 9, "a2")
        return changed, await session.run(ADD, "asset", "b", 2**62)

    assert await sessions.write(write) == (2, 1)

    async def read(session: Session) -> None:
        few = ["a0", "a1", "nobody"]
        query = f"SELECT id, deleted_at FROM deleted_ids WHERE id IN ({marks(few)}) ORDER BY id"
        assert await session.all(query, *few) == [("a0", 0), ("a1", 1)]
        assert await session.one("SELECT id FROM deleted_ids WHERE deleted_at = ?", 2**62) == ("b",)
        assert await session.one("SELECT id FROM deleted_ids WHERE id = ?", "nobody") is None
        assert await session.value("SELECT count(*) FROM deleted_ids") == 6
        none = f"SELECT id FROM deleted_ids WHERE id IN ({marks([])})"
        assert await session.all(none) == []

    await sessions.read(read)
    await sessions.look(read)


async def test_work_that_fails_leaves_nothing_behind(sessions: Database) -> None:
    async def fail(session: Session) -> None:
        await session.run(ADD, "asset", "half", 1)
        raise LookupError("half way")

    with pytest.raises(LookupError, match="half way"):
        await sessions.write(fail)
    assert await sessions.look(_count) == 0


async def test_of_two_who_count_on_from_a_row_neither_is_lost(sessions: Database) -> None:
    async def begin(session: Session) -> None:
        await session.run(ADD, "asset", "counter", 0)

    async def count_on(session: Session) -> None:
        found = await session.value(
            "SELECT deleted_at FROM deleted_ids WHERE id = ?" + session.for_update, "counter"
        )
        await session.run(
            "UPDATE deleted_ids SET deleted_at = ? WHERE id = ?", found + 1, "counter"
        )

    async def counted(session: Session) -> int:
        found: int = await session.value("SELECT deleted_at FROM deleted_ids")
        return found

    await sessions.write(begin)
    await asyncio.gather(*(sessions.write(count_on) for _ in range(20)))
    assert await sessions.look(counted) == 20


async def test_texts_are_ordered_by_code_points(sessions: Database) -> None:
    async def write(session: Session) -> None:
        await session.many(ADD, [("asset", each, 0) for each in ("a", "B", "_", "é", "b")])

    async def ordered(session: Session) -> list[str]:
        return [row[0] for row in await session.all("SELECT id FROM deleted_ids ORDER BY id")]

    await sessions.write(write)
    assert await sessions.look(ordered) == ["B", "_", "a", "b", "é"]


@pytest.mark.parametrize("sessions", ["sqlite"], indirect=True)
async def test_work_that_waits_for_something_else_is_a_defect_that_says_so(
    sessions: Database,
) -> None:
    async def waiting(session: Session) -> None:
        await session.run(ADD, "asset", "half", 1)
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="awaited something that is not its session"):
        await sessions.write(waiting)
    assert await sessions.look(_count) == 0


async def _count(session: Session) -> int:
    found: int = await session.value("SELECT count(*) FROM deleted_ids")
    return found


async def test_a_text_that_postgresql_has_no_letters_for_is_the_callers_mistake(
    sessions: Database,
) -> None:
    async def find(session: Session) -> object:
        return await session.value("SELECT id FROM deleted_ids WHERE id = ?", "a\0b")

    async def engine(session: Session) -> str:
        return session.engine

    for reads in (sessions.look, sessions.read, sessions.write):
        if await sessions.look(engine) == "sqlite":
            assert await reads(find) is None
            continue
        with pytest.raises(InvalidFieldError, match="NUL"):
            await reads(find)
