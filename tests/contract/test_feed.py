"""What every `Feed` promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from asgard_server.feed.feed import Feed
from asgard_server.feed.memory import MemoryFeed
from asgard_server.feed.redis import RedisFeed

from tests.engines import redis


@pytest.fixture(params=["memory", "redis"])
async def feed(request: pytest.FixtureRequest) -> AsyncIterator[Feed]:
    if request.param == "memory":
        yield MemoryFeed()
        return
    bell = RedisFeed(redis.server().url, prefix=request.node.name)
    yield bell
    assert bell.problem == ""
    await bell.aclose()


async def test_everybody_who_listens_hears_a_ring(feed: Feed) -> None:
    async with feed.listen("runs") as one, feed.listen("runs") as two:
        await feed.ring("runs", 7)
        assert await asyncio.wait_for(anext(one), 30) == 7
        assert await asyncio.wait_for(anext(two), 30) == 7


async def test_rings_are_coalesced_to_the_newest(feed: Feed) -> None:
    async with feed.listen("runs") as bells:
        for revision in range(1, 1_001):
            await feed.ring("runs", revision)
        assert await asyncio.wait_for(anext(bells), 30) == 1_000
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(bells), 0.05)


async def test_a_topic_is_not_heard_by_those_of_another(feed: Feed) -> None:
    async with feed.listen("assets") as bells:
        await feed.ring("runs", 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(bells), 0.05)


async def test_rings_go_on_after_a_wait_was_given_up(feed: Feed) -> None:
    async with feed.listen("runs") as bells:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(bells), 0.05)
        await feed.ring("runs", 3)
        assert await asyncio.wait_for(anext(bells), 30) == 3


async def test_a_ring_before_listening_is_not_heard_and_harms_nobody(feed: Feed) -> None:
    await feed.ring("runs", 1)
    async with feed.listen("runs") as bells:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(bells), 0.05)
    await feed.ring("runs", 2)


async def test_a_log_begun_anew_rings_with_small_revisions(feed: Feed) -> None:
    async with feed.listen("runs") as bells:
        await feed.ring("runs", 900)
        assert await asyncio.wait_for(anext(bells), 30) == 900
        await feed.ring("runs", 0)
        assert await asyncio.wait_for(anext(bells), 30) == 0
