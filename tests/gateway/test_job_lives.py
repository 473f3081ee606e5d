"""A job's life over REST: on MinIO, on versitygw with PostgreSQL, and in a folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from asgard_server.sim_data import leases
from asgard_server.sim_data.domain import FILES
from asgard_server.sim_data.vanished import Vanished
from asgard_server.store import sqlite_jobs
from simswarm.storage import SIM_DATA_FILES, SimDataStorage

from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY
from tests.gateway.job_servers import (
    BODY,
    HOMES,
    STORES,
    Pod,
    a_job,
    ended,
    files,
    job_that,
    settings_of,
)
from tests.gateway.monitors import Served, a_monitor


@dataclass(frozen=True)
class Home:
    """A server, and what looks at its files behind its back."""

    name: str
    served: Served
    bucket: str

    @property
    def client(self) -> httpx.AsyncClient:
        return self.served.client

    def keys(self, job_id: int) -> list[str]:
        """Names of the files that lie there for a job."""
        if self.name == "local":
            folder = self.served.storage / "sim-data" / str(job_id)
            return sorted(path.name for path in folder.glob("*"))
        found = STORES[self.name]().keys(self.bucket, f"sim-data/{job_id}/")
        return sorted(key.rpartition("/")[2] for key in found)

    def read(self, job_id: int, name: str) -> bytes:
        if self.name == "local":
            return (self.served.storage / "sim-data" / str(job_id) / name).read_bytes()
        key = f"sim-data/{job_id}/{name}"
        answer = STORES[self.name]().client().get_object(Bucket=self.bucket, Key=key)
        return bytes(answer["Body"].read())

    def remove(self, job_id: int, name: str) -> None:
        if self.name == "local":
            (self.served.storage / "sim-data" / str(job_id) / name).unlink()
            return
        key = f"sim-data/{job_id}/{name}"
        STORES[self.name]().client().delete_object(Bucket=self.bucket, Key=key)


@pytest_asyncio.fixture(params=HOMES)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    given = await settings_of(request.param, tmp_path)
    async with a_monitor(tmp_path / "storage", **given) as served:
        yield Home(request.param, served, given.get("minio_bucket", ""))


def test_the_service_knows_the_files_that_simswarm_documents() -> None:
    assert list(FILES) == SIM_DATA_FILES


async def test_a_job_goes_from_its_creation_to_its_report(home: Home) -> None:
    answer = await home.client.post("/api/jobs", json=BODY)
    assert answer.status_code == 201
    job = answer.json()
    assert BODY.items() <= job.items()
    assert (job["status"], job["sim_data_available"], job["enrich_web"]) == ("pending", False, True)
    assert "uploads" not in job
    assert "X-Amz" not in answer.text
    pod = Pod(home.client)
    await pod.claim()
    assert pod.job_id == job["id"]
    assert pod.urls is not None
    assert set(pod.urls) == set(SIM_DATA_FILES)
    renewed = await home.client.post(
        f"/v1/jobs/{job['id']}:renew",
        json={
            "lease_token": pod.token,
            "status": "running",
            "pipeline_stage": "simulating",
            "live_status": {"round": 3},
        },
    )
    assert renewed.status_code == 200, renewed.text
    assert (renewed.json()["status"], renewed.json()["live_status"]) == ("running", {"round": 3})
    delivered = await pod.done(files())
    assert delivered["sim_data_available"]
    assert {each["name"]: each["size_bytes"] for each in delivered["sim_data_files"]} == {
        name: len(body) for name, body in files().items()
    }
    assert all(each["etag"] for each in delivered["sim_data_files"])
    done = await ended(home.client, job["id"])
    assert done["status"] == "completed", done["error"]
    assert done["completed_at"] is not None
    report = await home.client.get(f"/api/jobs/{job['id']}/report")
    assert report.status_code == 200
    assert report.headers["content-type"] == "text/markdown; charset=utf-8"
    assert report.text == done["result_report"]
    assert report.text.startswith("# ")
    assert home.read(job["id"], "report.md").decode() == report.text


async def test_downloads_are_the_bytes_that_were_uploaded(home: Home) -> None:
    job_id = await a_job(home.client)
    pod = Pod(home.client)
    await pod.claim(job_id)
    await pod.done(files())
    answer = await home.client.get(f"/api/jobs/{job_id}/sim-data")
    assert answer.status_code == 200
    said = answer.json()
    assert set(said) == {"job_id", "files"}
    assert said["job_id"] == job_id
    assert list(said["files"]) == sorted(SIM_DATA_FILES)
    for name, body in files().items():
        got = await home.client.get(said["files"][name])
        assert (got.status_code, got.content == body) == (200, True), name
    assert (await home.client.get(said["files"]["market_curves.json"])).status_code == 404
    # A URL is for one key and one method.
    stolen = said["files"]["posts.json"].replace("posts.json", "trades.json")
    assert (await home.client.get(stolen)).status_code == 403
    put = await home.client.put(said["files"]["posts.json"], content=b"[]")
    assert put.status_code == 403
    assert home.read(job_id, "posts.json") == files()["posts.json"]


async def test_nothing_is_available_before_all_that_was_produced_has_arrived(home: Home) -> None:
    job_id = await a_job(home.client)
    pod = Pod(home.client)
    await pod.claim(job_id)
    posts = files()["posts.json"]
    for produced, sent, missing in (
        ([], {}, ""),
        ([{"name": "posts.json"}], {}, "posts.json"),
        (
            [{"name": "posts.json"}, {"name": "trades.json"}],
            {"posts.json": posts},
            "trades.json",
        ),
        ([{"name": "posts.json", "size_bytes": len(posts) + 1}], {}, "posts.json"),
    ):
        await pod.upload(sent)
        answer = await pod.complete(produced)
        assert answer.status_code == 409
        assert answer.json()["reason"] == "SIM_DATA_UPLOAD_FAILED"
        assert answer.json()["metadata"] == {"jobId": str(job_id), "missing": missing}
        assert answer.json()["detail"].startswith("sim_data_upload_failed: ")
        refused = await home.client.get(f"/api/jobs/{job_id}/sim-data")
        assert (refused.status_code, refused.json()["detail"]) == (
            404,
            "Simulation data not available",
        )
    failed = await home.client.post(
        f"/v1/jobs/{job_id}:fail",
        json={"lease_token": pod.token, "error": "sim_data_upload_failed: artifacts missing"},
    )
    assert failed.json()["status"] == "failed"
    assert failed.json()["error"].startswith("sim_data_upload_failed")
    assert failed.json()["completed_at"] is not None
    assert not failed.json()["sim_data_available"]


async def test_what_has_arrived_is_enough_where_the_worker_does_not_say(home: Home) -> None:
    pod = Pod(home.client)
    job_id = await a_job(home.client)
    await pod.claim(job_id)
    await pod.upload({"relations.json": b"[]"})
    answer = await pod.complete([])
    assert [each["name"] for each in answer.json()["sim_data_files"]] == ["relations.json"]
    again = await pod.complete([])
    assert (again.status_code, again.json()["sim_data_files"]) == (
        200,
        answer.json()["sim_data_files"],
    )


async def test_a_worker_cannot_fail_what_it_has_completed(home: Home) -> None:
    job_id = await a_job(home.client)
    pod = Pod(home.client)
    await pod.claim(job_id)
    await pod.done(files())
    late = {"lease_token": pod.token, "error": "the answer was lost"}
    answer = await home.client.post(f"/v1/jobs/{job_id}:fail", json=late)
    assert (answer.status_code, answer.json()["reason"]) == (409, "JOB_STATE"), answer.text
    assert (await ended(home.client, job_id))["status"] == "completed"


@pytest.mark.parametrize("name", ["chat_log", "posts", "trades", "agent_trajectories"])
async def test_without_a_file_that_it_needs_the_report_fails(name: str, tmp_path: Path) -> None:
    given = await settings_of("local", tmp_path)
    async with a_monitor(tmp_path / "storage", **given) as served:
        pod = Pod(served.client)
        job_id = await a_job(served.client)
        await pod.claim(job_id)
        await pod.done({n: body for n, body in files().items() if n != f"{name}.json"})
        done = await ended(served.client, job_id)
        assert (done["status"], done["error"]) == (
            "failed",
            f"report_generation_failed: {name}.json",
        )
        # Its files are there all the same.
        assert (await served.client.get(f"/api/jobs/{job_id}/sim-data")).status_code == 200
        report = await served.client.get(f"/api/jobs/{job_id}/report")
        assert (report.status_code, report.json()["reason"]) == (404, "REPORT_NOT_AVAILABLE")


async def test_a_file_that_cannot_be_read_fails_the_report_by_its_name(home: Home) -> None:
    pod = Pod(home.client)
    job_id = await a_job(home.client)
    await pod.claim(job_id)
    await pod.done({**files(), "trades.json": b"not JSON"})
    done = await ended(home.client, job_id)
    assert done["status"] == "failed"
    assert done["error"].startswith("report_generation_failed: ")
    assert "trades.json" in done["error"]


async def test_deleting_a_job_deletes_its_files(home: Home) -> None:
    pod = Pod(home.client)
    job_id, other = await a_job(home.client), await a_job(home.client, goal="another")
    for each in (job_id, other):
        await pod.claim(each)
        await pod.done(files())
        await ended(home.client, each)
    assert set(home.keys(job_id)) == {*files(), "report.md"}
    answer = await home.client.delete(f"/api/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert home.keys(job_id) == []
    assert set(home.keys(other)) == {*files(), "report.md"}
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/report"),
        ("POST", "/retry"),
        ("POST", "/share"),
    ):
        gone = await home.client.request(method, f"/api/jobs/{job_id}{path}")
        assert (gone.status_code, gone.json()["reason"]) == (404, "JOB_NOT_FOUND"), path
    listed = (await home.client.get("/api/jobs")).json()
    assert [job["id"] for job in listed["jobs"]] == [other]


async def test_resume_signs_fresh_urls_for_the_same_job(home: Home) -> None:
    job_id = await a_job(home.client)
    resumed = await home.client.post(f"/api/jobs/{job_id}/resume")
    assert resumed.status_code == 200
    assert resumed.json()["job"]["id"] == job_id
    pod = Pod(home.client)
    await pod.claim(job_id)
    again = (await home.client.post(f"/api/jobs/{job_id}/resume")).json()
    pod.urls = again["uploads"]["files"]
    await pod.done({"relations.json": b"[]"})
    done = await ended(home.client, job_id)
    refused = await home.client.post(f"/api/jobs/{job_id}/resume")
    assert (refused.status_code, refused.json()["reason"]) == (409, "JOB_STATE")
    assert done["status"] == "failed"  # no chat_log


async def test_a_retry_is_a_new_job_with_files_of_its_own(home: Home) -> None:
    pod = Pod(home.client)
    job_id = await a_job(home.client)
    refused = await home.client.post(f"/api/jobs/{job_id}/retry")
    assert (refused.status_code, refused.json()["reason"]) == (400, "JOB_NOT_RETRYABLE")
    await pod.claim(job_id)
    await pod.done({"relations.json": b"[1]"})
    assert (await ended(home.client, job_id))["status"] == "failed"
    answer = await home.client.post(f"/api/jobs/{job_id}/retry")
    assert answer.status_code == 201
    again = answer.json()
    assert again["id"] != job_id
    assert (again["retry_of"], again["status"]) == (job_id, "pending")
    assert BODY.items() <= again.items()
    listed = (await home.client.get("/api/jobs")).json()
    assert ([job["id"] for job in listed["jobs"]], listed["total"]) == ([again["id"]], 1)
    assert (await home.client.get(f"/api/jobs/{job_id}")).json()["superseded_by"] == again["id"]
    twice = await home.client.post(f"/api/jobs/{job_id}/retry")
    assert (twice.status_code, twice.json()["reason"]) == (400, "JOB_NOT_RETRYABLE")
    await pod.claim(again["id"])
    assert pod.urls is not None
    assert f"sim-data/{again['id']}/" in pod.urls["posts.json"]


async def test_what_another_job_of_this_number_has_left_is_not_taken_for_its_files(
    tmp_path: Path,
) -> None:
    given = await settings_of("local", tmp_path)
    async with a_monitor(tmp_path / "storage", **given) as served:
        left = served.storage / "sim-data" / "1" / "posts.json"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"[]")
        os.utime(left, (0, 0))
        pod = Pod(served.client)
        await a_job(served.client)
        await pod.claim()
        assert pod.job_id == 1
        answer = await pod.complete([{"name": "posts.json"}])
        assert answer.json()["metadata"]["missing"] == "posts.json"


@pytest.mark.parametrize("sim_data", ["store", "local"])
async def test_without_a_store_everything_but_the_files_works(
    sim_data: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {} if sim_data == "store" else {"sim_data": "local"}
    async with a_monitor(tmp_path / "storage", **given) as served:
        pod = Pod(served.client)
        job_id = await a_job(served.client)
        await pod.claim(job_id)
        if sim_data == "store":
            assert pod.urls is None
            answer = await pod.complete([])
            assert (answer.status_code, answer.json()["detail"]) == (
                404,
                "Object storage not configured",
            )
            # Nor will there ever be files: whoever waits for them is told why.
            for number, detail in (
                (job_id, "Object storage not configured"),
                (job_id + 1, "Simulation data not available"),
            ):
                answer = await served.client.get(f"/api/jobs/{number}/sim-data")
                assert (answer.status_code, answer.json()["detail"]) == (404, detail)
            return
        await pod.done(files())
        await ended(served.client, job_id)
    # The same storage, and no store any more: the flag stays, the files cannot be had.
    async with a_monitor(tmp_path / "storage") as served:
        for number, detail in (
            (job_id, "Object storage not configured"),
            (job_id + 1, "Simulation data not available"),
        ):
            answer = await served.client.get(f"/api/jobs/{number}/sim-data")
            assert (answer.status_code, answer.json()["detail"]) == (404, detail)
        assert (await served.client.get(f"/api/jobs/{job_id}")).json()["sim_data_available"]


async def test_urls_are_those_of_the_documented_storage(tmp_path: Path) -> None:
    given = await settings_of("minio", tmp_path)
    async with a_monitor(tmp_path / "storage", **given) as served:
        pod = Pod(served.client)
        job_id = await a_job(served.client)
        await pod.claim(job_id)
        await pod.done(files())
        said = (await served.client.get(f"/api/jobs/{job_id}/sim-data")).json()["files"]
    host = str(given["minio_endpoint"])
    storage = SimDataStorage(host, ACCESS_KEY, SECRET_KEY, given["minio_bucket"], secure=False)
    ups, downs = storage.generate_upload_urls(job_id), storage.generate_download_urls(job_id)
    assert ups is not None
    assert downs is not None
    assert pod.urls is not None
    for name in SIM_DATA_FILES:
        for ours, theirs, seconds in (
            (pod.urls[name], ups[name], "50400"),
            (said[name], downs[name], "3600"),
        ):
            ours_url, theirs_url = httpx.URL(ours), httpx.URL(theirs)
            assert ours_url.path == theirs_url.path
            assert set(ours_url.params) == set(theirs_url.params)
            assert ours_url.params["X-Amz-Expires"] == seconds
            assert ours_url.params["X-Amz-SignedHeaders"] == "host"


async def test_download_urls_alone_go_through_the_proxy_and_the_public_address(
    tmp_path: Path,
) -> None:
    given = await settings_of("minio", tmp_path, MINIO_PROXY_BASE="https://simswarm.example/minio")
    async with a_monitor(tmp_path / "storage", **given) as served:
        pod = Pod(served.client)
        job_id = await a_job(served.client)
        await pod.claim(job_id)
        await pod.done(files())
        url = httpx.URL(
            (await served.client.get(f"/api/jobs/{job_id}/sim-data")).json()["files"]["posts.json"]
        )
    assert str(url).startswith(
        f"https://simswarm.example/minio/{given['minio_bucket']}/sim-data/{job_id}/posts.json?"
    )
    public = await settings_of("minio", tmp_path, ASGARD_S3_PUBLIC_ENDPOINT="https://s3.example")
    async with a_monitor(tmp_path / "storage", **public) as served:
        await pod_with_urls(served, "https://s3.example/")


async def pod_with_urls(served: Served, begin: str) -> None:
    pod = Pod(served.client)
    await pod.claim(await a_job(served.client, goal="public"))
    assert pod.urls is not None
    assert all(url.startswith(begin) for url in pod.urls.values())


async def test_a_lease_that_ends_lets_another_claim_and_shuts_the_first_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SHORTEST_LEASE", 1)
    given = await settings_of("local", tmp_path)
    async with a_monitor(tmp_path / "storage", **given) as served:
        job_id = await a_job(served.client)
        first, second = Pod(served.client), Pod(served.client)
        await first.claim(job_id, worker="first", lease_duration="1s")
        refused = await served.client.post(
            "/v1/jobs:claim", json={"worker": "second", "job_id": job_id}
        )
        none = await served.client.post("/v1/jobs:claim", json={"worker": "second"})
        if refused.status_code != 200:
            assert (refused.status_code, refused.json()["reason"]) == (409, "JOB_CLAIMED")
            # On a busy machine the lease may end between the two: then it is the second's.
            assert none.status_code == 200 or none.json()["reason"] == "JOB_NOT_FOUND"
        await job_that(
            served.client,
            job_id,
            lambda job: _passed(job["lease_expires_at"]),
        )
        await second.claim(worker="second")
        assert second.job_id == job_id
        assert second.token != first.token
        for path, body in (
            ("renew", {}),
            ("complete", {}),
            ("fail", {"error": "x"}),
        ):
            answer = await served.client.post(
                f"/v1/jobs/{job_id}:{path}", json={"lease_token": first.token, **body}
            )
            assert (answer.status_code, answer.json()["reason"]) == (409, "LEASE_LOST"), path
        await second.done(files())


async def test_a_job_whose_last_worker_has_vanished_fails_and_its_owner_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SHORTEST_LEASE", 1)
    for module in (leases, sqlite_jobs):
        monkeypatch.setattr(module, "MOST_CLAIMS", 1)
    monkeypatch.setattr(leases, "GRACE", timedelta())
    usual = Vanished.__init__.__kwdefaults__
    assert usual is not None
    monkeypatch.setitem(usual, "seconds", 0.1)
    given = await settings_of("local", tmp_path)
    async with (
        a_monitor(tmp_path / "storage", **given) as served,
        served.client.stream("GET", "/v1/jobs:watch", timeout=60) as watch,
    ):
        job_id = await a_job(served.client)
        await Pod(served.client).claim(job_id, worker="only", lease_duration="1s")
        # Nobody asks: the owner hears of it because the service looks by itself.
        async with asyncio.timeout(60):
            async for line in watch.aiter_lines():
                if '"status":"failed"' in line:
                    break
        job = await ended(served.client, job_id)
        assert job["error"].startswith("worker_lost: 1 workers"), job
        numbers = (await served.client.get("/metrics")).text
        assert 'asgard_jobs_ended_total{outcome="lost"}' in numbers
        assert 'asgard_jobs_ended_total{outcome="lost"} 0.0' not in numbers


def _passed(moment: str) -> bool:
    return datetime.fromisoformat(moment) <= datetime.now(UTC)
