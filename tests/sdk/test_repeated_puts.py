"""A body whose fate is not known is asked for before it is sent again: also behind nginx."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
import pytest
from gimle.asgard.client.blobs import Blobs
from gimle.asgard.client.blobs_grants import ServiceUploads
from gimle.asgard.client.connection import Connection
from gimle.asgard.transfer import Grant, Measured, Outgoing, Wire, Work, send
from gimle.asgard.v1 import blob_service_pb2_grpc as pb_grpc

from tests.cluster.blob_processes import BlobReplica
from tests.conftest import free_port
from tests.engines import minio, postgres
from tests.engines.nginx import Nginx
from tests.sdk.array_places import PLACES
from tests.sdk.relay import Relay, a_relay

SIZE = 60 << 20  # the largest that goes in one request, nearly
ALL = 1_000
NOBODY = "127.0.0.1:9"


@dataclass(frozen=True)
class Place:
    """BlobService at `where`, whose URLs lead through nginx, and `relay` behind that, to MinIO.

    A store that refuses early and hangs up may take its answer with it: nginx then says 502. The
    relay loses answers every time.
    """

    where: str
    relay: Relay


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    store, port = minio.server(), free_port()
    with a_relay(store.port) as relay:
        nginx = Nginx(
            tmp_path / "nginx",
            local_resolvers="127.0.0.1",
            http_listen=f"127.0.0.1:{free_port()}",
            grpc_listen=f"127.0.0.1:{free_port()}",
            store_listen=f"127.0.0.1:{port}",
            gateway_address=NOBODY,
            run_address=NOBODY,
            blob_address=NOBODY,
            asset_address=NOBODY,
            store_address=f"127.0.0.1:{relay.port}",
        )
        replica = BlobReplica(
            {
                **store.variables,
                "ASGARD_STORAGE": f"s3://{store.bucket()}/asgard",
                "ASGARD_DATABASE_URL": asyncio.run(postgres.database_of(tmp_path)),
                "ASGARD_S3_PUBLIC_ENDPOINT": f"http://127.0.0.1:{port}",
                "ASGARD_DRAIN_SECONDS": "1",
            },
            tmp_path / "blob.log",
        )
        try:
            nginx.start(port)
            asyncio.run(replica.start())
            yield Place(f"grpc://127.0.0.1:{replica.port}", relay)
        finally:
            if replica.alive:
                asyncio.run(replica.kill())
            nginx.stop()
            print(replica.said(), (tmp_path / "nginx" / "error.log").read_text())
            postgres.give_back(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


def test_a_put_whose_answer_was_lost_behind_nginx_is_not_sent_again(
    place: Place, file: Path
) -> None:
    place.relay.lost = ALL
    blobs = Blobs(place.where)
    blobs.upload(file, "large")
    assert place.relay.lost == ALL - 1
    assert SIZE <= place.relay.up < 1.2 * SIZE
    assert blobs.stat("large").sha256 == sha256(file.read_bytes()).hexdigest()


def test_a_put_that_comes_second_behind_nginx_is_known_to_be_there(
    place: Place, file: Path
) -> None:
    blobs = Blobs(place.where)
    body = file.read_bytes()
    uploads = ServiceUploads(Connection(place.where, service=pb_grpc.BlobServiceStub))
    digest = sha256(body).digest()
    measured = Measured(Outgoing(file, "twice"), SIZE, digest)
    (grant,) = uploads.whole([measured])
    assert grant is not None
    first = httpx.put(grant.url, content=body, headers=dict(grant.headers), timeout=60)
    assert first.status_code == 200
    place.relay.lost = ALL

    def renew() -> Grant:
        raise AssertionError("it has not expired")

    with Wire() as wire:
        send(wire, Work(()), "twice", grant, body, renew, lambda: uploads.there(measured))
    assert blobs.stat("twice").sha256 == digest.hex()


def test_small_files_in_a_row_go_and_come_once_through_nginx(place: Place, tmp_path: Path) -> None:
    folder, heads = tmp_path / "small", 0
    folder.mkdir()
    for number in range(200):
        (folder / f"{number:03}.json").write_bytes(os.urandom(100 + number))

    def count(data: bytes) -> bool:
        nonlocal heads
        heads += len(re.findall(rb"(?:PUT|GET) /", data))
        return False

    place.relay.holds = count
    done = Blobs(place.where).upload(folder, "small")
    assert heads == 200
    Blobs(place.where).download("small", tmp_path / "out")
    assert heads == 400
    for path in folder.iterdir():
        assert (tmp_path / "out/small" / path.name).read_bytes() == path.read_bytes()
    assert {blob.name: blob.sha256 for blob in done.blobs} == {
        f"small/{path.name}": sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
    }


@pytest.mark.parametrize("name", ["minio", "alone"])
def test_an_array_whose_answer_was_lost_is_not_sent_again(name: str, tmp_path: Path) -> None:
    with PLACES[name](tmp_path) as opened:
        assert opened.bytes is not None
        storage = opened.open()
        run = storage.create_run("r")
        x = np.random.default_rng(1).normal(size=2_000_000)
        opened.bytes.lost = 1
        result = storage.add_result(run, "T", {"x": x})
        assert opened.bytes.lost == 0
        assert x.nbytes <= opened.bytes.up < 1.2 * x.nbytes
        np.testing.assert_array_equal(storage.load_result(result.id).data["x"], x)
