"""Bytes that tests of BlobService's insides send, complete and fetch, by its grants."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from asgard_server.blob.domain import Blob, NewUpload
from asgard_server.blob.keeping import Wanted
from asgard_server.blob.store import Grant

from tests.contract.blob_homes import Home

BODY = b"what a simulation has computed"


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def declared(body: bytes = BODY, **fields: Any) -> NewUpload:
    whole = NewUpload(name="a/b.bin", size_bytes=len(body), sha256=sha(body))
    return replace(whole, **fields)


async def begun(home: Home, new: NewUpload) -> tuple[Blob, Grant]:
    (begun,) = await home.uploader.begin([new])
    assert begun.put is not None
    return begun.blob, begun.put


async def complete(home: Home, blob_id: str, sha256: str | None = None) -> Blob:
    (done,) = await home.completer.complete([(blob_id, sha256)])
    if isinstance(done, Exception):
        raise done
    return done


async def uploaded(home: Home, body: bytes = BODY, **fields: Any) -> Blob:
    blob, put = await begun(home, declared(body, **fields))
    sent = await home.send(put, body)
    assert sent.status_code == 200, sent.text
    return await complete(home, blob.id)


async def uploaded_in_parts(home: Home, body: bytes, each: int) -> Blob:
    (begun,) = await home.uploader.begin([declared(body)])
    numbers = list(range(1, -(-len(body) // each) + 1))
    await sent_parts(home, begun.blob, body, numbers, each)
    return await complete(home, begun.blob.id, sha(body))


async def downloaded(home: Home, wanted: Wanted) -> bytes:
    ((_, grant),) = await home.keeper.lend([wanted], None)
    answer = await home.send(grant)
    assert answer.status_code in (200, 206), answer.text
    return answer.content


async def sent_parts(home: Home, blob: Blob, body: bytes, numbers: list[int], each: int) -> None:
    pieces = {number: body[(number - 1) * each : number * each] for number in numbers}
    grants = await home.uploader.sign_parts(
        blob.id, [(number, sha(piece)) for number, piece in pieces.items()], None
    )
    for grant, piece in zip(grants, pieces.values(), strict=True):
        answer = await home.send(grant, piece)
        assert answer.status_code == 200, answer.text
