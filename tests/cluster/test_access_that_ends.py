"""What a grant, a membership or a key allowed ends within a second, also in processes that nobody
has told: it is taken back at one gateway and replica, and asked for at others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.cluster.processes import a_cluster
from tests.cluster.test_updates_of_assets import SERVICE_KEY
from tests.deploy.asset_replicas import AssetReplica
from tests.gateway.ended_access import Scene, check, ends_within
from tests.gateway.houses import Person

pytestmark = pytest.mark.timeout(300)  # on a busy machine

NAMES = ("alice", "bob", "root")


@asynccontextmanager
async def a_scene(folder: Path) -> AsyncIterator[Scene]:
    """Two replicas of the asset process, each behind a gateway of its own, over PostgreSQL."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(
            a_cluster(folder, database=True, bell=True, gateways=0, service_key=SERVICE_KEY)
        )
        replicas = [AssetReplica(cluster, number) for number in range(2)]
        for each in replicas:
            stack.push_async_callback(each.kill)
        await replicas[0].start()
        gateways = [cluster.add_gateway(asset_address=replicas[0].address)]
        await gateways[0].start()
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=gateways[0].url, timeout=30))
        ]
        keys = {name: await _known(clients[0], name) for name in NAMES}
        await gateways[0].stop()
        await replicas[0].stop()
        asked = {"ASGARD_AUTH": "required"}
        gateways.append(cluster.add_gateway(asset_address=replicas[1].address))
        for replica, gateway in zip(replicas, gateways, strict=True):
            replica.environ |= asked | {"ASGARD_ADMINS": "sub-root"}
            await replica.start()
            gateway.environ |= asked | {"ASGARD_IDENTITY_ADDRESS": replica.address}
        run = cluster.replicas[0]
        run.environ |= asked | {"ASGARD_IDENTITY_ADDRESS": replicas[1].address}
        await run.restart()
        for gateway in gateways:
            await gateway.start()
        clients.append(
            await stack.enter_async_context(httpx.AsyncClient(base_url=gateways[1].url, timeout=30))
        )
        people = {name: Person(name, key, clients[0]) for name, key in keys.items()}
        yield Scene(people["alice"], people["bob"], people["root"], clients[1], "include_content")


async def _known(client: httpx.AsyncClient, name: str) -> str:
    """Make somebody, and answer a key of theirs."""
    made = await client.post("/v1/users", json={"id": f"sub-{name}", "handle": name})
    assert made.status_code == 200, made.text
    wish = {"name": "k", "key_type": "user", "user_id": f"@{name}"}
    return str((await client.post("/v1/api-keys", json=wish)).json()["key"])


async def test_what_was_allowed_ends_everywhere_within_a_second(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        for way in (scene.a_grant, scene.a_membership, scene.a_key):
            print(way.__name__, end=": ")
            check(await ends_within(way))


async def test_run_service_asks_another_process_whose_a_handle_is(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        run = await scene.alice.ask("POST", "/v1/runs", {"name": "a run", "owner": "@alice"})
        assert run["owner"] == "sub-alice"
        path = f"/v1/runs/{run['id']}"
        given = await scene.alice.ask("PATCH", path, {"owner": "@bob", "visibility": "public"})
        assert (given["owner"], given["visibility"]) == ("sub-bob", "public")
        nobody = await scene.bob.client.patch(
            path, json={"owner": "@nobody"}, headers={"authorization": f"Bearer {scene.bob.key}"}
        )
        assert (nobody.status_code, nobody.json()["reason"]) == (404, "USER_NOT_FOUND")
