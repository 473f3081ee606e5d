"""Clusters for the rows that need one: they run in a loop of their own, beside the row."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

from tests.cluster.blob_processes import BlobCluster, a_blob_cluster
from tests.cluster.processes import Cluster, a_cluster
from tests.cluster.required import RequiredCluster, a_required_cluster
from tests.engines import minio, postgres

T = TypeVar("T")
C = TypeVar("C", Cluster, BlobCluster, RequiredCluster)
_TICKS = os.sysconf("SC_CLK_TCK")


class _Loop:
    """An event loop in a thread; `do` runs a coroutine in it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Running:
    """A cluster that runs; `do` runs a coroutine in its loop."""

    def __init__(self, cluster: Cluster, loop: _Loop) -> None:
        self.cluster = cluster
        self.do = loop.do

    def cpu_seconds(self) -> float:
        """Processor time that the replicas have taken so far, threads and all."""
        return sum(cpu_seconds(each.pid) for each in self.cluster.replicas if each.alive)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has taken so far, threads and all."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def cluster(folder: Path, *, s3: bool = True, **options: Any) -> Iterator[Running]:
    """Replicas on PostgreSQL, Redis and (unless not wanted) MinIO, killed when the block ends."""
    store = minio.server() if s3 else None
    told = {"log_level": "error", **options}
    made = a_cluster(_own(folder), database=True, bell=True, s3=store, **told)
    with _entered(made) as (entered, loop):
        yield Running(entered, loop)


@contextmanager
def blob_cluster(folder: Path, *, replicas: int = 1, **options: Any) -> Iterator[BlobCluster]:
    """Replicas of BlobService on PostgreSQL, Redis and MinIO, killed when the block ends."""
    told = {"log_level": "error", **options}
    made = a_blob_cluster(_own(folder), s3=minio.server(), replicas=replicas, **told)
    with _entered(made) as (entered, _):
        yield entered


@contextmanager
def required_cluster(folder: Path) -> Iterator[tuple[int, str, str]]:
    """A replica of every service and a gateway, on PostgreSQL, Redis and MinIO; all are asked.

    Yields the gateway's port, a user's API key, and the address of another database beside ours.
    """
    engines = {"database": True, "bell": True, "s3": minio.server(), "log_level": "error"}
    own = _own(folder)
    with _entered(a_required_cluster(own, engines)) as (entered, loop):
        key = loop.do(entered.key_of("ada"))
        port = int(entered.url.rpartition(":")[2])
        # Without our tables: others have some that are called the same.
        yield port, key, loop.do(postgres.empty_database(f"beside_{own.name}"))


def _own(folder: Path) -> Path:
    """A folder of one cluster's own: each has a database of its own by it."""
    folder.mkdir(parents=True, exist_ok=True)
    # PostgreSQL's user must reach nothing of it.
    return Path(tempfile.mkdtemp(dir=folder))


@contextmanager
def _entered(context: AbstractAsyncContextManager[C]) -> Iterator[tuple[C, _Loop]]:
    """Enter it in a loop of its own. What its processes have said is shown if the row fails."""
    loop = _Loop()
    try:
        entered = loop.do(context.__aenter__())
        try:
            yield entered, loop
        except BaseException:
            said = io.StringIO()
            with redirect_stdout(said):
                loop.do(context.__aexit__(None, None, None))
            print(said.getvalue(), file=sys.stderr)
            raise
        with redirect_stdout(io.StringIO()):
            loop.do(context.__aexit__(None, None, None))
    finally:
        loop.close()
