from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from asgard_server.all_in_one import run_service
from asgard_server.gateway.app import GatewayOptions, create_app
from asgard_server.settings import Settings
from gimle.asgard.core.folder import Folder

from tests.conftest import a_connection
from tests.gateway.monitors import Served, a_browser, a_monitor
from tests.gateway.toys import serving


@pytest.fixture
async def monitor(tmp_path: Path) -> AsyncIterator[Served]:
    async with a_monitor(tmp_path / "storage") as served:
        yield served


class Wire:
    """A client of /api/updates on a bare socket: quick enough to have hundreds of."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def data(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            while True:
                line = await self._reader.readline()
                assert line, "the stream ended"
                if line.startswith(b"data: "):
                    found: dict[str, Any] = orjson.loads(line[6:])
                    return found


@asynccontextmanager
async def a_wire(url: str) -> AsyncIterator[Wire]:
    split = urlsplit(url)
    async with a_connection(split.hostname, split.port) as (reader, writer):
        writer.write(b"GET /api/updates HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wire = Wire(reader)
        assert await wire.data() == {"type": "connected"}
        yield wire


async def test_every_one_of_200_browsers_gets_every_event_once_and_in_order(
    monitor: Served,
) -> None:
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(a_wire(monitor.url)) for _ in range(200)]
        run_id = await monitor.save()
        made = [run_id] + [await monitor.add(run_id) for _ in range(10)]
        # What is gone when it is told is told as gone: the delete waits for the last update.
        expected = await _told_of(run_id, wires[0], ("update", made[-1]))
        await monitor.client.delete("/api/run", params={"id": run_id})
        expected += await _told_of(run_id, wires[0], ("delete", run_id))
        seen = [object_id for kind, object_id in expected if kind == "update"]
        assert [i for i in seen if i != run_id] == made[1:]
        for wire in wires[1:]:
            assert await _told_of(run_id, wire, ("delete", run_id)) == expected


async def _told_of(run_id: str, wire: Wire, last: tuple[str, str]) -> list[tuple[str, str]]:
    """What is told of a run up to `last`; earlier runs may still be told of meanwhile."""
    told: list[tuple[str, str]] = []
    while last not in told:
        event = await wire.data()
        if run_id in (event["object_id"], event.get("run_id")):
            told.append((event["type"], event["object_id"]))
    return told


async def test_a_browser_that_comes_back_gets_what_it_missed_from_memory(
    monitor: Served,
) -> None:
    async with a_browser(monitor.client) as browser:
        first = await monitor.save()
        assert (await browser.event())["object_id"] == first
        last_id = browser.last_id
    missed = [await monitor.save() for _ in range(20)]
    async with a_browser(monitor.client, last_id) as browser:
        assert [e["object_id"] for e in await browser.events(20)] == missed
        live = await monitor.save()
        assert (await browser.event())["object_id"] == live
    text = (await monitor.client.get("/metrics")).text
    assert 'asgard_watch_subscribers{log="runs"} 1.0' in text, "no second watch was needed"


async def test_a_browser_that_saw_nothing_yet_comes_back_too(monitor: Served) -> None:
    async with a_browser(monitor.client) as browser:
        last_id = browser.last_id
    assert last_id, "connected carries an id"
    missed = await monitor.save()
    async with a_browser(monitor.client, last_id) as browser:
        assert (await browser.event())["object_id"] == missed


async def test_over_a_restart_each_change_is_told_once_also_those_made_in_between(
    tmp_path: Path,
) -> None:
    """The new gateway's memory is empty: a watch catches up, then hands over to it."""
    storage = tmp_path / "storage"
    async with a_monitor(storage) as served, a_browser(served.client) as browser:
        await served.save()
        await browser.event()
        last_id = browser.last_id
        missed = [await served.save() for _ in range(5)]
    folder = Folder(storage)
    between = missed[0]
    folder.delete_run(between)
    async with a_monitor(storage) as served, a_browser(served.client, last_id) as browser:
        live = await served.save()
        told: dict[str, str] = {}
        # The deletion is found by the look at start, before or after what is saved meanwhile.
        while told.get(between) != "delete" or live not in told:
            event = await browser.event()
            told[event["object_id"]] = event["type"]
        assert set(missed) | {live} == set(told)
        after = [await served.save() for _ in range(3)]
        assert [e["object_id"] for e in await browser.events(3)] == after


@pytest.mark.parametrize("last_id", ["nonsense", "AAAA", "x" * 2_000, "%00", "\xe9\xff"])
async def test_an_unusable_id_is_a_200_with_a_reset_and_then_live(
    monitor: Served, last_id: str
) -> None:
    async with a_browser(monitor.client, last_id) as browser:
        assert await browser.event() == {"type": "reset"}
        made = await monitor.save()
        assert (await browser.event())["object_id"] == made
        assert browser.last_id, "from here on it can resume"


async def test_a_rebuilt_index_is_seen_as_a_reset(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    async with a_monitor(storage) as served, a_browser(served.client) as browser:
        await served.save()
        await browser.event()
        last_id = browser.last_id
    shutil.rmtree(storage / ".asgard")
    async with a_monitor(storage) as served, a_browser(served.client, last_id) as browser:
        assert await browser.event() == {"type": "reset"}


async def test_browsers_that_come_and_go_at_random_miss_nothing(monitor: Served) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    saves = 200

    async def one() -> list[str]:
        seen: list[str] = []
        last_id = ""
        async with httpx.AsyncClient(base_url=monitor.url, timeout=20) as client:
            async with a_browser(client) as browser:
                ready.release()
                last_id = browser.last_id
            # The last is told before it is answered, perhaps: who waits for another waits in vain.
            while len(seen) < saves:
                async with a_browser(client, last_id) as browser:
                    some = min(chance.randrange(1, 30), saves - len(seen))
                    seen += [each["object_id"] for each in await browser.events(some)]
                    last_id = browser.last_id
        return seen

    ready = asyncio.Semaphore(0)
    readers = [asyncio.create_task(one()) for _ in range(10)]
    for _ in readers:
        await ready.acquire()
    made = [await monitor.save() for _ in range(saves)]
    for seen in await asyncio.gather(*readers):
        assert seen == made


async def test_a_client_that_reads_nothing_holds_up_nobody(monitor: Served) -> None:
    split = urlsplit(monitor.url)
    loop = asyncio.get_running_loop()
    async with (
        a_connection(split.hostname, split.port, limit=1) as (_, stuck),
        a_wire(monitor.url) as wire,
    ):
        stuck.write(b"GET /api/updates HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stuck.transport.pause_reading()  # type: ignore[attr-defined]  # the socket's transport can
        run_id = await monitor.save()
        await wire.data()
        for _ in range(100):
            begin = loop.time()
            result_id = await monitor.add(run_id)
            while (await wire.data())["object_id"] != result_id:
                pass
            assert loop.time() - begin < 10


async def test_a_server_that_stops_ends_its_streams_at_once(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as clients:
        async with a_monitor(tmp_path / "storage", drain_seconds=60.0) as served:
            client = await clients.enter_async_context(httpx.AsyncClient(base_url=served.url))
            streams = [
                await clients.enter_async_context(client.stream("GET", path))
                for path in ("/api/updates", "/v1/runs:watch?start=now")
            ]
            begin = loop.time()
        assert loop.time() - begin < 30
        for answer in streams:
            async for _ in answer.aiter_raw():
                pass


@asynccontextmanager
async def a_gateway(storage: Path, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(storage=storage, grpc_port=0, durability="relaxed", drain_seconds=0.5)
    async with run_service(settings) as service:
        app = create_app(service.channel, GatewayOptions(**options))
        async with serving(app) as address, httpx.AsyncClient(base_url=address) as client:
            yield client
            app.state.stop_streams()
        await service.drain()


async def test_a_silent_stream_says_that_it_lives(tmp_path: Path) -> None:
    async with a_gateway(tmp_path / "s", keep_alive_seconds=0.1) as client:
        for path in ("/api/updates", "/v1/runs:watch"):
            async with asyncio.timeout(5), client.stream("GET", path) as answer:
                comments = 0
                async for line in answer.aiter_lines():
                    comments += line == ": keep-alive"
                    if comments == 3:
                        break


async def test_with_the_cache_off_every_list_is_new(tmp_path: Path) -> None:
    async with a_gateway(tmp_path / "s", cache_seconds=0) as client:
        await client.post("/v1/runs", json={"name": "x"})
        one, two = await client.get("/api/runs"), await client.get("/api/runs")
        assert one.json() == two.json()
        text = (await client.get("/metrics")).text
        assert text.count('route="/api/runs"') > 0


async def test_the_watch_of_v1_is_a_snapshot_then_changes_and_resumes(monitor: Served) -> None:
    first = await monitor.save(name="there before")
    async with monitor.client.stream("GET", "/v1/runs:watch?start=snapshot") as answer:
        lines = answer.aiter_lines()
        events, token = [], ""
        async for line in lines:
            if line.startswith("id: "):
                token = line[4:]
            if line.startswith("data: "):
                events.append(orjson.loads(line[6:]))
                if "snapshot_end" in events[-1]:
                    break
    assert [set(e) - {"changes", "resume_token", "revision"} for e in events] == [
        {"reset"},
        set(),
        {"snapshot_end"},
    ]
    assert [len(e["changes"]) for e in events] == [0, 1, 0]
    assert events[1]["changes"][0]["run"]["name"] == "there before"
    assert events[1]["changes"][0]["object_id"] == first
    second = await monitor.save(name="later")
    headers = {"last-event-id": token}
    async with monitor.client.stream("GET", "/v1/runs:watch", headers=headers) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                told = orjson.loads(line[6:])
                if "checkpoint" in told:
                    continue
                (change,) = told["changes"]
                assert (change["kind"], change["object_id"]) == ("update", second)
                assert (change["revision"], change["resume_token"]) == (
                    told["revision"],
                    told["resume_token"],
                )
                break
    refused = await monitor.client.get("/v1/runs:watch?resume_token=nonsense")
    assert (refused.status_code, refused.json()["reason"]) == (400, "RESUME_TOKEN_UNUSABLE")
