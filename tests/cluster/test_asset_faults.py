"""Replicas of AssetService die, and its engines go away, in the middle of creates, finalizes and
links."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis.asyncio
from gimle.asgard.v1 import asset_service_pb2_grpc as assets
from gimle.asgard.v1 import experiment_service_pb2_grpc as experiments
from gimle.asgard.v1 import identity_service_pb2 as identity
from gimle.asgard.v1 import identity_service_pb2_grpc as identity_grpc
from methodic import Chronicle

from tests.cluster.asset_load import AssetLoad, asset_load
from tests.cluster.asset_truth import asset_truth
from tests.cluster.asset_watchers import AssetWatcher, asset_watchers
from tests.cluster.balancing import balanced
from tests.cluster.processes import Cluster, a_cluster, eventually, open_channel
from tests.deploy.asset_replicas import AssetReplica, asset_replicas
from tests.deploy.blob_replicas import blob_replicas
from tests.engines import postgres

pytestmark = pytest.mark.timeout(1800)  # on a busy machine

AWAY_S = 5.0
CALLERS = 4
WATCHERS = 8
# Calls that are acknowledged between two faults; more where there is time for it (make soak).
CALLS_A_ROUND = int(os.environ.get("TESTS_WRITES", "60"))


@pytest.fixture
def deaths() -> int:
    """How many times a replica is killed: 3, or TESTS_ROUNDS."""
    return int(os.environ.get("TESTS_ROUNDS", "3"))


class Scene(NamedTuple):
    """Two replicas, who changes assets and who watches."""

    cluster: Cluster
    replicas: list[AssetReplica]
    load: AssetLoad
    watching: list[AssetWatcher]


@asynccontextmanager
async def two_replicas(
    folder: Path, engines: dict[str, Any], **settings: Any
) -> AsyncIterator[tuple[Cluster, list[AssetReplica]]]:
    """Two replicas over PostgreSQL, Redis, and a BlobService over MinIO."""
    async with (
        a_cluster(
            folder, **{"replicas": 0, "gateways": 0, "started": False, **settings}, **engines
        ) as cluster,
        blob_replicas(cluster) as (blob,),
        asset_replicas(cluster, 2, blob_address=blob.address) as replicas,
    ):
        yield cluster, replicas


@asynccontextmanager
async def a_scene(
    folder: Path, engines: dict[str, Any], chance: random.Random
) -> AsyncIterator[Scene]:
    """Callers and watchers at work; at the end all that was acknowledged is there and was seen."""
    async with AsyncExitStack() as stack:
        cluster, replicas = await stack.enter_async_context(two_replicas(folder, engines))
        channels = [
            await stack.enter_async_context(open_channel(each.address, {})) for each in replicas
        ]
        stubs: list[tuple[Any, Any]] = [
            (assets.AssetServiceStub(each), experiments.ExperimentServiceStub(each))
            for each in channels
        ]
        key = await _key_of_a_reader(channels[0])
        addresses = [each.address for each in replicas]
        watching = [AssetWatcher([*addresses[n % 2 :], *addresses]) for n in range(WATCHERS)]
        reader = frozenset(("user_eve", "everyone"))
        watching += [AssetWatcher(addresses, key, reader) for _ in range(2)]
        await stack.enter_async_context(asset_watchers(watching))
        seed = chance.randrange(2**32)
        async with asset_load(stubs, callers=CALLERS, seed=seed) as load:
            await load.until(20)
            yield Scene(cluster, replicas, load, watching)
            await load.until(load.acknowledged + 20)
        print(
            f"{load.acknowledged} acknowledged, {len(load.repeated)} tried again"
            f" ({load.repeated[:3]}), the slowest took {load.slowest:.1f} s"
        )
        truth = await asset_truth(cluster, engines["s3"])
        truth.check()
        load.check(truth)
        for watcher in watching:
            await watcher.reach(truth.head)
            watcher.check(truth)
        for replica in replicas:
            assert replica.alive, replica.said()


async def _key_of_a_reader(channel: Any) -> str:
    """The key of somebody who may read what is public, and nothing else."""
    stub: Any = identity_grpc.IdentityServiceStub(channel)
    await stub.CreateUser(identity.CreateUserRequest(user_id="user_eve", handle="eve"))
    made = await stub.CreateApiKey(identity.CreateApiKeyRequest(name="eve", user_id="user_eve"))
    return str(made.key)


async def test_a_killed_replica_loses_no_change_and_no_watcher_an_event(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random, deaths: int
) -> None:
    async with a_scene(tmp_path, engines, chance) as (_, replicas, load, watching):
        for _ in range(deaths):
            at = load.acknowledged
            victim = chance.choice(replicas)
            await asyncio.sleep(chance.uniform(0.05, 0.5))
            await victim.kill()
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            await victim.start()
            await load.until(at + CALLS_A_ROUND)
        assert load.repeated, "nobody was hit"
        assert max(each.connections for each in watching) > 1, "no watcher was hit"


async def test_without_redis_and_with_an_empty_one_assets_change_and_watchers_hear_of_it(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with a_scene(tmp_path, engines, chance) as (cluster, _, load, watching):
        server = cluster.redis
        assert server is not None
        await asyncio.to_thread(server.stop)
        load.replicas = 1  # so that no change is the other's own
        before, gone = load.acknowledged, time.monotonic()
        while time.monotonic() - gone < AWAY_S:
            await asyncio.sleep(0.5)
            # Watchers are not waiting for Redis: they hear of what is changed meanwhile.
            for watcher in (watching[0], watching[1]):
                await watcher.reach(watcher.at + 1, 10.0)
        assert load.acknowledged > before
        load.replicas = 2
        await asyncio.to_thread(server.start)
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.flushall()
            await load.until(load.acknowledged + CALLS_A_ROUND)
            await client.flushall()
        await asyncio.to_thread(server.stop, signal.SIGTERM)
        await asyncio.to_thread(server.start)
        await load.until(load.acknowledged + CALLS_A_ROUND)
        assert not load.repeated, "a call failed for want of a bell"
        assert max(each.connections for each in watching) == 1, "a watch ended for want of a bell"


async def test_postgresql_that_crashes_and_comes_back_loses_no_change(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with a_scene(tmp_path, engines, chance) as (_, _, load, _):
        server = postgres.server()
        for how in (signal.SIGQUIT, signal.SIGINT):
            await asyncio.to_thread(server.stop, how)
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            await asyncio.to_thread(server.start)
            await load.until(load.acknowledged + CALLS_A_ROUND)
        assert load.repeated, "nobody was hit"


class Scripts:
    """Scripts that work with Chronicle's client until `stopping`; any failure is theirs to raise.

    `kept` are assets that they left behind, with what is in them.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.stopping = False
        self.kept: dict[str, Any] = {}
        self.calls = 0
        self._url = url
        self._folder = folder

    async def until(self, calls: int) -> None:
        """Wait until so many calls have been answered."""

        async def answered() -> bool:
            return self.calls >= calls

        await eventually(answered, 180.0, what="that the scripts go on")

    def script(self, seed: int) -> None:
        """One of them: assets made, read, listed, shared, linked and uploaded."""
        chance = random.Random(seed)
        path = self._folder / f"{seed}.bin"
        with Chronicle(server_url=self._url, api_key="sk_user_nobody_knows") as chronicle:
            experiment = chronicle.experiments.create(hypothesis_summary="nobody notices")
            while not self.stopping:
                content = {"value": chance.random()}
                asset_id = chronicle.assets.create_inline("report", content).asset.id
                self.kept[asset_id] = content
                assert chronicle.assets.get(asset_id, include_content=True).content == content
                chronicle.assets.grant_access(asset_id, principal_id="everyone", action="read")
                chronicle.experiments.add_inputs(experiment.id, [asset_id])
                path.write_bytes(chance.randbytes(1_000))
                made = chronicle.assets.create_presigned("checkpoint", ["a/b.npy"])
                chronicle.assets.upload_component(made.upload_urls["a/b.npy"], path)
                assert chronicle.assets.finalize(made.asset_id).asset.state == "ready"
                assert chronicle.assets.versions(made.asset_id)
                self.kept[made.asset_id] = None
                self.calls += 8


async def test_a_rolling_restart_fails_no_call_of_the_client(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with (
        two_replicas(tmp_path, engines, replicas=1, started=True) as (cluster, replicas),
    ):
        addresses = ",".join(each.address for each in replicas)
        blob = replicas[0].environ["ASGARD_BLOB_ADDRESS"]
        for _ in range(2):
            where = {"asset_address": f"ipv4:{addresses}", "blob_address": blob}
            await cluster.add_gateway(**where).start()
        async with balanced(*(each.port for each in cluster.gateways)) as address:
            scripts = Scripts(f"http://127.0.0.1:{address.port}", tmp_path)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    seed = chance.randrange(2**32)
                    tasks.create_task(asyncio.to_thread(scripts.script, seed))
                try:
                    for process in (*replicas, *cluster.gateways):
                        await scripts.until(scripts.calls + chance.randrange(60))
                        await process.restart()
                    await scripts.until(scripts.calls + 40)
                finally:
                    scripts.stopping = True
        print(f"{scripts.calls} calls")
        truth = await asset_truth(cluster, engines["s3"])
        truth.check()
        lost = {id for id in scripts.kept if truth.assets.get(id) != "ready"}
        assert not lost, f"{len(lost)} assets are lost: {sorted(lost)[:5]}"
