"""BlobService as it is deployed: replicas behind nginx, a store that clients reach through it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from gimle.asgard.v1 import blob_service_pb2 as pb
from gimle.asgard.v1 import blob_service_pb2_grpc as pb_grpc

from tests.cluster.processes import Cluster, Gateway, a_cluster, eventually
from tests.conftest import free_port
from tests.deploy.blob_replicas import BlobReplica, blob_replicas
from tests.engines import minio
from tests.engines.nginx import Nginx

BODY = os.urandom(3_000_000)  # more than one buffer of anybody's
SHA = hashlib.sha256(BODY).hexdigest()


@dataclass
class Deployed:
    """Two replicas, the gateway that finds both, and where nginx is in front of all."""

    cluster: Cluster
    blobs: list[BlobReplica]
    gateway: Gateway
    http: str
    grpc: str
    store: str


@pytest.fixture
async def deployed(tmp_path: Path) -> AsyncIterator[Deployed]:
    store = minio.server()
    http_port, grpc_port, store_port = free_port(), free_port(), free_port()
    shown = f"http://127.0.0.1:{store_port}"
    async with (
        a_cluster(tmp_path, gateways=0, database=True, s3=store) as cluster,
        blob_replicas(cluster, 2, s3_public_endpoint=shown) as blobs,
    ):
        addresses = ",".join(each.address for each in blobs)
        gateway = cluster.add_gateway(blob_address=f"ipv4:{addresses}")
        await gateway.start()
        nginx = Nginx(
            tmp_path / "nginx",
            local_resolvers="127.0.0.1",  # asked for names only, and these are addresses
            http_listen=f"127.0.0.1:{http_port}",
            grpc_listen=f"127.0.0.1:{grpc_port}",
            store_listen=f"127.0.0.1:{store_port}",
            gateway_address=gateway.url.removeprefix("http://"),
            run_address=cluster.replicas[0].address,
            asset_address="127.0.0.1:1",
            blob_address=blobs[0].address,
            store_address=store.endpoint.removeprefix("http://"),
        )
        nginx.start(store_port)
        try:
            yield Deployed(
                cluster,
                blobs,
                gateway,
                f"http://127.0.0.1:{http_port}",
                f"127.0.0.1:{grpc_port}",
                shown,
            )
        finally:
            nginx.stop()
            print((tmp_path / "nginx" / "error.log").read_text())


async def test_bytes_pass_by_signed_urls_through_nginx_and_wrong_ones_do_not(
    deployed: Deployed,
) -> None:
    async with (
        grpc.aio.insecure_channel(deployed.grpc) as channel,
        httpx.AsyncClient(timeout=60) as client,
    ):
        stub = pb_grpc.BlobServiceStub(channel)
        new = pb.NewUpload(name="deployed.bin", size_bytes=len(BODY), sha256=SHA)
        asked = pb.CreateUploadsRequest(uploads=[new])
        put = (await stub.CreateUploads(asked, timeout=20)).uploads[0]
        assert put.put.url.startswith(deployed.store)
        wrong = await client.put(put.put.url, content=BODY[::-1], headers=dict(put.put.headers))
        assert wrong.status_code == 400
        sent = await client.put(put.put.url, content=BODY, headers=dict(put.put.headers))
        assert sent.status_code == 200, sent.text

        # Over REST, whose gateway takes the replicas in turn: each knows what the others do.
        item = {"uploads": [{"blob_id": put.blob.blob_id}]}
        for _ in range(4):
            done = await client.post(f"{deployed.http}/v1/blobs:complete", json=item)
            assert done.json()["outcomes"][0]["blob"]["sha256_verified"] is True, done.text
        asked_for = {"downloads": [{"blob_id": put.blob.blob_id}]}
        lent = await client.post(f"{deployed.http}/v1/blobs:download", json=asked_for)
        got = await client.get(lent.json()["downloads"][0]["grant"]["url"])
        assert got.content == BODY

        texts = [(await client.get(f"{each.metrics}/metrics")).text for each in deployed.blobs]
    counted = [f'asgard_blob_uploads_total{{outcome="ready"}} {n}.0' for n in range(1, 4)]
    # Both have done some of the four.
    assert all(any(line in text for line in counted) for text in texts)


async def test_the_gateway_is_ready_without_blobs_and_finds_them_again(deployed: Deployed) -> None:
    async with httpx.AsyncClient(base_url=deployed.http, timeout=30) as client:

        async def listed() -> bool:
            return (await client.get("/v1/blobs")).status_code == 200

        await deployed.blobs[0].kill()
        # The other one answers for it.
        await eventually(listed)
        assert await deployed.blobs[1].stop() == 0, deployed.blobs[1].said()

        away = await client.get("/v1/blobs")
        assert away.status_code == 503
        assert "retry-after" in away.headers
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/v1/runs")).status_code == 200

        deployed.blobs[1].launch()
        await eventually(listed)
