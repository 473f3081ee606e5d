"""Who you are, over REST: the embedded server, where nobody has to say, and one that asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from gimle.asgard import AsgardStorage
from gimle.asgard.core.access_errors import UnauthenticatedError

from tests.gateway.monitors import Served, a_monitor
from tests.rpc.authorities import Authority, files_of


@pytest_asyncio.fixture
async def local(tmp_path: Path) -> AsyncIterator[Served]:
    async with a_monitor(tmp_path / "storage") as served:
        yield served


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def made(served: Served, path: str, **body: Any) -> Any:
    answer = await served.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def me(served: Served, headers: dict[str, str]) -> httpx.Response:
    return await served.client.get("/v1/me", headers=headers)


async def test_who_says_nothing_is_the_local_user_who_acts_for_everybody(local: Served) -> None:
    assert (await me(local, {})).json() == {
        "id": "local",
        "kind": "user",
        "handle": "@local",
        "organizations": [],
        "teams": [],
        "admin": True,
        "local": True,
        "run": None,
        "key_id": None,
        "expires_at": None,
    }
    acme = await made(local, "/v1/organizations", slug="acme", name="Acme")
    team = await made(local, "/v1/teams", slug="ml-team", organization_id="o/acme")
    scopes = (await local.client.get("/v1/me/scopes")).json()["scopes"]
    assert scopes == [
        {"id": "local", "kind": "user", "name": "local", "slug": "local"},
        {"id": acme["id"], "kind": "organization", "name": "Acme", "slug": "acme"},
        {"id": team["id"], "kind": "team", "name": "ml-team", "slug": "ml-team"},
    ]


async def test_a_key_is_told_once_and_is_its_user(local: Served) -> None:
    await made(local, "/v1/users", handle="alice", name="Alice")
    answer = await made(local, "/v1/api-keys", name="laptop", key_type="user", user_id="@alice")
    key = answer["key"]
    assert key.startswith("sk_user_")
    assert answer["api_key"]["name"] == "laptop"
    said = (await me(local, bearer(key))).json()
    assert (said["handle"], said["local"], said["key_id"]) == (
        "@alice",
        False,
        answer["api_key"]["id"],
    )
    listed = await local.client.get("/v1/api-keys", headers=bearer(key))
    assert [each["id"] for each in listed.json()["api_keys"]] == [answer["api_key"]["id"]]
    assert key not in listed.text


async def test_the_older_words_for_a_key_are_taken(local: Served) -> None:
    answer = await made(local, "/api-keys", description="old client", scopes=["assets:read"])
    assert (answer["api_key"]["name"], answer["api_key"]["key_type"]) == ("old client", "user")
    gone = await local.client.delete(f"/api-keys/{answer['api_key']['id']}")
    assert gone.status_code == 200
    assert gone.json()["revoked_at"] is not None
    assert (await me(local, bearer(answer["key"]))).status_code == 401


async def test_an_unknown_key_is_the_local_user_and_a_dead_one_is_nobody(local: Served) -> None:
    assert (await me(local, bearer("sk_user_unknown"))).json()["local"] is True
    assert (await me(local, bearer("anything"))).json()["local"] is True
    answer = await made(local, "/v1/api-keys", name="short")
    assert (await me(local, bearer(answer["key"]))).json()["local"] is True
    await local.client.delete(f"/v1/api-keys/{answer['api_key']['id']}")
    refused = await me(local, bearer(answer["key"]))
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.json()["reason"] == "UNAUTHENTICATED"
    # Not only here: whatever is asked for.
    assert (await local.client.get("/v1/runs", headers=bearer(answer["key"]))).status_code == 401


@pytest.mark.parametrize("shown", [b"Bearer \x7f", b"Bearer " + b"x" * 20_001, b"Bearer \xe4"])
async def test_a_header_that_is_none_of_a_key_is_refused(local: Served, shown: bytes) -> None:
    answer = await local.client.get("/v1/me", headers={b"authorization": shown})
    assert answer.status_code in (400, 401), answer.text


async def test_members_come_and_go(local: Served) -> None:
    await made(local, "/v1/users", handle="alice", name="Alice")
    await made(local, "/v1/organizations", slug="acme")
    members = "/v1/organizations/o%2Facme/members"
    joined = await local.client.put(f"{members}/@alice", json={"role": "admin"})
    assert (joined.json()["handle"], joined.json()["role"]) == ("alice", "admin")
    listed = (await local.client.get(members)).json()["members"]
    assert {each["handle"]: each["role"] for each in listed} == {"alice": "admin", "local": "admin"}
    assert (await local.client.delete(f"{members}/@local")).json() == {"removed": True}
    refused = await local.client.delete(f"{members}/@alice")
    assert (refused.status_code, refused.json()["reason"]) == (409, "LAST_ADMINISTRATOR")
    found = await local.client.get("/v1/principals/o%2Facme")
    assert (found.json()["handle"], found.json()["kind"]) == ("o/acme", "organization")


async def test_lists_of_identity_have_pages(local: Served) -> None:
    for number in range(5):
        await made(local, "/v1/organizations", slug=f"org-{number}")
        await made(local, "/v1/users", handle=f"user-{number}")
        await made(local, "/v1/api-keys", name=f"key-{number}")
    for path, name, told, seen in (
        ("/v1/organizations", "organizations", "slug", [f"org-{n}" for n in range(5)]),
        ("/v1/me/scopes", "scopes", "slug", ["local", *(f"org-{n}" for n in range(5))]),
        ("/v1/users", "users", "handle", [f"user-{n}" for n in range(5)]),
        ("/v1/api-keys", "api_keys", "name", [f"key-{n}" for n in (4, 3, 2, 1, 0)]),
    ):
        found: list[str] = []
        token = ""
        while True:
            page = await local.client.get(path, params={"page_size": 2, "page_token": token})
            found += [each[told] for each in page.json()[name]]
            token = page.json()["next_page_token"]
            if not token:
                break
        assert found == seen
    wrong = await local.client.get("/v1/users", params={"page_token": "AAAAAAAAAAAAAAAA"})
    assert (wrong.status_code, wrong.json()["reason"]) == (400, "PAGE_TOKEN_MISMATCH")


async def test_one_process_knows_itself_where_services_are_known_by_certificates(
    tmp_path: Path,
) -> None:
    ours = Authority("ours")
    own = files_of(tmp_path / "own", ours.pair("localhost"), ours)
    given = {
        "tls_cert_file": own.certificate,
        "tls_key_file": own.key,
        "tls_ca_file": own.authority,
        "service_names": ("asgard-blob",),
    }
    async with a_monitor(tmp_path / "storage", **given) as served:
        # Of which the gateway keeps a list that it asks for itself.
        answer = await served.client.get("/api/runs")
        assert answer.status_code == 200, answer.text


# Where everybody is asked ---------------------------------------------------------------

SERVICE_KEY = "the services of this test know this"


@pytest_asyncio.fixture
async def asking(tmp_path: Path) -> AsyncIterator[tuple[Served, dict[str, str]]]:
    """A server that asks everybody, and the key of its administrator."""
    storage = tmp_path / "storage"
    async with a_monitor(storage) as served:
        await made(served, "/v1/users", id="root", handle="root")
        key = (await made(served, "/v1/api-keys", name="root", user_id="root"))["key"]
    required = {"auth": "required", "admins": ("root",), "service_key": SERVICE_KEY}
    async with a_monitor(storage, **required) as served:
        yield served, bearer(key)


OPEN = ("/", "/healthz", "/readyz", "/openapi.json", "/metrics")
CLOSED = (
    "/v1/me",
    "/v1/runs",
    "/v1/blobs",
    "/v1/jobs",
    "/api/runs",
    "/api/run?id=x",
    "/api/result?id=x",
)


@pytest.mark.parametrize("path", CLOSED)
async def test_who_says_nothing_is_let_in_nowhere(
    asking: tuple[Served, dict[str, str]], path: str
) -> None:
    served, root = asking
    refused = await served.client.get(path)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["content-type"] == "application/problem+json"
    for shown in (
        "Bearer sk_user_unknown",
        "Basic cm9vdDpyb290",
        "Bearer",
        root["authorization"][7:],
    ):
        answer = await served.client.get(path, headers={"authorization": shown})
        assert answer.status_code == 401, shown
    assert (await served.client.get(path, headers=root)).status_code in (200, 404)


async def test_the_page_and_what_probes_ask_is_open(
    asking: tuple[Served, dict[str, str]],
) -> None:
    served, _ = asking
    for path in OPEN:
        assert (await served.client.get(path)).status_code == 200, path


async def test_changes_are_told_to_nobody_who_is_not_identified(
    asking: tuple[Served, dict[str, str]],
) -> None:
    served, root = asking
    assert (await served.client.get("/api/updates")).status_code == 401
    async with served.client.stream("GET", "/api/updates", headers=root) as told:
        assert told.status_code == 200
        async for line in told.aiter_lines():
            if line.startswith("data:"):
                assert "connected" in line
                break


async def test_jobs_say_who_is_not_identified_in_their_words(
    asking: tuple[Served, dict[str, str]],
) -> None:
    served, _ = asking
    for path in ("/api/jobs", "/api/jobs/1", "/api/jobs/1/sim-data"):
        nobody = await served.client.get(path)
        assert (nobody.status_code, nobody.json()["detail"]) == (401, "Not authenticated")
        wrong = await served.client.get(path, headers=bearer("nonsense"))
        assert (wrong.status_code, wrong.json()["detail"]) == (401, "Invalid or expired token")


async def test_a_job_of_somebody_else_is_hidden_or_refused_as_documented(
    asking: tuple[Served, dict[str, str]],
) -> None:
    served, root = asking
    keys = []
    for name in ("alice", "bob"):
        await served.client.post("/v1/users", json={"handle": name}, headers=root)
        asked = {"name": "k", "user_id": f"@{name}"}
        answer = await served.client.post("/v1/api-keys", json=asked, headers=root)
        keys.append(bearer(answer.json()["key"]))
    alice, bob = keys
    wish = {"seed_text": "once", "goal": "g", "tier": "small", "forecast_days": 7}
    job = (await served.client.post("/api/jobs", json=wish, headers=alice)).json()["id"]
    assert (await served.client.get(f"/api/jobs/{job}", headers=alice)).status_code == 200
    assert (await served.client.get(f"/api/jobs/{job}", headers=bob)).status_code == 403
    hidden = await served.client.get(f"/api/jobs/{job}/sim-data", headers=bob)
    assert (hidden.status_code, hidden.json()["detail"]) == (
        404,
        "Simulation data not available",
    )
    assert (await served.client.get("/api/jobs", headers=bob)).json()["total"] == 0
    claimed = await served.client.post("/v1/jobs:claim", json={"worker": "w"}, headers=alice)
    assert claimed.status_code == 403
    # A link is for everybody who has it.
    link = await served.client.post(f"/api/jobs/{job}/share", headers=alice)
    assert (await served.client.get(link.json()["share_url"])).status_code == 200


async def test_a_key_in_a_url_is_not_read(asking: tuple[Served, dict[str, str]]) -> None:
    served, root = asking
    key = root["authorization"].removeprefix("Bearer ")
    for name in ("api_key", "key", "token", "access_token", "authorization", "Authorization"):
        for path in ("/v1/me", "/api/updates", "/v1/runs"):
            assert (await served.client.get(path, params={name: key})).status_code == 401


async def test_what_a_client_says_of_principals_is_not_heard(
    asking: tuple[Served, dict[str, str]],
) -> None:
    from asgard_server.auth.believing import passing
    from asgard_server.auth.principal import LOCAL, Principal

    served, root = asking
    await served.client.post("/v1/users", json={"handle": "alice"}, headers=root)
    asked = {"name": "k", "user_id": "@alice"}
    answer = await served.client.post("/v1/api-keys", json=asked, headers=root)
    alice = bearer(answer.json()["key"])
    for smuggled in (
        {"x-asgard-principal": passing(LOCAL)},
        {"x-asgard-principal": passing(Principal("root", admin=True))},
        {"x-asgard-service-key": SERVICE_KEY},
        {"x-asgard-service-key": "certificate", "x-asgard-principal": passing(LOCAL)},
        {"grpc-metadata-x-asgard-service-key": SERVICE_KEY},
    ):
        assert (await served.client.get("/v1/me", headers=smuggled)).status_code == 401
        said = await served.client.get("/v1/me", headers={**alice, **smuggled})
        assert said.json()["handle"] == "@alice"
        refused = await served.client.post(
            "/v1/organizations", json={"slug": "mine"}, headers={**alice, **smuggled}
        )
        assert refused.status_code == 403


async def told_until_the_end(
    served: Served, headers: dict[str, str], connected: asyncio.Event
) -> None:
    async with served.client.stream("GET", "/api/updates", headers=headers) as told:
        async for line in told.aiter_lines():
            if "connected" in line:
                connected.set()


async def test_changes_are_told_no_more_within_a_second_of_a_revocation(
    asking: tuple[Served, dict[str, str]],
) -> None:
    served, root = asking
    answer = await served.client.post("/v1/api-keys", json={"name": "k"}, headers=root)
    key, id = answer.json()["key"], answer.json()["api_key"]["id"]
    connected, others = asyncio.Event(), asyncio.Event()
    listening = asyncio.create_task(told_until_the_end(served, bearer(key), connected))
    staying = asyncio.create_task(told_until_the_end(served, root, others))
    async with asyncio.timeout(20):
        await connected.wait()
        await others.wait()
    assert not listening.done()
    revoked = await served.client.delete(f"/v1/api-keys/{id}", headers=root)
    assert revoked.status_code == 200
    began = time.monotonic()
    assert (await served.client.get("/v1/me", headers=bearer(key))).status_code == 401
    async with asyncio.timeout(20):
        await listening
    # A second, and what a loaded machine takes for it.
    assert time.monotonic() - began < 5
    assert not staying.done()
    staying.cancel()
    await asyncio.gather(staying, return_exceptions=True)


async def test_the_library_shows_the_key_of_its_environment(
    asking: tuple[Served, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    served, root = asking
    array = np.arange(3_000_000, dtype=np.float64)  # so large that it goes straight to the store

    def save() -> str:
        storage = AsgardStorage(f"grpc://{served.grpc}")
        run = storage.create_run("mine")
        result = storage.add_result(run, result_type="Any", data={"x": array})
        assert np.array_equal(storage.load_result(result.id).data["x"], array)
        return run.id

    monkeypatch.delenv("ASGARD_API_KEY", raising=False)
    with pytest.raises(UnauthenticatedError):
        await asyncio.to_thread(save)
    monkeypatch.setenv("ASGARD_API_KEY", root["authorization"].removeprefix("Bearer "))
    made = await asyncio.to_thread(save)
    assert (await served.client.get(f"/v1/runs/{made}", headers=root)).status_code == 200
