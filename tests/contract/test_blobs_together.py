"""Blobs of one call are looked for by one question, and nothing is believed unchecked."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgard_server.blob import domain
from asgard_server.blob.completing import Completer
from asgard_server.blob.domain import Blob, Held, NewUpload, id_of_key
from asgard_server.blob.examining import Examiner
from asgard_server.blob.together import FEW
from asgard_server.blob.uploading import Begun
from asgard_server.blob.whose import Whose
from asgard_server.store.s3_bytes import S3Bytes
from gimle.asgard.core.errors import DigestMismatchError, NotFoundError, UploadIncompleteError

from tests.contract.blob_homes import HOMES, Home, home

BODIES = [f"body {number}".encode() for number in range(2 * FEW)]


@pytest.fixture(params=HOMES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    async with home(request.param, tmp_path) as opened:
        yield opened


def asked(name: str = "b") -> list[NewUpload]:
    return [
        NewUpload(
            name=f"{name}/{number}", size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest()
        )
        for number, body in enumerate(BODIES)
    ]


async def sent(place: Home, begun: list[Begun]) -> None:
    for one, body in zip(begun, BODIES, strict=True):
        assert one.put is not None
        assert (await place.send(one.put, body)).status_code == 200


def ids(begun: list[Begun]) -> list[tuple[str, None]]:
    return [(one.blob.id, None) for one in begun]


class Heard:
    """Counts what a store is asked for one by one; `lies` makes it tell of no SHA-256."""

    def __init__(self, place: Home, monkeypatch: pytest.MonkeyPatch, *, lies: bool = False) -> None:
        self.keys: list[str] = []
        real = place.held.head

        async def head(key: str) -> Held | None:
            self.keys.append(key)
            held = await real(key)
            return held._replace(sha256=None) if held is not None and lies else held

        monkeypatch.setattr(place.held, "head", head)


class Found:
    """Counts what a table is asked for."""

    def __init__(self, place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        real = place.table.find

        async def find(names: Sequence[str], maker: str = "") -> dict[str, Blob]:
            self.names += names
            return await real(names, maker)

        monkeypatch.setattr(place.table, "find", find)


async def test_what_begins_together_is_completed_by_one_look(
    place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = await place.uploader.begin(asked())
    await sent(place, begun)
    assert {one.blob.key for one in begun} == set(await place.keys())
    assert all(id_of_key(one.blob.key) == one.blob.id for one in begun)
    heard = Heard(place, monkeypatch)
    done = await place.completer.complete(ids(begun))
    assert [(each.state, each.sha256_verified) for each in _ready(done)] == [("ready", True)] * len(
        begun
    )
    if isinstance(place.held, S3Bytes):
        assert len({one.blob.key.rpartition("/")[0] for one in begun}) == 1
        assert len(heard.keys) == 1
    again = await place.completer.complete(ids(begun))
    assert again == done
    blob = _ready(done)[3]
    assert await place.keeper.read(blob.id) == (blob, BODIES[3])
    await place.keeper.delete(blob.id)
    assert len(await place.keys()) == len(begun) - 1, "the others stay"


async def test_what_has_not_arrived_is_told_of_one_by_one(place: Home) -> None:
    begun = await place.uploader.begin(asked())
    for one, body in list(zip(begun, BODIES, strict=True))[:-1]:
        assert one.put is not None
        assert (await place.send(one.put, body)).status_code == 200
    done = await place.completer.complete(ids(begun))
    assert isinstance(done[-1], UploadIncompleteError)
    assert len(_ready(done[:-1])) == len(begun) - 1
    repeated = await place.uploader.begin(asked())
    assert [one.blob.id for one in repeated] == [one.blob.id for one in begun]
    assert [one.put is not None for one in repeated] == [False] * (len(begun) - 1) + [True]


async def test_of_a_store_that_tells_no_sha256_nothing_is_believed(
    place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = await place.uploader.begin(asked())
    await sent(place, begun)
    heard = Heard(place, monkeypatch, lies=True)
    done = await place.completer.complete(ids(begun))
    assert not any(each.sha256_verified for each in _ready(done))
    assert {one.blob.key for one in begun} <= set(heard.keys), "each is looked at"


async def test_what_was_begun_here_is_completed_by_what_its_rows_said_then(
    place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = await place.uploader.begin(asked())
    await sent(place, begun)
    await place.table.claim([begun[2].blob.id], "asset/7")
    found = Found(place, monkeypatch)
    done = _ready(await place.completer.complete(ids(begun)))
    if isinstance(place.held, S3Bytes):
        assert found.names == []
    assert done[2].owners == ("asset/7",)
    there = await place.table.find([one.id for one in done])
    assert [there[one.blob.id] for one in begun] == done
    again = len(found.names)
    assert await place.completer.complete(ids(begun)) == done
    assert len(found.names) == again + len(begun), "what is ready is not remembered"


async def test_of_what_was_begun_here_the_row_has_the_last_word(place: Home) -> None:
    begun = await place.uploader.begin(asked())
    await sent(place, begun)
    await place.uploader.abort([begun[0].blob.id])
    for one in begun[1:3]:
        await place.table.settle(one.blob, domain.moved_to(one.blob, "abandoned"))
    await place.table.forget([begun[1].blob.id])
    # A replica that has not begun them, as one of which every client may ask.
    other = Completer(place.table, place.held, place.clock)
    (early,) = _ready(await other.complete([(begun[3].blob.id, None)]))
    done = await place.completer.complete(ids(begun))
    assert [type(each) for each in done[:3]] == [NotFoundError] * 3
    assert done[3] == early
    assert len(_ready(done[3:])) == len(begun) - 3


async def test_what_was_begun_here_is_not_completed_before_it_has_arrived(place: Home) -> None:
    begun = await place.uploader.begin(asked())
    for each in await place.completer.complete(ids(begun)):
        assert isinstance(each, UploadIncompleteError)
    await sent(place, begun)
    assert len(_ready(await place.completer.complete(ids(begun)))) == len(begun)


async def test_what_was_begun_here_is_completed_by_nobody_but_its_maker(place: Home) -> None:
    begun = await place.uploader.of(Whose("ada")).begin(asked())
    await sent(place, begun)
    for each in await place.completer.of(Whose("ben")).complete(ids(begun)):
        assert isinstance(each, NotFoundError)
    done = await place.completer.of(Whose("ada")).complete(ids(begun))
    assert {each.maker for each in _ready(done)} == {"ada"}


async def test_a_digest_that_is_named_is_held_against_what_was_declared(place: Home) -> None:
    begun = await place.uploader.begin(asked())
    await sent(place, begun)
    wrong = hashlib.sha256(b"another").hexdigest()
    named = [(one.blob.id, wrong if at == 3 else one.blob.sha256) for at, one in enumerate(begun)]
    done = await place.completer.complete([*named, (begun[3].blob.id, None)])
    assert isinstance(done.pop(3), DigestMismatchError)
    assert len(_ready(done)) == len(begun)


async def test_a_dry_run_looks_once_and_changes_nothing(
    place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = await place.uploader.begin(asked())
    await sent(place, begun)
    heard = Heard(place, monkeypatch)
    found = await place.completer.complete(ids(begun), dry_run=True)
    assert found == [one.blob for one in begun]
    if isinstance(place.held, S3Bytes):
        assert len(heard.keys) == 1
    assert len(_ready(await place.completer.complete(ids(begun)))) == len(begun)


async def test_few_of_many_that_a_store_checks_have_folders_of_their_own(place: Home) -> None:
    some = asked()
    plain = [replace(one, plain=True, sha256=None) for one in some[FEW - 1 :]]
    begun = await place.uploader.begin(some[: FEW - 1] + plain)
    assert {one.blob.attempt for one in begun} == {"1"}


async def test_few_have_folders_of_their_own_as_ever(place: Home) -> None:
    begun = await place.uploader.begin(asked()[: FEW - 1])
    assert [one.blob.key for one in begun] == [f"blobs/{one.blob.id}/1" for one in begun]


async def test_fsck_knows_whose_the_bytes_of_a_common_folder_are(place: Home) -> None:
    begun = await place.uploader.begin(asked())
    await sent(place, begun)
    done = _ready(await place.completer.complete(ids(begun)))
    stray = replace(done[0], id="nobody")
    await place.held.write(stray, b"stray")
    examiner = Examiner(place.table, place.holdings, place.clock, young=timedelta())
    found = await examiner.examine(repair=True, deep=True)
    assert [(one.path, one.kind, one.repaired) for one in found.findings] == [
        (stray.key, "orphan_object", True)
    ]
    assert (found.ready.count, found.read.count) == (len(done), len(done))
    assert {one.key for one in done} == set(await place.keys())


def _ready(done: list[Any]) -> list[Blob]:
    assert all(isinstance(each, Blob) for each in done), done
    return done
