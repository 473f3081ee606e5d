"""Callers that make, finalize, link and delete assets without pause, and remember what was
acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import grpc
import httpx
from gimle.asgard.core.ids import new_id
from gimle.asgard.v1 import asset_requests_pb2 as pb
from gimle.asgard.v1 import experiment_requests_pb2 as experiments

from tests.cluster.asset_truth import AssetTruth
from tests.cluster.load import CALL_SECONDS, PASSING, PATIENCE_SECONDS

COMPONENTS = ("weights/0.npy", "notes.json")


class AssetLoad:
    """Callers over `stubs` of AssetService and ExperimentService, a pair for each replica.

    What was acknowledged is in `inline` (assets with the SHA-256 of their content), `uploaded`
    (assets with that of each component) and `linked` (assets with their experiment); what was
    deleted, in `gone`.
    """

    def __init__(self, stubs: Sequence[tuple[Any, Any]], seed: int) -> None:
        self.inline: dict[str, str] = {}
        self.uploaded: dict[str, dict[str, str]] = {}
        self.linked: dict[str, str] = {}
        self.gone: set[str] = set()
        self.acknowledged = 0
        self.repeated: list[str] = []
        self.slowest = 0.0
        self.stopping = False
        self._stubs = stubs
        self._chance = random.Random(seed)
        self._bell = asyncio.Event()

    async def call(self, method: str, request: Any) -> Any:
        """Make a call until it is acknowledged. Raises what no repetition mends."""
        began = time.monotonic()
        while True:
            stub = self._chance.choice(self._stubs)["Experiment" in method]
            try:
                answer = await getattr(stub, method)(request, timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING or time.monotonic() - began > PATIENCE_SECONDS:
                    raise
                self.repeated.append(f"{method}: {error.code().name} {error.details()}")
                await asyncio.sleep(self._chance.uniform(0.02, 0.2))
            else:
                self.acknowledged += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
                self._bell.set()
                return answer

    async def caller(self) -> None:
        """Make assets of both kinds, link some, delete others, until `stopping`."""
        experiment_id = new_id(datetime.now(UTC))
        await self.call(
            "CreateExperiment",
            experiments.CreateExperimentRequest(
                experiment_id=experiment_id, hypothesis_summary="nothing is lost"
            ),
        )
        async with httpx.AsyncClient(timeout=30) as store:
            while not self.stopping:
                if self._chance.random() < 0.3:
                    asset_id = await self._upload(store)
                else:
                    asset_id = await self._inline()
                fate = self._chance.random()
                if fate < 0.3:
                    await self._link(experiment_id, asset_id)
                elif fate < 0.5:
                    await self._delete(asset_id)

    async def _inline(self) -> str:
        asset_id = new_id(datetime.now(UTC))
        content = f'{{"value":{self._chance.random()}}}'.encode()
        await self.call(
            "CreateAsset",
            pb.CreateAssetRequest(
                asset_id=asset_id,
                asset_type="report",
                content=content,
                visibility=self._chance.choice(("private", "public")),
            ),
        )
        self.inline[asset_id] = hashlib.sha256(content).hexdigest()
        return asset_id

    async def _upload(self, store: httpx.AsyncClient) -> str:
        asset_id = new_id(datetime.now(UTC))
        request = pb.CreateAssetRequest(
            asset_id=asset_id, asset_type="checkpoint", components=COMPONENTS
        )
        made = await self.call("CreateAsset", request)
        digests = {}
        for name, url in made.upload_urls.items():
            body = self._chance.randbytes(self._chance.randrange(1, 5_000))
            answer = await store.put(url, content=body)
            assert answer.status_code == 200, answer.text
            digests[name] = hashlib.sha256(body).hexdigest()
        await self.call("FinalizeAsset", pb.FinalizeAssetRequest(asset_id=asset_id))
        self.uploaded[asset_id] = digests
        return asset_id

    async def _link(self, experiment_id: str, asset_id: str) -> None:
        await self.call(
            "AddExperimentInputs",
            experiments.AddExperimentInputsRequest(
                experiment_id=experiment_id, asset_ids=[asset_id], propagate_acl=False
            ),
        )
        self.linked[asset_id] = experiment_id

    async def _delete(self, asset_id: str) -> None:
        # Until this is acknowledged, nobody knows whether it is there.
        self.inline.pop(asset_id, None)
        self.uploaded.pop(asset_id, None)
        try:
            await self.call("DeleteAsset", pb.DeleteAssetRequest(asset_id=asset_id))
        except grpc.aio.AioRpcError as error:
            # An attempt that nobody acknowledged may have done it.
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        self.gone.add(asset_id)

    async def until(self, acknowledged: int, seconds: float = 180.0) -> None:
        """Wait until so many calls have been acknowledged."""
        async with asyncio.timeout(seconds):
            while self.acknowledged < acknowledged:
                self._bell.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await self._bell.wait()

    def check(self, truth: AssetTruth) -> None:
        """Assert that every acknowledged change is in the database, and its bytes in the store."""
        for asset_id, sha256 in self.inline.items():
            assert truth.contents.get(asset_id) == sha256, f"asset {asset_id} is lost"
            assert truth.assets[asset_id] == "ready", asset_id
        for asset_id, digests in self.uploaded.items():
            assert truth.assets.get(asset_id) == "ready", f"asset {asset_id} was finalized, and is"
            assert truth.components.get(asset_id) == digests, f"bytes of {asset_id} are others"
        for link in self.linked.items():
            assert link in truth.links, f"the link {link} is lost"
        back = self.gone & set(truth.assets)
        assert not back, f"deleted, and there again: {sorted(back)[:5]}"


@asynccontextmanager
async def asset_load(
    stubs: Sequence[tuple[Any, Any]], *, callers: int, seed: int
) -> AsyncIterator[AssetLoad]:
    """Callers that go on until the block ends, and then finish the asset they are at."""
    made = AssetLoad(stubs, seed)
    async with asyncio.TaskGroup() as tasks:  # a caller that fails ends the block
        for _ in range(callers):
            tasks.create_task(made.caller())
        try:
            yield made
        finally:
            made.stopping = True
