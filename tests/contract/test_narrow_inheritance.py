"""How long it takes in PostgreSQL to change who may read an experiment of many assets."""

from __future__ import annotations

import time
from pathlib import Path

from asgard_server.store.sql import asset_log
from asgard_server.store.sql.experiment_access import SqlAccess
from asgard_server.store.sql.session import Session

from tests.contract.asset_rows import NOON
from tests.contract.experiment_homes import ADA, a_lab

OUTPUTS = 3_000


async def test_a_grant_takes_no_longer_where_assets_have_others_of_the_experiment(
    tmp_path: Path,
) -> None:
    """Where nobody has told the planner how large its tables are."""
    async with a_lab("postgres", tmp_path) as lab:
        id = await lab.committed()
        outputs = [f"x{number:04}" for number in range(OUTPUTS)]

        async def fill(session: Session) -> None:
            await session.many(
                "INSERT INTO assets (id, asset_type, state, kind, content_type, created_at,"
                " updated_at, created_by, visibility, request_digest) VALUES (?, 'dataset',"
                " 'ready', 'inline', 'application/json', ?, 0, 'ada', 'private', '')",
                [(each, NOON) for each in outputs],
            )
            await session.many(
                "INSERT INTO asset_links (asset_id, direction, experiment_id, linked_by, linked_at)"
                " VALUES (?, 'output', ?, 'ada', 0)",
                [(each, id) for each in outputs],
            )

        async def granted(principal: str) -> float:
            async def change(session: Session) -> None:
                changes: list[asset_log.Change] = []
                of_it = SqlAccess(session, changes.append)
                await of_it.grant(id, principal, "read", ADA, lab.clock())
                await of_it.settle(id, lab.clock())
                await asset_log.log_all(session, changes)

            begun = time.perf_counter()
            await lab.database.write(change)
            return time.perf_counter() - begun

        await lab.database.write(fill)
        first = await granted("p0")
        # Each is compared with what the experiment grants: by all of that it took 20 times as long.
        assert min([await granted(f"p{number}") for number in (1, 2, 3)]) < 5 * first
        assert await lab.readers(outputs[-1]) == ("ada", "p0", "p1", "p2", "p3")
