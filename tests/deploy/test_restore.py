"""A storage restored as docs/operate/backup.md says: all that was saved is served again."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import numpy as np
from gimle.asgard.monitor.storage import AsgardStorage
from gimle.asgard.v1 import run_service_pb2 as pb

from tests.cluster.processes import a_cluster
from tests.engines import postgres


async def asgard(*words: str, **environ: str) -> str:
    """What a command prints; its failure is the test's."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "MINIO_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gimle.asgard.cli", *words),
        env=clean | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


def save(where: str, runs: int) -> dict[str, float]:
    """Save runs with an array each; the sum of each array by its run's id."""
    storage = AsgardStorage(where)
    sums = {}
    for number in range(runs):
        run = storage.create_run(name=f"saved {number}")
        values = np.arange(5_000, dtype=np.float64) * number
        storage.add_result(run, result_type="DiscreteSequence", data={"values": values})
        sums[run.id] = float(values.sum())
    return sums


def load(where: str, ids: list[str]) -> dict[str, float]:
    storage = AsgardStorage(where)
    return {
        run_id: float(np.sum(storage.get_run_with_results(run_id).results[0].data["values"]))
        for run_id in ids
    }


async def test_documents_alone_bring_everything_back(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    backup = str(tmp_path / "backup")
    async with a_cluster(before, gateways=0, database=True) as cluster:
        where = f"grpc://{cluster.replicas[0].address}"
        saved = await asyncio.to_thread(save, where, 5)
        await asgard("copy", cluster.storage, backup)  # while it is served
        later = await asyncio.to_thread(save, where, 1)
        await asgard("copy", cluster.storage, backup)  # again: what is new

    saved |= later
    dsn = await postgres.empty_database("restored")
    storage = str(after / "storage")
    await asgard("copy", backup, storage)
    await asgard("migrate", ASGARD_DATABASE_URL=dsn)
    said = await asgard("reindex", "--rebuild", ASGARD_DATABASE_URL=dsn, ASGARD_STORAGE=storage)
    assert f"{2 * len(saved)} documents" in said
    async with a_cluster(after, gateways=0, database_url=dsn) as cluster, cluster.stub() as stub:
        listed = await stub.ListRuns(pb.ListRunsRequest(), timeout=20)
        assert {run.run_id for run in listed.runs} == set(saved)
        where = f"grpc://{cluster.replicas[0].address}"
        assert await asyncio.to_thread(load, where, list(saved)) == saved
