"""/api/updates of two gateways over real processes: the asset process dies under their browsers."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest

from tests.cluster.processes import Cluster, Gateway, a_cluster, eventually
from tests.deploy.asset_replicas import AssetReplica

pytestmark = pytest.mark.timeout(300)  # on a busy machine

SERVICE_KEY = "known to the services of this test"
NAMES = ("ada", "ben", "cleo", "dan", "eve")
BROWSERS = 50


@dataclass
class Browser:
    """Follows /api/updates as somebody, and comes back with the last id it has seen."""

    name: str
    key: str
    urls: Sequence[str]
    seen: list[dict[str, str]] = field(default_factory=list)
    last_id: str = ""
    connections: int = 0

    async def run(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        while True:
            url = self.urls[self.connections % len(self.urls)]
            # Some stay until they are cut off, others come and go.
            stays = chance.choice((0.5, 2.0, 60.0))
            with suppress(httpx.HTTPError, TimeoutError):
                async with asyncio.timeout(stays):
                    await self._follow(client, url)
            await asyncio.sleep(0.1)

    async def _follow(self, client: httpx.AsyncClient, url: str) -> None:
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        if self.last_id:
            headers["last-event-id"] = self.last_id
        async with client.stream("GET", f"{url}/api/updates", headers=headers) as answer:
            if answer.status_code == 503:
                return  # who asks is known in the process that is away
            assert answer.status_code == 200, answer.status_code
            id = ""
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    id = value
                elif name == "data":
                    event = orjson.loads(value)
                    if event["type"] == "connected":
                        self.connections += 1
                    else:
                        self.seen.append(event)
                elif not line:  # the end of an event: who is cut off before has not seen it
                    self.last_id = id or self.last_id


@dataclass(frozen=True)
class House:
    """Processes that ask everybody who they are, and keys of people they know."""

    cluster: Cluster
    assets: AssetReplica
    keys: dict[str, str]

    async def call(self, name: str, method: str, path: str, **how: Any) -> httpx.Response:
        """Ask until it is answered: what is called here is safe to repeat."""
        headers = {"authorization": f"Bearer {self.keys[name]}"}

        async def answered() -> httpx.Response | None:
            with suppress(httpx.HTTPError):
                async with self.cluster.client() as client:
                    answer = await client.request(method, path, headers=headers, **how)
                    if answer.status_code < 500:
                        return answer
            return None

        answer: httpx.Response = await eventually(answered, 60, f"{method} {path}")
        assert answer.status_code == 200, answer.text
        return answer

    async def entries(self) -> list[tuple[int, str, set[str], set[str]]]:
        """The change log: revision, id, who could read it and who can."""
        connection = await asyncpg.connect(self.cluster.dsn)
        try:
            rows = await connection.fetch(
                "SELECT revision, object_id, readers_before, readers_after FROM asgard.asset_log"
                " ORDER BY revision"
            )
        finally:
            await connection.close()
        return [(r[0], r[1], set(json.loads(r[2])), set(json.loads(r[3]))) for r in rows]


def expected(entries: Sequence[tuple[int, str, set[str], set[str]]], name: str) -> list[Any]:
    """What is told to somebody of these entries."""
    keys = {f"sub-{name}", "everyone"}
    told = []
    for _, id, before, after in entries:
        how = "update" if keys & after else "delete" if keys & before else ""
        if how:
            told.append({"type": how, "object_type": "asset", "object_id": id})
    return told


async def people_of(asset: AssetReplica, gateway: Gateway) -> dict[str, str]:
    """Make people while nobody has to say who they are; answer their keys."""
    keys = {}
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        for name in NAMES:
            user = {"id": f"sub-{name}", "handle": name}
            assert (await client.post("/v1/users", json=user)).status_code == 200
            wish = {"name": "k", "key_type": "user", "user_id": f"@{name}"}
            keys[name] = (await client.post("/v1/api-keys", json=wish)).json()["key"]
    return keys


@asynccontextmanager
async def a_house(folder: Path) -> AsyncIterator[House]:
    async with a_cluster(
        folder, database=True, bell=True, gateways=0, service_key=SERVICE_KEY
    ) as cluster:
        assets = AssetReplica(cluster, 0)
        try:
            await assets.start()
            first = cluster.add_gateway(asset_address=assets.address)
            await first.start()
            keys = await people_of(assets, first)
            await first.stop()
            await assets.stop()
            asked = {"ASGARD_AUTH": "required", "ASGARD_IDENTITY_ADDRESS": assets.address}
            assets.environ |= {"ASGARD_AUTH": "required"}
            cluster.environ |= asked
            cluster.replicas[0].environ |= asked
            first.environ |= asked
            second = cluster.add_gateway(asset_address=assets.address)
            await assets.start()
            await cluster.replicas[0].restart()
            for gateway in (first, second):
                await gateway.start()
            yield House(cluster, assets, keys)
        finally:
            if assets.alive:
                await assets.kill()
            print(f"--- {assets.log.name}:\n{assets.said()}")


async def test_the_asset_process_dies_under_50_browsers_and_each_is_told_all_it_may_read_once(
    tmp_path: Path, chance: random.Random
) -> None:
    async with a_house(tmp_path) as house, asyncio.TaskGroup() as tasks:
        urls = [gateway.url for gateway in house.cluster.gateways]
        browsers = [
            Browser(name, house.keys[name], urls[n % 2 :] + urls[: n % 2])
            for n in range(BROWSERS)
            for name in (NAMES[n % len(NAMES)],)
        ]
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            running = [
                tasks.create_task(each.run(client, random.Random(chance.random())))
                for each in browsers
            ]
            await eventually(_all_connected(browsers), 60, "that all are connected")
            begun = len(await house.entries())
            for death in range(3):
                await _change(house, chance, f"{death}-before")
                await house.assets.kill()
                changing = asyncio.create_task(_change(house, chance, f"{death}-meanwhile"))
                await asyncio.sleep(chance.uniform(0.0, 1.5))
                await house.assets.start()
                await changing
            entries = (await house.entries())[begun:]
            assert len(entries) >= 3 * 2 * 8
            for browser in browsers:
                told = expected(entries, browser.name)
                await eventually(_seen(browser, len(told)), 60, f"that {browser.name} is told all")
                assert browser.seen == told, browser
            for task in running:
                task.cancel()
    assert max(each.connections for each in browsers) > 3


async def _change(house: House, chance: random.Random, label: str) -> None:
    """Make assets, and let some read them, and some of those no more."""
    for number in range(8):
        owner, *others = chance.sample(NAMES, 3)
        id = f"{label}-{number}"
        body = {"asset_type": "x", "content": 1, "visibility": "private", "id": id}
        await house.call(owner, "POST", "/v1/assets", json=body)
        for other in others[: chance.randrange(3)]:
            grant = {"principal_id": f"@{other}", "action": "read"}
            await house.call(owner, "POST", f"/v1/assets/{id}/access", json=grant)
            if chance.random() < 0.5:
                await house.call(owner, "DELETE", f"/v1/assets/{id}/access", params=grant)


async def _followed(gateway: Gateway) -> dict[str, float]:
    """Whether it follows each log, as its metrics say."""
    async with httpx.AsyncClient(timeout=30) as client:
        text = (await client.get(f"{gateway.metrics}/metrics")).text
    found = re.findall(r'^asgard_gateway_log_connected\{log="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {log: float(value) for log, value in found}


def _all_connected(browsers: Sequence[Browser]) -> Any:
    async def connected() -> bool:
        return all(each.last_id for each in browsers)

    return connected


def _seen(browser: Browser, count: int) -> Any:
    async def seen() -> bool:
        return len(browser.seen) >= count

    return seen


async def test_a_service_that_is_away_is_said_once_and_the_others_are_told_of(
    tmp_path: Path,
) -> None:
    async with a_cluster(tmp_path, database=True, bell=True, gateways=0) as cluster:
        assets = AssetReplica(cluster, 0)
        gateway = cluster.add_gateway(asset_address=assets.address, blob_address="127.0.0.1:1")
        await gateway.start()
        try:
            async with cluster.client() as client:
                browser = Browser("local", "", [gateway.url])
                following = asyncio.create_task(browser.run(client, random.Random(1)))
                await eventually(_all_connected([browser]))
                began = time.monotonic()
                while time.monotonic() - began < 8:
                    run = (await client.post("/v1/runs", json={"name": "a run"})).json()["id"]
                    told = {"type": "update", "object_type": "run", "object_id": run}

                    async def is_told(told: Any = told) -> bool:
                        return told in browser.seen

                    await eventually(is_told, 30, "that a run is told of")
                assert (await client.get("/readyz")).status_code == 200
                ended = [each for each in gateway.logged() if each["event"] == "watch_ended"]
                assert sorted(each["log"] for each in ended) == ["assets", "jobs"], ended
                assert {"type": "reset"} not in browser.seen
                assert await _followed(gateway) == {"runs": 1.0, "jobs": 0.0, "assets": 0.0}

                await assets.start()
                made: list[dict[str, str]] = []

                async def is_told_of_assets() -> bool:
                    body = {"asset_type": "x", "content": 1}
                    answer = await client.post("/v1/assets", json=body)
                    if answer.status_code == 200:
                        id = answer.json()["asset_id"]
                        made.append({"type": "update", "object_type": "asset", "object_id": id})
                    return any(each in browser.seen for each in made)

                await eventually(is_told_of_assets, 60, "that an asset is told of")
                reset = browser.seen.index({"type": "reset"})
                first = min(browser.seen.index(each) for each in made if each in browser.seen)
                assert reset < first, "what was missed is to be read again"
                resumed = [each for each in gateway.logged() if each["event"] == "watch_resumed"]
                assert [each["log"] for each in resumed] == ["assets"]
                assert await _followed(gateway) == {"runs": 1.0, "jobs": 0.0, "assets": 1.0}
                following.cancel()
        finally:
            if assets.alive:
                await assets.kill()
