"""Pages of what a caller may read: whole, without holes, in order, and as quick wherever they lie.

The list that is compared with is made of the same rows in Python.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from asgard_server.auth.principal import LOCAL, Principal
from asgard_server.store.sql import access, readable
from asgard_server.store.sql.newest import Position
from asgard_server.store.sql.session import Database, Session

from tests.contract.asset_rows import NOON
from tests.contract.sql_homes import ENGINES, database

MANY = 100_000
FEW = 300

LAYOUTS: dict[str, Callable[[int, int], bool]] = {
    "spread": lambda number, of: number % 20 == 0,
    "newest": lambda number, of: number >= of * 19 // 20,
    "oldest": lambda number, of: number < of // 20,
}


@pytest.fixture(params=ENGINES)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with database(request.param, tmp_path) as opened:
        yield opened


def in_teams(count: int) -> Principal:
    return Principal("ada", teams=frozenset(f"t{count}_{number}" for number in range(count)))


async def fill(
    sessions: Database, count: int, readers_of: Callable[[int], list[str]], *, same_time: int = 1
) -> list[tuple[Position, list[str]]]:
    """Add assets with these readers; answer them newest first."""
    made = [
        ((NOON + number // same_time, f"a{number:06}"), sorted(set(readers_of(number))))
        for number in range(count)
    ]

    async def work(session: Session) -> None:
        await session.many(
            "INSERT INTO assets (id, asset_type, state, kind, content_type, created_at,"
            " updated_at, created_by, visibility, request_digest)"
            " VALUES (?, ?, 'ready', 'inline', 'application/json', ?, 0, 'eve', 'private', '')",
            [(id, f"kind{at % 3}", at) for (at, id), _ in made],
        )
        await session.many(
            "INSERT INTO readers (object_kind, principal, created_at, object_id)"
            " VALUES ('asset', ?, ?, ?)",
            [(each, at, id) for (at, id), readers in made for each in readers],
        )

    await sessions.write(work)
    return made[::-1]


async def whole(
    sessions: Database, who: Principal, size: int, where: str = "", *values: object
) -> list[Position]:
    """All pages of a list, one after the other."""
    found: list[Position] = []
    while True:
        behind = found[-1] if found else None

        async def one(session: Session, behind: Position | None = behind) -> list[Position]:
            return await access.page(session, "asset", who, behind, size, where, values)

        page = await sessions.look(one)
        found += page
        if len(page) < size:
            return found


@pytest.mark.parametrize("teams", [1, 20, 64, 65, 300])
async def test_pages_are_whole_in_order_and_without_holes(sessions: Database, teams: int) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    who = in_teams(teams)
    keys = sorted(who.keys)
    made = await fill(
        sessions,
        FEW,
        lambda number: ["eve", *chance.choices([*keys, *["x"] * len(keys)], k=3)],
        same_time=chance.choice([1, 7, FEW]),
    )
    mine = [position for position, readers in made if who.keys.intersection(readers)]
    assert 0 < len(mine) < FEW
    for size in (3, 50, FEW):
        assert await whole(sessions, who, size) == mine
    ones = [each for each in mine if each[0] % 3 == 1]
    for size in (7, FEW):
        assert await whole(sessions, who, size, "o.asset_type = ?", "kind1") == ones

    async def narrow(session: Session) -> list[Position]:
        where, values = "o.asset_type = ?", ("kind1",)
        return await access.page(session, "asset", who, mine[3], FEW, where, values, narrow=True)

    assert await sessions.look(narrow) == [each for each in ones if each < mine[3]]
    assert await whole(sessions, LOCAL, 77) == [position for position, _ in made]
    public = [position for position, readers in made if "everyone" in readers]
    assert await whole(sessions, Principal("nobody"), 10) == public


async def test_a_page_is_right_where_the_newest_of_some_say_nothing_of_the_others(
    sessions: Database,
) -> None:
    """One team has very much that is new, many have a little that is old, and many nothing."""
    who = in_teams(300)
    teams = sorted(who.teams)

    def readers_of(number: int) -> list[str]:
        return [teams[number % 100]] if number < 400 else [teams[200]]

    made = await fill(sessions, 3_400, readers_of)
    mine = [position for position, _ in made]
    for size in (51, 1_000):
        assert await whole(sessions, who, size) == mine
    idle = Principal("ada", teams=frozenset(f"idle{number}" for number in range(200)))
    assert await whole(sessions, idle, 51) == []


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_a_first_page_costs_a_few_seeks_wherever_the_readable_ones_lie(
    sessions: Database, layout: str
) -> None:
    callers = {count: in_teams(count) for count in (1, 20, 1_000)}
    fits = LAYOUTS[layout]

    def readers_of(number: int) -> list[str]:
        mine = [f"t{count}_{number * 7 % count}" for count in callers]
        return [f"u{number % 50}", *(mine if fits(number, MANY) else [])]

    made = await fill(sessions, MANY, readers_of)
    mine = [position for position, readers in made if "t1_0" in readers]
    assert len(mine) == MANY // 20
    for who in callers.values():

        async def page(session: Session, who: Principal = who) -> list[Position]:
            return await access.page(session, "asset", who, None, 51)

        found, took = await quickest(sessions, page)
        assert found == mine[:51]
        # A scan of what lies before the oldest ones takes more than ten times this long.
        assert took < 0.025, f"{len(who.keys)} principals took {took * 1000:.1f} ms"
    assert (await whole(sessions, callers[1_000], 1_000)) == mine


async def quickest(
    sessions: Database, work: Callable[[Session], Awaitable[list[Position]]]
) -> tuple[list[Position], float]:
    """What work answers, and the shortest of many times it takes, whoever else uses the machine."""
    shortest = float("inf")
    for _ in range(30):
        begun = time.perf_counter()
        found = await sessions.look(work)
        shortest = min(shortest, time.perf_counter() - begun)
    return found, shortest


async def test_what_may_be_read_is_a_condition_of_any_question(sessions: Database) -> None:
    await fill(sessions, 30, lambda number: ["eve", *(["t1_0"] if number % 3 == 0 else [])])

    async def counted(session: Session, who: Principal) -> int:
        may, values = readable.readable(session, "asset", "o.id", who)
        found: int = await session.value(f"SELECT count(*) FROM assets AS o WHERE {may}", *values)
        return found

    assert await sessions.look(lambda session: counted(session, in_teams(1))) == 10
    assert await sessions.look(lambda session: counted(session, in_teams(300))) == 0
    assert await sessions.look(lambda session: counted(session, Principal("eve"))) == 30
    assert await sessions.look(lambda session: counted(session, LOCAL)) == 30
