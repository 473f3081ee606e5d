"""Whoever is killed at any step leaves nothing that one sweep does not clear away."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
from asgard_server.blob.examining import Examiner
from asgard_server.store.sql.asset_upkeep import AssetClaims
from asgard_server.store.sql.session import Session

from tests.contract import blob_homes
from tests.contract.asset_deaths import WAYS
from tests.contract.asset_homes import ADA, AssetHome, asset_home_at
from tests.engines import postgres

ROOT = Path(__file__).resolve().parents[2]

# Whose rows are of an asset, by which column.
TABLES = {
    "asset_components": "asset_id",
    "asset_contents": "asset_id",
    "asset_texts": "asset_id",
    "asset_aliases": "asset_id",
    "grants": "object_id",
    "readers": "object_id",
}


# What PostgreSQL and MinIO do otherwise, they do in these two.
CASES = [*(("folder", what) for what in WAYS), ("minio", "finalized"), ("minio", "deleted")]


@pytest.mark.parametrize(("engine", "what"), CASES)
async def test_who_dies_at_any_step_leaves_no_orphan(
    engine: str, what: str, tmp_path: Path
) -> None:
    where = await blob_homes.site(engine, tmp_path)
    async with asset_home_at(where):
        pass  # the tables are there before anybody dies
    command = [sys.executable, "-m", "tests.contract.asset_deaths", what, json.dumps(asdict(where))]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *acknowledged, steps = map(json.loads, done.stdout.splitlines())
    assert steps["steps"] >= 6, done.stdout
    async with asset_home_at(where) as home:
        await home.settle()
        for each in acknowledged:
            assert (await home.keeper.show(ADA, each["id"])).asset.state == "ready"
        await nothing_is_left_over(home)
    if where.dsn:
        postgres.give_back(tmp_path)


async def nothing_is_left_over(home: AssetHome) -> None:
    """No bytes, rows, grants or words of what is not there, and no bytes of what is given up."""
    for table, column in TABLES.items():
        lost = await home.count(table, f"WHERE {column} NOT IN (SELECT id FROM assets)")
        assert lost == 0, table

    async def needed(session: Session) -> set[str]:
        rows = await session.all(
            "SELECT c.blob_id FROM asset_components AS c JOIN assets AS a ON a.id = c.asset_id"
            " WHERE a.state <> 'abandoned' AND a.size_bytes IS NOT NULL"
        )
        return {row[0] for row in rows}

    kept = await home.database.look(needed)
    there = {key.split("/")[1] for key in await home.store.keys()}
    # A blob of inline content is made at its first download: of one that died, perhaps not yet.
    inline = await home.count("asset_contents")
    assert there <= kept
    assert inline or there == kept
    assert await home.count("outbox") == 0
    examiner = Examiner(
        *(home.store.table, home.store.holdings, home.store.clock),
        claimants=(AssetClaims(home.database),),
        young=timedelta(),
        margin=timedelta(),
    )
    assert (await examiner.examine()).findings == []
