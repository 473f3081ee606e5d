"""`asgard experiments` as its users run it, against a real server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
from gimle.asgard.cli.app import build
from typer.testing import CliRunner

from tests.rpc.process import ServerProcess, a_server


async def a_report(server: ServerProcess) -> str:
    """Create a hypothesis_report; answer its id."""
    async with httpx.AsyncClient(base_url=server.page, timeout=30) as client:
        body = {"asset_type": "hypothesis_report", "content": {"title": "t"}}
        answer = await client.post("/v1/assets", json=body)
    assert answer.status_code == 200, answer.text
    made: str = answer.json()["asset"]["id"]
    return made


async def test_an_experiment_lives_its_life_by_command(tmp_path: Path) -> None:
    async with a_server(tmp_path / "storage") as server:
        await life(server, tmp_path)


async def life(server: ServerProcess, tmp_path: Path) -> None:
    report = await a_report(server)
    config = tmp_path / "config.yaml"
    await asyncio.to_thread(config.write_text, "damping: 0.4\n")

    async def asgard(*words: str, status: int = 0) -> str:
        told = ["experiments", *words, "--server", f"grpc://{server.address}"]
        done = await asyncio.to_thread(CliRunner().invoke, build(), told)
        assert done.exit_code == status, (words, done.output)
        return done.output

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
