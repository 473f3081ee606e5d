"""What every table of jobs promises, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asgard_server.sim_data import domain, leases
from asgard_server.sim_data.domain import Artifact, Job
from asgard_server.sim_data.store import RevisionGoneError
from asgard_server.sim_data.vanished import Vanished
from gimle.asgard.core.errors import NotFoundError
from gimle.asgard.core.job_errors import (
    DuplicateJobError,
    JobClaimedError,
    JobNotRetryableError,
    JobStateError,
)

from tests.contract.job_homes import NOON, TABLES, Table, a_job, table

SINCE = NOON - timedelta(seconds=60)


@pytest_asyncio.fixture(params=TABLES)
async def jobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Table]:
    async with table(request.param, tmp_path) as opened:
        yield opened


async def test_a_job_comes_back_as_it_was_put_in(jobs: Table) -> None:
    full = a_job(
        enrich_web=False,
        pipeline_stage="mapping",
        live_status_json=b'{"at": 3}',
        markets_config_json=b"[]",
        result_report="# Ünd\n",
        result_structured_json=b'{"x": 1}',
        key_insight="it rains",
        error="why",
        sim_data_available=True,
        files=(Artifact("posts.json", 3, "abc"),),
        share_token="token",
        worker="w",
        lease_token="lease",
        lease_until=NOON,
        claims=3,
        grants_until=NOON,
        report_worker="r",
        report_attempts=2,
        report_at=NOON,
        report_lease_until=NOON,
        completed_at=NOON + timedelta(microseconds=1),
    )
    plain = [
        each.name
        for each in fields(Job)
        if getattr(full, each.name) in (None, False, 0, ()) and each.name != "id"
    ]
    assert plain == ["enrich_web", "retry_of", "superseded_by", "deleted_at", "emptied"]
    made = await jobs.create(full, SINCE)
    assert made == replace(full, id=1)
    assert await jobs.find(1) == made


async def test_ids_grow_and_are_never_given_again(jobs: Table) -> None:
    first = await jobs.create(a_job(0), SINCE)
    second = await jobs.create(a_job(1), SINCE)
    await jobs.delete(second.id, lambda job: replace(job, deleted_at=NOON))
    await jobs.forget(second.id)
    third = await jobs.create(a_job(2), SINCE)
    assert first.id < second.id < third.id


async def test_the_same_job_is_made_once_while_it_goes_on(jobs: Table) -> None:
    made = await jobs.create(a_job(), SINCE)
    for other in ({"owner": "bob"}, {"goal": "else"}, {"seed_text": "else"}, {"tier": "large"}):
        await jobs.create(a_job(0, **dict[str, Any](other)), SINCE)
    with pytest.raises(DuplicateJobError) as refused:
        await jobs.create(a_job(), SINCE)
    assert refused.value.job_id == made.id
    await jobs.create(a_job(), NOON + timedelta(microseconds=1))  # the first is too long ago
    await jobs.change(made.id, lambda job: replace(job, status="failed"))
    await jobs.change(made.id + 5, lambda job: replace(job, status="completed"))
    await jobs.create(a_job(), SINCE)


async def test_of_many_who_ask_for_the_same_at_once_one_makes_it(jobs: Table) -> None:
    outcomes = await asyncio.gather(
        *(jobs.create(a_job(), SINCE) for _ in range(8)), return_exceptions=True
    )
    made = [each for each in outcomes if isinstance(each, Job)]
    assert len(made) == 1
    assert {type(each) for each in outcomes} == {Job, DuplicateJobError}


async def test_of_two_claims_at_once_one_wins(jobs: Table) -> None:
    made = await jobs.create(a_job(), SINCE)

    async def claim(worker: str) -> Job:
        return await jobs.change(
            made.id, lambda job: leases.claimed(job, worker, f"t-{worker}", 60, NOON)
        )

    outcomes = await asyncio.gather(*map(claim, "abcdefgh"), return_exceptions=True)
    won = [each for each in outcomes if isinstance(each, Job)]
    assert [type(each) for each in outcomes].count(JobClaimedError) == 7
    assert await jobs.find(made.id) == won[0]


async def test_what_a_change_raises_changes_nothing(jobs: Table) -> None:
    made = await jobs.create(a_job(), SINCE)
    head = await jobs.head()

    def refuse(job: Job) -> Job:
        raise JobNotRetryableError(job.id, job.status)

    for method in (jobs.change, jobs.retry, jobs.mark, jobs.delete):
        with pytest.raises(JobNotRetryableError):
            await method(made.id, refuse)
        with pytest.raises(NotFoundError):
            await method(99, refuse)
    assert await jobs.find(made.id) == made
    assert (await jobs.page("ada", None, 0, 9)).total == 1
    assert await jobs.head() == head


async def test_a_change_that_changes_nothing_is_not_told(jobs: Table) -> None:
    made = await jobs.create(a_job(), SINCE)
    head = await jobs.head()
    await jobs.change(made.id, lambda job: replace(job))
    assert await jobs.head() == head


async def test_a_retry_supersedes_the_job_it_repeats(jobs: Table) -> None:
    made = await jobs.create(a_job(status="failed"), SINCE)
    again = await jobs.retry(
        made.id, lambda job: replace(job, id=0, status="pending", retry_of=job.id)
    )
    assert again.retry_of == made.id
    before = await jobs.find(made.id)
    assert before is not None
    assert before.superseded_by == again.id
    page = await jobs.page("ada", None, 0, 10)
    assert ([job.id for job in page.jobs], page.total) == ([again.id], 1)


async def test_pages_are_of_one_owner_and_newest_first(jobs: Table) -> None:
    ids = [(await jobs.add(a_job(minutes))).id for minutes in (0, 3, 1, 3, 2)][:4]
    same_time = await jobs.add(a_job(3, goal="x", status="draft"))
    await jobs.create(a_job(9, owner="bob"), SINCE)
    page = await jobs.page("ada", None, 0, 3)
    assert [job.goal for job in page.jobs] == ["x", "goal 3", "goal 3"]
    assert (page.jobs[0].id, page.total) == (same_time.id, 6)
    assert page.jobs[1].id == ids[3]
    last = page.jobs[-1]
    rest = await jobs.page("ada", (last.created_at, last.id), 0, 10)
    assert [job.goal for job in rest.jobs] == ["goal 2", "goal 1", "goal 0"]
    assert rest.jobs == (await jobs.page("ada", None, 3, 10)).jobs
    assert all(job.seed_text == "" for job in rest.jobs)


async def test_jobs_that_wait_are_those_nobody_holds(jobs: Table) -> None:
    later, earlier = NOON + timedelta(seconds=1), NOON - timedelta(seconds=1)
    waiting = [
        await jobs.create(a_job(0), SINCE),
        await jobs.create(a_job(1, status="running", lease_until=earlier), SINCE),
        await jobs.create(a_job(2, status="provisioning", lease_until=NOON), SINCE),
    ]
    for number, status in enumerate(("draft", "reporting", "completed", "failed", "refunded")):
        await jobs.add(a_job(number + 3, status=status))
    await jobs.create(a_job(9, status="running", lease_until=later), SINCE)
    assert await jobs.waiting(NOON, 10) == [job.id for job in waiting]
    assert await jobs.waiting(NOON, 1) == [waiting[0].id]


async def test_a_job_that_too_many_have_claimed_waits_for_nobody(jobs: Table) -> None:
    job = await jobs.create(a_job(), SINCE)
    now = NOON
    for number in range(domain.MOST_CLAIMS):
        assert await jobs.waiting(now, 10) == [job.id]
        claimed = partial(leases.claimed, worker=f"w{number}", token=f"t{number}", seconds=60)
        for again in range(2):  # the second is a repeat by who holds it, and counts for nothing
            held = await jobs.change(job.id, partial(claimed, now=now + timedelta(seconds=again)))
            assert held.claims == number + 1
        now += timedelta(minutes=2)
    assert await jobs.waiting(now, 10) == []
    for worker in ("w9", f"w{domain.MOST_CLAIMS - 1}"):
        with pytest.raises(JobStateError, match="5 workers of it have vanished"):
            await jobs.change(
                job.id, partial(leases.claimed, worker=worker, token="t", seconds=60, now=now)
            )
    # Who holds it last may still be late.
    last = f"t{domain.MOST_CLAIMS - 1}"
    renewed = partial(leases.renewed, token=last, seconds=60, now=now, status="running")
    assert (await jobs.change(job.id, renewed)).lease_until == now + timedelta(minutes=1)


async def test_jobs_whose_workers_have_vanished_fail_when_nobody_can_take_them_up(
    jobs: Table,
) -> None:
    ended = NOON - leases.GRACE
    early, late = ended - timedelta(hours=14), ended + timedelta(seconds=1)
    lost = {
        "claims": [
            await jobs.add(a_job(status="running", claims=5, lease_until=ended, grants_until=late)),
            await jobs.add(a_job(status="provisioning", claims=5, lease_until=ended)),
        ],
        "URLs": [
            await jobs.add(
                a_job(status="running", claims=1, lease_until=early, grants_until=ended)
            ),
            await jobs.add(a_job(status="running", claims=4, lease_until=early)),
        ],
    }
    going_on = [
        await jobs.add(a_job(status="running", claims=5, lease_until=late, grants_until=early)),
        await jobs.add(a_job(status="running", claims=4, lease_until=ended, grants_until=late)),
        await jobs.add(a_job(status="running", claims=1, lease_until=ended)),
        await jobs.add(a_job(status="reporting", claims=5, lease_until=early)),
        await jobs.add(a_job()),
    ]
    told: list[int] = []

    async def tell() -> None:
        told.append((await jobs.head())[1])

    vanished = Vanished(jobs, jobs, lambda: NOON, tell)
    before = (await jobs.head())[1]
    assert await vanished.look() == 4
    assert told == [before + 4], "each is told of"
    for why, some in {"5 workers": lost["claims"], "upload URLs": lost["URLs"]}.items():
        for job in some:
            found = await jobs.find(job.id)
            assert found is not None
            assert (found.status, found.completed_at, found.lease_until) == ("failed", NOON, None)
            assert found.error is not None
            assert found.error.startswith("worker_lost: ")
            assert why in found.error
    for job in going_on:
        assert await jobs.find(job.id) == job
    assert (await vanished.look(), len(told)) == (0, 1)


async def test_reports_that_are_due_are_those_nobody_writes(jobs: Table) -> None:
    later = NOON + timedelta(seconds=1)
    due = await jobs.add(a_job(0, status="reporting", report_at=NOON))
    again = await jobs.add(
        a_job(0, status="reporting", report_at=NOON - timedelta(1), report_lease_until=NOON)
    )
    await jobs.add(a_job(0, status="reporting", report_at=later))
    await jobs.add(a_job(0, status="reporting", report_at=NOON, report_lease_until=later))
    await jobs.add(a_job(0, status="running"))
    assert await jobs.unreported(NOON, 10) == [again.id, due.id]


async def test_a_deleted_job_is_gone_for_everybody_but_the_sweeper(jobs: Table) -> None:
    later = NOON + timedelta(hours=14)
    made = await jobs.create(a_job(share_token="t", grants_until=later), SINCE)
    await jobs.delete(made.id, lambda job: replace(job, deleted_at=NOON))
    assert await jobs.find(made.id) is None
    assert await jobs.find_shared("t") is None
    assert await jobs.page("ada", None, 0, 9) == ([], 0)
    assert await jobs.waiting(NOON, 9) == []
    assert await jobs.walk(0, 9) == []
    with pytest.raises(NotFoundError):
        await jobs.change(made.id, lambda job: job)
    assert [job.id for job in await jobs.deleted(NOON, NOON, 9)] == [made.id]
    assert (await jobs.delete(made.id, lambda job: job)).id == made.id  # a repeat
    await jobs.mark(made.id, lambda job: replace(job, emptied=True))
    assert await jobs.deleted(NOON, NOON, 9) == []
    with pytest.raises(NotFoundError):
        await jobs.delete(made.id, lambda job: job)
    before = NOON - timedelta(seconds=1)
    assert [job.id for job in await jobs.deleted(later, before, 9)] == [made.id]
    await jobs.mark(made.id, lambda job: replace(job, grants_until=None))
    assert await jobs.deleted(later, before, 9) == []
    assert [job.id for job in await jobs.deleted(later, NOON, 9)] == [made.id]
    await jobs.forget(made.id)
    assert await jobs.deleted(later, NOON, 9) == []


async def test_only_a_deleted_row_can_be_forgotten(jobs: Table) -> None:
    made = await jobs.create(a_job(), SINCE)
    await jobs.forget(made.id)
    assert await jobs.find(made.id) == made


async def test_a_share_token_finds_its_job(jobs: Table) -> None:
    made = await jobs.create(a_job(), SINCE)
    shared = await jobs.change(made.id, lambda job: replace(job, share_token="a-token"))
    assert await jobs.find_shared("a-token") == shared
    assert await jobs.find_shared("a-token-") is None


async def test_the_log_tells_each_change_once_and_densely(jobs: Table) -> None:
    epoch, start = await jobs.head()
    first = await jobs.create(a_job(0, status="failed"), SINCE)
    again = await jobs.retry(first.id, lambda job: replace(job, id=0, status="pending"))
    await jobs.delete(again.id, lambda job: replace(job, deleted_at=NOON))
    news = await jobs.news(epoch, start, 10)
    assert [each.revision for each in news.changes] == [start + n for n in range(1, 5)]
    told = [each.job_id for each in news.changes]
    assert (told[0], told[3]) == (first.id, again.id)
    assert set(told[1:3]) == {first.id, again.id}
    assert set(news.jobs) == {first.id}
    assert news.owners == {first.id: first.owner, again.id: first.owner}
    await jobs.mark(again.id, lambda job: replace(job, emptied=True))
    assert (await jobs.head())[1] == news.head == start + 4, "it is told once that it is gone"
    part = await jobs.news(epoch, start + 1, 2)
    assert [each.revision for each in part.changes] == [start + 2, start + 3]
    assert (await jobs.news(epoch, news.head, 10)).changes == []


async def test_changes_by_many_at_once_have_revisions_without_a_gap(jobs: Table) -> None:
    epoch, start = await jobs.head()
    made = await asyncio.gather(*(jobs.add(a_job(n)) for n in range(20)))
    await asyncio.gather(
        *(jobs.change(job.id, lambda job: replace(job, key_insight="x")) for job in made)
    )
    news = await jobs.news(epoch, start, 100)
    assert [each.revision for each in news.changes] == [start + n for n in range(1, 41)]
    assert {job.key_insight for job in news.jobs.values()} == {"x"}


async def test_a_trimmed_log_says_what_it_no_longer_has(jobs: Table) -> None:
    epoch, start = await jobs.head()
    for number in range(10):
        await jobs.add(a_job(number))
    await jobs.trim(4)
    assert len((await jobs.news(epoch, start + 6, 99)).changes) == 4
    for revision in (start, start + 5):
        with pytest.raises(RevisionGoneError):
            await jobs.news(epoch, revision, 99)
    await jobs.trim(99)
    assert len((await jobs.news(epoch, start + 6, 99)).changes) == 4
    assert await jobs.head() == (epoch, start + 10)


async def test_all_jobs_are_walked_in_the_order_of_their_ids(jobs: Table) -> None:
    ids = [(await jobs.add(a_job(5 - number))).id for number in range(5)]
    first = await jobs.walk(0, 2)
    rest = await jobs.walk(first[-1].id, 9)
    assert [job.id for job in [*first, *rest]] == ids
    other = await jobs.add(a_job(9, owner="bob"))
    assert [job.id for job in await jobs.walk(0, 9, "bob")] == [other.id]
    assert await jobs.walk(other.id, 9, "bob") == []


async def test_a_lock_is_held_by_one(jobs: Table) -> None:
    async for mine in jobs.lock("sweep"):
        assert mine
    async for again in jobs.lock("sweep"):
        assert again
