"""Two replicas of AssetService beside PostgreSQL, MinIO, BlobService and a gateway: real processes
that are killed, and engines that go away and come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.processes import Cluster, a_cluster, eventually
from tests.deploy.asset_replicas import AssetReplica, asset_replicas
from tests.deploy.blob_replicas import BlobReplica, blob_replicas
from tests.engines import minio


@dataclass(frozen=True)
class Served:
    """A cluster that serves assets, and a client of its gateway."""

    cluster: Cluster
    assets: list[AssetReplica]
    blob: BlobReplica
    http: httpx.AsyncClient

    async def create(self, **fields: Any) -> Any:
        answer = await self.http.post("/v1/assets", json={"asset_type": "checkpoint", **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def upload(self, made: Any) -> None:
        async with httpx.AsyncClient(timeout=30) as store:
            for url in made["upload_urls"].values():
                assert (await store.put(url, content=b"bytes")).status_code == 200


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    async with (
        a_cluster(folder, bell=True, database=True, s3=minio.server()) as cluster,
        blob_replicas(cluster) as (blob,),
        asset_replicas(cluster, 2, blob_address=blob.address) as assets,
    ):
        addresses = ",".join(each.address for each in assets)
        gateway = cluster.add_gateway(asset_address=f"ipv4:{addresses}", blob_address=blob.address)
        gateway.launch()
        await gateway.ready()
        async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as http:
            yield Served(cluster, assets, blob, http)


async def test_assets_live_in_a_cluster_as_they_do_on_a_laptop(tmp_path: Path) -> None:
    async with served(tmp_path) as it:
        inline = await it.create(content={"a": 1}, name="net")
        made = await it.create(components=["a/b.npy", "c.json"], name="net")
        await it.upload(made)
        done = await it.http.put(f"/v1/assets/{made['asset_id']}/finalize")
        assert done.json()["asset"]["state"] == "ready", done.text
        found = await it.http.get("/v1/named-assets/net?include_presigned=true")
        assert found.json()["id"] == made["asset_id"]
        async with httpx.AsyncClient() as store:
            for url in found.json()["download_urls"].values():
                assert (await store.get(url)).content == b"bytes"
        listed = [each["id"] for each in (await it.http.get("/v1/assets")).json()["assets"]]
        assert listed == [made["asset_id"], inline["asset_id"]]

        # A replica that is killed is missed by nobody for long, and a repeat is safe.
        await it.assets[0].kill()

        async def made_again() -> bool:
            answer = await it.http.post(
                "/v1/assets", json={"asset_type": "checkpoint", "id": "mine", "content": 1}
            )
            return answer.status_code == 200

        await eventually(made_again)
        it.assets[0].launch()
        await it.assets[0].ready()

        # Without BlobService what the database has is served, and the rest says what is missing.
        await it.blob.kill()
        path = f"/v1/assets/{inline['asset_id']}?include_content=true"
        assert (await it.http.get(path)).json()["content"] == {"a": 1}
        lacking = await it.http.post("/v1/assets", json={"asset_type": "x", "components": ["a"]})
        assert (lacking.status_code, lacking.json()["reason"]) == (503, "STORAGE_UNAVAILABLE")
        # What is deleted meanwhile goes when BlobService is back.
        removed = await it.http.delete(f"/v1/assets/{made['asset_id']}")
        assert removed.json()["components_removed"] == 2
        it.blob.launch()
        await it.blob.ready()

        async def bytes_are_gone() -> bool:
            answer = await it.http.get("/v1/blobs")
            return answer.status_code == 200 and answer.json()["blobs"] == []

        await eventually(bytes_are_gone, 60)
        async with httpx.AsyncClient() as client:
            metrics = await client.get(f"{it.assets[1].metrics}/metrics")
        assert "asgard_asset_created_total" in metrics.text


async def test_a_replica_that_is_told_to_stop_finishes_what_it_does(tmp_path: Path) -> None:
    async with served(tmp_path) as it:
        creating = [asyncio.create_task(it.create(content={"n": n})) for n in range(20)]
        await asyncio.sleep(0)
        await it.assets[0].stop()
        made = await asyncio.gather(*creating, return_exceptions=True)
        ids = {each["asset_id"] for each in made if not isinstance(each, BaseException)}

        async def all_are_listed() -> bool:
            answer = await it.http.get("/v1/assets")
            if answer.status_code != 200:  # the gateway has not noticed yet who is gone
                return False
            return ids <= {each["id"] for each in answer.json()["assets"]}

        await eventually(all_are_listed)
