"""Replicas of AssetService as real processes, beside a cluster with PostgreSQL and BlobService."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.cluster.processes import Cluster, ServiceProcess, variables
from tests.conftest import free_port


class AssetReplica(ServiceProcess):
    """A replica of AssetService at `address`, over the engines of `cluster`."""

    def __init__(self, cluster: Cluster, number: int, **settings: Any) -> None:
        self.address = f"127.0.0.1:{(port := free_port())}"
        environ = cluster.environ | variables(settings) | {"ASGARD_GRPC_PORT": str(port)}
        super().__init__("asset", environ, cluster.folder / f"asset-{number}.log")

    async def serves(self) -> bool:
        async with httpx.AsyncClient(timeout=5) as client:
            try:
                return (await client.get(f"{self.metrics}/readyz")).status_code == 200
            except httpx.HTTPError:
                return False


@asynccontextmanager
async def asset_replicas(
    cluster: Cluster, count: int = 1, **settings: Any
) -> AsyncIterator[list[AssetReplica]]:
    """Replicas that are ready, killed when the block ends; `settings` are theirs alone."""
    replicas = [AssetReplica(cluster, number, **settings) for number in range(count)]
    try:
        for replica in replicas:
            replica.launch()
        for replica in replicas:
            await replica.ready()
        yield replicas
    finally:
        for replica in replicas:
            if replica.alive:
                await replica.kill()
            print(f"--- {replica.log.name}:\n{replica.said()}")
