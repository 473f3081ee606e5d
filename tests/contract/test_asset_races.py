"""Links under race with deletions and retractions, and what a large retraction costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asgard_server.store.sql import access, asset_log, links
from asgard_server.store.sql.assets import SqlAssets
from asgard_server.store.sql.retracting import retract
from asgard_server.store.sql.session import Database, Session
from gimle.asgard.core.asset_errors import AssetInvalidatedError, AssetLinkedError
from gimle.asgard.core.errors import NotFoundError

from tests.contract.asset_rows import ADA, NOON, an_asset, an_experiment, people
from tests.contract.sql_homes import ENGINES, Counting, database

NOW = datetime(2026, 11, 29, 13, tzinfo=UTC)


@pytest.fixture(params=ENGINES)
async def sessions(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with database(request.param, tmp_path) as opened:
        await opened.write(people)
        yield opened


async def test_a_link_and_a_deletion_at_once_leave_no_link_to_nothing(sessions: Database) -> None:
    assets = SqlAssets(sessions)

    async def link(session: Session, id: str) -> None:
        wish = links.Link(id, "input", "e", linked_by="ada", linked_at=NOON)
        linked = await links.link(session, wish, ADA)
        await asset_log.log_all(session, [linked.change])

    async def fill(session: Session) -> None:
        await an_experiment(session, "e")
        for turn in range(15):
            await an_asset(session, f"a{turn}")

    async def left(session: Session) -> tuple[set[str], set[str]]:
        there = {row[0] for row in await session.all("SELECT id FROM assets")}
        linked = {row[0] for row in await session.all("SELECT asset_id FROM asset_links")}
        return there, linked

    await sessions.write(fill)
    for turn in range(15):
        id = f"a{turn}"

        async def work(session: Session, id: str = id) -> None:
            await link(session, id)

        calls = [sessions.write(work), assets.delete(id, ADA, NOW)]
        ended = await asyncio.gather(*(calls if turn % 2 else calls[::-1]), return_exceptions=True)
        failed = [each for each in ended if isinstance(each, BaseException)]
        assert len(failed) == 1
        assert isinstance(failed[0], (NotFoundError, AssetLinkedError)), failed
    there, linked = await sessions.look(left)
    assert there == linked


async def test_a_link_and_a_retraction_at_once_leave_no_valid_output_of_what_was_retracted(
    sessions: Database,
) -> None:
    """An output that is linked before is invalidated; an input either finds it so or came first."""

    async def fill(session: Session) -> None:
        for turn in range(12):
            await an_experiment(session, f"e{turn}")
            await an_experiment(session, f"later{turn}")
            await an_asset(session, f"out{turn}")
            wish = links.Link(
                f"out{turn}", "output", f"e{turn}", 1, linked_by="ada", linked_at=NOON
            )
            await links.link(session, wish, ADA)

    await sessions.write(fill)
    for turn in range(12):

        async def build_on(session: Session, turn: int = turn) -> None:
            wish = links.Link(
                f"out{turn}", "input", f"later{turn}", linked_by="ada", linked_at=NOON
            )
            linked = await links.link(session, wish, ADA)
            await asset_log.log_all(session, [linked.change])

        async def take_back(session: Session, turn: int = turn) -> None:
            await access.hold(session, "experiment", f"e{turn}")
            done = await retract(session, f"e{turn}", None, "wrong", ADA, NOON)
            await asset_log.log_all(session, done.changes)

        works = [build_on, take_back] if turn % 2 else [take_back, build_on]
        ended = await asyncio.gather(
            *(sessions.write(work) for work in works), return_exceptions=True
        )
        failed = [each for each in ended if each is not None]
        assert all(isinstance(each, AssetInvalidatedError) for each in failed), failed

        async def looked(session: Session, turn: int = turn) -> tuple[bool, int]:
            row = await session.one(
                "SELECT invalidated_at IS NOT NULL FROM assets WHERE id = ?", f"out{turn}"
            )
            assert row is not None
            return bool(row[0]), len(await links.of_asset(session, f"out{turn}"))

        invalidated, count = await sessions.look(looked)
        assert invalidated
        assert count == (1 if failed else 2)


async def test_retracting_ten_thousand_outputs_is_one_quick_transaction(
    sessions: Database,
) -> None:
    count = 10_000
    ids = [f"a{number:05}" for number in range(count)]

    async def fill(session: Session) -> None:
        await an_experiment(session, "e")
        await session.many(
            "INSERT INTO assets (id, asset_type, state, kind, content_type, created_at,"
            " updated_at, created_by, visibility, request_digest)"
            " VALUES (?, 'x', 'ready', 'inline', 'x', 0, 0, 'ada', 'private', '')",
            [(each,) for each in ids],
        )
        await session.many(
            "INSERT INTO readers (object_kind, principal, created_at, object_id)"
            " VALUES ('asset', ?, 0, ?)",
            [(who, each) for each in ids for who in ("ada", "org_acme", "team_ml")],
        )
        await session.many(
            "INSERT INTO asset_links (asset_id, direction, experiment_id, variation, linked_by,"
            " linked_at) VALUES (?, 'output', 'e', 1, 'ada', 0)",
            [(each,) for each in ids],
        )

    async def take_back(session: Session, reason: str) -> int:
        await access.hold(session, "experiment", "e")
        done = await retract(session, "e", None, reason, ADA, NOON)
        await asset_log.log_all(session, done.changes)
        return done.outputs

    await sessions.write(fill)
    taken: list[float] = []
    for reason in ("wrong", "wrong indeed", "wrong at all"):

        async def work(session: Session, reason: str = reason) -> int:
            return await take_back(session, reason)

        begun = time.perf_counter()
        assert await sessions.write(work) == count
        taken.append(time.perf_counter() - begun)
    print(f"{count:,} outputs in {min(taken):.2f} s")
    assert (await sessions.look(asset_log.head))[1] == 3 * count
    counting = Counting()

    async def counted(session: Session) -> None:
        counting.session = session
        await take_back(counting, "wrong for ever")

    await sessions.write(counted)
    # No statement for each asset: how long it takes is the database's business alone.
    assert counting.statements <= 12
