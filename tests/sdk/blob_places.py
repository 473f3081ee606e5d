"""Where blobs are kept in tests: a monitor's folder, and `asgard serve blob` on real engines."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gimle.asgard.client.blobs import Blob, Blobs
from gimle.asgard.core.s3.place import parse_url

from tests.cluster.blob_processes import BlobReplica
from tests.engines import minio, postgres
from tests.engines.s3_store import ROOT
from tests.sdk.relay import Relay, a_relay
from tests.sdk.servers import Server

# A transfer in a process of its own, which says what it moved and how much its memory grew.
MOVING = """
import resource, sys
from gimle.asgard.client.blobs import Blobs
way, where, *rest = sys.argv[1:]
blobs = Blobs(where)
list(blobs.list("none"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
done = getattr(blobs, way)(*rest)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(done.bytes_moved, grown // 1024)
"""


@dataclass(frozen=True)
class Place:
    """A BlobService at `where`; over S3 all bytes pass `relay`."""

    name: str
    where: str
    storage: str
    relay: Relay | None = None

    def blobs(self) -> Blobs:
        """A client of it."""
        return Blobs(self.where)

    def damage(self, blob: Blob) -> None:
        """Change a byte of a blob that is ready, behind the service's back."""
        if self.relay is None:
            (path,) = Path(self.storage, "blobs", blob.id).glob("1")
            body = bytearray(path.read_bytes())
            body[-1] ^= 1
            path.write_bytes(body)
            return
        place, store = parse_url(self.storage), minio.server()
        keys = store.keys(place.bucket, f"{place.prefix}/blobs/")
        (key,) = (key for key in keys if blob.id in key)
        body = bytearray(store.client().get_object(Bucket=place.bucket, Key=key)["Body"].read())
        body[-1] ^= 1
        store.client().put_object(Bucket=place.bucket, Key=key, Body=bytes(body))

    def moving(self, way: str, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a transfer in another process."""
        command = [sys.executable, "-c", MOVING, way, self.where, *map(str, arguments)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def moved(process: subprocess.Popen[str]) -> int:
    """The bytes that a transfer has moved; its memory must have stayed small."""
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    bytes_moved, grown = map(int, said.split())
    assert grown < 80, "memory is bounded by lanes, not by files"
    return bytes_moved


def kill(process: subprocess.Popen[str]) -> None:
    """End a transfer at once."""
    with process:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it had ended before"


@contextmanager
def in_a_folder(folder: Path) -> Iterator[Place]:
    """The embedded service."""
    server = Server(folder / "storage")
    server.start()
    try:
        yield Place("folder", server.where, str(folder / "storage"))
    finally:
        server.end()


@contextmanager
def in_s3(folder: Path) -> Iterator[Place]:
    """A replica on MinIO and PostgreSQL, whose URLs lead through a relay."""
    store = minio.server()
    storage = f"s3://{store.bucket()}/asgard"
    with a_relay(store.port) as relay:
        environ = {
            **store.variables,
            "ASGARD_STORAGE": storage,
            "ASGARD_DATABASE_URL": asyncio.run(postgres.database_of(folder)),
            "ASGARD_S3_PUBLIC_ENDPOINT": f"http://127.0.0.1:{relay.port}",
            "ASGARD_DRAIN_SECONDS": "1",
        }
        replica = BlobReplica(environ, folder / "blob.log")
        try:
            asyncio.run(replica.start())
            yield Place("s3", f"grpc://127.0.0.1:{replica.port}", storage, relay)
        finally:
            if replica.alive:
                asyncio.run(replica.kill())
            print(replica.said())
            postgres.give_back(folder)


PLACES = {"folder": in_a_folder, "s3": in_s3}


def asgard_blob(*arguments: str | Path, where: str, status: int = 0) -> str:
    """Run a command of `asgard blob`; answer what it printed."""
    said = subprocess.run(
        [
            *(sys.executable, "-m", "gimle.asgard.cli", "blob", *map(str, arguments)),
            *("--server", where),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert said.returncode == status, said.stdout + said.stderr
    return said.stdout if status == 0 else said.stderr


def json_of(said: str) -> dict[str, object]:
    """What a command printed with --json."""
    answer: dict[str, object] = json.loads(said)
    return answer
