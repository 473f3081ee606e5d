"""Replicas of BlobService as real processes, over engines of their own.

    async with a_blob_cluster(tmp_path, **engines) as cluster:
        await cluster.replicas[0].kill()

As processes.py has it for RunService: `asgard serve blob`, on ports kept over restarts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.processes import ServiceProcess, variables
from tests.conftest import free_port
from tests.engines import postgres, redis
from tests.engines.s3_store import Store


class BlobReplica(ServiceProcess):
    """A replica of BlobService at `address`."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        super().__init__("blob", environ | {"ASGARD_GRPC_PORT": str(self.port)}, log)

    @property
    def where(self) -> str:
        """Its address as the library takes it."""
        return f"grpc://{self.address}"

    async def serves(self) -> bool:
        async with httpx.AsyncClient(timeout=5) as client:
            try:
                return (await client.get(f"{self.metrics}/readyz")).status_code == 200
            except httpx.HTTPError:
                return False


@dataclass
class BlobCluster:
    """Replicas over the same engines: `dsn` is the database, `storage` the s3:// address."""

    folder: Path
    storage: str
    environ: dict[str, str]
    dsn: str
    store: Store
    redis: redis.Server | None = None
    replicas: list[BlobReplica] = field(default_factory=list)

    @property
    def bucket(self) -> str:
        """The bucket that holds the bytes."""
        return self.storage.removeprefix("s3://").partition("/")[0]

    @property
    def prefix(self) -> str:
        """What stands before all keys of BlobService in it."""
        return self.storage.removeprefix("s3://").partition("/")[2] + "/"

    def add_replica(self, **settings: Any) -> BlobReplica:
        """One more replica, not started yet."""
        log = self.folder / f"blob-{len(self.replicas)}.log"
        replica = BlobReplica(self.environ | variables(settings), log)
        self.replicas.append(replica)
        return replica

    async def end(self) -> None:
        """Kill whatever runs, and show what all have said (pytest does when a test fails)."""
        for replica in self.replicas:
            if replica.alive:
                await replica.kill()
            print(f"--- {replica.log.name}:\n{replica.said()}")


@asynccontextmanager
async def a_blob_cluster(
    folder: Path,
    *,
    s3: Store,
    replicas: int = 2,
    database: bool = True,
    bell: bool = True,
    **settings: Any,
) -> AsyncIterator[BlobCluster]:
    """Replicas on PostgreSQL and a new bucket of `s3`, killed when the block ends.

    `bell`: they are told of a Redis server of their own, too. `settings` go to every replica.
    """
    assert database, "blobs in S3 need PostgreSQL"
    given = {"drain_seconds": 5, "log_format": "json", "log_level": "info"}
    environ = variables(given | settings) | s3.variables
    storage = f"s3://{await asyncio.to_thread(s3.bucket)}/asgard"
    dsn = await postgres.database_of(folder)
    environ |= {"ASGARD_STORAGE": storage, "ASGARD_DATABASE_URL": dsn}
    cluster = BlobCluster(folder, storage, environ, dsn, s3)
    if bell:
        cluster.redis = await asyncio.to_thread(redis.Server)
        cluster.environ["ASGARD_REDIS_URL"] = cluster.redis.url
    try:
        for _ in range(replicas):
            cluster.add_replica().launch()
        for replica in cluster.replicas:
            await replica.ready()
        yield cluster
    finally:
        await cluster.end()
        if cluster.redis is not None:
            await asyncio.to_thread(cluster.redis.remove)
        postgres.give_back(folder)
