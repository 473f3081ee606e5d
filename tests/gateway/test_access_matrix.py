"""Each call by each kind of caller: the matrix of docs/access.md, cell by cell."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgard_server.gateway import schema

from tests.gateway import matrix
from tests.gateway.matrix import CALLERS, Cell
from tests.gateway.monitors import a_monitor
from tests.rpc.running import eventually

TABLES = {
    "RunService": matrix.RUNS,
    "AssetService": matrix.ASSETS,
    "ExperimentService": matrix.EXPERIMENTS,
    "BlobService": matrix.BLOBS,
    "IdentityService": matrix.IDENTITY | matrix.OF_OTHERS,
}
RPCS = {(each.service.rpartition(".")[2], each.name): each for each in schema.asgard_schema().rpcs}
GRANTED = {"reader": "read", "writer": "write", "deleter": "delete"}
_numbers = itertools.count()


@dataclass
class House:
    """A server that asks everybody who they are, and the people of the matrix."""

    client: httpx.AsyncClient
    keys: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, caller: str, method: str, path: str, body: Any = None, query: Any = None
    ) -> httpx.Response:
        """One request of one caller."""
        key = self.keys.get(caller)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        async with self.client.stream(
            method, path, json=body, params=query, headers=headers
        ) as answer:
            if "event-stream" not in answer.headers.get("content-type", ""):
                await answer.aread()
            return answer

    async def made(self, path: str, body: Any, method: str = "POST") -> Any:
        """What the administrator makes."""
        answer = await self.ask("administrator", method, path, body)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        return answer.json()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def _peopled(storage: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Keys of the callers, and ids of people, made while everybody is the local user."""
    keys: dict[str, str] = {}
    async with a_monitor(storage) as served:

        async def made(path: str, method: str = "POST", **body: Any) -> Any:
            answer = await served.client.request(method, path, json=body)
            assert answer.status_code == 200, f"{path}: {answer.text}"
            return answer.json()

        lab = (await made("/v1/organizations", slug="lab"))["id"]
        away = (await made("/v1/organizations", slug="away"))["id"]
        team = (await made("/v1/teams", slug="away-team", organization_id=away))["id"]
        for caller in CALLERS[1:7]:
            handle = caller.replace(" ", "-")
            await made("/v1/users", id=f"sub-{handle}", handle=handle)
            key = await made("/v1/api-keys", name="k", key_type="user", user_id=f"sub-{handle}")
            keys[caller] = key["key"]
        await made(f"/v1/organizations/{lab}/members/sub-administrator", "PUT", role="member")
        await made("/v1/users", id="sub-far", handle="far")
        await made(f"/v1/organizations/{away}/members/sub-far", "PUT", role="member")
        far = await made("/v1/api-keys", name="far", key_type="user", user_id="sub-far")
        gone = await made("/v1/api-keys", name="x", key_type="user", user_id="sub-administrator")
        answer = await served.client.delete(f"/v1/api-keys/{gone['api_key']['id']}")
        assert answer.status_code == 200, answer.text
        keys["expired key"] = gone["key"]
        worker = await made(
            "/v1/api-keys",
            name="w",
            key_type="worker",
            user_id="sub-administrator",
            experiment_id="another",
            variation=0,
            run=0,
        )
        keys["worker of another run"] = worker["key"]
    ids = {
        "organization_id": away,
        "team_id": team,
        "user_id": "sub-far",
        "key_id": far["api_key"]["id"],
    }
    return keys, ids | {"scope_id": away}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    storage = tmp_path / "storage"
    keys, ids = await _peopled(storage)
    async with a_monitor(storage, auth="required") as served:
        yield House(served.client, keys, ids)


async def _prepared(house: House, needs: matrix.Needs) -> dict[str, str]:
    """Make what a cell needs, by the administrator; grant the others what they are called by."""
    if needs in ("nothing", "people"):
        return {}
    if needs == "blob":
        made = await house.made("/v1/blobs:write", {"name": f"n{next(_numbers)}", "body": "eA=="})
        return {"blob_id": made["id"]}
    if needs == "upload":
        made = await house.made("/v1/blobs:upload", {"uploads": [{"size_bytes": 1 << 30}]})
        return {"blob_id": made["uploads"][0]["blob"]["id"]}
    if needs == "own run":
        run = await house.made("/v1/runs", {"name": "own"})
        assert (run["owner"], run["visibility"]) == ("sub-administrator", "private")
        made = await house.made(f"/v1/runs/{run['id']}/results", {"result": matrix.RESULT})
        return {"run_id": run["id"], "result_id": made["id"]}
    ids: dict[str, str] = {}
    asset = {"asset_type": "x", "content": {"a": 1}, "name": f"n{next(_numbers)}"}
    if needs == "pending":
        asset = {"asset_type": "x", "components": ["a"]}
    if needs == "review":
        asset["pending_reasons"] = ["review_required"]
    ids["asset_id"] = (await house.made("/v1/assets", asset))["asset"]["id"]
    await _granted(house, f"/v1/assets/{ids['asset_id']}/access", worker=True)
    if needs in ("ready", "pending", "review"):
        return ids
    made = await house.made("/v1/experiments", {"hypothesis_summary": "s"})
    ids |= {"experiment_id": made["experiment"]["id"], "variation": "0", "run": "0"}
    base = f"/v1/experiments/{ids['experiment_id']}"
    await _granted(house, f"{base}/access", worker=True)
    report = {"asset_type": "hypothesis_report", "content": "# s", "content_type": "text/markdown"}
    report_id = (await house.made("/v1/assets", report))["asset"]["id"]
    await house.made(f"{base}/inputs", {"asset_ids": [report_id]})
    await house.made(f"{base}/variations", {})
    if needs == "open":
        # Whoever may write to the experiment may link what they may administer.
        for name in ("writer",):
            body = {"principal_id": f"sub-{name}", "action": "administer"}
            await house.made(f"/v1/assets/{ids['asset_id']}/access", body)
        return ids
    await house.made(f"{base}/commit", {}, "PUT")
    takeaways = {
        "asset_type": "takeaways_report",
        "content": {"a": 1},
        "output_of": {"experiment_id": ids["experiment_id"]},
        "pending_reasons": ["review_required"],
    }
    written = (await house.made("/v1/assets", takeaways))["asset"]["id"]
    await house.made(f"/v1/assets/{written}/approve", {}, "PUT")
    run = f"{base}/variations/0/runs/0"
    if needs == "its run":
        return ids | await _run_of(house, run)
    if needs in ("running", "ended"):
        await house.made(f"{run}/start", {"worker": "w"})
    if needs == "ended":
        await house.made(f"{run}/succeed", {})
    return ids


async def _run_of(house: House, path: str) -> dict[str, str]:
    """The run of RunService that is a variation's, as soon as it is there, with a result."""
    answer = await house.ask("administrator", "GET", path)
    assert answer.status_code == 200, answer.text
    run_id = answer.json()["run"]["run_id"]

    async def there() -> bool:
        return (await house.ask("administrator", "GET", f"/v1/runs/{run_id}")).status_code == 200

    await eventually(there)
    made = await house.made(f"/v1/runs/{run_id}/results", {"result": matrix.RESULT})
    return {"run_id": run_id, "result_id": made["id"]}


async def _granted(house: House, path: str, *, worker: bool) -> None:
    for caller, action in GRANTED.items():
        await house.made(path, {"principal_id": f"sub-{caller}", "action": action})


def _filled(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, str):
        return value.format(**ids) if "{" in value else value
    if isinstance(value, list):
        return [_filled(each, ids) for each in value]
    if isinstance(value, dict):
        return {key: _filled(each, ids) for key, each in value.items()}
    return value


def _path(template: str, ids: dict[str, str]) -> str:
    return template.replace("=**", "").format(**ids)


async def _status(
    house: House, service: str, name: str, cell: Cell, caller: str, made: dict[str, str]
) -> int:
    ids = {**house.ids, **made, **cell.path}
    binding = RPCS[service, name].bindings[0]
    body = _filled(cell.body, ids) if binding.body else None
    if name in ("CreateUser", "CreateOrganization", "CreateTeam"):
        body = {key: f"{value}-{next(_numbers)}" for key, value in cell.body.items()}
    answer = await house.ask(
        caller, binding.verb, _path(binding.template, ids), body, _filled(cell.query, ids)
    )
    return answer.status_code


@pytest.mark.parametrize("service", TABLES)
async def test_every_cell_is_as_the_rules_say(house: House, service: str) -> None:
    await _check(house, service, TABLES[service])


async def test_every_cell_of_a_run_of_ones_own_is_as_the_rules_say(house: House) -> None:
    await _check(house, "RunService", matrix.OWN_RUNS)


async def _check(house: House, service: str, table: dict[str, Cell]) -> None:
    wrong = []
    for name, cell in table.items():
        made = await _prepared(house, cell.needs)
        for caller in sorted(CALLERS, key=lambda one: cell.of(one) == 200):
            status = await _status(house, service, name, cell, caller, made)
            if status != cell.of(caller):
                wrong.append(f"{name} by {caller}: {status}, not {cell.of(caller)}")
            if status == 200:  # it may not be there any more
                made = await _prepared(house, cell.needs)
    assert not wrong, "\n".join(wrong)


async def test_whoever_is_not_identified_gets_401_everywhere_else(house: House) -> None:
    wrong = []
    ids = dict.fromkeys(("run_id", "result_id", "share_token"), "none") | {"job_id": "7"}
    for service, names in matrix.IDENTIFIED.items():
        for name in sorted(names):
            binding = RPCS[service, name].bindings[0]
            path = _path(binding.template, ids)
            for caller in ("nobody", "expired key", "stranger"):
                answer = await house.ask(caller, binding.verb, path, {} if binding.body else None)
                if (answer.status_code == 401) != (caller != "stranger"):
                    wrong.append(f"{name} by {caller}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)


def test_no_route_and_no_rpc_is_without_a_row() -> None:
    listed = {(service, name) for service, table in TABLES.items() for name in table}
    listed |= {(service, name) for service, names in matrix.IDENTIFIED.items() for name in names}
    unlisted = {key for key in RPCS if key not in listed and key[1] not in matrix.FOR_EVERYBODY}
    assert unlisted == set()
    assert listed - RPCS.keys() == set(), "rows of what is no RPC any more"
