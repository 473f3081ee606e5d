"""Jobs in /api/updates, beside runs: one stream, one id for both logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest_asyncio
from gimle.asgard.v1 import sim_data_service_pb2_grpc as pb_grpc
from gimle.asgard.v1 import watch_jobs_pb2 as pb

from tests.gateway.job_servers import a_job
from tests.gateway.monitors import Browser, Served, a_browser, a_monitor


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with a_monitor(tmp_path / "storage") as server:
        yield server


def of_job(job_id: int, kind: str = "update") -> dict[str, str]:
    return {"type": kind, "object_type": "job", "object_id": str(job_id)}


def of_run(run_id: str) -> dict[str, str]:
    return {"type": "update", "object_type": "run", "object_id": run_id}


async def test_browsers_are_told_of_jobs_and_runs_in_one_stream(served: Served) -> None:
    async with a_browser(served.client) as browser:
        job_id = await a_job(served.client)
        assert await browser.event() == of_job(job_id)
        run_id = await served.save()
        assert await browser.event() == of_run(run_id)
        await served.client.delete(f"/api/jobs/{job_id}")
        assert await browser.event() == of_job(job_id, "delete")


async def seen_until(browser: Browser, last: dict[str, str]) -> list[dict[str, str]]:
    """Read until an event has come."""
    seen: list[dict[str, str]] = []
    while not seen or seen[-1] != last:
        seen.append(await browser.event())
    return seen


async def test_who_was_away_is_told_what_it_missed_of_both_once(served: Served) -> None:
    async with a_browser(served.client) as browser:
        first = await a_job(served.client)
        assert await browser.event() == of_job(first)
        last_id = browser.last_id
    job = await a_job(served.client, goal="missed")
    run = await served.save()
    async with a_browser(served.client, last_id) as browser:
        assert await browser.events(2) in (
            [of_job(job), of_run(run)],
            [of_run(run), of_job(job)],
        )
        after = await a_job(served.client, goal="live")
        assert await browser.event() == of_job(after)


async def test_an_id_is_good_at_another_gateway_which_reads_the_logs(tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    async with a_monitor(storage) as served, a_browser(served.client) as browser:
        await a_job(served.client)
        await browser.event()
        last_id = browser.last_id
        missed_job = await a_job(served.client, goal="missed")
        missed_run = await served.save()
        await browser.events(2)
    async with a_monitor(storage) as served, a_browser(served.client, last_id) as browser:
        seen = await browser.events(2)
        assert sorted(seen, key=str) == sorted([of_job(missed_job), of_run(missed_run)], key=str)
        live = await a_job(served.client, goal="live")
        assert await browser.event() == of_job(live)


async def test_an_id_of_before_the_first_job_is_good_after_a_restart(tmp_path: Path) -> None:
    """The log of jobs has no file before it has an entry."""
    storage = tmp_path / "storage"
    async with a_monitor(storage) as served, a_browser(served.client) as browser:
        last_id = browser.last_id
    assert not (storage / "asgard.sqlite3").exists()
    async with a_monitor(storage) as served:
        async with a_browser(served.client, last_id) as browser:
            first = await a_job(served.client)
            assert await browser.event() == of_job(first)
        async with a_browser(served.client, last_id) as browser:
            assert await browser.event() == of_job(first)


async def test_of_many_changes_of_both_none_is_missed_or_told_twice(served: Served) -> None:
    async with a_browser(served.client) as browser:
        last_id = browser.last_id
    made: list[dict[str, str]] = []

    async def jobs() -> None:
        made.extend([of_job(await a_job(served.client, goal=f"{n}")) for n in range(20)])

    async def runs() -> None:
        made.extend([of_run(await served.save()) for _ in range(20)])

    writing = asyncio.gather(jobs(), runs())
    seen: list[dict[str, str]] = []
    while len(seen) < 40:  # a browser that comes back after every few
        async with a_browser(served.client, last_id) as browser:
            seen += await browser.events(min(7, 40 - len(seen)))
            last_id = browser.last_id
    await writing
    assert sorted(seen, key=str) == sorted(made, key=str)
    async with a_browser(served.client, last_id) as browser:
        end = await a_job(served.client, goal="end")
        assert await browser.event() == of_job(end)


async def test_an_id_of_before_jobs_were_followed_is_of_use(served: Served) -> None:
    async with a_browser(served.client) as browser:
        runs_alone = browser.last_id.partition(".")[0]
    run = await served.save()
    async with a_browser(served.client, runs_alone) as browser:
        assert await browser.event() == of_run(run)
        job = await a_job(served.client)
        assert await browser.event() == of_job(job)
        last_id = browser.last_id
    later = await a_job(served.client, goal="later")
    async with a_browser(served.client, last_id) as browser:
        assert await browser.event() == of_job(later)


async def test_a_part_of_an_id_that_is_of_no_use_is_a_reset(served: Served) -> None:
    async with a_browser(served.client) as browser:
        runs, jobs, assets = browser.last_id.split(".")
    for broken in (
        *(f"{runs}.nonsense", f"nonsense.{jobs}", f"{runs}.", f"{runs}.{jobs}.{jobs}"),
        *(f"{runs}.{jobs}.{assets}.{assets}", f"{runs}.{jobs}.{assets}~"),
        f"{runs}.{jobs}.{assets}~AAAAAAAAAAAA",
    ):
        async with a_browser(served.client, broken) as browser:
            assert await browser.event() == {"type": "reset"}, broken
            job = await a_job(served.client, goal=broken)
            assert await browser.event() == of_job(job)


async def test_jobs_are_watched_over_grpc_from_a_snapshot_on(served: Served) -> None:
    first = await a_job(served.client)
    async with grpc.aio.insecure_channel(served.grpc) as channel:
        stub: Any = pb_grpc.SimDataServiceStub(channel)
        call = stub.WatchJobs(pb.WatchJobsRequest(start=pb.WatchJobsRequest.START_SNAPSHOT))
        assert (await call.read()).WhichOneof("event") == "reset"
        (change,) = (await call.read()).changes
        assert (change.job_id, change.job.goal, change.revision) == (first, "Who wins?", 0)
        end = await call.read()
        assert end.WhichOneof("event") == "snapshot_end"
        second = await a_job(served.client, goal="second")
        (change,) = (await call.read()).changes
        assert (change.job_id, change.kind) == (second, pb.WatchJobsResponse.Change.KIND_UPDATE)
        call.cancel()
        resumed = stub.WatchJobs(pb.WatchJobsRequest(resume_token=end.resume_token))
        (again,) = (await resumed.read()).changes
        assert again == change
        resumed.cancel()
