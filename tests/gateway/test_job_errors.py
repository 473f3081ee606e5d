"""What /api/jobs answers to requests that are not right, in SimSwarm's words and statuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.gateway.job_servers import BODY, Pod, a_job
from tests.gateway.monitors import Served, a_monitor


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with a_monitor(tmp_path / "storage", max_seed_chars=100) as server:
        yield server


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in BODY.items() if key != name}


@pytest.mark.parametrize(
    ("body", "status", "reason", "field"),
    [
        (without("seed_text"), 422, "INVALID_FIELD", "seed_text"),
        ({**BODY, "seed_text": " \n"}, 422, "INVALID_FIELD", "seed_text"),
        ({**BODY, "seed_text": "a\0b"}, 422, "INVALID_FIELD", "seed_text"),
        ({**BODY, "seed_text": 7}, 422, "INVALID_FIELD", "seed_text"),
        ({**BODY, "goal": ["x"]}, 422, "INVALID_FIELD", "goal"),
        ({**BODY, "goal": "x" * 10_001}, 422, "INVALID_FIELD", "goal"),
        (without("tier"), 422, "INVALID_FIELD", "tier"),
        ({**BODY, "tier": "huge"}, 422, "INVALID_FIELD", "tier"),
        ({**BODY, "enrich_web": "yes"}, 422, "INVALID_FIELD", "enrich_web"),
        (without("forecast_days"), 422, "INVALID_FIELD", "forecast_days"),
        ({**BODY, "forecast_days": 0}, 422, "INVALID_FIELD", "forecast_days"),
        ({**BODY, "forecast_days": 366}, 422, "INVALID_FIELD", "forecast_days"),
        ({**BODY, "forecast_days": 1.5}, 422, "INVALID_FIELD", "forecast_days"),
        ({**BODY, "unknown": 1}, 422, "INVALID_FIELD", "unknown"),
        ([BODY], 422, "INVALID_FIELD", ""),
        ({**BODY, "seed_text": "x" * 101}, 400, "SEED_TOO_LONG", None),
    ],
)
async def test_a_job_that_is_not_right_is_refused_by_field(
    served: Served, body: Any, status: int, reason: str, field: str | None
) -> None:
    answer = await served.client.post("/api/jobs", json=body)
    said = answer.json()
    assert (answer.status_code, said["reason"]) == (status, reason)
    assert answer.headers["content-type"] == "application/problem+json"
    assert isinstance(said["detail"], str)
    if field:
        assert [each["field"] for each in said["errors"]] == [field]
    assert (await served.client.get("/api/jobs")).json()["total"] == 0


async def test_what_is_no_json_is_422_too(served: Served) -> None:
    answer = await served.client.post(
        "/api/jobs", content=b"{", headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["reason"]) == (422, "MALFORMED_BODY")


@pytest.mark.parametrize("days", [1, 365])
async def test_the_edges_of_what_is_allowed_are_allowed(served: Served, days: int) -> None:
    answer = await served.client.post(
        "/api/jobs",
        json={**BODY, "seed_text": "x" * 100, "forecast_days": days, "enrich_web": False},
    )
    assert answer.status_code == 201
    assert (answer.json()["forecast_days"], answer.json()["enrich_web"]) == (days, False)


async def test_the_same_job_within_a_minute_is_409_and_names_the_first(served: Served) -> None:
    first = await a_job(served.client)
    again = await served.client.post("/api/jobs", json={**BODY, "forecast_days": 8})
    assert (again.status_code, again.json()["reason"]) == (409, "DUPLICATE_JOB")
    assert again.json()["metadata"] == {"jobId": str(first)}
    await a_job(served.client, goal="another")
    await served.client.post(f"/v1/jobs/{first}:fail", json={"error": "stopped"})
    await a_job(served.client)  # the first does not go on


async def test_a_demonstration_makes_no_jobs(tmp_path: Path) -> None:
    async with a_monitor(tmp_path / "storage", demo_mode=True, max_seed_chars=100) as served:
        for body, status, reason in (
            (BODY, 403, "DEMO_MODE"),
            ({**BODY, "seed_text": "x" * 101}, 403, "DEMO_MODE"),
            ({**BODY, "tier": "huge"}, 422, "INVALID_FIELD"),
        ):
            answer = await served.client.post("/api/jobs", json=body)
            assert (answer.status_code, answer.json()["reason"]) == (status, reason)
        assert (await served.client.post("/api/jobs/draft", json={})).status_code == 403


PATHS = [
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/sim-data"),
    ("GET", "/report"),
    ("POST", "/retry"),
    ("POST", "/resume"),
    ("POST", "/share"),
    ("DELETE", "/share"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("job_id", ["x", "1.5", "1e3", "0x1", "99999999999999999999", "%20"])
async def test_an_id_that_is_no_integer_is_422(
    served: Served, method: str, path: str, job_id: str
) -> None:
    answer = await served.client.request(method, f"/api/jobs/{job_id}{path}")
    assert (answer.status_code, answer.json()["reason"]) == (422, "INVALID_FIELD")
    assert answer.json()["errors"][0]["field"] == "job_id"


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("job_id", ["1", "0", "-1", "9223372036854775807"])
async def test_a_job_that_is_not_there_is_404(
    served: Served, method: str, path: str, job_id: str
) -> None:
    answer = await served.client.request(method, f"/api/jobs/{job_id}{path}")
    said = answer.json()
    assert answer.status_code == 404
    if path == "/sim-data":
        assert said["detail"] == "Simulation data not available"
    else:
        assert (said["reason"], said["metadata"]) == ("JOB_NOT_FOUND", {"jobId": job_id})


async def test_where_no_store_is_configured_a_job_that_has_no_files_says_so(served: Served) -> None:
    job_id = await a_job(served.client)
    answer = await served.client.get(f"/api/jobs/{job_id}/sim-data")
    assert (answer.status_code, answer.json()["detail"]) == (404, "Object storage not configured")


async def test_jobs_are_listed_in_pages_by_their_number(served: Served) -> None:
    ids = [await a_job(served.client, goal=f"goal {number}") for number in range(12)]
    first = (await served.client.get("/api/jobs")).json()
    assert set(first) == {"jobs", "total", "page", "per_page"}
    assert (first["total"], first["page"], first["per_page"]) == (12, 1, 10)
    assert [job["id"] for job in first["jobs"]] == ids[:1:-1]
    assert "seed_text" not in first["jobs"][0]
    second = (await served.client.get("/api/jobs?page=2&per_page=10")).json()
    assert [job["id"] for job in second["jobs"]] == [ids[1], ids[0]]
    beyond = (await served.client.get("/api/jobs?page=3&per_page=10")).json()
    assert (beyond["jobs"], beyond["total"], beyond["page"]) == ([], 12, 3)
    for asked in (
        "page=0",
        "page=-1",
        "page=x",
        "page=",
        "per_page=0",
        "per_page=101",
        "per_page=1.5",
        "page=1&page=2",
        "page_token=x",
        "unknown=1",
    ):
        answer = await served.client.get(f"/api/jobs?{asked}")
        assert (answer.status_code, answer.json()["reason"]) == (422, "INVALID_FIELD"), asked


async def test_lists_over_v1_follow_each_other_by_tokens(served: Served) -> None:
    ids = [await a_job(served.client, goal=f"goal {number}") for number in range(5)]
    seen: list[int] = []
    token = ""
    while True:
        answer = await served.client.get(f"/v1/jobs?page_size=2&page_token={token}")
        page = answer.json()
        seen += [job["id"] for job in page["jobs"]]
        assert page["total"] == 5
        token = page["next_page_token"]
        if not token:
            break
    assert seen == ids[::-1]
    refused = await served.client.get("/v1/jobs?page_token=nonsense")
    assert (refused.status_code, refused.json()["reason"]) == (400, "PAGE_TOKEN_MISMATCH")
    both = await served.client.get("/v1/jobs?page=2&page_size=-1")
    assert (both.status_code, both.json()["reason"]) == (400, "INVALID_FIELD")


async def test_a_draft_becomes_a_job_when_nothing_is_missing(served: Served) -> None:
    made = await served.client.post("/api/jobs/draft", json={"goal": "Who wins?"})
    assert made.status_code == 201
    draft = made.json()
    assert (draft["status"], draft["forecast_days"], draft["tier"]) == ("draft", None, None)
    at = f"/api/jobs/draft/{draft['id']}"
    for name in ("seed_text", "tier", "forecast_days"):
        refused = await served.client.post(f"{at}/launch")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, name)
        changed = await served.client.patch(at, json={name: BODY[name]})
        assert changed.status_code == 200
        assert changed.json()[name] == BODY[name]
    wrong = await served.client.patch(at, json={"forecast_days": 400})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "forecast_days")
    none = await served.client.post("/v1/jobs:claim", json={"worker": "pod"})
    assert (none.status_code, none.json()["reason"]) == (404, "JOB_NOT_FOUND")
    launched = await served.client.post(f"{at}/launch")
    assert (launched.status_code, launched.json()["status"]) == (200, "pending")
    for answer in (
        await served.client.post(f"{at}/launch"),
        await served.client.patch(at, json={"goal": "x"}),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (409, "JOB_STATE")
    pod = Pod(served.client)
    await pod.claim()
    assert pod.job_id == draft["id"]


async def test_a_link_shows_the_report_to_whoever_has_it_until_it_is_revoked(
    served: Served,
) -> None:
    job_id = await a_job(served.client)
    link = (await served.client.post(f"/api/jobs/{job_id}/share")).json()
    assert set(link) == {"share_token", "share_url"}
    assert link["share_url"] == f"/s/{link['share_token']}"
    assert (await served.client.post(f"/api/jobs/{job_id}/share")).json() == link
    shown = await served.client.get(link["share_url"])
    assert shown.status_code == 200
    assert set(shown.json()) == {
        "id",
        "goal",
        "tier",
        "status",
        "key_insight",
        "result_report",
        "created_at",
        "completed_at",
    }
    assert (await served.client.delete(f"/api/jobs/{job_id}/share")).status_code == 204
    assert (await served.client.delete(f"/api/jobs/{job_id}/share")).status_code == 204
    gone = await served.client.get(link["share_url"])
    assert (gone.status_code, gone.json()["reason"]) == (404, "SHARE_NOT_FOUND")
    fresh = (await served.client.post(f"/api/jobs/{job_id}/share")).json()
    assert fresh["share_token"] != link["share_token"]


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("jobs:claim", {}, 400, "INVALID_FIELD"),
        ("jobs:claim", {"worker": " "}, 400, "INVALID_FIELD"),
        ("jobs:claim", {"worker": "w", "lease_duration": "9s"}, 400, "INVALID_FIELD"),
        ("jobs:claim", {"worker": "w", "lease_duration": "86401s"}, 400, "INVALID_FIELD"),
        ("jobs:claim", {"worker": "w", "job_id": 99}, 404, "JOB_NOT_FOUND"),
        ("jobs/1:renew", {"lease_token": "x"}, 409, "LEASE_LOST"),
        ("jobs/1:renew", {"lease_token": "x", "status": "completed"}, 400, "INVALID_FIELD"),
        ("jobs/1:renew", {"lease_token": "x", "pipeline_stage": "x" * 201}, 400, "INVALID_FIELD"),
        ("jobs/1:renew", {"lease_token": "x", "live_status": "x" * 70_000}, 400, "INVALID_FIELD"),
        ("jobs/99:renew", {"lease_token": "x"}, 404, "JOB_NOT_FOUND"),
        ("jobs/1:complete", {"lease_token": "x"}, 404, "OBJECT_STORAGE_NOT_CONFIGURED"),
        (
            "jobs/1:complete",
            {"lease_token": "x", "files": [{"name": "report.md"}]},
            400,
            "INVALID_FIELD",
        ),
        ("jobs/1:fail", {"error": ""}, 400, "INVALID_FIELD"),
        ("jobs/1:fail", {"error": "x", "lease_token": "another"}, 409, "LEASE_LOST"),
        ("jobs/99:fail", {"error": "x"}, 404, "JOB_NOT_FOUND"),
    ],
)
async def test_a_worker_that_is_not_right_is_told_why(
    served: Served, path: str, body: dict[str, Any], status: int, reason: str
) -> None:
    await a_job(served.client)
    answer = await served.client.post(f"/v1/{path}", json=body)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text
    assert (await served.client.get("/api/jobs/1")).json()["status"] == "pending"
