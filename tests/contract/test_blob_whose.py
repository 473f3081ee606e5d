"""Whose a blob is: another's is not there, wherever the rows and the bytes lie."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from asgard_server.auth.principal import LOCAL, Principal, RunScope
from asgard_server.blob import domain, limits
from asgard_server.blob.completing import Completer
from asgard_server.blob.domain import Blob, NewUpload
from asgard_server.blob.keeping import Keeper, Wanted
from asgard_server.blob.uploading import Uploader
from asgard_server.blob.whose import whose
from asgard_server.store.blob_rows import COLUMNS, row_of
from asgard_server.store.postgres_blobs import PostgresBlobs
from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.core.errors import AlreadyExistsError, NotFoundError
from gimle.asgard.core.job_errors import ServiceCallersOnlyError

from tests.contract import blob_homes
from tests.contract.blob_homes import Home

BODY = b"what a simulation has computed"
SHA = hashlib.sha256(BODY).hexdigest()


@dataclass(frozen=True)
class Caller:
    """What one caller can do."""

    uploader: Uploader
    completer: Completer
    keeper: Keeper


@pytest.fixture(params=["folder", "minio"])
async def home(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Home]:
    """A folder with SQLite, and S3 with PostgreSQL."""
    blob_homes.known(request.param, monkeypatch)
    async with blob_homes.home(request.param, tmp_path) as opened:
        yield opened


def as_(home: Home, principal: Principal) -> Caller:
    who = whose(principal)
    return Caller(home.uploader.of(who), home.completer.of(who), home.keeper.of(who))


def alice(home: Home) -> Caller:
    return as_(home, Principal("alice", organizations=frozenset({"org"})))


def bob(home: Home) -> Caller:
    # Of the same organisation, and an administrator of identity: neither shows him her bytes.
    return as_(home, Principal("bob", organizations=frozenset({"org"}), admin=True))


async def begun(caller: Caller, *, id: str = "", name: str = "") -> Blob:
    new = NewUpload(id=id, name=name, size_bytes=len(BODY), sha256=SHA)
    (one,) = await caller.uploader.begin([new])
    return one.blob


async def test_another_cannot_do_anything_with_a_blob(home: Home) -> None:
    made = await alice(home).keeper.write(NewUpload(name="run-7/a"), BODY)
    other = bob(home)
    for label in (made.id, "name:run-7/a"):
        tries: list[Awaitable[object]] = [
            other.keeper.blob(label),
            other.keeper.lend([Wanted(label)], None),
            other.keeper.read(label),
            other.keeper.copy(label, "mine"),
            other.keeper.delete(label),
        ]
        for attempt in tries:
            with pytest.raises(NotFoundError):
                await attempt
    assert await other.keeper.page("", "", 10) == []
    assert (await other.keeper.delete_all("run-7/")).count == 0
    assert (await alice(home).keeper.read(made.id))[1] == BODY
    assert [each.id for each in await alice(home).keeper.page("", "", 10)] == [made.id]


async def test_another_cannot_do_anything_with_an_upload(home: Home) -> None:
    blob = await begun(alice(home), name="a")
    big = NewUpload(name="big", size_bytes=limits.SINGLE_BYTES + 1)
    (in_parts,) = await alice(home).uploader.begin([big])
    other = bob(home)
    tries: list[Awaitable[object]] = [
        other.uploader.renew([blob.id], None),
        other.uploader.parts(in_parts.blob.id),
        other.uploader.sign_parts(in_parts.blob.id, [(1, SHA)], None),
    ]
    for attempt in tries:
        with pytest.raises(NotFoundError):
            await attempt
    (outcome,) = await other.completer.complete([(blob.id, None)])
    assert isinstance(outcome, NotFoundError)
    (outcome,) = await other.completer.complete([(blob.id, None)], dry_run=True)
    assert isinstance(outcome, NotFoundError)
    await other.uploader.abort([blob.id])
    (again,) = await alice(home).uploader.renew([blob.id], None)
    assert again.blob.state == "uploading"
    await alice(home).uploader.sign_parts(in_parts.blob.id, [(1, SHA)], None)


async def test_the_same_name_and_bytes_say_nothing_of_another_s(home: Home) -> None:
    hers = await alice(home).keeper.write(NewUpload(name="model.pt"), BODY)
    (asked,) = await bob(home).uploader.begin(
        [NewUpload(name="model.pt", size_bytes=len(BODY), sha256=SHA)]
    )
    assert asked.put is not None, "whoever knows a digest is not told that the bytes are there"
    assert asked.blob.id != hers.id
    with pytest.raises(AlreadyExistsError):  # an id is taken for everybody, and says no more
        await begun(bob(home), id=hers.id, name="model.pt")
    his = await bob(home).keeper.write(NewUpload(name="his.pt"), b"other bytes")
    assert (await bob(home).keeper.blob("name:his.pt")).id == his.id
    mine = await alice(home).keeper.write(NewUpload(name="his.pt"), BODY)
    assert (await alice(home).keeper.blob("name:his.pt")).id == mine.id
    # Of her own bytes she is told that they are there.
    (again,) = await alice(home).uploader.begin(
        [NewUpload(name="model.pt", size_bytes=len(BODY), sha256=SHA)]
    )
    assert (again.put, again.blob.id) == (None, hers.id)


async def test_an_id_that_was_another_s_is_taken_and_no_more_is_said(home: Home) -> None:
    made = await alice(home).keeper.write(NewUpload(id="the-id"), BODY)
    await alice(home).keeper.delete(made.id)
    with pytest.raises(AlreadyExistsError):
        await begun(bob(home), id="the-id")


async def test_only_services_claim_and_release(home: Home) -> None:
    made = await alice(home).keeper.write(NewUpload(name="a"), BODY)
    for caller in (alice(home), bob(home)):
        with pytest.raises(ServiceCallersOnlyError):
            await caller.keeper.claim([made.id], "asset/1")
        with pytest.raises(ServiceCallersOnlyError):
            await caller.keeper.release([], "asset/1")
    service = as_(home, Principal("service", "service"))
    await service.keeper.claim([made.id], "asset/1")
    assert await service.keeper.release([], "asset/1") == 1


async def test_services_and_the_local_user_find_all_by_id_and_have_names_of_their_own(
    home: Home,
) -> None:
    hers = await alice(home).keeper.write(NewUpload(name="assets/1/0"), b"hers")
    # What an asset lets go by the beginning of its names is its own.
    assert (await as_(home, LOCAL).keeper.delete_all("assets/1/")).count == 0
    for principal in (LOCAL, Principal("service", "service")):
        caller = as_(home, principal)
        assert (await caller.keeper.read(hers.id))[1] == b"hers"
        made = await caller.keeper.write(NewUpload(name="assets/1/0"), b"its own")
        assert (await caller.keeper.blob("name:assets/1/0")).id == made.id
    with pytest.raises(NotFoundError):
        await alice(home).keeper.blob(made.id)
    assert (await alice(home).keeper.blob("name:assets/1/0")).id == hers.id


async def test_a_worker_adds_and_reads_what_is_its_user_s_and_deletes_nothing(home: Home) -> None:
    run = RunScope("experiment", 0, 0)
    worker = as_(home, Principal("alice", "worker", run=run))
    hers = await alice(home).keeper.write(NewUpload(name="in"), BODY)
    made = await worker.keeper.write(NewUpload(name="out"), BODY)
    assert (await worker.keeper.read(hers.id))[1] == BODY
    assert (await alice(home).keeper.read(made.id))[1] == BODY
    tries: list[Awaitable[object]] = [worker.keeper.delete(made.id), worker.keeper.delete_all("o")]
    for attempt in tries:
        with pytest.raises(ForbiddenError):
            await attempt
    with pytest.raises(NotFoundError):
        await worker.keeper.delete("none")
    agent = as_(home, Principal("alice", "agent"))
    await agent.keeper.delete(made.id)


async def test_parts_are_brought_by_whom_the_upload_is_lent_to(home: Home) -> None:
    service = as_(home, Principal("service", "service"))
    big = NewUpload(name="assets/1/0", size_bytes=limits.SINGLE_BYTES + 1, lent_to="alice")
    (upload,) = await service.uploader.begin([big])
    blob_id = upload.blob.id
    (grant,) = await alice(home).uploader.sign_parts(blob_id, [(1, SHA)], None)
    assert grant.method == "PUT"
    with pytest.raises(NotFoundError):
        await bob(home).uploader.parts(blob_id)
    with pytest.raises(NotFoundError):  # no more than that
        await alice(home).keeper.blob(blob_id)
    assert await alice(home).keeper.page("", "", 10) == []
    (outcome,) = await alice(home).completer.complete([(blob_id, None)])
    assert isinstance(outcome, NotFoundError)
    for _ in range(2):
        await service.uploader.renew([blob_id], None, "bob")
    blob, _ = await bob(home).uploader.parts(blob_id)
    await alice(home).uploader.parts(blob_id)
    assert blob.lent_to == ("alice", "bob")
    # By the repeat of a call, as by the first.
    await service.uploader.begin([replace(big, lent_to='a "b"\n')])
    await as_(home, Principal('a "b"\n')).uploader.parts(blob_id)
    with pytest.raises(ServiceCallersOnlyError):
        await bob(home).uploader.begin([NewUpload(lent_to="eve")])
    with pytest.raises(ServiceCallersOnlyError):
        await bob(home).uploader.renew([blob_id], None, "eve")


async def test_a_list_is_found_by_the_maker_and_not_among_all(home: Home) -> None:
    now = home.clock()
    many = [domain.begin(NewUpload(name=f"n/{at:04}"), now, "many") for at in range(800)]
    few = [domain.begin(NewUpload(name=f"n/{at:04}"), now, "few") for at in range(700, 710)]
    await home.table.begin(many)
    await home.table.begin(few)
    assert len(await home.table.page("n/", "", 50, "few")) == 10
    assert [each.name for each in await home.table.page("n/", "n/0703", 3, "few")] == [
        f"n/{at:04}" for at in (704, 705, 706)
    ]
    plan = await _plan(home)
    assert "blobs_by_maker" in plan
    assert "maker" in plan.split("blobs_by_maker")[1], plan


async def _plan(home: Home) -> str:
    question = (
        "EXPLAIN {how} SELECT id FROM {blobs} b WHERE b.state IN ('uploading', 'ready')"
        " AND b.maker = 'few' AND b.name > '' AND b.name >= 'n/' AND b.name < 'n0'"
        " ORDER BY b.name LIMIT 50"
    )
    if isinstance(home.table, PostgresBlobs):
        link = home.table._link

        async def explained(connection: Any) -> str:
            rows = await connection.fetch(question.format(how="", blobs="asgard.blobs"))
            return "\n".join(row[0] for row in rows)

        return await link.read(explained)
    rows = await home.table._database.read(
        lambda connection: list(
            connection.execute(question.format(how="QUERY PLAN", blobs="blobs"))
        )
    )
    return "\n".join(row[3] for row in rows)


async def test_a_row_of_the_release_before_is_the_services_alone(home: Home) -> None:
    # It knows no makers, and says none.
    old = [name for name in COLUMNS if name not in ("maker", "lent_to")]
    row = domain.begin(NewUpload(name="old"), home.clock())
    values = dict(zip(COLUMNS, row_of(row), strict=True))
    await _insert(home, old, [values[name] for name in old])
    for caller in (alice(home), bob(home)):
        with pytest.raises(NotFoundError):
            await caller.keeper.blob(row.id)
        assert await caller.keeper.page("", "", 10) == []
    assert (await as_(home, LOCAL).keeper.blob("name:old")).id == row.id


async def _insert(home: Home, names: list[str], values: list[object]) -> None:
    columns = ", ".join(names)
    if isinstance(home.table, PostgresBlobs):
        places = ", ".join(f"${at}" for at in range(1, len(names) + 1))
        await home.table._write(
            lambda connection: connection.execute(
                f"INSERT INTO asgard.blobs ({columns}) VALUES ({places})",
                *values,
            )
        )
        return
    places = ", ".join("?" * len(names))
    await home.table._database.write(
        lambda connection: connection.execute(
            f"INSERT INTO blobs ({columns}) VALUES ({places})",
            values,
        )
    )
