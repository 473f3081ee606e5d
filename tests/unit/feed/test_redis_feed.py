"""The bell over a real Redis: between replicas, without it, and through several nodes."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from asgard_server.feed.redis import RedisFeed, places
from redis.asyncio import Redis
from structlog.testing import capture_logs

from tests.conftest import free_port
from tests.engines import redis
from tests.engines.redis import Server

Open = Callable[[str], RedisFeed]


@pytest.fixture
async def bell_at() -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        def open_feed(url: str) -> RedisFeed:
            feed = RedisFeed(url)
            stack.push_async_callback(feed.aclose)
            return feed

        yield open_feed


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start_server(*arguments: str, tls: bool = False) -> Server:
        started.append(Server(*arguments, tls=tls))
        return started[-1]

    yield start_server
    for server in started:
        server.remove()


async def until(happened: Callable[[], object], within: float = 40) -> None:
    deadline = asyncio.get_running_loop().time() + within
    while not happened():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def rung(bells: AsyncIterator[int], revision: int, within: float = 40) -> None:
    async with asyncio.timeout(within):
        while await anext(bells) != revision:
            pass


async def heard_between(one: RedisFeed, other: RedisFeed) -> None:
    """Wait until a ring of one is heard by the other; rings before that may be lost."""
    async with other.listen("runs") as bells:
        for revision in range(1, 200):
            await one.ring("runs", revision)
            try:
                await asyncio.wait_for(anext(bells), 0.1)
            except TimeoutError:
                continue
            return
    pytest.fail(f"nothing is heard: {one.problem or other.problem}")


async def test_a_ring_of_one_replica_is_heard_in_another(
    bell_at: Open, start: Callable[..., Server]
) -> None:
    url = start().url
    here, there = bell_at(url), bell_at(url)
    async with there.listen("runs") as bells, there.listen("assets") as others:
        async with here.listen("runs"):
            await here.ring("runs", 41)
        assert await asyncio.wait_for(anext(bells), 30) == 41
        await here.ring("runs", 42)
        assert await asyncio.wait_for(anext(bells), 30) == 42
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(others), 0.05)


async def test_a_message_is_a_topic_and_a_revision_and_nothing_else(
    bell_at: Open, start: Callable[..., Server]
) -> None:
    server = start()
    feed = bell_at(server.url)
    client, _ = places(server.url)[0].connect()
    async with aclosing(client), client.pubsub() as everything:
        await everything.psubscribe("*")
        async with feed.listen("runs"):
            await feed.ring("runs", 12)
        async with asyncio.timeout(5):
            while (message := await everything.get_message(timeout=1)) is None or (
                message["type"] != "pmessage"
            ):
                pass
    assert (message["channel"], message["data"]) == (b"asgard:bell:runs", b"12")


async def test_without_redis_rings_are_heard_here_and_it_is_said_once(
    bell_at: Open, start: Callable[..., Server]
) -> None:
    server = start()
    here, there = bell_at(server.url), bell_at(server.url)
    with capture_logs() as logs:
        await heard_between(here, there)
        server.stop()
        async with here.listen("runs") as bells, there.listen("runs") as others:
            for revision in range(1_000, 1_040):
                async with asyncio.timeout(1):  # never waits for Redis
                    await here.ring("runs", revision)
                    await rung(bells, revision)
                await asyncio.sleep(0.02)
            assert here.problem
            server.start()
            await asyncio.wait_for(anext(others), 30)  # whatever it missed: it looks again
            await until(lambda: not here.problem and not there.problem)
        await heard_between(there, here)
    events = [entry["event"].split(":")[0] for entry in logs]
    assert sorted(events) == ["bell reachable again"] * 2 + ["bell unreachable"] * 2


async def test_a_listener_is_rung_when_redis_is_back_although_nobody_rings(
    bell_at: Open, start: Callable[..., Server]
) -> None:
    server = start()
    feed = bell_at(server.url)
    async with feed.listen("runs") as bells:
        await feed.ring("runs", 5)
        await rung(bells, 5)
        server.stop()
        await until(lambda: feed.problem)
        server.start()
        await rung(bells, 5)


async def test_a_feed_begins_without_redis_and_ends_without_it(bell_at: Open) -> None:
    feed = bell_at(f"redis://user:secret@127.0.0.1:{free_port()}/0")
    with capture_logs() as logs:
        async with asyncio.timeout(5), feed.listen("runs") as bells:
            await feed.ring("runs", 1)
            await rung(bells, 1)
            await until(lambda: feed.problem)
    assert len(logs) == 1
    assert "secret" not in str(logs) + feed.problem


async def test_what_others_publish_into_our_channels_harms_nobody(
    bell_at: Open, start: Callable[..., Server]
) -> None:
    server = start()
    feed = bell_at(server.url)
    client, _ = places(server.url)[0].connect()
    async with aclosing(client), feed.listen("runs") as bells:
        for data in (b"", b"\xff", b"seven", b"7"):
            await client.publish("asgard:bell:runs", data)
        assert await asyncio.wait_for(anext(bells), 30) == 7
    assert feed.problem == ""


async def test_tls_is_spoken_and_the_certificate_checked(
    bell_at: Open, start: Callable[..., Server], tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = start(
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--tls-auth-clients", "no"),
        tls=True,
    )
    url = f"{server.url}?ssl_ca_certs={certificate}"
    await heard_between(bell_at(url), bell_at(url))
    stranger = bell_at(server.url)
    async with stranger.listen("runs"):
        assert "certificate" in stranger.problem.lower()


async def test_a_cluster_is_heard_through_any_of_its_nodes(
    bell_at: Open, start: Callable[..., Server]
) -> None:
    nodes = [start("--cluster-enabled", "yes") for _ in range(3)]
    hosts = [f"127.0.0.1:{node.port}" for node in nodes]
    create = ["redis-cli", "--cluster", "create", *hosts, "--cluster-yes"]
    subprocess.run(create, check=True, capture_output=True, timeout=60)
    one = bell_at(f"redis+cluster://{hosts[0]},{hosts[1]}")
    other = bell_at(f"redis+cluster://{hosts[2]},{hosts[1]}")
    await heard_between(one, other)
    nodes[0].stop()
    await heard_between(one, other)


async def test_the_master_of_a_sentinel_is_found_again_after_a_failover(
    bell_at: Open, start: Callable[..., Server]
) -> None:
    master = start()
    replica = start("--replicaof", "127.0.0.1", str(master.port))
    sentinel = start(
        *("--sentinel", "--sentinel", "monitor", "main", "127.0.0.1", str(master.port), "1"),
        *("--sentinel", "down-after-milliseconds", "main", "500"),
        *("--sentinel", "failover-timeout", "main", "2000"),
    )
    url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/main/0"
    one, other = bell_at(url), bell_at(url)
    await heard_between(one, other)
    del replica
    await asyncio.sleep(1)  # the sentinel asks the master for its replicas
    master.stop()
    await until(lambda: one.problem and other.problem)
    await until(lambda: not one.problem and not other.problem, 30)
    await heard_between(one, other)


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "localhost:6379", "redis+sentinel://localhost:26379", "redis+cluster://",
     "redis+what://localhost", "redis://localhost:port"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RedisFeed(url)


async def test_redis_tells_of_rings_only_while_somebody_listens() -> None:
    server = redis.Server()
    one, other = RedisFeed(server.url), RedisFeed(server.url)
    watched = Redis.from_url(server.url)
    try:

        async def subscribers(wanted: int) -> None:
            while await watched.pubsub_numpat() != wanted:
                await other.ring("runs", 1)
                await asyncio.sleep(0.01)

        async with asyncio.timeout(30):
            await one.ring("runs", 1)
            await subscribers(0)
            for _ in range(2):
                async with one.listen("runs") as bells:
                    await subscribers(1)
                    await other.ring("runs", 7)
                    while await anext(bells) != 7:
                        pass
                await subscribers(0)
    finally:
        await watched.aclose()
        await one.aclose()
        await other.aclose()
        server.remove()


async def test_what_nobody_hears_is_sent_seldom_and_what_somebody_hears_at_once(
    bell_at: Open, start: Callable[..., Server]
) -> None:
    server = start()
    feed, other = bell_at(server.url), bell_at(server.url)
    client, _ = places(server.url)[0].connect()

    async def sent(seconds: float) -> float:
        """Bells that Redis was sent in each tenth of a second, while one rang all the time."""
        before = await client.info("commandstats")
        loop = asyncio.get_running_loop()
        began, number = loop.time(), 0
        while loop.time() - began < seconds:
            number += 1
            await feed.ring("runs", number)
            await asyncio.sleep(0.005)
        after = await client.info("commandstats")
        calls = [(each.get("cmdstat_publish") or {"calls": 0})["calls"] for each in (before, after)]
        return float(calls[1] - calls[0]) / (loop.time() - began) / 10

    async with aclosing(client):
        await feed.ring("runs", 1)
        assert await sent(2) < 0.7  # one in 0.2 s, beside four in 0.1
        async with other.listen("runs") as bells:
            # The one before may have gone unheard, and the next one then waits.
            await sent(0.5)
            assert await sent(2) > 0.7
            await feed.ring("runs", 10_000)
            await rung(bells, 10_000, 30)
