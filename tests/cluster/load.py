"""Callers that save without pause, and remember what was acknowledged."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
from gimle.asgard.core.ids import new_id
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.new_result_pb2 import NewResult

from tests.cluster.truth import Truth

# What a caller may try again: nobody knows whether the call was done, and doing it twice does
# no harm.
PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.ABORTED,
}
CALL_SECONDS = 10.0
PATIENCE_SECONDS = 60.0


class Load:
    """Callers over `stubs`, each with runs of its own. What was acknowledged is in `names`
    (of runs) and `owners` (of results: their run); what was deleted, in `gone`."""

    def __init__(self, stubs: Sequence[Any], seed: int) -> None:
        self.names: dict[str, str] = {}
        self.owners: dict[str, str] = {}
        self.gone: set[str] = set()
        self.acknowledged = 0
        self.repeated = 0
        self.slowest = 0.0
        self._stubs = stubs
        self._chance = random.Random(seed)
        self.stopping = False
        self._bell = asyncio.Event()

    async def call(self, method: str, request: Any) -> Any:
        """Make a call until it is acknowledged. Raises what no repetition mends."""
        began = time.monotonic()
        while True:
            stub = self._chance.choice(self._stubs)
            try:
                answer = await getattr(stub, method)(request, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING or time.monotonic() - began > PATIENCE_SECONDS:
                    raise
                self.repeated += 1
                await asyncio.sleep(self._chance.uniform(0.02, 0.2))
            else:
                self.acknowledged += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
                self._bell.set()
                return answer

    async def caller(self, deletes: bool = True) -> None:
        """Create runs, add results, rename, and delete now and then, until `stopping`."""
        while not self.stopping:
            run_id, name = new_id(datetime.now(UTC)), f"run {self._chance.random()}"
            await self.call("CreateRun", pb.CreateRunRequest(run_id=run_id, name=name))
            self.names[run_id] = name
            for _ in range(self._chance.randrange(4)):
                await self.add(run_id)
            if self._chance.random() < 0.3:
                await self.rename(run_id, f"renamed {self._chance.random()}")
            if deletes and self._chance.random() < 0.1:
                await self.delete(run_id)

    async def add(self, run_id: str) -> str:
        """Add a small result; answer its id."""
        result_id = new_id(datetime.now(UTC))
        result = NewResult(
            result_id=result_id, result_type="Solution1D", data=b'{"x":[0,1],"computed":[1,2]}'
        )
        await self.call("AddResult", pb.AddResultRequest(run_id=run_id, result=result))
        self.owners[result_id] = run_id
        return result_id

    async def rename(self, run_id: str, name: str) -> None:
        """Rename a run."""
        await self.call("UpdateRun", pb.UpdateRunRequest(run_id=run_id, name=name))
        self.names[run_id] = name

    async def delete(self, run_id: str) -> None:
        """Delete a run; an attempt that nobody acknowledged may have done it."""
        # Until this is acknowledged, nobody knows whether it is there.
        self.names.pop(run_id)
        owned = [result for result, owner in self.owners.items() if owner == run_id]
        for result_id in owned:
            del self.owners[result_id]
        try:
            await self.call("DeleteRun", pb.DeleteRunRequest(run_id=run_id))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        self.gone |= {run_id, *owned}

    async def until(self, acknowledged: int, seconds: float = 120.0) -> None:
        """Wait until so many calls have been acknowledged."""
        async with asyncio.timeout(seconds):
            while self.acknowledged < acknowledged:
                self._bell.clear()
                await self._bell.wait()

    def check(self, truth: Truth) -> None:
        """Assert that every acknowledged write is there, in documents and index."""
        runs = {key[1]: body["name"] for key, body in truth.documents.items() if key[0] == "run"}
        lost = {id: name for id, name in self.names.items() if runs.get(id) != name}
        assert not lost, f"{len(lost)} runs are lost or not as acknowledged: {list(lost)[:5]}"
        for result_id, run_id in self.owners.items():
            assert truth.rows.get(("result", result_id)) == run_id, f"result {result_id} is lost"
        back = self.gone & {key[1] for key in truth.documents}
        assert not back, f"deleted, and there again: {sorted(back)[:5]}"


@asynccontextmanager
async def load(
    stubs: Sequence[Any], *, callers: int, seed: int, deletes: bool = True
) -> AsyncIterator[Load]:
    """Callers that go on until the block ends, and then finish the call they are in."""
    made = Load(stubs, seed)
    async with asyncio.TaskGroup() as tasks:  # a caller that fails ends the block
        for _ in range(callers):
            tasks.create_task(made.caller(deletes))
        yield made
        # What has begun is ended: of a call that is cancelled nobody knows whether it was done.
        made.stopping = True
