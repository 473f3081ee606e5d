"""A cluster for the rows that need one: it runs in a loop of its own, beside the row."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.cluster.processes import Cluster, Replica, a_cluster
from tests.engines import minio

T = TypeVar("T")
_TICKS = os.sysconf("SC_CLK_TCK")


class Running:
    """A cluster that runs; `do` runs a coroutine in its loop."""

    def __init__(self, cluster: Cluster, loop: asyncio.AbstractEventLoop) -> None:
        self.cluster = cluster
        self._loop = loop

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def cpu_seconds(self) -> float:
        """Processor time that the replicas have taken so far, threads and all."""
        return sum(_cpu_seconds(replica) for replica in self.cluster.replicas if replica.alive)


def _cpu_seconds(replica: Replica) -> float:
    fields = Path(f"/proc/{replica.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def cluster(folder: Path, *, s3: bool = True, **options: Any) -> Iterator[Running]:
    """Replicas on PostgreSQL, Redis and (unless not wanted) MinIO, killed when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    # PostgreSQL's user must reach nothing of it; each cluster has a database of its own.
    own = Path(tempfile.mkdtemp(dir=folder))
    store = minio.server() if s3 else None
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    context: AbstractAsyncContextManager[Cluster] = a_cluster(
        own, database=True, bell=True, s3=store, **{"log_level": "error", **options}
    )
    try:
        entered = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()
        try:
            yield Running(entered, loop)
        finally:
            # What processes have said is printed for tests that fail; here it would hide the table.
            entered.replicas, entered.gateways, ended = [], [], entered.processes
            for process in ended:
                if process.alive:
                    asyncio.run_coroutine_threadsafe(process.kill(), loop).result()
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
