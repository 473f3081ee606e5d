"""A whole cluster that asks everybody who they are: a replica of every service, and a gateway.

    async with a_required_cluster(tmp_path, engines) as it:
        key = await it.key_of("ada")

Everything is the program that operators run, over PostgreSQL, Redis and an S3 store, with
ASGARD_AUTH=required and a service key by which the processes know each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asgard_server.auth.believing import passing
from asgard_server.auth.principal import Principal
from gimle.asgard.v1 import identity_service_pb2 as pb
from gimle.asgard.v1 import identity_service_pb2_grpc as pb_grpc
from gimle.asgard.v1.principal_pb2 import Member

from tests.cluster.processes import Cluster, ServiceProcess, a_cluster, open_channel
from tests.deploy.asset_replicas import AssetReplica
from tests.deploy.blob_replicas import BlobReplica

SERVICE_KEY = "known to the services of this cluster"
# As the gateway asks for an administrator of identity: there is nobody yet who could show a key.
FOR_ROOT = (
    ("x-asgard-service-key", SERVICE_KEY),
    ("x-asgard-principal", passing(Principal("root", admin=True))),
)


@dataclass(frozen=True)
class RequiredCluster:
    """Its processes; `url` is its gateway's."""

    cluster: Cluster
    asset: AssetReplica
    blob: BlobReplica

    @property
    def url(self) -> str:
        """Where its REST is."""
        return self.cluster.gateway.url

    async def ask(self, method: str, **request: Any) -> Any:
        """Call IdentityService for an administrator."""
        async with open_channel(self.asset.address, {}) as channel:
            identity: Any = pb_grpc.IdentityServiceStub(channel)
            asked = getattr(pb, f"{method}Request")(**request)
            return await getattr(identity, method)(asked, metadata=FOR_ROOT)

    async def key_of(self, handle: str, *scopes: str) -> str:
        """A key of a new user `user_<handle>`, who administers organisations and teams."""
        await self.ask("CreateUser", user_id=f"user_{handle}", handle=handle)
        for scope in scopes:
            wish = {"scope_id": scope, "user_id": f"@{handle}", "role": Member.ROLE_ADMIN}
            await self.ask("SetMember", **wish)
        return str((await self.ask("CreateApiKey", name="a key", user_id=f"@{handle}")).key)


@asynccontextmanager
async def a_required_cluster(
    folder: Path, engines: dict[str, Any]
) -> AsyncIterator[RequiredCluster]:
    """Start it; everything of it is killed when the block ends."""
    told: dict[str, Any] = {"auth": "required", "service_key": SERVICE_KEY, **engines}
    async with a_cluster(folder, replicas=0, gateways=0, started=False, **told) as cluster:
        asset, blob = AssetReplica(cluster, 0), BlobReplica(cluster, 0)
        cluster.environ["ASGARD_IDENTITY_ADDRESS"] = asset.address
        run = cluster.add_replica()
        where = {"asset_address": asset.address, "blob_address": blob.address}
        cluster.add_gateway(**where)
        blob.environ["ASGARD_IDENTITY_ADDRESS"] = asset.address
        asset.environ["ASGARD_BLOB_ADDRESS"] = blob.address
        asset.environ["ASGARD_RUN_ADDRESS"] = run.address
        others: list[ServiceProcess] = [asset, blob]
        try:
            # The gateway counts what it leads to: it is waited for last.
            for process in (*others, *cluster.processes):
                process.launch()
            for process in (*others, *cluster.processes):
                await process.ready()
            await cluster.indexed()
            yield RequiredCluster(cluster, asset, blob)
        finally:
            for process in others:
                if process.alive:
                    await process.kill()
                print(f"--- {process.log.name}:\n{process.said()}")
