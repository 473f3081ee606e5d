"""A cluster as the manifests run it: everybody is asked, services know each other, all by TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from gimle.asgard.v1 import asset_requests_pb2 as asset_pb
from gimle.asgard.v1 import asset_service_pb2_grpc as asset_grpc
from gimle.asgard.v1 import identity_service_pb2 as identity_pb
from gimle.asgard.v1 import identity_service_pb2_grpc as identity_grpc

from tests.cluster.experiment_processes import AssetReplica
from tests.cluster.processes import Cluster, a_cluster, asgard, open_channel, variables
from tests.gateway.monitors import a_monitor
from tests.rpc.authorities import Authority


@asynccontextmanager
async def an_asked_cluster(folder: Path) -> AsyncIterator[tuple[Cluster, AssetReplica]]:
    """RunService, AssetService and two gateways, on PostgreSQL."""
    authority = Authority("ours")
    files = {name: folder / f"{name}.pem" for name in ("cert", "key", "ca")}
    authority.pair("asgard").write(files["cert"], files["key"])
    files["ca"].write_bytes(authority.certificate)
    told: dict[str, Any] = {f"tls_{name}_file": path for name, path in files.items()}
    told |= {"auth": "required", "service_key": "s" * 32, "session_key": "k" * 32}
    async with a_cluster(
        folder, gateways=0, database=True, started=False, admins="admin", **told
    ) as cluster:
        run = cluster.replicas[0]
        # Others may reach it: everybody is asked who they are, so no --insecure.
        own = variables({"run_address": run.address, "host": "0.0.0.0"})
        asset = AssetReplica(cluster.environ | own, folder / "asset.log")
        found = {"identity_address": asset.address, "asset_address": asset.address}
        run.environ |= variables({"identity_address": asset.address})
        for _ in range(2):
            cluster.add_gateway(**found)
        try:
            for process in (asset, *cluster.processes):
                process.launch()
            for process in (asset, *cluster.processes):
                await process.ready()
            yield cluster, asset
        finally:
            if asset.alive:
                await asset.kill()
            print(f"--- {asset.log.name}:\n{asset.said()}")


async def first_key(cluster: Cluster, folder: Path) -> str:
    """The key that `asgard keys init` makes where IdentityService keeps them."""
    told = await asgard("keys", "init", "admin", cwd=folder, **cluster.environ)
    assert told.returncode == 0, told.stderr
    assert "administer nothing" not in told.stderr
    key: str = told.stdout.strip()
    assert key.startswith("sk_user_")
    return key


async def test_who_signs_in_at_one_gateway_is_known_to_the_other_and_to_services(
    tmp_path: Path,
) -> None:
    async with an_asked_cluster(tmp_path) as (cluster, _):
        key = await first_key(cluster, tmp_path)
        one, other = cluster.gateways
        async with cluster.client(one) as client:
            assert (await client.get("/v1/me")).status_code == 401
            signed_in = await client.post(
                "/auth/key", json={"key": key}, headers={"origin": one.url}
            )
            assert signed_in.status_code == 200, signed_in.text
            cookies = dict(client.cookies)
        async with httpx.AsyncClient(base_url=other.url, cookies=cookies, timeout=30) as client:
            me = (await client.get("/v1/me")).json()
            assert (me["id"], me["admin"]) == ("admin", True)
            # RunService asks IdentityService, and so does the process of that itself.
            ours = {"origin": other.url}
            made = await client.post("/v1/runs", json={"name": "asked"}, headers=ours)
            assert made.status_code == 200, made.text
            asset = await client.post(
                "/v1/assets", json={"asset_type": "dataset", "content": {}}, headers=ours
            )
            assert asset.status_code == 200, asset.text
            # A second key of the same user, made where the first was.
            assert await first_key(cluster, tmp_path) != key


async def test_the_asset_process_serves_only_those_who_show_a_certificate_and_who_they_are(
    tmp_path: Path,
) -> None:
    async with an_asked_cluster(tmp_path) as (cluster, asset):
        key = await first_key(cluster, tmp_path)
        async with open_channel(asset.address, cluster.environ) as channel:
            identity: Any = identity_grpc.IdentityServiceStub(channel)
            shown = (("authorization", f"Bearer {key}"),)
            me = await identity.GetMe(identity_pb.GetMeRequest(), metadata=shown, timeout=10)
            assert me.principal.principal_id == "admin"
            # A certificate lets in, and does not say who it is.
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await identity.GetMe(identity_pb.GetMeRequest(), timeout=10)
            assert unknown.value.code() is grpc.StatusCode.UNAUTHENTICATED
        ca = cluster.environ["ASGARD_TLS_CA_FILE"]
        Authority("theirs").pair("stranger").write(tmp_path / "cert2.pem", tmp_path / "key2.pem")
        theirs = {
            "ASGARD_TLS_CERT_FILE": str(tmp_path / "cert2.pem"),
            "ASGARD_TLS_KEY_FILE": str(tmp_path / "key2.pem"),
        }
        for environ in ({}, {"ASGARD_TLS_CA_FILE": ca}, {"ASGARD_TLS_CA_FILE": ca, **theirs}):
            async with open_channel(asset.address, environ) as channel:
                assets: Any = asset_grpc.AssetServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await assets.ListAssets(
                        asset_pb.ListAssetsRequest(), metadata=shown, timeout=10
                    )
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "which no server has begun to keep"),
        ({"ASGARD_STORAGE": "s3://bucket/prefix"}, "no folder that has a database"),
    ],
)
async def test_a_first_key_is_made_only_where_keys_are_kept(
    tmp_path: Path, environ: dict[str, str], words: str
) -> None:
    told = await asgard("keys", "init", cwd=tmp_path, **environ)
    assert told.returncode == 1
    assert words in told.stderr
    assert not list(tmp_path.rglob("*.sqlite3"))


async def test_a_first_key_is_made_in_a_folder_while_it_is_served(tmp_path: Path) -> None:
    async with a_monitor(tmp_path / "storage", auth="required", admins=("admin",)) as served:
        told = await asgard("keys", "init", "--storage", str(served.storage), cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        assert "ASGARD_ADMINS here does not name admin" in told.stderr
        shown = {"authorization": f"Bearer {told.stdout.strip()}"}
        me = await served.client.get("/v1/me", headers=shown)
        assert (me.json()["id"], me.json()["admin"]) == ("admin", True)
