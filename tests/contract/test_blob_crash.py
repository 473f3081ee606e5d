"""BlobService killed at every step of the protocol: no orphan bytes, nothing acknowledged lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.contract import blob_homes, blob_orphans
from tests.contract.blob_deaths import WAYS
from tests.contract.blob_homes import Site
from tests.engines import postgres
from tests.engines.s3_store import ROOT

pytestmark = pytest.mark.timeout(300)  # on a busy machine

# Fewer would mean that something which can be seen outside is no step any more.
LEAST_STEPS = {
    "checked": 8, "in_parts": 16, "plain": 14, "written": 6, "copied": 14, "released": 12,
    "given_up": 8, "many": 30,
}  # fmt: skip


@pytest.fixture(params=["folder", "minio"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    where = await blob_homes.site(request.param, tmp_path)
    yield where
    if where.dsn:
        postgres.give_back(tmp_path)


@pytest.mark.parametrize("what", WAYS)
async def test_a_kill_at_every_step_and_one_sweep_leave_no_orphan_and_lose_no_blob(
    where: Site, what: str
) -> None:
    # Half of those who die come back, and complete what they have begun: the others' half is
    # another each time, and in a soak each step is died at both ways.
    seed = "both" if "TESTS_ROUNDS" in os.environ else str(random.SystemRandom().randrange(2**32))
    print(f"seed {seed}")
    place = json.dumps(asdict(where))
    command = [sys.executable, "-m", "tests.contract.blob_deaths", what, place, seed]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stderr)
    *acknowledged, last = map(json.loads, done.stdout.splitlines())
    assert last["steps"] >= LEAST_STEPS[what], done.stderr
    async with blob_homes.home_at(where) as home:
        assert await blob_orphans.lost(home, acknowledged) == []
        await blob_orphans.swept(home)
        assert await blob_orphans.lost(home, acknowledged) == []
        orphans = await blob_orphans.orphans(home, where)
        assert sum(orphans.values()) == 0, orphans
        if what == "given_up":
            assert await home.table.walk("", 10) == []
