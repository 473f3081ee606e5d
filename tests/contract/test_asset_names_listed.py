"""A list of one name looks at what has that name, however much else there is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from asgard_server.asset.store import Filter
from asgard_server.auth.principal import LOCAL, Principal
from asgard_server.store.sql import asset_lists
from asgard_server.store.sql.session import Database, Row, Session

from tests.contract.sql_homes import ENGINES, Counting, database

MANY = 400


@pytest.fixture(params=ENGINES)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with database(request.param, tmp_path) as opened:
        await opened.write(fill)
        yield opened


async def fill(session: Session) -> None:
    """Assets of two names, of which Ada may read every second."""
    await session.many(
        "INSERT INTO assets (id, asset_type, name, state, kind, content_type, created_at,"
        " updated_at, created_by, visibility, request_digest) VALUES (?, 'dataset', ?, 'ready',"
        " 'inline', 'application/json', ?, 0, 'eve', 'private', '')",
        [(f"a{each:04}", "rare" if each % 100 < 2 else "often", each) for each in range(MANY)],
    )
    await session.many(
        "INSERT INTO readers (object_kind, principal, created_at, object_id)"
        " VALUES ('asset', 'ada', ?, ?)",
        [(each, f"a{each:04}") for each in range(0, MANY, 2)],
    )


class Planned(Counting):
    """A session that asks for the plan of what it is asked."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.asked: list[tuple[str, str]] = []

    async def all(self, sql: str, *values: object) -> list[Row]:
        how = "EXPLAIN QUERY PLAN" if self.engine == "sqlite" else "EXPLAIN"
        plan = await self.session.all(f"{how} {sql}", *values)
        self.asked.append((sql, "\n".join(str(row[-1]) for row in plan)))
        return await super().all(sql, *values)


@pytest.mark.parametrize("who", [Principal("ada"), LOCAL], ids=["ada", "local"])
@pytest.mark.parametrize("rare", [5_000, 10])
async def test_a_list_of_a_rare_name_is_found_by_the_name(
    sessions: Database, who: Principal, rare: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asset_lists, "_RARE", rare)
    for name in ("rare", "often", "nobody's"):

        async def page(session: Session, name: str = name) -> tuple[list[str], str, str]:
            planned = Planned(session)
            asked = cast(Session, planned)
            found = await asset_lists.page(asked, who, Filter(name=name), None, MANY)
            return [each.id for each in found], *planned.asked[0]

        ids, planned_sql, plan = await sessions.look(page)
        numbers = [n for n in range(MANY) if (n % 100 < 2) == (name == "rare") and name[0] != "n"]
        if not who.sees_everything:
            numbers = [each for each in numbers if each % 2 == 0]
        assert ids == [f"a{each:04}" for each in reversed(numbers)]
        # What many are called is looked for among what the caller may read, newest first.
        by_name = name != "often" or rare > MANY or who.sees_everything
        assert by_name == ("merged" not in planned_sql), planned_sql
        if by_name:
            assert "assets_by_name" in plan, plan
