"""Blobs of several users of one server that asks everybody who they are, over REST and gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from gimle.asgard.v1 import grant_service_pb2 as grant_pb
from gimle.asgard.v1 import grant_service_pb2_grpc as grant_pb_grpc

from tests.gateway.monitors import a_monitor

LARGE = {"name": "weights", "size_bytes": 1 << 30}
SIGNED = {"parts": [{"number": 1, "sha256": "0" * 64}]}


@dataclass
class House:
    """The server, and the keys of those who live there."""

    client: httpx.AsyncClient
    grpc: str
    keys: dict[str, str]

    async def ask(self, who: str, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[who]}"}
        return await self.client.request(method, path, json=body, headers=headers)

    async def made(self, who: str, method: str, path: str, body: Any = None) -> Any:
        answer = await self.ask(who, method, path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    storage, keys = tmp_path / "storage", {}
    async with a_monitor(storage) as local:
        for handle in ("alice", "bob", "eve"):
            user = {"id": handle, "handle": handle}
            assert (await local.client.post("/v1/users", json=user)).status_code == 200
            asked = {"name": "k", "key_type": "user", "user_id": handle}
            keys[handle] = (await local.client.post("/v1/api-keys", json=asked)).json()["key"]
    async with a_monitor(storage, auth="required") as served:
        yield House(served.client, served.grpc, keys)


async def test_the_components_of_an_asset_are_uploaded_by_those_who_may_write_it(
    house: House,
) -> None:
    asset = {"asset_type": "x", "component_files": [LARGE, {"name": "card"}]}
    made = await house.made("alice", "POST", "/v1/assets", asset)
    asset_id = made["asset"]["id"]
    (blob_id,) = (each["parts_blob_id"] for each in made["uploads"] if each["parts_blob_id"])
    path = f"/v1/blobs/{blob_id}"
    assert (await house.ask("alice", "GET", f"{path}/parts")).status_code == 200
    signed = await house.made("alice", "POST", f"{path}/parts:sign", SIGNED)
    assert len(signed["grants"]) == 1
    # The bytes are the asset's: what is to be done with them is asked of that.
    for method, of in (("GET", path), ("DELETE", path), ("GET", f"{path}/bytes")):
        assert (await house.ask("alice", method, of)).status_code == 404
    access = {"principal_id": "bob", "action": "write"}
    await house.made("alice", "POST", f"/v1/assets/{asset_id}/access", access)
    assert (await house.ask("bob", "GET", f"{path}/parts")).status_code == 404
    presign = {"operation": "write", "components": ["weights"]}
    await house.made("bob", "POST", f"/v1/assets/{asset_id}/presign", presign)
    await house.made("bob", "POST", f"{path}/parts:sign", SIGNED)
    await house.made("alice", "POST", f"{path}/parts:sign", SIGNED)
    assert (await house.ask("eve", "GET", f"{path}/parts")).status_code == 404
    assert (await house.ask("eve", "POST", f"{path}/parts:sign", SIGNED)).status_code == 404


async def test_an_asset_s_whole_life_goes_by_blobs_that_its_maker_does_not_see(
    house: House,
) -> None:
    asset = {"asset_type": "x", "component_files": [{"name": "card"}]}
    made = await house.made("alice", "POST", "/v1/assets", asset)
    (upload,) = made["uploads"]
    sent = await house.client.request(
        upload["method"], upload["url"], content=b"abc", headers=upload["headers"]
    )
    assert sent.status_code == 200, sent.text
    asset_id = made["asset"]["id"]
    await house.made("alice", "PUT", f"/v1/assets/{asset_id}/finalize")
    listed = await house.made("alice", "GET", "/v1/blobs")
    assert listed["blobs"] == []
    urls = await house.made(
        "alice", "POST", f"/v1/assets/{asset_id}/presign", {"operation": "read"}
    )
    assert (await house.client.get(urls["urls"]["card"])).content == b"abc"
    await house.made("alice", "DELETE", f"/v1/assets/{asset_id}")


async def test_of_uploads_and_lists_another_learns_nothing(house: House) -> None:
    small = {"name": "run/a", "size_bytes": 3, "sha256": "0" * 64}
    begun = await house.made("alice", "POST", "/v1/blobs:upload", {"uploads": [small]})
    blob_id = begun["uploads"][0]["blob"]["id"]
    items = {"uploads": [{"blob_id": blob_id}]}
    done = await house.made("eve", "POST", "/v1/blobs:complete", items)
    assert done["outcomes"][0]["problem"]["reason"] == "BLOB_NOT_FOUND"
    mine = await house.made("alice", "POST", "/v1/blobs:complete", items)
    assert mine["outcomes"][0]["problem"]["reason"] == "UPLOAD_INCOMPLETE"
    await house.made("eve", "POST", "/v1/blobs:abort", {"blob_ids": [blob_id]})
    await house.made("alice", "POST", "/v1/blobs:renew", {"blob_ids": [blob_id]})
    for who, names in (("alice", ["run/a"]), ("eve", [])):
        listed = await house.made(who, "GET", "/v1/blobs?name_prefix=run/")
        assert [each["name"] for each in listed["blobs"]] == names
    deleted = await house.made("eve", "POST", "/v1/blobs:delete", {"name_prefix": "run/"})
    assert deleted["deleted_count"] == 0
    lent = {"uploads": [{"name": "x", "lent_to": "eve"}]}
    refused = await house.ask("alice", "POST", "/v1/blobs:upload", lent)
    assert (refused.status_code, refused.json()["reason"]) == (403, "SERVICE_CALLERS_ONLY")


async def test_arrays_of_results_are_lent_to_services_alone(house: House) -> None:
    shown = (("authorization", f"Bearer {house.keys['alice']}"),)
    key = "files/0193_x.npy"
    kept = grant_pb.KeptObject(key=key, size_bytes=3, sha256="0" * 64)
    part = grant_pb.GrantPartsRequest(object=kept, parts=[])
    calls = {
        "GrantUploads": grant_pb.GrantUploadsRequest(objects=[kept]),
        "GrantParts": part,
        "SettleUploads": grant_pb.SettleUploadsRequest(objects=[kept]),
        "RemoveObjects": grant_pb.RemoveObjectsRequest(keys=[key]),
        "GrantDownloads": grant_pb.GrantDownloadsRequest(keys=[key]),
    }
    async with grpc.aio.insecure_channel(house.grpc) as channel:
        stub: Any = grant_pb_grpc.GrantServiceStub(channel)
        for name, request in calls.items():
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await getattr(stub, name)(request, metadata=shown)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED, name
