"""Experiments over REST and by command, against the whole embedded server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from gimle.asgard.cli.app import build
from typer.testing import CliRunner

from tests.cluster.processes import asgard as command
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
        told = {} if method in ("GET", "DELETE") else {"json": body}
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
    triple = {"wandb_run_id": "x", "wandb_entity": "y", "wandb_project": "z"}
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


async def test_the_commands_do_the_same(served: Served, call: Caller, tmp_path: Path) -> None:
    report = await call.asset("hypothesis_report")
    config = tmp_path / "config.yaml"
    await asyncio.to_thread(config.write_text, "damping: 0.4\n")

    async def asgard(*words: str, status: int = 0) -> str:
        server = ("--server", f"grpc://{served.grpc}")
        done = await command("experiments", *words, *server, cwd=tmp_path)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done.stderr if status else done.stdout

    id = (await asgard("create", "it holds", "--config", str(config))).strip()
    assert id in await asgard("list")
    await asgard("link", id, report)
    assert (await asgard("vary", id, "--name", "a", "--input", report)).strip() == "0"
    assert "pending" in await asgard("commit", id)
    refused = await asgard("link", id, report, status=1)
    assert "its inputs are fixed" in refused
    token = (await asgard("start", id, "0", "0", "--worker", "w")).strip()
    assert (await asgard("beat", id, "0", "0", "--lease-token", token)).strip() == "running"
    assert "lease" in await asgard("succeed", id, "0", "0", "--lease-token", "old", status=1)
    assert (await asgard("succeed", id, "0", "0", "--lease-token", token)).strip() == "succeeded"
    assert (await asgard("resume", id, "0")).strip() == "1"
    assert "not needed" in await asgard(
        "fail", id, "0", "1", "--reason", "not needed", "--abandon", "--json"
    )
    assert json.loads(await asgard("run", id, "0", "1", "--json"))["status"] == "failed_abandoned"
    assert "working" in await asgard("find", id, "working", "it does", "--variation", "0")
    shown = json.loads(await asgard("show", id, "--json"))
    assert shown["experiment"]["config_yaml"] == "damping: 0.4\n"
    assert "it does" in await asgard("show", id)
    assert "everyone" in await asgard("grant", id, "everyone")
    assert "everyone" in await asgard("access", id)
    assert "true" in (await asgard("revoke", id, "everyone", "--json"))
    assert "public" in await asgard("visibility", id, "public")
    assert "0 outputs would become invalid" in await asgard("retract", id, "--preview")
    assert "0 outputs are invalid" in await asgard("retract", id, "--reason", "wrong")
    assert "Nothing" in await asgard("retractions", id)
    assert "wrong" in await asgard("lineage", id)
    assert await asgard("inputs", id) != await asgard("outputs", id)
    assert "retract it instead" in await asgard("delete", id, status=1)


async def test_every_command_on_experiments_has_help_with_an_example() -> None:
    for name in (
        *("list", "show", "create", "commit", "conclude", "retract", "delete", "link", "unlink"),
        *("inputs", "outputs", "find", "lineage", "retractions", "vary", "variation", "resume"),
        *("run", "start", "beat", "succeed", "fail", "access", "grant", "revoke", "visibility"),
        "move",
    ):
        done = CliRunner().invoke(build(), ["experiments", name, "--help"])
        assert done.exit_code == 0, name
        assert f"asgard experiments {name}" in done.output, name
        assert "--json" in done.output, name
