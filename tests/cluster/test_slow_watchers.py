"""Watchers that stop reading: nobody waits for them, and they miss nothing when they read on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from gimle.asgard.core.ids import new_id
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc
from gimle.asgard.v1.new_result_pb2 import NewResult

from tests.cluster.processes import CHANNEL_OPTIONS, Cluster, a_cluster
from tests.cluster.truth import settled
from tests.cluster.watchers import all_saw_everything, watchers
from tests.rpc.running import refused

# More than the gateway and the service keep for those who are behind (10,000 changes), and what
# the kernel takes for a connection that is not read (4 MB): the longer an id, the sooner.
SAVES, RESULTS = 90, 300
STOPPED_S = 8.0
TOO_SLOW = (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")

pytestmark = pytest.mark.timeout(300)  # on a busy machine


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) << 10


async def save(stub: Any) -> None:
    """A run with many results, in one call: many changes at once."""
    run_id = new_id(datetime.now(UTC))
    results = [
        NewResult(result_id=f"{run_id}-{n:080}", result_type="Any", data=b"{}")
        for n in range(RESULTS)
    ]
    run = pb.CreateRunRequest(run_id=run_id, name="many")
    await stub.SaveRun(pb.SaveRunRequest(run=run, results=results))


async def test_watchers_that_stop_reading_delay_nobody_and_miss_nothing(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        # In a folder: an object for each result would take minutes.
        cluster = await stack.enter_async_context(a_cluster(tmp_path, database=True, bell=True))
        stub = await stack.enter_async_context(cluster.stub())
        quick = await stack.enter_async_context(watchers(10, cluster.gateway.url))
        slow = await stack.enter_async_context(
            watchers(10, cluster.gateway.url, receive_buffer=4096)
        )
        lazy = await stack.enter_async_context(a_lazy_watch(cluster))
        memory = resident(cluster.gateway.pid)
        for watcher in slow:
            watcher.paused.clear()
        stopped, longest = time.monotonic(), 0.0
        for _ in range(SAVES):
            began = time.monotonic()
            at = quick[0].at
            await save(stub)
            await quick[0].reach(at + RESULTS + 1, 60.0)
            longest = max(longest, time.monotonic() - began)
        await asyncio.sleep(max(0.0, stopped + STOPPED_S - time.monotonic()))
        grown = resident(cluster.gateway.pid) - memory
        behind = quick[0].at - max(watcher.at for watcher in slow)
        print(
            f"slowest save until seen {longest:.2f} s, gateway grew by {grown >> 20} MiB,"
            f" those who stopped are {behind} changes behind"
        )
        assert behind > 10_000, "they have been read for, in some buffer"
        assert grown < 200 << 20
        for watcher in slow:
            watcher.paused.set()
        truth = await settled(cluster)
        assert truth.head == SAVES * (RESULTS + 1)
        await all_saw_everything([*quick, *slow], truth.log)
        again = sum(watcher.connections > 1 for watcher in slow)
        print(f"{again} of {len(slow)} were let go, and came back")
        assert again, "nobody was so slow that what he had not read was no longer kept"
        assert await lazy.rest(truth.head) == list(range(1, truth.head + 1))
        assert lazy.dropped, "who is so far behind is told so"


class LazyWatch:
    """A watch through gRPC whose client has read the first message, and reads no further."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = pb_grpc.RunServiceStub(channel)
        self._call: Any = self._stub.WatchRuns(pb.WatchRunsRequest())
        self._token = ""
        self.dropped = 0

    async def begin(self) -> None:
        """Read until it stands at now."""
        self._token = (await self._call.read()).resume_token

    async def rest(self, head: int) -> list[int]:
        """Read on, and resume where that is asked for; all revisions up to `head`."""
        revisions: list[int] = []
        while not revisions or revisions[-1] < head:
            try:
                reply = await self._call.read()
            except grpc.aio.AioRpcError as error:
                if refused(error)[:2] != TOO_SLOW:
                    raise
                self.dropped += 1
                self._call = self._stub.WatchRuns(pb.WatchRunsRequest(resume_token=self._token))
                continue
            revisions += [change.revision for change in reply.changes]
            self._token = reply.resume_token or self._token
        return revisions


@asynccontextmanager
async def a_lazy_watch(cluster: Cluster) -> AsyncIterator[LazyWatch]:
    """One, over a connection of its own with a window of a few kilobytes."""
    options = [*CHANNEL_OPTIONS, ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4096)]
    address = cluster.replicas[0].address
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        watch = LazyWatch(channel)
        await watch.begin()
        yield watch
