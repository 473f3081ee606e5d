"""What metrics tell of the bell: how long a ring takes to be heard, and whether it reaches."""

from __future__ import annotations

import asyncio

from asgard_server.feed.memory import MemoryFeed
from asgard_server.feed.redis import RedisFeed
from prometheus_client import REGISTRY

from tests.engines import redis
from tests.rpc.running import eventually


def heard() -> tuple[float, float]:
    """How many rings were heard, and how long that took in all."""
    count = REGISTRY.get_sample_value("asgard_bell_delay_seconds_count") or 0.0
    return count, REGISTRY.get_sample_value("asgard_bell_delay_seconds_sum") or 0.0


def up() -> float | None:
    return REGISTRY.get_sample_value("asgard_bell_up")


def is_up(bell: RedisFeed, wanted: bool) -> bool:
    return (up() == 1) is wanted and (bell.problem == "") is wanted


def has_heard(count: float) -> bool:
    return heard()[0] == count


async def test_in_process_the_delay_is_from_the_first_ring_that_is_not_heard() -> None:
    feed = MemoryFeed()
    assert up() == 1
    async with feed.listen("runs") as bells:
        count, seconds = heard()
        await feed.ring("runs", 1)
        await asyncio.sleep(0.03)
        await feed.ring("runs", 2)
        assert await anext(bells) == 2
    assert heard()[0] == count + 1
    assert 0.03 <= heard()[1] - seconds < 5


async def test_with_redis_the_delay_is_that_of_the_way_there_and_back() -> None:
    server = redis.Server()
    bell = RedisFeed(server.url)
    try:
        assert up() == 0
        async with bell.listen("runs") as bells:
            await eventually(lambda: is_up(bell, True))
            count, _ = heard()
            for revision in (1, 2, 3):
                await bell.ring("runs", revision)
                assert await anext(bells) == revision
                await eventually(lambda wanted=count + revision: has_heard(wanted))
            server.stop()
            await eventually(lambda: is_up(bell, False))
            server.start()
            await eventually(lambda: is_up(bell, True))
    finally:
        await bell.aclose()
        server.remove()
