"""Callers that follow WatchAssets, and whether each saw every change that is for it once and in
order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import grpc
from gimle.asgard.v1 import asset_service_pb2_grpc as pb_grpc
from gimle.asgard.v1 import watch_assets_pb2 as pb

from tests.cluster.asset_truth import AssetTruth
from tests.cluster.processes import open_channel

RETRY_S = 0.2
CONNECTED_WITHIN_S = 60.0


class Told(NamedTuple):
    """A change as it came."""

    revision: int
    kind: str
    id: str
    gone: bool


class AssetWatcher:
    """Follows one of `addresses` until it is stopped, from its last token on.

    With a `key` it is that key's principal, and `keys` are what may stand in readers for it; else
    it is the local user, who sees everything. `told` is what it heard, `resets` why it had to begin
    anew.
    """

    def __init__(
        self, addresses: Sequence[str], key: str = "", keys: frozenset[str] | None = None
    ) -> None:
        self.keys = keys
        self.told: list[Told] = []
        self.resets: list[str] = []
        self.began = self.at = -1
        self.connected = asyncio.Event()
        self.connections = 0
        self._addresses = addresses
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._token = ""

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            address = self._addresses[self.connections % len(self._addresses)]
            self.connections += 1
            try:
                async with open_channel(address, {}) as channel:
                    await self._follow(pb_grpc.AssetServiceStub(channel))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                    self.resets.append(str(error.details()))
            await asyncio.sleep(RETRY_S)

    async def _follow(self, stub: Any) -> None:
        request = pb.WatchAssetsRequest(resume_token=self._token)
        async for message in stub.WatchAssets(request, metadata=self._metadata):
            if message.HasField("reset"):
                self.resets.append("reset")
            for each in message.changes:
                gone = each.kind == pb.WatchAssetsResponse.Change.KIND_DELETE
                self.told.append(Told(each.revision, each.object_kind, each.object_id, gone))
            self._token, self.at = message.resume_token, message.revision
            if self.began < 0:
                self.began = message.revision
                self.connected.set()

    async def reach(self, revision: int, seconds: float = 60.0) -> None:
        """Wait until it stands at this revision."""
        deadline = time.monotonic() + seconds
        while self.at < revision:
            assert time.monotonic() < deadline, f"a watcher stands at {self.at}, not {revision}"
            await asyncio.sleep(0.05)

    def check(self, truth: AssetTruth) -> None:
        """Assert that it was told each change that is for it once and in order, and no other."""
        assert not self.resets, self.resets
        revisions = [each.revision for each in self.told]
        assert revisions == sorted(set(revisions)), "changes came twice, or out of order"
        log = {each.revision: each for each in truth.log if each.revision > self.began}
        for each in self.told:
            assert (each.kind, each.id) == (log[each.revision].kind, log[each.revision].id), each
        may = {number for number, each in log.items() if self._for_it(each.before | each.after)}
        assert set(revisions) <= may, f"told of {sorted(set(revisions) - may)[:5]}"
        # What is gone by the time its creation is read is told of by no more than its end, and of
        # that a caller who never heard of it is told.
        gone = {each.id for each in truth.log if not each.after}
        must = may if self.keys is None else {n for n in may if log[n].id not in gone}
        must |= {n for n in may if not log[n].after}
        missing = sorted(must - set(revisions))
        assert not missing, f"not told of {[log[each] for each in missing[:5]]}"

    def _for_it(self, readers: frozenset[str]) -> bool:
        return self.keys is None or not self.keys.isdisjoint(readers)


@asynccontextmanager
async def asset_watchers(made: Sequence[AssetWatcher]) -> AsyncIterator[None]:
    """Watchers, all connected; they end with the block."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(watcher.run()) for watcher in made]
        async with asyncio.timeout(CONNECTED_WITHIN_S):
            for watcher in made:
                await watcher.connected.wait()
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*running, return_exceptions=True)
