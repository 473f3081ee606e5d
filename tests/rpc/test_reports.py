"""The report task and the sweeper over real tables and a folder, by a clock that tests move."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asgard_server.sim_data import domain, leases
from asgard_server.sim_data.domain import Artifact, Caller, Job, Limits, Wish
from asgard_server.sim_data.keeping import Keeper
from asgard_server.sim_data.removing import Remover
from asgard_server.sim_data.report_task import Reporter, ReportRunner, plain_report
from asgard_server.store.folder_artifacts import FolderArtifacts
from asgard_server.store.folder_bytes import FolderBytes
from asgard_server.store.folder_grants import FolderGrants, secret_of
from gimle.asgard.core.errors import NotFoundError, StorageUnavailableError
from gimle.asgard.core.job_errors import NotYoursError, SimDataNotAvailableError
from simswarm.samples import artifacts

from tests.contract.blob_homes import Clock
from tests.contract.job_homes import TABLES, Table, a_job, table

FILES = artifacts(7, agents=10, rounds=3)
REMEMBERED = timedelta(hours=20)


async def nobody() -> None:
    """Nobody watches."""


class Office:
    """A table of jobs, their files in a folder, and processes that write reports."""

    def __init__(self, jobs: Table, held: FolderArtifacts, folder: Path) -> None:
        self.jobs = jobs
        self.held = held
        self.folder = folder
        self.clock = Clock()

    def reporter(
        self, runner: ReportRunner = plain_report, name: str = "one", **more: Any
    ) -> Reporter:
        return Reporter(
            *(self.jobs, self.jobs, self.held, runner, self.clock, nobody), replica=name, **more
        )

    def remover(self) -> Remover:
        return Remover(
            *(self.jobs, self.jobs, self.held, self.clock),
            changes_kept=1_000,
            remember=REMEMBERED,
        )

    async def delivered(self) -> int:
        """A job whose files are there; answer its id."""
        made = await self.jobs.add(
            a_job(
                status="reporting",
                sim_data_available=True,
                files=tuple(Artifact(name, len(body), "e") for name, body in FILES.items()),
                grants_until=self.clock() + timedelta(hours=14),
            )
        )
        folder = self.folder / "sim-data" / str(made.id)
        folder.mkdir(parents=True)
        for name, body in FILES.items():
            (folder / name).write_bytes(body)
        return made.id

    async def job(self, job_id: int) -> Job:
        found = await self.jobs.find(job_id)
        assert found is not None
        return found


@pytest_asyncio.fixture(params=TABLES)
async def office(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Office]:
    clock = Clock()
    with ThreadPoolExecutor(4) as pool:
        async with table(request.param, tmp_path) as jobs:
            held = FolderBytes(tmp_path, pool)
            grants = FolderGrants(secret_of(tmp_path), lambda: "http://localhost", clock)
            yield Office(jobs, FolderArtifacts(tmp_path, held, grants), tmp_path)


async def test_a_report_is_written_once(office: Office) -> None:
    job_id = await office.delivered()
    assert await office.jobs.unreported(office.clock(), 9) == [job_id]
    await office.reporter().report(job_id)
    job = await office.job(job_id)
    assert (job.status, job.report_attempts) == ("completed", 1)
    assert job.result_report is not None
    stored = office.folder / "sim-data" / str(job_id) / "report.md"
    assert stored.read_text() == job.result_report
    assert await office.jobs.unreported(office.clock(), 9) == []
    head = await office.jobs.head()
    await office.reporter().report(job_id)  # skips what has ended
    assert await office.jobs.head() == head


async def test_passing_errors_are_tried_again_after_the_documented_pauses(office: Office) -> None:
    job_id = await office.delivered()

    def away(job: Mapping[str, object], fetch: object, put: object) -> None:
        raise StorageUnavailableError("the store", "it is away")

    for pause in (30, 120, 300, 900, 1_800):
        await office.reporter(away).report(job_id)
        job = await office.job(job_id)
        assert job.status == "reporting"
        assert await office.jobs.unreported(office.clock(), 9) == []
        head = await office.jobs.head()
        await office.reporter(away).report(job_id)  # not due yet
        assert await office.jobs.head() == head
        office.clock.ahead += timedelta(seconds=pause - 1)
        assert await office.jobs.unreported(office.clock(), 9) == []
        office.clock.ahead += timedelta(seconds=1)
        assert await office.jobs.unreported(office.clock(), 9) == [job_id]
    await office.reporter(away).report(job_id)
    job = await office.job(job_id)
    assert (job.status, job.report_attempts) == ("failed", 6)
    assert job.error is not None
    assert job.error.startswith("report_generation_failed: ")
    assert "it is away" in job.error


async def test_an_error_that_passes_is_forgotten_when_it_has_passed(office: Office) -> None:
    job_id = await office.delivered()
    failing = [True]

    def moody(
        job: Mapping[str, object], fetch: Callable[[str], bytes], put: Callable[[str], None]
    ) -> None:
        if failing.pop() if failing else False:
            raise RuntimeError("a model is overloaded")
        plain_report(job, fetch, put)

    await office.reporter(moody).report(job_id)
    office.clock.ahead += timedelta(seconds=31)
    await office.reporter(moody).report(job_id)
    job = await office.job(job_id)
    assert (job.status, job.error, job.report_attempts) == ("completed", None, 2)


@pytest.mark.parametrize("name", ["chat_log", "posts", "trades", "agent_trajectories"])
async def test_a_file_that_the_store_has_lost_fails_the_report(office: Office, name: str) -> None:
    job_id = await office.delivered()
    (office.folder / "sim-data" / str(job_id) / f"{name}.json").unlink()
    await office.reporter().report(job_id)
    job = await office.job(job_id)
    assert (job.status, job.error) == ("failed", f"report_generation_failed: {name}.json")


async def test_a_runner_that_puts_nothing_fails_the_report(office: Office) -> None:
    job_id = await office.delivered()
    await office.reporter(lambda job, fetch, put: None).report(job_id)
    job = await office.job(job_id)
    assert (job.status, job.error) == (
        "failed",
        "report_generation_failed: the runner has put no report",
    )


async def test_a_report_that_cannot_be_stored_is_in_the_row_all_the_same(office: Office) -> None:
    job_id = await office.delivered()
    (office.folder / "sim-data" / str(job_id) / "report.md").mkdir()
    await office.reporter().report(job_id)
    job = await office.job(job_id)
    assert job.status == "completed"
    assert job.result_report


async def test_of_two_processes_one_writes_a_report(office: Office) -> None:
    job_id = await office.delivered()
    ran: list[str] = []
    both = threading.Barrier(1)

    def runner(name: str) -> ReportRunner:
        def run(
            job: Mapping[str, object], fetch: Callable[[str], bytes], put: Callable[[str], None]
        ) -> None:
            both.wait(10)
            ran.append(name)
            plain_report(job, fetch, put)

        return run

    await asyncio.gather(
        *(office.reporter(runner(name), name).report(job_id) for name in ("a", "b", "c", "d"))
    )
    assert len(ran) == 1
    assert (await office.job(job_id)).status == "completed"


async def test_who_has_lost_the_lease_of_a_report_changes_nothing(office: Office) -> None:
    job_id = await office.delivered()
    began, go = threading.Event(), threading.Event()

    def slow(
        job: Mapping[str, object], fetch: Callable[[str], bytes], put: Callable[[str], None]
    ) -> None:
        began.set()
        go.wait(30)
        raise ValueError("too late to say so")

    # Its beats are so rare that the lease ends.
    writing = asyncio.create_task(office.reporter(slow, "slow", lease_seconds=60).report(job_id))
    await asyncio.to_thread(began.wait, 30)
    office.clock.ahead += timedelta(seconds=61)
    await office.reporter(name="fast").report(job_id)
    assert (await office.job(job_id)).status == "completed"
    go.set()
    await writing
    assert (await office.job(job_id)).status == "completed"


async def test_a_lease_is_prolonged_while_a_report_is_written(office: Office) -> None:
    job_id = await office.delivered()
    go = threading.Event()

    def slow(
        job: Mapping[str, object], fetch: Callable[[str], bytes], put: Callable[[str], None]
    ) -> None:
        go.wait(30)
        plain_report(job, fetch, put)

    writing = asyncio.create_task(office.reporter(slow, lease_seconds=0.6).report(job_id))
    seen: set[datetime] = set()
    deadline = time.monotonic() + 30
    while len(seen) < 3:
        assert time.monotonic() < deadline, "the lease was not prolonged"
        job = await office.job(job_id)
        if job.report_lease_until is not None:
            seen.add(job.report_lease_until)
        await asyncio.sleep(0.02)
    go.set()
    await writing
    assert (await office.job(job_id)).status == "completed"


async def test_a_report_that_ends_its_process_each_time_is_given_up(office: Office) -> None:
    job_id = await office.delivered()
    for _ in range(6):  # what is left of a process that was killed in the middle
        until = office.clock() + timedelta(seconds=30)
        await office.jobs.change(
            job_id,
            lambda job, until=until: leases.report_begun(job, "dead", until, office.clock()),  # type: ignore[misc]  # bound now
        )
        office.clock.ahead += timedelta(seconds=31)
    await office.reporter().report(job_id)
    job = await office.job(job_id)
    assert job.status == "failed"
    assert job.error == "report_generation_failed: it ended its process each time"


# Deleting -----------------------------------------------------------------------------


async def test_a_delete_that_was_interrupted_is_finished(office: Office) -> None:
    job_id, other = await office.delivered(), await office.delivered()
    await office.jobs.delete(job_id, lambda job: replace(job, deleted_at=office.clock()))
    folder = office.folder / "sim-data" / str(job_id)
    assert folder.exists()
    await office.remover().sweep()
    assert not folder.exists()
    assert (office.folder / "sim-data" / str(other)).exists()
    now = office.clock()
    assert await office.jobs.deleted(now, now, 9) == []  # nothing to do before 14 hours


async def test_what_a_url_brings_after_a_delete_is_removed_when_the_url_has_ended(
    office: Office,
) -> None:
    job_id = await office.delivered()
    job = await office.jobs.delete(job_id, lambda job: replace(job, deleted_at=office.clock()))
    await office.remover().remove(job)
    late = office.folder / "sim-data" / str(job_id) / "posts.json"
    late.parent.mkdir()
    late.write_bytes(b"[]")
    await office.remover().sweep()
    assert late.exists()  # it can be brought again for hours: each sweep would list for nothing
    office.clock.ahead += timedelta(hours=14, minutes=15)
    await office.remover().sweep()
    assert not late.exists()
    await office.jobs.mark(job_id, lambda job: job)  # the row says whose it was
    office.clock.ahead += REMEMBERED
    await office.remover().sweep()
    with pytest.raises(NotFoundError):
        await office.jobs.mark(job_id, lambda job: job)  # the row is gone, too


async def test_the_row_of_a_deleted_job_says_for_a_while_whose_it_was_and_nothing_else(
    office: Office,
) -> None:
    made = await office.jobs.add(a_job(0, goal="a secret", seed_text="another"))
    gone = domain.deleted(made, office.clock())
    await office.remover().remove(await office.jobs.delete(made.id, lambda job: gone))
    epoch, _ = await office.jobs.head()
    assert (await office.jobs.news(epoch, 0, 9)).owners == {made.id: made.owner}
    row = await office.jobs.mark(made.id, lambda job: job)
    assert "secret" not in repr(row)
    assert "another" not in repr(row)
    await office.remover().sweep()
    assert await office.jobs.mark(made.id, lambda job: job) == row
    office.clock.ahead += REMEMBERED
    await office.remover().sweep()
    assert (await office.jobs.news(epoch, 0, 9)).owners == {}


async def test_a_report_that_is_put_after_its_job_was_deleted_is_removed(office: Office) -> None:
    job_id = await office.delivered()
    folder = office.folder / "sim-data" / str(job_id)
    await office.jobs.change(job_id, lambda job: replace(job, grants_until=None))
    keeper = Keeper(
        office.jobs, office.held, Limits(), office.clock, nobody, office.remover().remove
    )
    deleting = asyncio.get_running_loop()

    def slow(
        job: Mapping[str, object], fetch: Callable[[str], bytes], put: Callable[[str], None]
    ) -> None:
        deleted = keeper.delete(Caller("ada"), job_id)
        asyncio.run_coroutine_threadsafe(deleted, deleting).result(30)
        put("# Too late")

    with pytest.raises(NotFoundError):
        await office.reporter(slow).report(job_id)
    assert [path.name for path in folder.iterdir()] == ["report.md"]
    office.clock.ahead += timedelta(hours=24, minutes=15)
    await office.remover().sweep()
    assert not folder.exists()


async def test_jobs_of_a_store_that_is_switched_off_keep_their_rows_until_it_is_on(
    office: Office,
) -> None:
    job_id = await office.delivered()
    await office.jobs.delete(job_id, lambda job: replace(job, deleted_at=office.clock()))
    office.clock.ahead += timedelta(hours=15)
    await Remover(
        *(office.jobs, office.jobs, None, office.clock), changes_kept=9, remember=REMEMBERED
    ).sweep()
    now = office.clock()
    assert len(await office.jobs.deleted(now, now, 9)) == 1
    await office.remover().sweep()
    assert await office.jobs.deleted(now, now - REMEMBERED, 9) == []
    assert not (office.folder / "sim-data" / str(job_id)).exists()


# Owners -------------------------------------------------------------------------------


async def test_a_job_is_its_owners_and_a_service_callers(office: Office) -> None:
    keeper = Keeper(
        office.jobs, office.held, Limits(), office.clock, nobody, office.remover().remove
    )
    ada, bob, service = Caller("ada"), Caller("bob"), Caller("worker", is_service=True)
    made = await keeper.create(ada, Wish("seed", "goal", "small", None, 7))
    await office.jobs.change(made.id, lambda job: replace(job, sim_data_available=True))
    assert (await keeper.job(service, made.id)).owner == "ada"
    assert await keeper.download_urls(ada, made.id)
    with pytest.raises(SimDataNotAvailableError):
        await keeper.download_urls(bob, made.id)
    for refused in (
        keeper.job(bob, made.id),
        keeper.report(bob, made.id),
        keeper.share(bob, made.id),
        keeper.unshare(bob, made.id),
        keeper.retry(bob, made.id),
        keeper.launch(bob, made.id),
        keeper.delete(bob, made.id),
    ):
        with pytest.raises(NotYoursError):
            await refused
    assert (await keeper.page(bob, None, 0, 9)).total == 0
    assert (await keeper.page(ada, None, 0, 9)).total == 1
