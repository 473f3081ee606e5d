"""fsck of blobs: what lies in the store, held against the table that knows it, beside uploads."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.blob import domain
from asgard_server.blob.domain import Blob, NewUpload
from asgard_server.blob.examining import DAY, Examined, Examiner
from asgard_server.blob.holdings import Holding, Holdings, Kept
from asgard_server.blob.keeping import Wanted
from asgard_server.store.folder_bytes import FolderBytes
from asgard_server.store.folder_holdings import FolderHoldings
from gimle.asgard.core.errors import NotFoundError

from tests.contract import blob_homes
from tests.contract.blob_homes import Home

BODY = b"what a simulation has computed"
NO_TIME = timedelta()


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


home = blob_homes.each_home
small_parts = blob_homes.small_parts


async def examined(
    home: Home, *, repair: bool = False, deep: bool = False, young: timedelta = NO_TIME
) -> Examined:
    examiner = Examiner(home.table, home.holdings, home.clock, young=young)
    return await examiner.examine(repair=repair, deep=deep)


def kinds(done: Examined) -> dict[str, tuple[int, int, bool]]:
    """How many of a kind, their bytes, and whether all are mended."""
    found: dict[str, tuple[int, int, bool]] = {}
    for one in done.findings:
        count, size, mended = found.get(one.kind, (0, 0, True))
        found[one.kind] = (count + 1, size + one.size_bytes, mended and one.repaired)
    return found


async def uploaded(home: Home, name: str, body: bytes = BODY) -> Blob:
    new = NewUpload(name=name, size_bytes=len(body), sha256=sha(body))
    (begun,) = await home.uploader.begin([new])
    assert begun.put is not None
    assert (await home.send(begun.put, body)).status_code == 200
    (done,) = await home.completer.complete([(begun.blob.id, None)])
    assert isinstance(done, Blob), done
    return done


async def strewn(home: Home, blob_id: str, attempt: str = "1", body: bytes = BODY) -> str:
    """Bytes under a key that no row names."""
    row = domain.begin(NewUpload(id=blob_id), home.clock())
    await home.held.write(replace(row, attempt=attempt), body)
    return f"blobs/{blob_id}/{attempt}"


async def begun_in_parts(home: Home, name: str, body: bytes, *numbers: int, each: int) -> Blob:
    new = NewUpload(name=name, size_bytes=len(body), sha256=sha(body))
    (begun,) = await home.uploader.begin([new])
    pieces = [body[(number - 1) * each : number * each] for number in numbers]
    asked = [(number, sha(piece)) for number, piece in zip(numbers, pieces, strict=True)]
    grants = await home.uploader.sign_parts(begun.blob.id, asked, None)
    for grant, piece in zip(grants, pieces, strict=True):
        assert (await home.send(grant, piece)).status_code == 200
    return begun.blob


async def test_a_store_that_is_whole_has_no_findings_and_is_counted(
    home: Home, small_parts: int
) -> None:
    for number in range(3):
        await uploaded(home, f"n/{number}")
    large = os.urandom(small_parts + 7)
    blob = await begun_in_parts(home, "large", large, 1, 2, each=small_parts)
    await home.completer.complete([(blob.id, None)])
    done = await examined(home, repair=True, deep=True)
    assert done.findings == []
    assert (done.ready.count, done.ready.size_bytes) == (4, 3 * len(BODY) + len(large))
    assert (done.read.count, done.read.size_bytes) == (4, 3 * len(BODY) + len(large))
    assert done.on_the_way.count == 0


async def test_bytes_that_no_row_knows_are_told_of_and_removed_when_they_are_old(
    home: Home,
) -> None:
    kept = await uploaded(home, "kept")
    await strewn(home, "stranger")
    await strewn(home, "other", body=b"x" * 10)
    assert kinds(await examined(home)) == {"orphan_object": (2, len(BODY) + 10, False)}
    # Younger than a day, and younger than a request may take: not even told of.
    assert (await examined(home, repair=True, young=DAY)).findings == []
    assert kinds(await examined(home, repair=True)) == {"orphan_object": (2, len(BODY) + 10, True)}
    assert await home.keys() == [kept.key]
    assert (await examined(home)).findings == []


async def test_a_table_that_knows_nothing_removes_nothing(home: Home) -> None:
    await strewn(home, "stranger")
    found = await examined(home, repair=True)
    assert kinds(found) == {"orphan_object": (1, len(BODY), False)}
    assert await home.keys() == ["blobs/stranger/1"]


async def test_a_blob_whose_bytes_are_gone_is_missed_and_its_name_set_free(home: Home) -> None:
    there, gone, claimed = [await uploaded(home, name) for name in ("there", "gone", "claimed")]
    await home.keeper.claim([claimed.id], "asset/one")
    for blob in (gone, claimed):
        await home.held.remove(blob)
    found = await examined(home)
    assert kinds(found) == {"missing_bytes": (2, 2 * len(BODY), False)}
    assert any("asset/one" in one.problem for one in found.findings)
    found = await examined(home, repair=True)
    assert {one.path: one.repaired for one in found.findings} == {
        gone.key: True,
        claimed.key: False,
    }
    with pytest.raises(NotFoundError):
        await home.keeper.blob("name:gone")
    assert (await uploaded(home, "gone")).state == "ready"
    assert (await home.keeper.blob(claimed.id)).owners == ("asset/one",)
    assert (await home.keeper.blob(there.id)).state == "ready"


async def test_rows_stay_where_all_bytes_are_gone(home: Home) -> None:
    blob = await uploaded(home, "one")
    await home.held.remove(blob)
    assert kinds(await examined(home, repair=True)) == {"missing_bytes": (1, len(BODY), False)}
    assert await home.keeper.blob(blob.id) == blob


async def test_bytes_that_were_changed_are_found_by_their_size_and_by_reading(home: Home) -> None:
    one, two = await uploaded(home, "one"), await uploaded(home, "two")
    for blob, body in ((one, b"x" * len(BODY)), (two, b"longer" + BODY)):
        await home.held.remove(blob)
        await home.held.write(blob, body)
    found = await examined(home)
    assert [(each.kind, each.path) for each in found.findings] == [("wrong_size", two.key)]
    found = await examined(home, deep=True)
    wrong = [each.path for each in found.findings if each.kind == "wrong_digest"]
    assert sorted(wrong) == sorted([one.key, two.key])
    assert len(await home.keys()) == 2


async def test_parts_put_together_are_verified_over_their_digests(
    home: Home, small_parts: int
) -> None:
    body = os.urandom(2 * small_parts + 3)
    blob = await begun_in_parts(home, "parts", body, 1, 2, 3, each=small_parts)
    (done,) = await home.completer.complete([(blob.id, None)])
    assert isinstance(done, Blob)
    assert (await examined(home, deep=True)).findings == []
    # As a store with a broken disk would answer.
    lying = replace(done, sha256=None, sha256_parts=sha(b"others"))
    await home.table.settle(done, replace(lying, state="ready"))
    found = await examined(home, deep=True)
    assert [each.kind for each in found.findings] == ["wrong_digest"]


async def test_uploads_that_go_on_are_left_alone(home: Home, small_parts: int) -> None:
    body = os.urandom(small_parts + 7)
    arrived, plain = NewUpload(name="arrived", size_bytes=len(BODY), sha256=sha(BODY)), "plain"
    (one, two) = await home.uploader.begin([arrived, NewUpload(name=plain)])
    for begun in (one, two):
        assert begun.put is not None
        assert (await home.send(begun.put, BODY)).status_code == 200
    blob = await begun_in_parts(home, "parts", body, 1, each=small_parts)
    found = await examined(home, repair=True)
    assert found.findings == []
    assert found.on_the_way.count == 3
    assert found.on_the_way.size_bytes == 2 * len(BODY) + small_parts
    (grant,) = await home.uploader.sign_parts(blob.id, [(2, sha(body[small_parts:]))], None)
    assert (await home.send(grant, body[small_parts:])).status_code == 200
    ids = [one.blob.id, two.blob.id, blob.id]
    done = await home.completer.complete([(each, None) for each in ids])
    assert all(isinstance(each, Blob) for each in done), done
    assert (await examined(home, repair=True, deep=True)).findings == []


async def test_an_upload_that_died_while_it_was_put_together_is_on_its_way_and_given_up_whole(
    tmp_path: Path, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder has a part of it in the parts, and a part in what is to become of them.
    async with blob_homes.home("folder", tmp_path) as home:
        body = os.urandom(3 * small_parts)
        blob = await begun_in_parts(home, "large", body, 1, 2, 3, each=small_parts)
        inner, flushed = os.fsync, []

        def fsync(handle: int) -> None:
            flushed.append(handle)
            if len(flushed) == 3:  # after the folder and the first part
                raise RuntimeError("it dies")
            inner(handle)

        with monkeypatch.context() as dying:
            dying.setattr(os, "fsync", fsync)
            with pytest.raises(RuntimeError):
                await home.completer.complete([(blob.id, None)])
        done = await examined(home, repair=True)
        assert done.findings == []
        assert done.on_the_way.count == 1
        assert len(body) <= done.on_the_way.size_bytes <= len(body) + small_parts
        assert len((await home.uploader.parts(blob.id))[1]) == 3
        await home.uploader.abort([blob.id])
        assert list((tmp_path / ".asgard" / "uploads" / "parts").iterdir()) == []
        done = await examined(home)
        assert (done.findings, done.on_the_way.count) == ([], 0)


async def test_what_a_request_left_that_was_killed_is_removed_when_it_is_old(
    home: Home, tmp_path: Path
) -> None:
    if not isinstance(home.holdings, FolderHoldings):
        assert [held async for held in home.holdings.temporaries()] == []
        return
    await uploaded(home, "other")
    left = [".asgard/uploads/incoming/killed", "blobs/gone/1.sha256"]
    for name in left:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half of")
    assert (await examined(home, repair=True, young=DAY)).findings == []
    assert kinds(await examined(home, repair=True)) == {"temporary": (2, 14, True)}
    assert not any((tmp_path / name).exists() for name in left)
    await uploaded(home, "after")


async def test_parts_of_an_upload_that_another_overtook_are_removed(
    home: Home, small_parts: int
) -> None:
    body = os.urandom(small_parts + 7)
    blob = await begun_in_parts(home, "parts", body, 1, each=small_parts)
    # As a service that died between the store's answer and its own row leaves it.
    await home.held.begin_parts(blob)
    found = await examined(home, repair=True)
    assert kinds(found) == {"orphan_parts": (1, 0, True)}
    assert (await examined(home)).findings == []
    (grant,) = await home.uploader.sign_parts(blob.id, [(2, sha(body[small_parts:]))], None)
    assert (await home.send(grant, body[small_parts:])).status_code == 200
    (done,) = await home.completer.complete([(blob.id, None)])
    assert isinstance(done, Blob), done


async def test_a_copy_that_a_dead_completion_left_is_removed(home: Home) -> None:
    (begun,) = await home.uploader.begin([NewUpload(name="plain")])
    assert begun.put is not None
    assert (await home.send(begun.put, BODY)).status_code == 200
    arrived = await home.held.head(begun.blob.arrives_at)
    assert arrived is not None
    left = f"blobs/{begun.blob.id}/dead"
    await home.held.copy(begun.blob.arrives_at, arrived, left, "text/plain")
    (done,) = await home.completer.complete([(begun.blob.id, None)])
    assert isinstance(done, Blob)
    found = await examined(home, repair=True)
    assert [(each.path, each.size_bytes, each.repaired) for each in found.findings] == [
        (left, len(BODY), True)
    ]
    assert await home.keys() == [done.key]


async def test_a_copy_under_way_is_young_however_old_its_bytes_are(tmp_path: Path) -> None:
    async with blob_homes.home("folder", tmp_path) as home:
        assert isinstance(home.held, FolderBytes)
        (begun,) = await home.uploader.begin([NewUpload(name="plain")])
        assert begun.put is not None
        assert (await home.send(begun.put, BODY)).status_code == 200
        os.utime(home.held.path(begun.blob.arrives_at), (0, 0))
        arrived = await home.held.head(begun.blob.arrives_at)
        assert arrived is not None
        under_way = f"blobs/{begun.blob.id}/copy"
        await home.held.copy(begun.blob.arrives_at, arrived, under_way, "text/plain")
        await examined(home, repair=True, young=timedelta(minutes=15))
        assert under_way in await home.keys()


async def test_what_a_url_brings_late_is_left_to_it_until_it_has_ended(home: Home) -> None:
    await uploaded(home, "other")
    (begun,) = await home.uploader.begin([NewUpload(name="plain")])
    assert begun.put is not None
    assert (await home.send(begun.put, BODY)).status_code == 200
    (done,) = await home.completer.complete([(begun.blob.id, None)])
    assert isinstance(done, Blob)
    assert (await home.send(begun.put, b"late")).status_code == 200
    found = await examined(home, repair=True)
    assert (found.findings, found.on_the_way.size_bytes) == ([], 4)
    home.clock.ahead = timedelta(hours=2)
    found = await examined(home, repair=True)
    assert kinds(found) == {"orphan_object": (1, 4, True)}
    assert done.key in await home.keys()


async def test_the_bytes_of_what_is_gone_are_said_to_be_gone(home: Home) -> None:
    with pytest.raises(FileNotFoundError):
        _ = [piece async for piece in home.holdings.pieces("blobs/01a229f1/1")]


async def test_fsck_beside_uploads_finds_and_harms_none_of_them(home: Home) -> None:
    ended = asyncio.Event()
    # No patience at all: rows alone keep what goes on from harm. What a request to a folder is
    # bringing has no row, only its age.
    young = timedelta(seconds=10) if isinstance(home.holdings, FolderHoldings) else NO_TIME

    async def uploading(worker: int) -> list[Blob]:
        done: list[Blob] = []
        while not ended.is_set() or not done:
            done.append(await uploaded(home, f"{worker}/{len(done)}", os.urandom(64)))
            if len(done) % 3 == 0:
                await home.keeper.delete(done.pop().id)
        return done

    async def examining() -> Counter[str]:
        found: Counter[str] = Counter()
        try:
            for _ in range(6):
                done = await examined(home, repair=True, deep=True, young=young)
                found.update(one.kind for one in done.findings)
        finally:
            ended.set()
        return found

    found, *blobs = await asyncio.gather(examining(), uploading(1), uploading(2))
    assert found == {}
    for blob in (each for some in blobs for each in some):
        ((_, grant),) = await home.keeper.lend([Wanted(blob.id)], None)
        assert sha((await home.send(grant)).content) == blob.sha256


class Meanwhile:
    """Holdings beside which something happens when all has been listed, or only the blobs."""

    def __init__(
        self,
        holdings: Holdings,
        happens: Callable[[], Awaitable[object]],
        *,
        behind: str = "everything",
    ) -> None:
        self._holdings, self._happens, self._behind = holdings, happens, behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._holdings, name)

    async def objects(self, folder: str) -> AsyncIterator[Holding]:
        async for held in self._holdings.objects(folder):
            yield held
        if folder == self._behind:
            await self._happens()

    async def temporaries(self) -> AsyncIterator[Holding]:
        async for held in self._holdings.temporaries():
            yield held
        if self._behind == "everything":
            await self._happens()


async def test_what_changes_while_fsck_looks_is_not_missed(home: Home) -> None:
    gone = await uploaded(home, "gone")

    async def happens() -> None:
        await uploaded(home, "new")  # not in the listing
        await home.keeper.delete(gone.id)  # in the listing

    holdings: Any = Meanwhile(home.holdings, happens)
    examiner = Examiner(home.table, holdings, home.clock, young=NO_TIME)
    assert (await examiner.examine(repair=True, deep=True)).findings == []
    assert (await home.keeper.blob("name:new")).state == "ready"


async def test_what_is_removed_while_fsck_looks_is_not_told_of(home: Home) -> None:
    await uploaded(home, "kept")
    await strewn(home, "swept")
    row = domain.begin(NewUpload(id="swept"), home.clock())

    async def happens() -> None:
        await home.held.remove(replace(row, attempt="1"))

    holdings: Any = Meanwhile(home.holdings, happens, behind="blobs/")
    examiner = Examiner(home.table, holdings, home.clock, young=NO_TIME)
    assert (await examiner.examine(repair=True)).findings == []


@dataclass
class Archive:
    """Somebody who keeps bytes under keys of his own."""

    folder: str
    kept_now: dict[str, Kept]

    async def keys(self, behind: str, limit: int) -> tuple[list[Kept], str]:
        first = int(behind or 0)
        page = list(self.kept_now.values())[first : first + limit]
        return page, str(first + limit) if first + limit < len(self.kept_now) else ""

    async def kept(self, key: str) -> Kept | None:
        return self.kept_now.get(key)


async def test_owners_are_asked_for_their_keys_and_what_was_written_over_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asgard_server.blob.owning._PAGE", 2)
    keys = [await strewn(home, f"job-{number}", "log.json") for number in range(5)]
    archive = Archive("blobs/", {})
    for number, key in enumerate(keys):
        held = await home.holdings.now(key)
        assert held is not None
        if number != 4:
            archive.kept_now[key] = Kept(key, f"job/{number}", held.size_bytes, f'"{held.etag}"')
    row = domain.begin(NewUpload(id="job-1"), home.clock())
    await home.held.remove(replace(row, attempt="log.json"))
    await home.held.write(replace(row, attempt="log.json"), b"y" * len(BODY))
    row = replace(row, id="job-2", attempt="log.json")
    await home.held.remove(row)
    archive.kept_now[keys[3]] = archive.kept_now[keys[3]]._replace(sha256=sha(b"others"))
    examiner = Examiner(
        home.table, home.holdings, home.clock, owners=[(archive, home.holdings)], young=NO_TIME
    )
    found = await examiner.examine(repair=True, deep=True)
    told = [(each.kind, each.path) for each in found.findings if each.kind != "orphan_object"]
    assert told == [
        ("overwritten", keys[1]),
        ("missing_bytes", keys[2]),
        ("wrong_digest", keys[3]),
        ("unknown_object", keys[4]),
    ]
    assert not any(each.repaired for each in found.findings)
