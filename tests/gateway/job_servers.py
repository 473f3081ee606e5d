"""Servers of SimSwarm's jobs for tests, and a pod that does the work of one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import anyio
import httpx
from asgard_server.settings import Settings
from simswarm.samples import artifacts

from tests.engines import minio, postgres, versitygw
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY, Store

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}
HOMES = ("local", *STORES)
BODY = {
    "seed_text": "A village by the sea votes on a harbour.",
    "goal": "Who wins?",
    "tier": "small",
    "forecast_days": 30,
}
PATIENCE_SECONDS = 60.0


@lru_cache(maxsize=1)
def files() -> dict[str, bytes]:
    """What a simulation of 20 agents and 6 rounds leaves behind; no market_curves.json."""
    return artifacts(7, agents=20, rounds=6)


def environment(store: Store, bucket: str) -> dict[str, str]:
    """The documented variables that lead to a bucket of a store."""
    return {
        "MINIO_ENDPOINT": store.endpoint.partition("://")[2],
        "MINIO_ACCESS_KEY": ACCESS_KEY,
        "MINIO_SECRET_KEY": SECRET_KEY,
        "MINIO_BUCKET": bucket,
        "MINIO_SECURE": "false",
    }


def read_from(environ: dict[str, str]) -> dict[str, Any]:
    """What is set by an environment, as fields of `Settings`."""
    found, usual = Settings.from_environment(environ), Settings()
    return {
        name: getattr(found, name)
        for name in Settings.__dataclass_fields__
        if name != "replica" and getattr(found, name) != getattr(usual, name)
    }


async def settings_of(home: str, folder: Path, **more: str) -> dict[str, Any]:
    """Settings for a home: jobs in SQLite, and in PostgreSQL beside versitygw."""
    if home == "local":
        return read_from({"ASGARD_SIM_DATA": "local", **more})
    store = STORES[home]()
    given = read_from({**environment(store, store.bucket()), **more})
    if home == "versitygw":
        given["database_url"] = await postgres.database_of(folder)
    return given


@dataclass
class Pod:
    """A worker that speaks REST, as a workflow and its GPU pod do."""

    client: httpx.AsyncClient
    job_id: int = 0
    token: str = ""
    urls: dict[str, str] | None = None

    async def claim(self, job_id: int | None = None, worker: str = "pod-1", **more: Any) -> None:
        """Claim a job, or the oldest."""
        asked = {"worker": worker, **({} if job_id is None else {"job_id": job_id}), **more}
        answer = await self.client.post("/v1/jobs:claim", json=asked)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        self.job_id, self.token = said["job"]["id"], said["lease_token"]
        self.urls = None if said["uploads"] is None else said["uploads"]["files"]

    async def upload(self, bodies: dict[str, bytes]) -> None:
        """Send files as the documented pod does."""
        assert self.urls is not None
        for name, body in bodies.items():
            answer = await self.client.put(
                self.urls[name], content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code in (200, 204), answer.text

    async def complete(self, produced: list[dict[str, Any]], **more: Any) -> httpx.Response:
        """Say that the simulation has ended."""
        body = {"lease_token": self.token, "files": produced, **more}
        return await self.client.post(f"/v1/jobs/{self.job_id}:complete", json=body)

    async def done(self, bodies: dict[str, bytes]) -> dict[str, Any]:
        """Do all of it with these files; answer the job."""
        await self.upload(bodies)
        answer = await self.complete(
            [{"name": name, "size_bytes": len(body)} for name, body in bodies.items()]
        )
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said


async def a_job(client: httpx.AsyncClient, **changed: Any) -> int:
    """Make a job; answer its id."""
    answer = await client.post("/api/jobs", json={**BODY, **changed})
    assert answer.status_code == 201, answer.text
    made: int = answer.json()["id"]
    return made


async def job_that(
    client: httpx.AsyncClient, job_id: int, is_so: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Wait until a job is so; answer it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        job: dict[str, Any] = (await client.get(f"/api/jobs/{job_id}")).json()
        if is_so(job):
            return job
        assert time.monotonic() < deadline, job
        await anyio.sleep(0.05)


async def ended(client: httpx.AsyncClient, job_id: int) -> dict[str, Any]:
    """Wait until a job has ended; answer it."""
    return await job_that(client, job_id, lambda job: job.get("status") in ("completed", "failed"))
