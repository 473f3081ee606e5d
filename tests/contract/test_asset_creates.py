"""Assets that are asked for at once: made together where that can be, and as if one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from asgard_server.asset import wishes
from asgard_server.asset.domain import Asset
from asgard_server.asset.store import Filter
from asgard_server.asset.wishes import Asked, Wish
from asgard_server.auth.principal import Principal
from asgard_server.rpc import requests
from asgard_server.store.sql import asset_rows
from asgard_server.store.sql.asset_creates import SMALL
from asgard_server.store.sql.assets import SqlAssets
from asgard_server.store.sql.session import Database, Engine, Row, Session
from gimle.asgard.core.access_errors import NotAMemberError
from gimle.asgard.core.errors import AlreadyExistsError, DeletedError, InvalidFieldError

from tests.contract.asset_rows import ADA, BEN, people
from tests.contract.sql_homes import ENGINES, Counting, database

T = TypeVar("T")
NOW = datetime(2026, 11, 29, 13, tzinfo=UTC)
_TABLES = {
    "assets": "id",
    "asset_contents": "asset_id",
    "asset_texts": "asset_id",
    "grants": "object_id, principal, action",
    "readers": "object_id, principal",
    "asset_series": "scope_id, name",
    "asset_aliases": "asset_id",
    "asset_alias_history": "number",
    "audit": "number",
    "asset_log": "revision",
}
# What each database calls in its own way: names' rows, and the words of texts.
_OWN = frozenset({"series_id", "words", "number"})


class Watched:
    """A database that counts the transactions that write, and how they went."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.writes = 0
        self.failed = 0

    @property
    def engine(self) -> Engine:
        return self._database.engine

    async def write(self, work: Callable[[Session], Awaitable[T]]) -> T:
        self.writes += 1
        try:
            return await self._database.write(work)
        except BaseException:
            self.failed += 1
            raise

    async def read(self, work: Callable[[Session], Awaitable[T]]) -> T:
        return await self._database.read(work)

    async def look(self, work: Callable[[Session], Awaitable[T]]) -> T:
        return await self._database.look(work)


class Numbered(NamedTuple):
    """A request with this id."""

    request_id: str
    trace: requests.Metadata = ()


@pytest.fixture(params=ENGINES)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Watched]:
    async with database(request.param, tmp_path) as opened:
        await opened.write(people)
        yield Watched(opened)


def _asked(number: int, by: Principal = ADA, **wish: Any) -> Asked:
    """What is asked for under the id of this number; inline content unless told otherwise."""
    given: dict[str, Any] = {"asset_type": "dataset", "id": f"asset-{number:03}", **wish}
    if "uri" not in given:
        given.setdefault("content", b'{"words": "of asset %d"}' % number)
    digest = repr(sorted(given.items()))
    return wishes.asked(Wish(**given, digest=digest), by.sub, NOW)


async def _together(
    assets: SqlAssets, asked: Sequence[Asked], by: Principal = ADA
) -> list[Asset | BaseException]:
    async def one(number: int, wanted: Asked) -> Asset:
        requests.bind(Numbered(f"request-{number}"))
        return await assets.create(wanted, by)

    calls = (one(number, wanted) for number, wanted in enumerate(asked))
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_assets_that_are_made_together_are_written_like_those_made_one_by_one(
    tmp_path: Path,
) -> None:
    shapes: list[dict[str, Any]] = [
        {},
        {"name": "net"},
        {"name": "plot", "pending_reasons": ("review_required",)},
        {"uri": "s3://bucket/key", "size_bytes": 5, "name": "far"},
        {"metadata": b'{"lr": 0.001}', "asset_config": b'{"a": 1}', "visibility": "public"},
        {"organization_id": "o/acme", "name": "net", "visibility": "org_public"},
        {"organization_id": "org_acme", "content": b'"a text"', "content_type": "text/plain"},
        {"name": "n\u00e4me", "content": b"[1, 2]"},
    ]
    kept: list[dict[str, list[Row]]] = []
    answers: list[list[Asset]] = []
    async with AsyncExitStack() as stack:
        for engine in ENGINES:
            folder = tmp_path / engine
            folder.mkdir()
            opened = Watched(await stack.enter_async_context(database(engine, folder)))
            await opened.write(people)
            made = []
            for turn in range(3):
                opened.writes = 0
                # Ids rise in the order of the calls, so that logs may be compared.
                asked = [_asked(10 * turn + at, BEN, **each) for at, each in enumerate(shapes)]
                made += await _together(SqlAssets(opened), asked, BEN)
                assert opened.writes == (1 if engine == "postgres" else len(shapes))
            answers.append([replace(each, series_id=None) for each in _assets(made)])
            kept.append(await opened.look(_everything))
    assert answers[0] == answers[1]
    assert [each.version for each in answers[1]][-8:] == [None, 3, 3, 3, None, 3, None, 3]
    for table in _TABLES:
        assert kept[0][table] == kept[1][table], table
    assert len(kept[1]["asset_log"]) == 3 * 8 + 2 * 4  # 24 new ones; "latest" left 4 of them, twice


async def test_a_create_that_is_refused_spoils_none_of_those_beside_it(sessions: Watched) -> None:
    assets = SqlAssets(sessions)
    there = await assets.create(_asked(1), ADA)
    await assets.create(_asked(2), ADA)
    await assets.delete("asset-002", ADA, NOW)
    sessions.writes = sessions.failed = 0
    answers = await _together(
        assets,
        [
            _asked(1),
            _asked(1, content=b"2"),
            _asked(2),
            _asked(3, organization_id="o/acme"),
            _asked(4, visibility="org_public"),
            _asked(5, name="net"),
            _asked(6, name="net"),
            _asked(7),
            _asked(7),
            _asked(8, content=b'"%s"' % (b"a" * SMALL)),
        ],
    )
    assert answers[0] == there
    for at, error in enumerate((AlreadyExistsError, DeletedError, NotAMemberError), 1):
        assert isinstance(answers[at], error), answers[at]
    assert isinstance(answers[4], InvalidFieldError)
    versions, (again, another), large = answers[5:7], answers[7:9], answers[9]
    assert sorted(each.version or 0 for each in _assets(versions)) == [1, 2]
    assert again == another
    assert _assets([large])[0].size_bytes == SMALL + 2
    listed = await assets.page(ADA, Filter(), None, 20)
    assert {each.id for each in listed} == {f"asset-{n:03}" for n in (1, 5, 6, 7, 8)}
    if sessions.engine == "postgres":
        # All of them but the last were tried together; those that were not made then, alone.
        assert (sessions.writes, sessions.failed) == (1 + 8, 4)


async def test_what_the_database_refuses_of_one_is_no_trouble_of_the_others(
    sessions: Watched,
) -> None:
    bad = _asked(2)
    bad = replace(bad, asset=replace(bad.asset, asset_type="a\0b", visibility="private"))
    assets = SqlAssets(sessions)
    first, refused, last = await _together(assets, [_asked(1), bad, _asked(3)])
    assert [each.id for each in _assets([first, last])] == ["asset-001", "asset-003"]
    if sessions.engine == "postgres":  # SQLite keeps such a text
        assert isinstance(refused, InvalidFieldError)
    assert len(await assets.page(ADA, Filter(), None, 9)) == (2 if sessions.failed else 3)


async def test_replicas_that_make_versions_of_the_same_names_at_once_wait_for_each_other(
    sessions: Watched,
) -> None:
    names, turns = [f"name {number}" for number in range(6)], 12
    replicas = [SqlAssets(sessions), SqlAssets(sessions)]

    async def replica(which: int) -> None:
        for turn in range(turns):
            ordered = names if which else names[::-1]
            asked = [
                _asked(100 * turn + 10 * which + at, name=name) for at, name in enumerate(ordered)
            ]
            _assets(await _together(replicas[which], asked))

    await asyncio.gather(replica(0), replica(1))

    async def looked(session: Session) -> tuple[list[Row], list[Row], list[int]]:
        versions = "SELECT name, version FROM assets ORDER BY name, version"
        latest = (
            "SELECT o.name, o.version FROM asset_aliases AS a JOIN assets AS o ON o.id = a.asset_id"
            " WHERE a.alias = 'latest' ORDER BY o.name"
        )
        log = await session.all("SELECT revision FROM asset_log ORDER BY revision")
        return await session.all(versions), await session.all(latest), [row[0] for row in log]

    versions, latest, log = await sessions.look(looked)
    assert versions == [(name, n) for name in names for n in range(1, 2 * turns + 1)]
    assert latest == [(name, 2 * turns) for name in names]
    count = len(names) * 2 * turns
    assert log == list(range(1, 2 * count - len(names) + 1))  # all but the first left one behind
    if sessions.engine == "postgres":
        assert (sessions.writes, sessions.failed) == (2 * turns, 0)


async def test_a_create_holds_the_head_of_the_log_through_nothing_but_its_commit(
    sessions: Watched,
) -> None:
    """Also where it goes alone: whoever else writes waits for whoever has the head."""
    said: list[str] = []

    class Noting(Counting):
        async def all(self, sql: str, *values: object) -> list[Row]:
            said.append(sql)
            return await super().all(sql, *values)

        async def one(self, sql: str, *values: object) -> Row | None:
            said.append(sql)
            return await super().one(sql, *values)

        async def run(self, sql: str, *values: object) -> int:
            said.append(sql)
            return await super().run(sql, *values)

    class Noted(Watched):
        async def write(self, work: Callable[[Session], Awaitable[T]]) -> T:
            noting = Noting()

            async def noted(session: Session) -> T:
                noting.session = session
                return await work(noting)

            return await super().write(noted)

    if sessions.engine == "sqlite":  # there the writer is one
        return
    assets = SqlAssets(Noted(sessions))
    for content in (b"1", b'"%s"' % (b"a" * SMALL)):
        for turn in range(2):
            said.clear()
            await assets.create(_asked(turn + len(content), name="net", content=content), ADA)
            assert [at for at, sql in enumerate(said, 1) if "asset_log_head" in sql] == [len(said)]
            if len(content) == 1:
                assert len(said) == 2 + turn  # versions, what "latest" points at, all rows


async def test_the_aliases_of_an_asset_are_found_by_an_index(sessions: Watched) -> None:
    asset = await SqlAssets(sessions).create(_asked(1, name="net"), ADA)
    asked: list[tuple[str, tuple[object, ...]]] = []

    class Noting(Counting):
        async def all(self, sql: str, *values: object) -> list[Row]:
            asked.append((sql, values))
            return await super().all(sql, *values)

    async def plan(session: Session) -> str:
        noting = Noting()
        noting.session = session
        assert await asset_rows.aliases(noting, [asset]) == {asset.id: ("latest",)}
        ((sql, values),) = asked
        word = "EXPLAIN QUERY PLAN" if session.engine == "sqlite" else "EXPLAIN"
        return "\n".join(str(row[-1]) for row in await session.all(f"{word} {sql}", *values))

    text = await sessions.look(plan)
    by_name = "(series_id=?" if sessions.engine == "sqlite" else "Index Cond: (series_id = ANY"
    assert by_name in text, text


def _assets(answers: Sequence[Asset | BaseException]) -> list[Asset]:
    """The answers, each of which is to be an asset."""
    for each in answers:
        if isinstance(each, BaseException):
            raise each
    return [each for each in answers if isinstance(each, Asset)]


async def _everything(session: Session) -> dict[str, list[Row]]:
    """All that is kept of assets."""
    found: dict[str, list[Row]] = {}
    for table, order in _TABLES.items():
        names = await _columns(session, table)
        chosen = ", ".join(each for each in names if each not in _OWN)
        if table == "asset_series":
            chosen = chosen.removeprefix("id, ")
        found[table] = await session.all(f"SELECT {chosen} FROM {table} ORDER BY {order}")
    return found


async def _columns(session: Session, table: str) -> list[str]:
    query = "SELECT name FROM pragma_table_info(?)"
    if session.engine == "postgres":
        query = (
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = 'asgard' AND table_name = ?"
        )
    return sorted(str(row[0]) for row in await session.all(query, table))
