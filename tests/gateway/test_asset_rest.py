"""Assets over REST, through the gateway of the embedded server: as documented, and as attacked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asgard_server.asset.access_store import Wanted
from asgard_server.asset.store import Filter
from asgard_server.rpc import pages

from tests.gateway.monitors import Served, a_monitor

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with a_monitor(tmp_path) as served:
        yield served


async def create(server: Served, **fields: Any) -> Any:
    answer = await server.client.post("/v1/assets", json={"asset_type": "checkpoint", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(server: Served, status: int, **fields: Any) -> Any:
    answer = await server.client.post("/v1/assets", json={"asset_type": "checkpoint", **fields})
    assert answer.status_code == status, answer.text
    assert (await server.client.get("/v1/assets")).json()["assets"] == []
    return answer.json()


async def test_an_inline_asset_is_made_and_read_in_one_request(server: Served) -> None:
    made = await create(server, asset_type="takeaways_report", content={"summary": "converged"})
    assert made["asset"]["state"] == "ready"
    asset_id = made["asset"]["id"]
    answer = await server.client.get(
        f"/v1/assets/{asset_id}?include_presigned=true&include_content=true&index_status=true"
    )
    asset = answer.json()
    assert asset["content"] == {"summary": "converged"}
    assert asset["index_present"] is True
    assert asset["allowed_actions"] == ["read", "write", "delete", "administer"]
    assert (await server.client.get(asset["download_urls"]["default"])).json() == asset["content"]


async def test_the_documented_three_steps_work_by_bare_puts(server: Served) -> None:
    names = ["model.safetensors", "nested/optimizer.pt", "metadata.json"]
    made = await create(server, components=names)
    assert set(made["upload_urls"]) == set(names)
    for url in made["upload_urls"].values():
        kind = {"content-type": "application/octet-stream"}
        assert (await server.client.put(url, content=b"bytes", headers=kind)).status_code == 200
    path = f"/v1/assets/{made['asset_id']}"
    done = await server.client.put(f"{path}/finalize")
    assert done.json()["asset"]["state"] == "ready"
    assert (await server.client.put(f"{path}/finalize", json={})).json() == done.json()
    listed = (await server.client.get("/v1/assets?asset_type=checkpoint&state=ready")).json()
    assert [each["id"] for each in listed["assets"]] == [made["asset_id"]]


async def test_one_component_without_a_name_is_the_default(server: Served) -> None:
    made = await create(server)
    assert list(made["upload_urls"]) == ["default"]


async def test_what_is_missing_is_409_and_named(server: Served) -> None:
    made = await create(server, components=["a.bin", "b.bin"])
    answer = await server.client.put(f"/v1/assets/{made['asset_id']}/finalize")
    assert answer.status_code == 409
    assert answer.json()["reason"] == "ASSET_INCOMPLETE"
    assert answer.json()["metadata"]["missing"] == "a.bin,b.bin"


async def test_review_gates_and_their_answers(server: Served) -> None:
    report = {"content": {"a": 1}, "pending_reasons": ["review_required"]}
    first, second = await create(server, **report), await create(server, **report)
    queue = (await server.client.get("/v1/review-queue")).json()["assets"]
    assert [each["id"] for each in queue] == [first["asset_id"], second["asset_id"]]
    path = f"/v1/assets/{first['asset_id']}"
    assert (await server.client.put(f"{path}/approve")).json()["asset"]["state"] == "ready"
    again = await server.client.put(f"{path}/reject", json={"reason": "late"})
    assert (again.status_code, again.json()["detail"]) == (409, "asset is not awaiting review")
    ids = [first["asset_id"], second["asset_id"], "nobody"]
    bulk = await server.client.post("/v1/assets:bulkApprove", json={"asset_ids": ids})
    outcomes = [(each["approved"], each["reason"]) for each in bulk.json()["outcomes"]]
    assert outcomes == [(False, "NOT_AWAITING_REVIEW"), (True, ""), (False, "ASSET_NOT_FOUND")]


async def test_versions_are_found_by_name(server: Served) -> None:
    first = await create(server, name="nets/one", content={"n": 1})
    second = await create(server, name="nets/one", content={"n": 2})
    await server.client.put(f"/v1/assets/{first['asset_id']}/aliases/best", json={})
    for name, there in (("nets/one", second), ("nets/one@1", first), ("nets/one@best", first)):
        found = await server.client.get(f"/v1/named-assets/{name}")
        assert found.json()["id"] == there["asset_id"], found.text
    versions = (await server.client.get(f"/v1/assets/{first['asset_id']}/versions")).json()
    assert [each["version"] for each in versions["versions"]] == [2, 1]
    assert [each["alias"] for each in versions["alias_history"]] == ["best", "latest", "latest"]
    refusal = await server.client.put(f"/v1/assets/{first['asset_id']}/aliases/latest", json={})
    assert refusal.status_code == 400


async def test_a_deleted_asset_is_gone_and_its_id_is_not_used_again(server: Served) -> None:
    made = await create(server, id="mine", content={})
    removed = await server.client.delete("/v1/assets/mine")
    assert removed.json()["grants_removed"] == 1
    assert removed.json()["inline_removed"] == 1
    for answer in (
        await server.client.delete("/v1/assets/mine"),
        await server.client.get("/v1/assets/mine"),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (404, "ASSET_NOT_FOUND")
    again = await server.client.post(
        "/v1/assets", json={"asset_type": "checkpoint", "id": "mine", "content": {}}
    )
    assert (again.status_code, again.json()["reason"]) == (409, "DELETED")
    assert made["asset"]["id"] == "mine"


# Bad input and attacks: each leaves nothing behind.


async def test_ten_mebibytes_inline_are_too_large(server: Served) -> None:
    said = await refused(server, 413, content={"a": "x" * (10 << 20)})
    assert (said["reason"], said["metadata"]) == ("REQUEST_TOO_LARGE", {"limitBytes": "2097152"})
    text = "ü" * (1 << 20)
    made = await create(server, content=text, content_type="text/plain")
    assert made["asset"]["size_bytes"] == 2 << 20


async def test_too_many_components_are_refused(server: Served) -> None:
    said = await refused(server, 400, components=[f"c{n}" for n in range(10_001)])
    assert said["metadata"]["field"] == "components"


@pytest.mark.parametrize(
    "name",
    [
        "../up", "a/../b", "/root", "a//b", "a/", "", ".", "..", "a\\b", "a\nb", "a\u0000b",
        "a\u202eb" "\u2028", "\uff0e\uff0e/x", "a\uff0fb", "x" * 1_025, "\ud800",
    ],
)  # fmt: skip
async def test_a_name_that_leads_elsewhere_is_refused(server: Served, name: str) -> None:
    body = json.dumps({"asset_type": "checkpoint", "components": ["good", name]})
    answer = await server.client.post(
        "/v1/assets", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    assert (await server.client.get("/v1/assets")).json()["assets"] == []


@pytest.mark.parametrize(
    "names",
    [["a", "a"], ["\u00e9", "e\u0301"], ["a", "a/b"], ["a/b/c", "a/b"]],
)
async def test_names_that_are_the_same_file_are_refused(server: Served, names: list[str]) -> None:
    said = await refused(server, 400, components=names)
    assert said["metadata"]["field"].startswith("components[")


async def test_deep_json_is_refused(server: Served) -> None:
    deep = b"[" * 64 + b"]" * 64
    for value in (b'"content":[' + deep + b"]", b'"content":1,"metadata":{"a":' + deep + b"}"):
        answer = await server.client.post(
            "/v1/assets",
            content=b'{"asset_type":"x",' + value + b"}",
            headers={"content-type": "application/json"},
        )
        assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_FIELD")
    hostile = b'{"asset_type":"x","content":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = await server.client.post(
        "/v1/assets", content=hostile, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    fine = await create(server, content={"text": "[" * 1_000 + '\\"' + "{" * 1_000})
    assert fine["asset"]["state"] == "ready"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"asset_type": ""}, "asset_type"),
        ({"asset_type": "x" * 101, "content": 1}, "asset_type"),
        ({"asset_type": "a\u0007b", "content": 1}, "asset_type"),
        ({"content": 1, "components": ["a"]}, "components"),
        ({"content": 1, "uri": "s3://b/k"}, "uri"),
        ({"content": {"a": 1}, "content_type": "text/plain"}, "content"),
        ({"content": "x", "content_type": "text/plain\r\nX-Evil: 1"}, "content_type"),
        ({"uri": "file:///etc/passwd"}, "uri"),
        ({"uri": "http://169.254.169.254/latest"}, "uri"),
        ({"uri": "s3://key:secret@bucket/k"}, "uri"),
        ({"uri": "s3://bucket"}, "uri"),
        ({"content": 1, "metadata": [1]}, "metadata"),
        ({"content": 1, "metadata": {"a": "x" * 70_000}}, "metadata"),
        ({"content": 1, "name": "a@b"}, "name"),
        ({"content": 1, "name": "a\u0000"}, "name"),
        ({"content": 1, "visibility": "all"}, "visibility"),
        ({"content": 1, "visibility": "team"}, "visibility"),
        ({"content": 1, "id": "../../etc"}, "id"),
        ({"content": 1, "pending_reasons": [""]}, "pending_reasons[0]"),
        ({"component_files": [{"name": "a", "sha256": "zz"}]}, "component_files[0].sha256"),
        ({"component_files": [{"name": "a", "size_bytes": -1}]}, "component_files[0].size_bytes"),
        ({"asset_type": "hypothesis_report", "content": [1]}, "content"),
        ({"asset_type": "research_report", "uri": "s3://b/k"}, "uri"),
        (
            {
                "asset_type": "hypothesis_report",
                "content": {},
                "output_of": {"experiment_id": "e"},
            },
            "output_of",
        ),
        ({"content": 1, "output_of": {"experiment_id": "e", "run": 1}}, "output_of.variation"),
    ],
)
async def test_a_field_that_breaks_its_rule_is_named(
    server: Served, fields: dict[str, Any], field: str
) -> None:
    said = await refused(server, 400, **fields)
    assert said["metadata"]["field"] == field


async def test_names_of_other_owners_say_nothing(server: Served) -> None:
    for path in ("organization_id", "team_id"):
        answer = await server.client.post(
            "/v1/assets", json={"asset_type": "x", "content": 1, path: "nobody_there"}
        )
        assert answer.status_code == 404, answer.text


@pytest.mark.parametrize(
    ("body", "kind", "shown"),
    [
        (b"<script>alert(1)</script>", "text/html", "text/plain; charset=utf-8"),
        (b"<svg onload='x()'/>", "image/svg+xml", "text/plain; charset=utf-8"),
        (PNG, "text/html", "image/png"),
        (b"# Title", "text/markdown", "text/plain; charset=utf-8"),
    ],
)
async def test_a_preview_runs_nothing(server: Served, body: bytes, kind: str, shown: str) -> None:
    made = await create(server, component_files=[{"name": "a/x", "content_type": kind}])
    sent = await server.client.put(made["upload_urls"]["a/x"], content=body)
    assert sent.status_code == 200
    path = f"/v1/assets/{made['asset_id']}"
    assert (await server.client.get(f"{path}/preview")).status_code == 409
    await server.client.put(f"{path}/finalize")
    answer = await server.client.get(f"{path}/preview?component=a/x")
    assert (answer.status_code, answer.headers["content-type"]) == (200, shown)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content == body
    unknown = await server.client.get(f"{path}/preview?component=b")
    assert (unknown.status_code, unknown.json()["reason"]) == (404, "COMPONENT_NOT_FOUND")


async def test_bytes_that_are_no_text_have_no_preview(server: Served) -> None:
    made = await create(server, components=["x.bin"])
    await server.client.put(made["upload_urls"]["x.bin"], content=b"\x00\xff" * 9)
    await server.client.put(f"/v1/assets/{made['asset_id']}/finalize")
    answer = await server.client.get(f"/v1/assets/{made['asset_id']}/preview")
    assert (answer.status_code, answer.json()["reason"]) == (409, "NO_PREVIEW")


async def test_a_cut_letter_is_not_shown_by_half(server: Served) -> None:
    text = "a" + "ü" * 200_000
    made = await create(server, content=text, content_type="text/plain")
    answer = await server.client.get(f"/v1/assets/{made['asset_id']}/preview")
    assert answer.text == text[: len(answer.text)]
    assert 262_140 < len(answer.content) <= 262_144


async def test_pages_belong_to_their_list(server: Served) -> None:
    made = [(await create(server, content=n))["asset_id"] for n in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        page = (await server.client.get(f"/v1/assets?page_size=2&page_token={token}")).json()
        seen += [each["id"] for each in page["assets"]]
        token = page["next_page_token"]
        if not token:
            break
    assert seen == made[::-1]
    first = (await server.client.get("/v1/assets?page_size=2")).json()["next_page_token"]
    other = await server.client.get(f"/v1/assets?page_size=2&state=ready&page_token={first}")
    assert (other.status_code, other.json()["reason"]) == (400, "PAGE_TOKEN_MISMATCH")


@pytest.mark.parametrize("text", ["x", "x/1/a", "9" * 30, f"{'9' * 30}/1/a"])
async def test_a_token_that_somebody_has_written_himself_is_refused(
    server: Served, text: str
) -> None:
    made = (await create(server, content=1))["asset_id"]
    for path, listing in (
        ("assets", f"assets/{Filter()}"),
        (f"assets/{made}/flags", f"flags/{made}"),
        (f"assets/{made}/versions", f"versions/{made}"),
    ):
        forged = pages.token(listing, text)
        answer = await server.client.get(f"/v1/{path}?page_token={forged}")
        assert (answer.status_code, answer.json()["reason"]) == (400, "PAGE_TOKEN_MISMATCH"), path
    body = {"page_token": pages.token(f"search/{Wanted()}", text)}
    answer = await server.client.post("/v1/search", json=body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "PAGE_TOKEN_MISMATCH")
