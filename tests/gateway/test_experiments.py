"""Experiments over REST, against the whole embedded server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.monitors import Served, a_monitor

EXPERIMENTS = "/v1/experiments"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with a_monitor(tmp_path / "storage") as it:
        yield it


class Caller:
    """Calls REST below /v1/experiments, and keeps what the last answer said."""

    def __init__(self, served: Served) -> None:
        self._client = served.client

    async def __call__(self, method: str, path: str, /, status: int = 200, **body: Any) -> Any:
        told: Any = {} if method in ("GET", "DELETE") else {"json": body}
        answer = await self._client.request(method, EXPERIMENTS + path, **told)
        assert answer.status_code == status, (method, path, answer.text)
        return answer.json()

    async def asset(self, asset_type: str, **fields: Any) -> str:
        """Create an inline asset; answer its id."""
        body = {"asset_type": asset_type, "content": {"title": "t"}, **fields}
        answer = await self._client.post("/v1/assets", json=body)
        assert answer.status_code == 200, answer.text
        made: str = answer.json()["asset"]["id"]
        return made

    async def committed(self) -> str:
        """Make a committed experiment with one variation; answer its id."""
        id: str = (await self("POST", "", hypothesis_summary="it holds"))["experiment"]["id"]
        report = await self.asset("hypothesis_report")
        await self("POST", f"/{id}/inputs", asset_ids=[report])
        await self("POST", f"/{id}/variations", name="a", input_asset_ids=[report])
        await self("PUT", f"/{id}/commit")
        return id


@pytest.fixture
def call(served: Served) -> Caller:
    return Caller(served)


async def test_the_documented_shapes_over_rest(call: Caller) -> None:
    id = await call.committed()
    detail = await call("GET", f"/{id}")
    assert set(detail) == {"experiment", "variations", "inputs", "findings"}
    assert detail["experiment"]["state"] == "committed"
    only = detail["variations"][0]
    assert (only["variation"], only["run_count"], only["latest_status"]) == (0, 1, "pending")
    for path in (f"/{id}/inputs", f"/{id}/outputs", f"/{id}/variations/0/inputs"):
        assert isinstance(await call("GET", path), list)
    refused = await call("GET", f"/{id}/variations", status=405)
    assert refused["reason"] == "METHOD_NOT_ALLOWED"
    late = await call("POST", f"/{id}/inputs", status=409, asset_ids=[detail["inputs"][0]["id"]])
    assert (late["reason"], late["metadata"]["state"]) == ("EXPERIMENT_STATE", "committed")
    assert (await call("GET", "/nothing", status=404))["reason"] == "EXPERIMENT_NOT_FOUND"
    no_run = await call("GET", f"/{id}/variations/0/runs/7", status=404)
    assert (no_run["reason"], no_run["metadata"]) == ("RUN_NOT_FOUND", {"runId": f"{id}/0/7"})
    assert (await call("GET", f"/{id}/variations/7", status=404))["reason"] == "VARIATION_NOT_FOUND"
    assert (await call("PUT", f"/{id}/retract", status=400))["reason"] == "INVALID_FIELD"
    deleted = await call("DELETE", f"/{id}", status=409)
    assert "retract it instead" in deleted["detail"]


async def test_a_run_is_started_logged_ended_and_a_run_of_the_page_all_the_while(
    served: Served, call: Caller
) -> None:
    id = await call.committed()
    run = f"/{id}/variations/0/runs/0"
    partial = await call("POST", f"{run}/start", status=400, wandb_run_id="x")
    assert partial["reason"] == "WANDB_PARTIAL_TRIPLE"
    triple: Any = {"wandb_run_id": "x", "wandb_entity": "y", "wandb_project": "z"}
    started = await call("POST", f"{run}/start", worker="w", lease_duration="60s", **triple)
    token, run_id = started["lease_token"], started["run"]["run_id"]
    beaten = await call("POST", f"{run}/heartbeat", lease_token=token)
    assert beaten["run"]["status"] == "running"
    late = await call("POST", f"{run}/heartbeat", status=409, lease_token="old")
    assert (late["reason"], late["metadata"]) == ("LEASE_LOST", {"runId": run_id})
    outputs = await call("GET", f"{run}/outputs")
    assert [each["asset_type"] for each in outputs] == ["wandb_run"]
    again = await call("POST", f"{run}/start", status=409, worker="another")
    assert again["reason"] == "RUN_STATE"
    place = {"experiment_id": id, "variation": 0, "run": 0}
    answer = await served.client.post(
        "/v1/assets",
        json={"asset_type": "log", "content": {}, "output_of": place, "lease_token": "old"},
    )
    assert (answer.status_code, answer.json()["reason"]) == (409, "LEASE_LOST")
    made = await call.asset("checkpoint", output_of=place, lease_token=token)
    newest = await served.client.get(
        f"{EXPERIMENTS}{run}/outputs", params={"asset_type": "checkpoint", "newest_ready": "true"}
    )
    assert [each["id"] for each in newest.json()] == [made]
    assert (await call("POST", f"{run}/succeed", lease_token=token))["run"]["status"] == "succeeded"

    async def document() -> Any:
        return (await served.client.get(f"/v1/runs/{run_id}")).json()

    deadline = time.monotonic() + 30
    while (found := await document()).get("status") != "succeeded":
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)
    assert found["metadata"] == place | {"variation_name": "a"}
    assert (found["owner"], found["visibility"]) == ("local", "private")
    listed = (await served.client.get("/v1/runs")).json()["runs"]
    assert [each["id"] for each in listed] == [run_id]


async def test_a_retraction_is_seen_beforehand_and_shown_wherever_an_output_is(
    call: Caller,
) -> None:
    id = await call.committed()
    made = await call.asset("dataset", output_of={"experiment_id": id, "variation": 0, "run": 0})
    child = (await call("POST", "", hypothesis_summary="more", parent_experiment_ids=[id]))[
        "experiment"
    ]["id"]
    await call("POST", f"/{child}/inputs", asset_ids=[made])
    preview = await call("GET", f"/{id}/retract:preview")
    assert (preview["invalidated_outputs"], preview["outputs"][0]["id"]) == (1, made)
    assert {each["experiment_id"] for each in preview["downstream"]} == {child}
    done = await call("PUT", f"/{id}/retract", reason="the sensor was off")
    assert done["invalidated_outputs"] == 1
    for shown in (
        (await call("GET", f"/{id}/outputs"))[0],
        (await call("GET", f"/{child}/inputs"))[0],
        (await call("GET", f"/{child}"))["inputs"][0],
    ):
        assert shown["invalidated"]["reason"] == "the sensor was off"
    edges = (await call("GET", f"/{child}/lineage"))["edges"]
    assert [each["invalidated"]["reason"] for each in edges if each["asset_id"] == made] == [
        "the sensor was off"
    ]
    upstream = await call("GET", f"/{child}/upstream-retractions?depth=1")
    assert {each["id"] for each in upstream["retractions"]} == {id, made}
    refused = await call("POST", f"/{child}/inputs", status=200, asset_ids=[made])
    assert refused["warnings"][0]["kind"] == "invalidated"
    other = (await call("POST", "", hypothesis_summary="other"))["experiment"]["id"]
    refused = await call("POST", f"/{other}/inputs", status=409, asset_ids=[made])
    assert refused["reason"] == "ASSET_INVALIDATED"
    # What is put out from now on is invalid from its beginning.
    late = await call.asset("dataset", output_of={"experiment_id": id, "variation": 0, "run": 0})
    flags = {each["id"]: each["invalidated"] for each in await call("GET", f"/{id}/outputs")}
    assert flags[late]["reason"] == "the sensor was off"


async def test_pages_of_the_list_follow_each_other_and_refuse_another_lists_token(
    served: Served, call: Caller
) -> None:
    made = [
        (await call("POST", "", hypothesis_summary=str(each)))["experiment"]["id"]
        for each in range(5)
    ]
    seen, token = [], ""
    while True:
        page = await call("GET", f"?page_size=2&page_token={token}")
        seen += [each["id"] for each in page["experiments"]]
        if not (token := page["next_page_token"]):
            break
        last = token
    assert seen == made[::-1]
    refused = await call("GET", f"?page_size=2&status=open&page_token={last}", status=400)
    assert refused["reason"] == "PAGE_TOKEN_MISMATCH"
    assert (await call("GET", "?status=lost", status=400))["reason"] == "INVALID_FIELD"
