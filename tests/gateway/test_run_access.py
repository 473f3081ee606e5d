"""Runs at the gateway: what each caller is shown, and how soon a grant or its end is there."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.monitors import a_monitor
from tests.rpc.running import eventually


@dataclass
class House:
    """A server that asks everybody who they are, and keys of two people."""

    client: httpx.AsyncClient
    keys: dict[str, str]
    grpc: str

    async def ask(self, who: str, method: str, path: str, body: Any = None) -> httpx.Response:
        """One request of one of them."""
        headers = {"authorization": f"Bearer {self.keys[who]}"}
        return await self.client.request(method, path, json=body, headers=headers)

    async def made(self, who: str, path: str, body: Any, method: str = "POST") -> Any:
        """What one of them makes."""
        answer = await self.ask(who, method, path, body)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        return answer.json()

    async def listed(self, who: str) -> list[str]:
        """The documented list of runs."""
        return [run["id"] for run in (await self.ask(who, "GET", "/api/runs")).json()]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    storage, keys = tmp_path / "storage", {}
    async with a_monitor(storage) as served:
        for handle in ("ann", "ben"):
            await served.client.post("/v1/users", json={"id": f"sub-{handle}", "handle": handle})
            wish = {"name": "k", "key_type": "user", "user_id": f"sub-{handle}"}
            keys[handle] = (await served.client.post("/v1/api-keys", json=wish)).json()["key"]
    async with a_monitor(storage, auth="required") as served:
        yield House(served.client, keys, served.grpc)


async def test_the_documented_endpoints_show_each_caller_their_own(house: House) -> None:
    result = {"result_type": "Solution1D", "data": {"x": [0.0], "computed": [1.0]}}
    mine = (await house.made("ann", "/v1/runs", {"name": "mine"}))["id"]
    made = (await house.made("ann", f"/v1/runs/{mine}/results", {"result": result}))["id"]
    open_ = (await house.made("ben", "/v1/runs", {"name": "o", "visibility": "public"}))["id"]
    for _ in range(2):  # what one was told is not kept for the other
        assert await house.listed("ann") == [open_, mine]
        assert await house.listed("ben") == [open_]
    here = (await house.ask("ann", "GET", f"/api/run?id={mine}")).json()
    assert [each["id"] for each in here["results"]] == [made]
    paths = [("GET", f"/api/run?id={mine}"), ("DELETE", f"/api/run?id={mine}")]
    for method, path in [*paths, ("GET", f"/api/result?id={made}")]:
        there = await house.ask("ben", method, path)
        nothing = await house.ask("ben", method, f"{path.partition('=')[0]}=nothing")
        assert (there.status_code, nothing.status_code) == (404, 404)
        told, of_nothing = ({**each.json(), "request_id": ""} for each in (there, nothing))
        said = str(told).replace(mine, "ID").replace(made, "ID")
        assert said == str(of_nothing).replace("nothing", "ID")
    assert await house.listed("ann") == [open_, mine]


async def test_a_grant_on_an_experiment_opens_its_runs_and_its_end_closes_them(
    house: House,
) -> None:
    made = await house.made("ann", "/v1/experiments", {"hypothesis_summary": "s"})
    base = f"/v1/experiments/{made['experiment']['id']}"
    report = {"asset_type": "hypothesis_report", "content": "# s", "content_type": "text/markdown"}
    report_id = (await house.made("ann", "/v1/assets", report))["asset"]["id"]
    await house.made("ann", f"{base}/inputs", {"asset_ids": [report_id]})
    await house.made("ann", f"{base}/variations", {})
    await house.made("ann", f"{base}/commit", {}, "PUT")
    place = await house.ask("ann", "GET", f"{base}/variations/0/runs/0")
    run_id = place.json()["run"]["run_id"]

    async def status(who: str, method: str = "GET", body: Any = None) -> int:
        return (await house.ask(who, method, f"/v1/runs/{run_id}", body)).status_code

    async def becomes(code: int, method: str = "GET", body: Any = None) -> float:
        began = time.monotonic()

        async def is_it() -> bool:
            return await status("ben", method, body) == code

        await eventually(is_it)
        return time.monotonic() - began

    async def there() -> bool:
        return await status("ann") == 200

    await eventually(there)
    assert await status("ben") == 404
    reading = {"principal_id": "@ben", "action": "read"}
    await house.made("ann", f"{base}/access", reading)
    opened = await becomes(200)
    assert await house.listed("ben") == [run_id]
    assert await status("ben", "PATCH", {"note": "x"}) == 403
    await house.made("ann", f"{base}/access", {"principal_id": "@ben", "action": "write"})
    changed = await becomes(200, "PATCH", {"note": "x"})
    for action in ("write", "read"):
        path = f"{base}/access?principal_id=@ben&action={action}"
        answer = await house.ask("ann", "DELETE", path)
        assert answer.status_code == 200, answer.text
    closed = await becomes(404)
    assert await house.listed("ben") == []
    print(f"opened in {opened:.3f} s, to be changed in {changed:.3f} s, closed in {closed:.3f} s")
    await house.made("ann", f"{base}/visibility", {"visibility": "public"}, "PUT")
    await becomes(200)


async def test_handles_say_whose_a_run_is(house: House, tmp_path: Path) -> None:
    async with a_monitor(tmp_path / "storage") as served:
        made = await served.client.post("/v1/organizations", json={"slug": "acme", "name": "Acme"})
        acme = made.json()["id"]
        for handle in ("ann", "ben"):
            path = f"/v1/organizations/{acme}/members/sub-{handle}"
            answer = await served.client.put(path, json={"role": "member"})
            assert answer.status_code == 200, answer.text
    wish = {"name": "r", "owner": "@ann", "organization_id": "o/acme"}
    run = await house.made("ann", "/v1/runs", wish)
    assert (run["owner"], run["organization_id"]) == ("sub-ann", acme)
    assert await house.listed("ben") == [run["id"]]
    saved = await house.made("ann", "/v1/runs:save", {"run": wish})
    assert saved["run"]["organization_id"] == acme
    given = {"owner": "@ben", "organization_id": ""}
    run = await house.made("ann", f"/v1/runs/{run['id']}", given, "PATCH")
    assert (run["owner"], run["visibility"]) == ("sub-ben", "private")
    for body, reason in (
        ({"owner": "@nobody"}, "USER_NOT_FOUND"),
        ({"owner": "@"}, "USER_NOT_FOUND"),
        ({"organization_id": "o/none"}, "ORGANIZATION_NOT_FOUND"),
        ({"owner": "o/acme"}, "USER_NOT_FOUND"),
        ({"organization_id": "@ann"}, "ORGANIZATION_NOT_FOUND"),
    ):
        path = f"/v1/runs/{run['id']}"
        answer = await house.ask("ben", "PATCH", path, body)
        assert answer.json()["reason"] == reason, answer.text
        # Of a run that one may not read a handle says nothing.
        hidden = await house.ask("ann", "PATCH", path, body)
        assert hidden.json()["reason"] == "RUN_NOT_FOUND"
    assert (await house.made("ben", f"/v1/runs/{run['id']}", None, "GET"))["owner"] == "sub-ben"
    # The command line, and the library behind it.
    command = ("runs", "visibility", run["id"], "organization", "--organization", "o/acme")
    place = ("--owner", "@ann", "--storage", f"grpc://{house.grpc}")
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gimle.asgard.cli", *command, *place),
        env={**os.environ, "ASGARD_API_KEY": house.keys["ben"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await done.communicate()
    assert (done.returncode, said.decode().split()) == (0, [f"{run['id']}:", "org_public"]), said
    now = await house.made("ann", f"/v1/runs/{run['id']}", None, "GET")
    assert (now["owner"], now["organization_id"]) == ("sub-ann", acme)
