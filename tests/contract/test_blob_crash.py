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
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.blob import domain
from asgard_server.blob.domain import Blob
from asgard_server.blob.keeping import Wanted

from tests.contract import blob_homes
from tests.contract.blob_deaths import PART, WAYS, body_of
from tests.contract.blob_homes import Home, Site
from tests.engines import minio, postgres
from tests.engines.s3_store import ROOT

pytestmark = pytest.mark.timeout(300)  # on a busy machine

# Fewer would mean that something which can be seen outside is no step any more.
LEAST_STEPS = {
    "checked": 8, "in_parts": 16, "plain": 14, "written": 6, "copied": 14, "released": 12,
    "given_up": 8,
}  # fmt: skip


@pytest.fixture(params=["folder", "minio"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    where = await blob_homes.site(request.param, tmp_path)
    yield where
    if where.dsn:
        postgres.give_back(tmp_path)


@pytest.mark.parametrize("what", WAYS)
async def test_a_kill_at_every_step_and_one_sweep_leave_no_orphan_and_lose_no_blob(
    where: Site, what: str, monkeypatch: pytest.MonkeyPatch
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
        await _are_right(home, acknowledged)
        # All grants have ended, and nobody completes any more what is not complete.
        home.clock.ahead = timedelta(days=domain.UPLOAD_DAYS + 1)
        monkeypatch.setattr(domain, "MARGIN", timedelta(days=-1))  # the store's clock goes on
        await home.sweeper.sweep()
        home.clock.ahead = timedelta()
        await _are_right(home, acknowledged)
        ready = await home.sweeper._upkeep.walk("", 10_000)
        assert {each["id"] for each in acknowledged} <= {blob.id for blob in ready}
        if what == "given_up":
            assert not ready
        there = await asyncio.to_thread(_there, where)
        known = {blob.key: blob.size_bytes for blob in ready}
        orphans = {key: size for key, size in there.items() if key not in known}
        assert sum(orphans.values()) == 0, orphans
        assert there == known


async def _are_right(home: Home, acknowledged: list[dict[str, Any]]) -> None:
    """What was acknowledged can be had, byte for byte."""
    for each in acknowledged:
        blob: Blob = await home.keeper.blob(each["id"])
        size = PART + 1_000 if each["name"].startswith("in_parts") else 2_000
        ((_, grant),) = await home.keeper.lend([Wanted(blob.id)], None)
        answer = await home.send(grant)
        assert (blob.state, answer.content) == ("ready", body_of(each["name"], size)), each


def _there(where: Site) -> dict[str, int]:
    """All bytes that lie there, seen past the service: keys, and how many each has."""
    if where.name == "folder":
        top = Path(where.folder)
        found = {
            path.relative_to(top).as_posix(): path.stat().st_size
            for folder in ("blobs", ".asgard/uploads")
            for path in (top / folder).rglob("*")
            if path.is_file() and path.suffix != ".sha256"
        }
        notes = set((top / "blobs").rglob("*.sha256"))
        assert all(path.with_suffix("").exists() for path in notes), "a digest of nothing"
        return found
    client = minio.server().client()
    prefix = "some/prefix/"
    found = {
        item["Key"].removeprefix(prefix): item["Size"]
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=where.bucket)
        for item in page.get("Contents", ())
    }
    for upload in client.list_multipart_uploads(Bucket=where.bucket).get("Uploads", ()):
        parts = client.list_parts(
            Bucket=where.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
        ).get("Parts", ())
        found |= {f"{upload['Key']}#{part['PartNumber']}": part["Size"] for part in parts}
    return found
