"""What operators do beside starting and stopping: migrate, reindex, listen, certify."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import pytest
from gimle.asgard.monitor.storage import AsgardStorage
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc

from tests.cluster.processes import Cluster, a_cluster, asgard, eventually, open_channel
from tests.engines import postgres
from tests.gateway.monitors import a_browser, a_monitor
from tests.rpc.authorities import Authority


async def test_a_service_refuses_a_schema_that_it_cannot_use_and_says_what_to_do(
    tmp_path: Path,
) -> None:
    dsn = await postgres.empty_database(f"schema_{tmp_path.name.replace('-', '_')}")
    environ = {"ASGARD_DATABASE_URL": dsn, "ASGARD_GRPC_PORT": "0", "ASGARD_METRICS_PORT": "0"}

    async def refusal(service: str) -> str:
        arguments = ("serve", service, "--storage", "s")
        told = await asgard(*arguments, cwd=tmp_path, ASGARD_PORT="0", **environ)
        assert told.returncode == 1
        assert told.stderr.startswith("asgard: ")
        assert len(told.stderr.splitlines()) == 1, told.stderr
        return told.stderr

    for service in ("run", "all"):
        assert "run `asgard migrate`, then start again" in await refusal(service)
    first, second = await asyncio.gather(
        *(asgard("migrate", "--json", cwd=tmp_path, **environ) for _ in range(2))
    )
    applied = [json.loads(told.stdout)["applied"] for told in (first, second)]
    assert sorted(map(bool, applied)) == [False, True], (first, second)
    assert max(applied)[0] == "0001_runs"
    again = await asgard("migrate", cwd=tmp_path, **environ)
    assert again.returncode == 0
    assert "was already that of this release" in again.stdout
    connection = await asyncpg.connect(dsn)
    await connection.execute("INSERT INTO asgard.migrations VALUES (9999, 'later', 9999)")
    await connection.close()
    assert "install the release that migrated it" in await refusal("run")
    told = await asgard("migrate", cwd=tmp_path, **environ)
    assert told.returncode == 1
    assert "install the release that migrated it" in told.stderr


async def test_migrate_without_a_database_or_with_one_that_is_away_says_so(tmp_path: Path) -> None:
    told = await asgard("migrate", cwd=tmp_path)
    assert told.returncode == 1
    assert "ASGARD_DATABASE_URL is not set" in told.stderr
    url = "postgresql://asgard:geheim@127.0.0.1:1/nowhere"
    told = await asgard("migrate", cwd=tmp_path, ASGARD_DATABASE_URL=url)
    assert told.returncode == 1
    assert "postgresql://127.0.0.1:1/nowhere is not available" in told.stderr
    assert "geheim" not in told.stderr
    assert "Traceback" not in told.stderr


async def _saved(cluster: Cluster, count: int) -> list[str]:
    async with cluster.stub() as stub:
        replies = [await stub.CreateRun(pb.CreateRunRequest(name=f"r{n}")) for n in range(count)]
        return sorted(reply.run.run_id for reply in replies)


async def _listed(client: httpx.AsyncClient) -> list[str]:
    return sorted(each["id"] for each in (await client.get("/api/runs")).json())


@pytest.mark.parametrize("database", [False, True], ids=["sqlite", "postgres"])
async def test_reindex_mends_and_rebuilds_the_index_while_services_run(
    tmp_path: Path, database: bool
) -> None:
    async with (
        a_cluster(tmp_path, database=database, cache_seconds=0) as cluster,
        cluster.client() as client,
    ):
        made = await _saved(cluster, 5)
        told = await asgard("reindex", "--json", cwd=tmp_path, **cluster.environ)
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout) == {"documents": 5, "changed": 0, "built": False}
        # What others wrote while nobody served is found without a service, too.
        assert await cluster.replicas[0].stop() == 0
        made = sorted([*made, AsgardStorage(cluster.storage).create_run("by another").id])
        told = await asgard("reindex", "--json", cwd=tmp_path, **cluster.environ)
        assert json.loads(told.stdout) == {"documents": 6, "changed": 1, "built": False}
        await cluster.replicas[0].start()
        await cluster.gateway.ready()
        async with a_browser(client) as browser:
            told = await asgard("reindex", "--rebuild", cwd=tmp_path, **cluster.environ)
            assert told.returncode == 0, told.stderr
            assert "made anew" in told.stdout
            # Who watches is told to read anew, and finds what is there.
            while await browser.event() != {"type": "reset"}:
                pass

            async def whole() -> bool:
                return await _listed(client) == made

            await eventually(whole)
            more = await _saved(cluster, 1)
            while (await browser.event()).get("object_id") != more[0]:
                pass
            assert await _listed(client) == sorted(made + more)


async def test_reindex_of_a_place_that_is_not_there_fails_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "mistyped"):
        told = await asgard("reindex", "--storage", place, cwd=tmp_path)
        assert told.returncode == 1
        assert told.stderr.startswith("asgard: ")
        assert "Traceback" not in told.stderr
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("service", ["run", "gateway", "all"])
async def test_nobody_listens_beyond_loopback_by_accident(tmp_path: Path, service: str) -> None:
    told = await asgard("serve", service, "--host", "0.0.0.0", cwd=tmp_path)
    assert told.returncode == 1
    assert "0.0.0.0 can be reached by others, and nobody who calls is identified" in told.stderr
    assert "--insecure" in told.stderr
    assert list(tmp_path.iterdir()) == []
    if service != "all":
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"asgard_server.{service}"),
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "ASGARD_HOST": "0.0.0.0"},
        )
        assert (await process.communicate())[1].decode() == told.stderr
        assert process.returncode == 1


@pytest.mark.parametrize("service", ["run", "gateway", "blob"])
async def test_a_process_that_asks_who_calls_and_knows_nobody_who_does_is_told_so(
    tmp_path: Path, service: str
) -> None:
    said_so = {"ASGARD_HOST": "0.0.0.0", "ASGARD_AUTH": "required"}
    free = dict.fromkeys(("ASGARD_METRICS_PORT", "ASGARD_PORT", "ASGARD_GRPC_PORT"), "0")
    environment = {**os.environ, **said_so, **free}
    told = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"asgard_server.{service}"),
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env=environment,
    )
    said = (await told.communicate())[1].decode()
    assert told.returncode == 1
    assert "Traceback" not in said
    if service != "blob":  # which is refused for its folder before
        assert "ASGARD_IDENTITY_ADDRESS is not set" in said


async def test_whoever_says_insecure_may_listen_to_all(tmp_path: Path) -> None:
    async with (
        a_cluster(
            tmp_path, gateways=1, host="0.0.0.0", insecure=True, allowed_hosts="asgard.example"
        ) as cluster,
        cluster.client() as client,
    ):
        assert (await client.get("/api/runs")).status_code == 200
        named = await client.get("/api/runs", headers={"Host": "asgard.example"})
        assert named.status_code == 200


async def test_the_embedded_shape_keeps_its_index_in_postgresql_when_told(tmp_path: Path) -> None:
    dsn = await postgres.database_of(tmp_path)
    (tmp_path / "storage").mkdir()
    try:
        async with a_monitor(tmp_path / "storage", database_url=dsn) as monitor:
            run_id = await monitor.save(name="kept there")
            assert [each["id"] for each in (await monitor.client.get("/api/runs")).json()] == [
                run_id
            ]
            connection = await asyncpg.connect(dsn)
            assert await connection.fetchval("SELECT id FROM asgard.runs") == run_id
            await connection.close()
            assert not (tmp_path / "storage" / ".asgard" / "index.sqlite3").exists()
    finally:
        postgres.give_back(tmp_path)


async def test_a_port_that_is_taken_is_named_with_the_option_that_chooses_another(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for service, option in (
            ("run", "--grpc-port"),
            ("run", "--metrics-port"),
            ("gateway", "--port"),
            ("gateway", "--metrics-port"),
        ):
            free: dict[str, Any] = {
                f"ASGARD_{name}": "0" for name in ("PORT", "GRPC_PORT", "METRICS_PORT")
            }
            told = await asgard("serve", service, option, port, cwd=tmp_path, **free)
            assert told.returncode == 1, told.stdout
            assert f"port {port} is in use by another program" in told.stderr
            assert f"{option} 0" in told.stderr


async def test_with_certificates_only_those_who_show_one_are_served_and_all_may_reach_it(
    tmp_path: Path,
) -> None:
    authority = Authority("ours")
    files = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "ca")}
    authority.pair("asgard").write(files["cert"], files["key"])
    files["ca"].write_bytes(authority.certificate)
    settings: dict[str, Any] = {f"tls_{name}_file": path for name, path in files.items()}
    async with a_cluster(tmp_path, started=False, **settings) as cluster:
        # Whoever calls is identified by a certificate: no --insecure.
        cluster.replicas[0].environ["ASGARD_HOST"] = "0.0.0.0"
        for process in cluster.processes:
            await process.start()
        async with cluster.client() as client:
            run_id = (await client.post("/v1/runs", json={"name": "certified"})).json()["id"]
        async with cluster.stub() as stub:
            got = await stub.GetRun(pb.GetRunRequest(run_id=run_id))
            assert got.run.name == "certified"
        stranger = Authority("theirs").pair("stranger")
        stranger.write(tmp_path / "cert2.pem", tmp_path / "key2.pem")
        for environ in (
            {"ASGARD_TLS_CA_FILE": str(files["ca"])},
            {
                "ASGARD_TLS_CA_FILE": str(files["ca"]),
                "ASGARD_TLS_CERT_FILE": str(tmp_path / "cert2.pem"),
                "ASGARD_TLS_KEY_FILE": str(tmp_path / "key2.pem"),
            },
            {},
        ):
            async with open_channel(cluster.replicas[0].address, environ) as channel:
                stranger_s: Any = pb_grpc.RunServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stranger_s.ListRuns(pb.ListRunsRequest(), timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
