"""How long it takes in PostgreSQL to change and to look at an experiment of thousands of assets.

Statements are planned while the tables are small, and nobody counts their rows afterwards. Times
are held against that of writing the same assets, a row each: what looks at all of them for each of
them takes many times as long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from asgard_server.store.sql import asset_log
from asgard_server.store.sql.experiment_access import SqlAccess
from asgard_server.store.sql.session import Session

from tests.contract.asset_rows import NOON
from tests.contract.experiment_homes import ADA, Lab, a_lab

OUTPUTS = 10_000


async def took(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


async def settle(lab: Lab, id: str, *, grant: str = "", revoke: str = "") -> None:
    async def work(session: Session) -> None:
        changes: list[asset_log.Change] = []
        of_it = SqlAccess(session, changes.append)
        if grant:
            await of_it.grant(id, grant, "read", ADA, lab.clock())
        if revoke:
            await of_it.revoke(id, revoke, "read")
        await of_it.settle(id, lab.clock())
        await asset_log.log_all(session, changes)

    await lab.database.write(work)


async def used(lab: Lab) -> None:
    """Have everything planned, on all connections, for a small experiment."""
    id = await lab.committed()
    for _ in range(3):
        await lab.output(id)
    await settle(lab, id, grant="ben")
    await settle(lab, id, revoke="ben")
    await lab.sharer.set_visibility(id, "public", ADA)
    await asyncio.gather(*(lab.retractor.preview(id, None, ADA) for _ in range(4)))
    await lab.retractor.experiment(id, "it was wrong", None, ADA)


async def fill(lab: Lab, id: str, outputs: list[str]) -> None:
    async def work(session: Session) -> None:
        for one in outputs:
            await session.run(
                "INSERT INTO assets (id, asset_type, state, kind, content_type, created_at,"
                " updated_at, created_by, visibility, request_digest) VALUES (?, 'dataset',"
                " 'ready', 'inline', 'application/json', ?, 0, 'ada', 'private', '')",
                *(one, NOON),
            )
            await session.run(
                "INSERT INTO asset_links (asset_id, direction, experiment_id, linked_by, linked_at)"
                " VALUES (?, 'output', ?, 'ada', 0)",
                *(one, id),
            )

    await lab.database.write(work)


async def test_experiments_of_thousands_of_assets_take_about_as_long_as_these_took_to_write(
    tmp_path: Path,
) -> None:
    async with a_lab("postgres", tmp_path) as lab:
        for _ in range(4):
            await used(lab)
        id = await lab.committed()
        outputs = [f"x{number:05}" for number in range(OUTPUTS)]
        written = await took(lambda: fill(lab, id, outputs))
        for principal in ("ben", "eve"):
            given = await took(lambda name=principal: settle(lab, id, grant=name))  # type: ignore[misc]  # mypy wants no argument
            assert given < 2 * written, "to give"
        assert await lab.readers(outputs[-1]) == ("ada", "ben", "eve")
        back = await took(lambda: settle(lab, id, revoke="ben"))
        assert back < 2 * written, "to take back"
        assert await lab.readers(outputs[-1]) == ("ada", "eve")
        looked = await took(lambda: lab.retractor.preview(id, None, ADA))
        assert looked < 2 * written, "to preview"
