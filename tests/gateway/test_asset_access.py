"""Who may do what with assets, over REST, on a laptop as it is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Monitor


@pytest.fixture
def rest(monitor: Monitor) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=monitor.url, timeout=60) as client:
        yield client


def made(rest: httpx.Client, **fields: Any) -> str:
    body = {"asset_type": "dataset", "content": {"notes": "a wave"}, **fields}
    answer = rest.post("/v1/assets", json=body)
    assert answer.status_code == 200, answer.text
    id: str = answer.json()["asset"]["id"]
    return id


def people(storage: Path) -> None:
    """Put a user and an organisation where IdentityService keeps them."""
    with sqlite3.connect(storage / "asgard.sqlite3", timeout=30) as file:
        file.execute(
            "INSERT INTO users (sub, handle, name, created_at, created_by)"
            " VALUES ('user_abc', 'abc', '', 0, '')"
        )
        file.execute("INSERT INTO organizations VALUES ('org_123', 'acme', '', 0, '')")
    file.close()


def test_the_documented_calls_answer_as_documented(rest: httpx.Client, storage_dir: Path) -> None:
    asset = made(rest, name="waves")
    people(storage_dir)
    access = f"/v1/assets/{asset}/access"
    added = rest.post(access, json={"principal_id": "@abc", "action": "read"}).json()
    assert added["added"] is True
    assert added["grant"]["principal_id"] == "user_abc"
    assert rest.post(access, json={"principal_id": "user_abc"}).json()["added"] is False
    grants = rest.get(access).json()["grants"]
    assert {(each["handle"], each["action"], each["source"]) for each in grants} == {
        ("@abc", "read", "own"),
        ("", "administer", "own"),
    }
    why = rest.get(f"{access}:explain", params={"principal_id": "user_abc"}).json()
    assert why["allowed_actions"] == ["read"]
    assert why["ways"][0]["sentence"].startswith("@abc was granted read by")
    gone = {"principal_id": "user_abc", "action": "read"}
    assert rest.delete(access, params=gone).json() == {"removed": True}
    assert rest.delete(access, params=gone).json() == {"removed": False}
    last = rest.delete(access, params={"principal_id": "local", "action": "administer"})
    assert (last.status_code, last.json()["reason"]) == (409, "LAST_ADMINISTRATOR")

    share = rest.post(f"/v1/assets/{asset}/share", json={"scope_id": "o/acme"})
    assert share.json()["added"] is True
    seen = rest.put(f"/v1/assets/{asset}/visibility", json={"visibility": "organization"})
    assert seen.status_code == 400
    assert rest.put(f"/v1/assets/{asset}/visibility", json={"visibility": "x"}).status_code == 400
    body = {"organization_id": "org_123", "visibility": "team"}
    moved = rest.post(f"/v1/assets/{asset}/move", json=body).json()["asset"]
    assert (moved["organization_id"], moved["visibility"], moved["created_by"]) == (
        "org_123",
        "org_public",
        "local",
    )
    for path, call in ((access, {"principal_id": "o/none"}), (f"/v1/assets/{asset}/move", {})):
        assert rest.post(path, json=call).status_code in (400, 404)
    missing = rest.post("/v1/assets/none/access", json={"principal_id": "everyone"})
    assert (missing.status_code, missing.json()["reason"]) == (404, "ASSET_NOT_FOUND")

    flagged = rest.put(f"/v1/assets/{asset}/invalidate", json={"reason": "wrong labels"}).json()
    assert flagged["asset"]["invalidated"]["reason"] == "wrong labels"
    assert rest.put(f"/v1/assets/{asset}/deprecate", json={"reason": " "}).status_code == 400
    back = rest.put(f"/v1/assets/{asset}/reinstate", json={"reason": "checked"}).json()
    assert back["asset"].get("invalidated") is None
    flags = rest.get(f"/v1/assets/{asset}/flags").json()["entries"]
    assert [(each["is_set"], each["reason"]) for each in flags] == [
        (False, "checked"),
        (True, "wrong labels"),
    ]

    found = rest.post("/v1/search", json={"query": "WAV", "page_size": 5}).json()
    assert [each["document_id"] for each in found["results"]] == [asset]
    assert (found["total"], found["total_is_more"]) == (1, False)
    lineage = rest.get(f"/v1/assets/{asset}/lineage").json()
    assert [each["id"] for each in lineage["nodes"]] == [asset]

    entries = rest.get("/v1/audit", params={"asset_id": asset, "page_size": 3}).json()
    assert [each["action"] for each in entries["entries"]] == [
        "asset.reinstate",
        "asset.invalidate",
        "asset.move",
    ]
    assert entries["entries"][0]["details"] == {"reason": "checked", "flag": "invalidated"}
    assert entries["entries"][0]["request_id"]
    more = rest.get(
        "/v1/audit",
        params={"asset_id": asset, "page_token": entries["next_page_token"], "page_size": 3},
    ).json()
    assert [each["action"] for each in more["entries"]] == [
        "asset.share",
        "asset.revoke",
        "asset.grant",
    ]


def test_a_watch_tells_of_assets_as_they_change(rest: httpx.Client) -> None:
    first = made(rest, name="first")
    heard: list[tuple[str, str]] = []
    with rest.stream("GET", "/v1/assets:watch", params={"start": "snapshot"}) as stream:
        second = ""
        for line in stream.iter_lines():
            if not line.startswith("data:"):
                continue
            message = json.loads(line.removeprefix("data:"))
            heard += [(each["kind"], each["object_id"]) for each in message.get("changes", [])]
            if "snapshot_end" in message and not second:
                assert heard == [("update", first)]
                second = made(rest, name="second")
            if second and ("update", second) in heard:
                break
    assert not any("readers" in each for each in heard)


@pytest.mark.parametrize(
    ("path", "field"),
    [("assets", "experiment_id"), ("audit", "experiment_id"), ("audit", "asset_id")],
)
def test_a_list_narrowed_by_what_is_no_id_is_refused(
    rest: httpx.Client, path: str, field: str
) -> None:
    answer = rest.get(f"/v1/{path}", params={field: "\x84"})
    assert (answer.status_code, answer.json()["metadata"]["field"]) == (400, field)


def test_a_search_within_what_is_no_experiment_is_refused(rest: httpx.Client) -> None:
    answer = rest.post("/v1/search", json={"filters": {"experiment_id": "\x84"}})
    assert answer.status_code == 400
    assert answer.json()["metadata"]["field"] == "filters.experiment_id"
