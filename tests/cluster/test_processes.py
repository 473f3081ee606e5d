"""Replicas and gateways as processes of their own: start, stop, outages, engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gimle.asgard.v1 import run_service_pb2 as pb

from tests.cluster.processes import a_cluster, eventually

ENGINES: list[dict[str, Any]] = [{}, {"database": True, "bell": True}]


@pytest.mark.parametrize("engines", ENGINES, ids=["folder", "postgres-redis"])
async def test_what_one_replica_saves_every_gateway_and_replica_shows(
    tmp_path: Path, engines: dict[str, Any]
) -> None:
    async with (
        a_cluster(tmp_path, replicas=2, **engines) as cluster,
        cluster.client() as client,
        cluster.stub(cluster.replicas[0]) as first,
        cluster.stub(cluster.replicas[1]) as second,
    ):
        made = (await first.CreateRun(pb.CreateRunRequest(name="here"))).run
        got = await second.GetRun(pb.GetRunRequest(run_id=made.run_id))
        assert got.run.name == "here"

        async def listed() -> bool:
            return [each["id"] for each in (await client.get("/api/runs")).json()] == [made.run_id]

        await eventually(listed)
        for replica in cluster.replicas:
            for name in ("", "documents", "index", "bell"):
                assert await replica.health(name) == "SERVING"
        for process in (cluster.gateway, *cluster.replicas):
            assert await process.stop() == 0
