"""Replicas of BlobService die, and its engines go away, in the middle of uploads."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
import redis.asyncio

from tests.cluster.balancing import balanced
from tests.cluster.blob_load import BlobLoad, blob_load
from tests.cluster.blob_processes import BlobCluster, a_blob_cluster
from tests.cluster.blob_truth import blob_truth
from tests.cluster.processes import eventually
from tests.engines import postgres

pytestmark = pytest.mark.timeout(1800)  # on a busy machine

AWAY_S = 5.0
# Blobs that are acknowledged between two faults; more where there is time for it (make soak).
BLOBS_A_ROUND = int(os.environ.get("TESTS_WRITES", "60"))


@pytest.fixture
def deaths() -> int:
    """How many times a replica is killed: 3, or TESTS_ROUNDS."""
    return int(os.environ.get("TESTS_ROUNDS", "3"))


class Scene(NamedTuple):
    """Two replicas behind one address, and who uploads."""

    cluster: BlobCluster
    load: BlobLoad


@asynccontextmanager
async def a_scene(
    folder: Path, engines: dict[str, Any], chance: random.Random
) -> AsyncIterator[Scene]:
    """Callers at work; at the end all that was acknowledged is there, and its bytes are right."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(a_blob_cluster(folder, **engines))
        ports = [replica.port for replica in cluster.replicas]
        service = await stack.enter_async_context(balanced(*ports))
        where = f"grpc://127.0.0.1:{service.port}"
        async with blob_load(where, folder, seed=chance.randrange(2**32)) as load:
            await load.until(10)
            yield Scene(cluster, load)
            await load.until(load.acknowledged + 10)
        print(
            f"{load.acknowledged} acknowledged, {len(load.failed)} tried again: {load.failed[:5]}"
        )
        (await blob_truth(cluster)).check(load.uploaded, load.gone)
        for replica in cluster.replicas:
            assert replica.alive, replica.said()


async def test_a_killed_replica_loses_no_blob_that_was_acknowledged(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random, deaths: int
) -> None:
    async with a_scene(tmp_path, engines, chance) as (cluster, load):
        for _ in range(deaths):
            at = load.acknowledged
            victim = chance.choice(cluster.replicas)
            await asyncio.sleep(chance.uniform(0.05, 0.5))
            await victim.kill()
            await victim.start()
            await load.until(at + BLOBS_A_ROUND)


async def test_without_redis_and_with_an_empty_one_uploads_go_on(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with a_scene(tmp_path, engines, chance) as (cluster, load):
        server = cluster.redis
        assert server is not None
        await asyncio.to_thread(server.stop)
        await load.until(load.acknowledged + BLOBS_A_ROUND)
        await asyncio.to_thread(server.start)
        async with redis.asyncio.Redis.from_url(server.url) as client:
            await client.flushall()
        await load.until(load.acknowledged + BLOBS_A_ROUND)
    assert not load.failed


async def test_postgresql_that_crashes_and_comes_back_loses_no_blob(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with a_scene(tmp_path, engines, chance) as (_, load):
        server = postgres.server()
        for how in (signal.SIGQUIT, signal.SIGINT):
            await asyncio.to_thread(server.stop, how)
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            await asyncio.to_thread(server.start)
            await load.until(load.acknowledged + BLOBS_A_ROUND)


async def test_an_object_store_that_stops_in_the_middle_of_uploads_loses_no_blob(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with a_scene(tmp_path, engines, chance) as (cluster, load):
        await asyncio.to_thread(cluster.store.stop, signal.SIGKILL)
        at = load.acknowledged
        await asyncio.sleep(AWAY_S)
        # What was in flight may have been done; nothing new is acknowledged that is nowhere.
        assert load.acknowledged <= at + 20
        await asyncio.to_thread(cluster.store.start)
        await load.until(at + BLOBS_A_ROUND)


async def test_a_rolling_restart_fails_no_upload(
    tmp_path: Path, engines: dict[str, Any], chance: random.Random
) -> None:
    async with a_scene(tmp_path, engines, chance) as (cluster, load):
        for replica in cluster.replicas:
            await asyncio.sleep(chance.uniform(0.2, 1.0))
            await replica.restart()
            await load.until(load.acknowledged + 20)
    assert not load.failed


OVERDUE = """
INSERT INTO asgard.blobs (id, name, state, way, attempt, content_type, created_at, expires_at,
  grants_until) VALUES ('old', 'old', 'uploading', 'checked', '1', 'text/plain', 0, 0, 0)
"""


def _lock_of(name: str) -> int:
    """The number of a lock among replicas, as BlobService makes it."""
    return zlib.crc32(name.encode())


# The question and, on the next line, the lock.
ASKED = rf"pg_try_advisory_lock\(\$1\)\n[^\n]*\$1 = '{_lock_of('blob-sweep')}'"


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    """A connection that is closed however the block ends: what it leaves fails the next test."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def heard(dsn: str) -> AsyncIterator[Callable[[str], int]]:
    """What a database is asked by connections made inside: answers how often a pattern was.

    It is read in the server's log: pg_stat_activity forgets a question at the next one.
    """
    log, name = postgres.server().folder / "log", dsn.rpartition("/")[2]
    await postgres.server().execute(f"ALTER DATABASE \"{name}\" SET log_statement = 'all'")
    begin = log.stat().st_size
    try:
        yield lambda pattern: len(
            re.findall(pattern, log.read_bytes()[begin:].decode(errors="replace"))
        )
    finally:
        await postgres.server().execute(f'ALTER DATABASE "{name}" RESET log_statement')


async def test_one_replica_sweeps_at_a_time(tmp_path: Path, engines: dict[str, Any]) -> None:
    async with (
        a_blob_cluster(tmp_path, replicas=0, **engines) as cluster,
        connected(cluster.dsn) as sweeping,  # as a replica that sweeps does
    ):
        await sweeping.execute(OVERDUE)
        await sweeping.execute("SELECT pg_advisory_lock($1)", _lock_of("blob-sweep"))

        async def row() -> Any:
            return await sweeping.fetchval("SELECT state FROM asgard.blobs")

        async with heard(cluster.dsn) as count:

            async def asked() -> bool:
                return count(ASKED) >= 2

            for _ in range(2):
                await cluster.add_replica().start()
            await eventually(asked, what="that both replicas ask whether they may sweep")
        assert await row() == "uploading", "two have swept at a time"
        await sweeping.execute("SELECT pg_advisory_unlock_all()")
        await cluster.replicas[0].restart()

        async def swept() -> bool:
            return await row() is None

        await eventually(swept, what="that a replica sweeps when nobody else does")
