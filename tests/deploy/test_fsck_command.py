"""`asgard fsck` as operators run it: beside real services, in a folder, and over S3."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from gimle.asgard.monitor.storage import AsgardStorage
from gimle.asgard.v1 import blob_service_pb2 as pb
from gimle.asgard.v1 import blob_service_pb2_grpc as pb_grpc

from tests.cluster.processes import Cluster, a_cluster
from tests.conftest import Monitor, free_port
from tests.deploy.blob_replicas import BlobReplica, blob_replicas
from tests.engines import minio, versitygw
from tests.engines.s3_store import Store

COMMAND = [sys.executable, "-m", "gimle.asgard.cli", "fsck", "--json"]
BODY = os.urandom(100_000)
STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}


def fsck(environ: dict[str, str], *arguments: str, status: int = 0) -> dict[str, Any]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ASGARD_", "AWS_"))}
    done = subprocess.run(
        [*COMMAND, *arguments],
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout or "{}")
    return {**answer, "said": done.stderr}


def upload(target: str, name: str, *, complete: bool = True) -> pb.Blob:
    with grpc.insecure_channel(target) as channel:
        stub = pb_grpc.BlobServiceStub(channel)
        sha256 = hashlib.sha256(BODY).hexdigest()
        new = pb.NewUpload(name=name, size_bytes=len(BODY), sha256=sha256)
        begun = stub.CreateUploads(pb.CreateUploadsRequest(uploads=[new])).uploads[0]
        sent = httpx.put(begun.put.url, content=BODY, headers=dict(begun.put.headers))
        assert sent.status_code == 200, sent.text
        if not complete:
            return begun.blob
        item = pb.CompleteUploadsRequest.Item(blob_id=begun.blob.blob_id)
        done = stub.CompleteUploads(pb.CompleteUploadsRequest(uploads=[item])).outcomes[0]
        return done.blob


def claim(target: str, blob: pb.Blob, owner: str) -> None:
    with grpc.insecure_channel(target) as channel:
        stub = pb_grpc.BlobServiceStub(channel)
        stub.ClaimBlobs(pb.ClaimBlobsRequest(blob_ids=[blob.blob_id], owner=owner))


def test_a_folder_is_examined_beside_its_monitor(monitor: Monitor) -> None:
    place = {"ASGARD_STORAGE": str(monitor.storage)}
    AsgardStorage(monitor.storage).create_run(name="r")
    blobs = [upload(monitor.grpc, f"n/{number}") for number in range(3)]
    upload(monitor.grpc, "going", complete=False)
    well = fsck(place, "--deep", "--repair")
    assert (well["runs"], well["clean"], well["runs_only"]) == (1, True, False)
    assert well["blobs"] == well["blobs_read"] == {"count": 3, "size_bytes": 3 * len(BODY)}
    assert well["blobs_on_the_way"] == {"count": 1, "size_bytes": len(BODY)}

    (gone,) = (monitor.storage / "blobs" / blobs[0].blob_id).glob("?")
    gone.unlink()
    (changed,) = (monitor.storage / "blobs" / blobs[1].blob_id).glob("?")
    changed.write_bytes(BODY[::-1])
    found = fsck(place, "--deep", "--repair", status=1)
    assert {one["path"].split("/")[1]: one["kind"] for one in found["findings"]} == {
        blobs[0].blob_id: "missing_bytes",
        blobs[1].blob_id: "wrong_digest",
    }
    # Younger than a day, and nothing that is wrong may be removed.
    assert found["repaired"] == {"count": 0, "bytes": 0}
    assert found["left"] == {"count": 2, "bytes": 2 * len(BODY)}


def test_a_folder_that_was_only_looked_at_stays_as_it_was(tmp_path: Path) -> None:
    AsgardStorage(tmp_path / "storage").create_run(name="r")
    before = sorted(str(path) for path in (tmp_path / "storage").rglob("*"))
    assert fsck({"ASGARD_STORAGE": str(tmp_path / "storage")})["clean"]
    assert sorted(str(path) for path in (tmp_path / "storage").rglob("*")) == before
    (tmp_path / "storage" / "blobs" / "x").mkdir(parents=True)
    (tmp_path / "storage" / "blobs" / "x" / "1").write_bytes(BODY)
    found = fsck({"ASGARD_STORAGE": str(tmp_path / "storage")}, "--repair", status=1)
    assert [(one["kind"], one["size_bytes"]) for one in found["findings"]] == [
        ("unknown_blobs", len(BODY))
    ]
    assert (tmp_path / "storage" / "blobs" / "x" / "1").exists()


@pytest.fixture(params=list(STORES))
async def deployed(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Store, Cluster, BlobReplica]]:
    store = STORES[request.param]()
    async with (
        a_cluster(tmp_path, gateways=0, database=True, s3=store) as cluster,
        blob_replicas(cluster) as (blob,),
    ):
        yield store, cluster, blob


async def test_a_cluster_is_examined_beside_its_replicas(
    deployed: tuple[Store, Cluster, BlobReplica],
) -> None:
    store, cluster, blob = deployed
    where = cluster.environ["ASGARD_STORAGE"].removeprefix("s3://")
    bucket, _, prefix = where.partition("/")

    def use() -> None:
        storage = AsgardStorage(f"grpc://{cluster.replicas[0].address}")
        run = storage.create_run(name="r")
        for _ in range(3):
            data = {"values": np.arange(2_000.0)}
            storage.add_result(run, result_type="DiscreteSequence", data=data)
        blobs = [upload(blob.address, f"n/{number}") for number in range(2)]
        claim(blob.address, blobs[0], "batch/0193")  # of whom fsck knows nobody to ask
        # Beside services that have just answered: nothing is said of what they still list.
        well = fsck(cluster.environ, "--deep", "--repair")
        assert (well["runs"], well["results"], well["arrays"]) == (1, 3, 3)
        assert well["blobs_read"] == {"count": 2, "size_bytes": 2 * len(BODY)}

        client = store.client()
        client.delete_object(Bucket=bucket, Key=f"{prefix}/blobs/{blobs[0].blob_id}/1")
        key = store.keys(bucket, f"{prefix}/files/")[0]
        client.delete_object(Bucket=bucket, Key=key)
        claim(blob.address, blobs[1], "asset/0194")
        found = fsck(cluster.environ, "--repair", status=1)
        kinds = {one["kind"]: one["problem"] for one in found["findings"]}
        assert set(kinds) == {"missing_array", "missing_bytes", "claimed_by_nobody"}
        assert "batch/0193" in kinds["missing_bytes"]
        assert kinds["claimed_by_nobody"].startswith("n/1 is claimed by asset/0194")
        assert found["repaired"]["count"] == 0

    await asyncio.to_thread(use)


async def test_runs_in_s3_without_a_database_are_examined_beside_their_service(
    tmp_path: Path,
) -> None:
    async with a_cluster(tmp_path, gateways=0, s3=versitygw.server()) as cluster:

        def use() -> None:
            storage = AsgardStorage(f"grpc://{cluster.replicas[0].address}")
            run = storage.create_run(name="r")
            for _ in range(3):
                data = {"values": np.arange(2_000.0)}
                storage.add_result(run, result_type="DiscreteSequence", data=data)
            well = fsck(cluster.environ, "--deep", "--repair")
            assert (well["runs"], well["results"], well["arrays"]) == (1, 3, 3)
            assert (well["findings"], well["runs_only"]) == ([], True)
            storage.delete_run(run.id)
            assert fsck(cluster.environ)["runs"] == 0
            shown = subprocess.run(
                [*COMMAND[:-1]],
                env={**os.environ, **cluster.environ},
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            )
            assert "of blobs and jobs nothing is known without ASGARD_DATABASE_URL" in shown.stdout

        await asyncio.to_thread(use)


async def test_what_does_not_belong_together_is_refused(
    deployed: tuple[Store, Cluster, BlobReplica],
) -> None:
    store, cluster, blob = deployed
    await asyncio.to_thread(upload, blob.address, "kept")

    def other() -> None:
        elsewhere = f"s3://{store.bucket()}/asgard"
        asking = cluster.environ | {"ASGARD_STORAGE": elsewhere}
        refused = fsck(asking, "--repair", status=3)
        assert "it is the database of the storage" in refused["said"]
        asking.pop("ASGARD_DATABASE_URL")
        assert "not a storage" in fsck(asking, status=3)["said"]
        away = cluster.environ | {"ASGARD_S3_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
        assert "is the store running" in fsck(away, "--repair", status=3)["said"]
        # Without the table nobody knows which bytes are whose.
        alone = {k: v for k, v in cluster.environ.items() if k != "ASGARD_DATABASE_URL"}
        found = fsck(alone, "--repair", status=1)
        assert [(one["kind"], one["size_bytes"]) for one in found["findings"]] == [
            ("unknown_blobs", len(BODY))
        ]
        assert "ASGARD_DATABASE_URL" in found["findings"][0]["problem"]
        assert fsck(cluster.environ)["clean"]

    await asyncio.to_thread(other)
