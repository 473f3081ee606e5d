"""Orphan bytes after BlobService was killed at every step of the protocol, then fsck --repair."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from asgard_server.blob.examining import Examiner

from tests.benchmarks.figures import Bench, Figure
from tests.contract import blob_homes, blob_orphans
from tests.contract.blob_deaths import WAYS
from tests.engines.s3_store import ROOT


def measure(bench: Bench) -> list[Figure]:
    """All that can be done with blobs, in a folder and on MinIO, died at twice at each step."""
    return [asyncio.run(_one(bench, name)) for name in ("folder", "minio")]


async def _one(bench: Bench, name: str) -> Figure:
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    where = await blob_homes.site(name, folder)
    steps = 0
    acknowledged = []
    for what in WAYS:
        place = json.dumps(asdict(where))
        command = [sys.executable, "-m", "tests.contract.blob_deaths", what, place, "both"]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, cwd=ROOT, check=True
        )
        *said, last = map(json.loads, done.stdout.splitlines())
        acknowledged += said
        steps += last["steps"]
    async with blob_homes.home_at(where) as home:
        # The sweeper ends uploads whose time is over; fsck has what is left to find.
        await blob_orphans.swept(home)
        swept = await blob_orphans.orphans(home, where)
        home.clock.ahead = timedelta(days=2)
        examiner = Examiner(home.table, home.holdings, home.clock, young=timedelta(0))
        await examiner.examine(repair=True)
        home.clock.ahead = timedelta(0)
        lost = await blob_orphans.lost(home, acknowledged)
        orphans = await blob_orphans.orphans(home, where)
    bench.say(
        f"  {name}: {len(acknowledged)} acknowledged; {sum(swept.values())} orphan bytes after the"
        " sweep alone"
    )
    return Figure(
        f"orphan bytes in {'a folder' if name == 'folder' else 'MinIO'} after {2 * steps} deaths, "
        "before and after each step, and one fsck --repair",
        f"{sum(orphans.values()):,} bytes, {len(lost)} of {len(acknowledged)} blobs lost",
        "each step is died at twice",
        "0",
        not sum(orphans.values()) and not lost,
    )
