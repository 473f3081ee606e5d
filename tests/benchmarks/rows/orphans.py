"""Orphan bytes after BlobService was killed at every step of the protocol, and one sweep."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

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
        await blob_orphans.swept(home)
        lost = await blob_orphans.lost(home, acknowledged)
        orphans = await blob_orphans.orphans(home, where)
    return Figure(
        f"orphan bytes in {'a folder' if name == 'folder' else 'MinIO'} after {2 * steps} deaths, "
        "one at each step and way, and one sweep",
        f"{sum(orphans.values()):,} bytes, {len(lost)} of {len(acknowledged)} blobs lost",
        "each step is died at twice",
        "0",
        not sum(orphans.values()) and not lost,
    )
