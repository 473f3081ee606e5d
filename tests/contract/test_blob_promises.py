"""What BlobService promises: the same whether the bytes lie in a folder or in S3."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest
from asgard_server.blob import domain, limits, parts
from asgard_server.blob.domain import Held, NewUpload, Target
from asgard_server.blob.keeping import Wanted
from asgard_server.blob.store import Grant
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    BlobNotReadyError,
    BlobOwnedError,
    BlobTooLargeError,
    DeletedError,
    InvalidFieldError,
    NotFoundError,
    UploadEndedError,
    UploadIncompleteError,
)

from tests.contract import blob_homes
from tests.contract.blob_homes import Home
from tests.contract.blob_moves import (
    BODY,
    begun,
    complete,
    declared,
    downloaded,
    sent_parts,
    sha,
    uploaded,
)

home = blob_homes.each_home
small_parts = blob_homes.small_parts


async def test_declared_bytes_go_there_and_come_back(home: Home) -> None:
    blob = await uploaded(home, content_type="text/plain")
    assert (blob.state, blob.size_bytes, blob.sha256) == ("ready", len(BODY), sha(BODY))
    assert blob.sha256_verified
    assert await downloaded(home, Wanted(blob.id)) == BODY
    assert await downloaded(home, Wanted("name:a/b.bin", first=5, last=8)) == BODY[5:9]
    assert await home.keys() == [blob.key]


async def test_an_empty_blob_is_one(home: Home) -> None:
    blob = await uploaded(home, b"")
    assert await downloaded(home, Wanted(blob.id)) == b""


async def test_other_bytes_than_declared_are_refused(home: Home) -> None:
    blob, put = await begun(home, declared())
    for body in (b"x" * len(BODY), BODY + b"x", BODY[:-1]):
        sent = await home.send(put, body)
        assert 400 <= sent.status_code < 500, (body, sent.status_code)
    with pytest.raises(UploadIncompleteError, match="nothing has arrived"):
        await complete(home, blob.id)
    assert await home.keys() == []


async def test_a_url_is_good_once(home: Home) -> None:
    blob, put = await begun(home, declared())
    assert (await home.send(put, BODY)).status_code == 200
    assert (await home.send(put, BODY)).status_code == 412
    await complete(home, blob.id)
    assert (await home.send(put, BODY)).status_code == 412
    assert await downloaded(home, Wanted(blob.id)) == BODY


async def test_an_altered_url_is_refused(home: Home) -> None:
    blob, put = await begun(home, declared())
    other = Grant(put.url.replace(blob.id, "other"), "PUT", put.headers, put.expires_at)
    assert (await home.send(other, BODY)).status_code == 403
    reading = Grant(put.url, "GET", {}, put.expires_at)
    assert (await home.send(reading)).status_code in (400, 403)
    last = put.url[-1]
    altered = put.url[:-1] + ("0" if last != "0" else "1")
    wrong = Grant(altered, "PUT", put.headers, put.expires_at)
    assert (await home.send(wrong, BODY)).status_code == 403


async def test_an_expired_url_is_refused(home: Home) -> None:
    home.clock.ahead = timedelta(seconds=-30)
    _, put = await begun(home, declared(seconds=5))
    home.clock.ahead = timedelta()
    assert (await home.send(put, BODY)).status_code == 403
    assert await home.keys() == []


async def test_parts_are_put_together_when_all_are_there(home: Home, small_parts: int) -> None:
    body = os.urandom(2 * small_parts + 12_345)
    (begun,) = await home.uploader.begin([declared(body, sha256=None)])
    blob = begun.blob
    assert (begun.put, blob.part_size_bytes) == (None, small_parts)
    await sent_parts(home, blob, body, [1, 3], small_parts)
    with pytest.raises(UploadIncompleteError) as refused:
        await complete(home, blob.id)
    assert refused.value.missing_parts == (2,)
    _, arrived = await home.uploader.parts(blob.id)
    assert [part.number for part in arrived] == [1, 3]
    await sent_parts(home, blob, body, [2], small_parts)
    done = await complete(home, blob.id, sha(body))
    assert (done.sha256, done.size_bytes) == (sha(body), len(body))
    digests = [hashlib.sha256(body[at : at + small_parts]).digest()
               for at in range(0, len(body), small_parts)]  # fmt: skip
    assert done.sha256_parts == sha(b"".join(digests))
    assert await downloaded(home, Wanted(blob.id)) == body
    assert await complete(home, blob.id) == done
    with pytest.raises(UploadEndedError):
        await home.uploader.sign_parts(blob.id, [(1, sha(b""))], None)


async def test_of_two_who_begin_parts_at_once_one_upload_is_left(
    home: Home, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = os.urandom(small_parts + 1)
    (upload,) = await home.uploader.begin([declared(body, sha256=None)])
    begin, both = home.held.begin_parts, asyncio.Barrier(2)

    async def begin_together(blob: Target) -> str:
        upload_id = await begin(blob)
        await both.wait()
        return upload_id

    monkeypatch.setattr(home.held, "begin_parts", begin_together)
    (first, _), (second, _) = await asyncio.gather(
        home.uploader.parts(upload.blob.id), home.uploader.parts(upload.blob.id)
    )
    assert first.upload_id == second.upload_id
    left = [each.upload_id async for each in home.holdings.unfinished()]
    assert left == [first.upload_id]
    await sent_parts(home, upload.blob, body, [1, 2], small_parts)
    assert (await complete(home, upload.blob.id)).state == "ready"


async def test_parts_that_somebody_is_putting_together_are_waited_for(
    home: Home, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = os.urandom(small_parts + 1)
    (begun,) = await home.uploader.begin([declared(body)])
    await sent_parts(home, begun.blob, body, [1, 2], small_parts)
    list_parts, head, looks = home.held.parts, home.held.head, iter(range(9))
    asked: list[Target] = []

    async def gone(blob: Target) -> list[parts.Part]:
        asked.append(blob)
        return []  # as versitygw says while it puts them together

    async def late(key: str) -> Held | None:
        if next(looks) == 1:
            await home.held.finish_parts(asked[0], await list_parts(asked[0]) or [])
        return await head(key)

    monkeypatch.setattr(home.held, "parts", gone)
    monkeypatch.setattr(home.held, "head", late)
    assert (await complete(home, begun.blob.id)).sha256 == sha(body)


async def test_a_part_is_for_its_bytes(home: Home, small_parts: int) -> None:
    body = os.urandom(2 * small_parts)
    (begun,) = await home.uploader.begin([declared(body)])
    (grant,) = await home.uploader.sign_parts(begun.blob.id, [(1, sha(body[:small_parts]))], None)
    refused = await home.send(grant, body[small_parts:])
    assert refused.status_code == 400
    assert (await home.uploader.parts(begun.blob.id))[1] == []


async def test_a_url_of_a_part_is_dead_when_all_are_put_together(
    home: Home, small_parts: int
) -> None:
    body = os.urandom(small_parts + 1)
    (begun,) = await home.uploader.begin([declared(body)])
    blob_id = begun.blob.id
    (grant,) = await home.uploader.sign_parts(blob_id, [(1, sha(body[:small_parts]))], None)
    await sent_parts(home, begun.blob, body, [1, 2], small_parts)
    done = await asyncio.gather(*(complete(home, blob_id) for _ in range(4)))
    assert {each.sha256 for each in done} == {sha(body)}
    with suppress(httpx.TransportError):  # a store may hang up before it has read all bytes
        assert (await home.send(grant, body[:small_parts])).status_code in (403, 404)
    assert await downloaded(home, Wanted(blob_id)) == body


async def test_a_repeat_is_the_same_and_another_is_refused(home: Home) -> None:
    new = declared(id="mine", name="n")
    first, _ = await begun(home, new)
    again, put = await begun(home, new)
    assert first.id == again.id == "mine"
    assert (await home.send(put, BODY)).status_code == 200
    await complete(home, "mine")
    (there,) = await home.uploader.begin([declared(name="n")])
    assert (there.blob.id, there.blob.state, there.put) == ("mine", "ready", None)
    with pytest.raises(AlreadyExistsError):
        await home.uploader.begin([declared(b"other", name="n")])
    with pytest.raises(AlreadyExistsError):
        await home.uploader.begin([declared(name="fresh"), declared(b"other", id="mine")])
    assert await home.keeper.page("fresh", "", 10) == []  # all or none


async def test_what_is_deleted_is_gone_for_good(home: Home) -> None:
    blob, put = await begun(home, declared(id="once"))
    assert (await home.send(put, BODY)).status_code == 200
    await complete(home, "once")
    await home.keeper.delete("once")
    assert await home.keys() == []
    for work in (home.keeper.blob("once"), home.keeper.delete("once")):
        with pytest.raises(NotFoundError):
            await work
    with pytest.raises(DeletedError):
        await home.uploader.begin([declared(id="once")])
    # The URL holds still, and so may bring bytes: the sweeper takes them when it has ended.
    assert (await home.send(put, BODY)).status_code == 200
    assert await home.keys() == [blob.key]
    home.clock.ahead = timedelta(days=8)
    assert await home.sweeper.sweep() == 1
    assert await home.keys() == []


async def test_uploads_nobody_completes_are_given_up(home: Home) -> None:
    blob, put = await begun(home, declared())
    plain, way = await begun(home, NewUpload(name="plain"))
    assert (await home.send(put, BODY)).status_code == 200
    assert (await home.send(way, BODY)).status_code == 200
    await home.sweeper.sweep()
    assert len(await home.keys()) == 2
    home.clock.ahead = timedelta(days=domain.UPLOAD_DAYS, hours=2)
    await home.sweeper.sweep()
    assert await home.keys() == []
    for one in (blob, plain):
        with pytest.raises((NotFoundError, UploadEndedError)):
            await complete(home, one.id)


async def test_an_upload_that_is_given_up_stays_so(home: Home) -> None:
    blob, put = await begun(home, declared())
    await home.uploader.abort([blob.id])
    await home.uploader.abort([blob.id])
    assert (await home.send(put, BODY)).status_code == 200
    with pytest.raises((UploadEndedError, NotFoundError)):
        await complete(home, blob.id)
    done = await uploaded(home, name="other")
    with pytest.raises(UploadEndedError):
        await home.uploader.abort([done.id])


async def test_what_is_claimed_is_kept(home: Home) -> None:
    blob = await uploaded(home)
    await home.keeper.claim([blob.id], "asset/one")
    await home.keeper.claim([blob.id], "asset/two")
    with pytest.raises(BlobOwnedError):
        await home.keeper.delete(blob.id)
    assert (await home.keeper.delete_all("a/")).owned == 1
    assert await home.keeper.release([blob.id], "asset/one") == 0
    assert await home.keeper.release([blob.id], "asset/one") == 0
    assert (await home.keeper.blob(blob.id)).owners == ("asset/two",)
    assert await home.keeper.release([], "asset/two") == 1
    with pytest.raises(NotFoundError):
        await home.keeper.blob(blob.id)
    with pytest.raises(NotFoundError):
        await home.keeper.claim([blob.id], "asset/three")


async def test_names_are_listed_and_deleted_by_their_beginning(home: Home) -> None:
    for name in ("run/b", "run/a", "runs", "other"):
        await uploaded(home, name.encode(), name=name)
    page = await home.keeper.page("run", "", 2)
    assert [blob.name for blob in page] == ["run/a", "run/b"]
    assert [blob.name for blob in await home.keeper.page("run", "run/b", 2)] == ["runs"]
    deleted = await home.keeper.delete_all("run/")
    assert (deleted.count, deleted.size_bytes) == (2, 10)
    assert [blob.name for blob in await home.keeper.page("", "", 9)] == ["other", "runs"]


async def test_small_bytes_may_pass_through_the_service(home: Home) -> None:
    blob = await home.keeper.write(NewUpload(name="small"), BODY)
    assert await home.keeper.read(blob.id) == (blob, BODY)
    assert await home.keeper.write(NewUpload(name="small"), BODY) == blob
    with pytest.raises(AlreadyExistsError):
        await home.keeper.write(NewUpload(name="small"), b"other")
    with pytest.raises(BlobTooLargeError):
        await home.keeper.write(NewUpload(name="large"), b"x" * (limits.INLINE_BYTES + 1))


async def test_bytes_that_are_not_complete_cannot_be_had(home: Home) -> None:
    blob, _ = await begun(home, declared())
    with pytest.raises(BlobNotReadyError):
        await home.keeper.lend([Wanted(blob.id)], None)
    with pytest.raises(NotFoundError):
        await home.keeper.lend([Wanted("missing")], None)
    done = await uploaded(home, name="there")
    with pytest.raises(InvalidFieldError):
        await home.keeper.lend([Wanted(done.id, first=0, last=len(BODY))], None)


async def test_a_download_is_saved_under_the_name_asked_for(home: Home) -> None:
    blob = await uploaded(home)
    ((_, grant),) = await home.keeper.lend([Wanted(blob.id, save_as='r é"sult.bin')], None)
    answer = await home.send(grant)
    assert answer.headers["content-disposition"].endswith("r%20%C3%A9%22sult.bin")
    ranged = ((_, part),) = await home.keeper.lend([Wanted(blob.id, first=0, last=3)], None)
    assert len(ranged) == 1
    assert (await home.send(part, range="bytes=4-8")).status_code in (400, 403)


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "a/../b",
        "/a",
        "a/",
        "a//b",
        "a\\b",
        "a\0b",
        "a\nb",
        "x" * 1_025,
        "\uff0e\uff0e",
        "a\uff0fb",
        "\ud800",
    ],
)
async def test_names_that_lead_elsewhere_are_refused(home: Home, name: str) -> None:
    with pytest.raises(InvalidFieldError, match="name"):
        await home.uploader.begin([declared(name=name)])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"size_bytes": -1}, "size_bytes"),
        ({"size_bytes": limits.OBJECT_BYTES + 1}, "size_bytes"),
        ({"size_bytes": limits.PLAIN_BYTES + 1, "plain": True}, "size_bytes"),
        ({"sha256": "abc"}, "sha256"),
        ({"content_type": "text/html\r\nx: y"}, "content_type"),
        ({"seconds": 0}, "grant_duration"),
        ({"seconds": 604_801}, "grant_duration"),
        ({"id": "../x"}, "blob_id"),
    ],
)
def test_fields_that_break_their_rules(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        domain.begin(declared(**fields), blob_homes.Clock()())


@pytest.mark.parametrize("size", [1, 64 << 20, (64 << 20) + 1, 160 << 30, limits.OBJECT_BYTES])
def test_parts_cover_every_size(size: int) -> None:
    count = parts.part_count(size)
    assert 1 <= count <= parts.PARTS
    assert sum(parts.part_bytes(size, number) for number in (1, count)) <= size or count == 1
    last = parts.part_bytes(size, count)
    assert 0 < last <= parts.part_size(size)
    assert (count - 1) * parts.part_size(size) + last == size
    with pytest.raises(InvalidFieldError):
        parts.part_bytes(size, count + 1)
