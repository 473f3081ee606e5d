"""BlobService's insides in processes that are killed at a step of the protocol.

    python -m tests.contract.blob_deaths WHAT SITE SEED

Does WHAT again and again, each time with a blob of its own in a process of its own: the first
dies at its first step, the next at its second, until one comes to its end. A step is the moment
before or after anything that can be seen outside: a transaction, a request to the store, a file
that is written to, synced, cut, linked, renamed or removed, a request of the client. Half of them,
by SEED, are tried once more by a process that lives; with "both" as SEED a step is died at twice.
It prints a JSON line for each that was acknowledged, and last the steps. It forks: a death costs
little.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import boto3
from asgard_server.blob import limits, parts
from asgard_server.blob.domain import NewUpload
from asgard_server.store import s3_bytes
from asgard_server.store.postgres_blobs import PostgresBlobs
from asgard_server.store.s3_heads import Heads
from asgard_server.store.sqlite_blobs import SqliteBlobs
from botocore.client import BaseClient
from gimle.asgard.core.errors import DeletedError, NotFoundError, UploadEndedError

from tests.contract.blob_homes import Home, Site, home_at

PART = 5 << 20
TABLE = (
    "begin",
    "find",
    "grant",
    "settle",
    "settle_all",
    "note_copy",
    "claim",
    "release",
    "end_ready",
)


class Steps:
    """Counts the steps of this process, and ends it at one of them."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.names: list[str] = []

    def here(self, name: str) -> None:
        """A step."""
        self.names.append(name)
        if len(self.names) == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str, shown: str = "") -> None:
        """Make steps of the moments before and after a function."""
        inner = getattr(owner, name)
        shown = shown or name

        @functools.wraps(inner)
        def stepped(*given: Any, **more: Any) -> Any:
            told = f"{shown} {given[1]}" if owner is BaseClient else shown
            self.here(f"before {told}")
            answer = inner(*given, **more)
            self.here(f"after {told}")
            return answer

        @functools.wraps(inner)
        async def stepped_later(*given: Any, **more: Any) -> Any:
            self.here(f"before {shown}")
            answer = await inner(*given, **more)
            self.here(f"after {shown}")
            return answer

        later = asyncio.iscoroutinefunction(inner)
        setattr(owner, name, stepped_later if later else stepped)

    def everywhere(self) -> None:
        """Make steps of all that can be seen outside."""
        for table in (PostgresBlobs, SqliteBlobs):
            for name in TABLE:
                self.around(table, name)
        self.around(BaseClient, "_make_api_call", "S3")
        self.around(Heads, "head")
        self.around(Home, "send", "request")
        for name in ("link", "replace", "unlink", "fsync", "pwrite", "ftruncate"):
            self.around(os, name)


def body_of(name: str, size: int = 2_000) -> bytes:
    """The bytes of the blob of this name."""
    return (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]


def sha(body: bytes) -> str:
    """A digest, in hexadecimal."""
    return hashlib.sha256(body).hexdigest()


async def checked(home: Home, name: str) -> str:
    """One PUT with size and digest."""
    body = body_of(name)
    new = NewUpload(id=name, name=name, size_bytes=len(body), sha256=sha(body))
    (begun,) = await home.uploader.begin([new])
    if begun.put is not None:
        await home.send(begun.put, body)
    return await _complete(home, begun.blob.id)


async def in_parts(home: Home, name: str) -> str:
    """Two parts."""
    body = body_of(name, PART + 1_000)
    (begun,) = await home.uploader.begin([NewUpload(id=name, name=name, size_bytes=len(body))])
    if begun.blob.state == "uploading":
        with suppress(UploadEndedError):  # they are together: it is ready now
            await _send_what_is_not_there(home, begun.blob.id, [body[:PART], body[PART:]])
    return await _complete(home, begun.blob.id, sha(body))


async def _send_what_is_not_there(home: Home, blob_id: str, pieces: list[bytes]) -> None:
    """As clients do that go on: what the service says has arrived is not sent again."""
    _, arrived = await home.uploader.parts(blob_id)
    there = {(part.number, part.sha256) for part in arrived}
    lacking = {
        number: piece for number, piece in enumerate(pieces, 1) if (number, sha(piece)) not in there
    }
    if lacking:
        asked = [(number, sha(piece)) for number, piece in lacking.items()]
        grants = await home.uploader.sign_parts(blob_id, asked, None)
        for grant, piece in zip(grants, lacking.values(), strict=True):
            await home.send(grant, piece)


async def plain(home: Home, name: str) -> str:
    """A PUT that declares nothing, which is copied."""
    (begun,) = await home.uploader.begin([NewUpload(id=name, name=name)])
    if begun.put is not None:
        await home.send(begun.put, body_of(name))
    return await _complete(home, begun.blob.id)


async def written(home: Home, name: str) -> str:
    """Small bytes through the service."""
    return (await home.keeper.write(NewUpload(id=name, name=name), body_of(name))).id


async def copied(home: Home, name: str) -> str:
    """A copy; what it was made from is deleted."""
    source = f"{name}-source"
    try:
        await home.keeper.write(NewUpload(id=source, name=source), body_of(name))
        copy = await home.keeper.copy(source, name)
        await home.keeper.delete(source)
    except (DeletedError, NotFoundError):  # it died after it was deleted
        copy = await home.keeper.blob(f"name:{name}")
    return copy.id


async def released(home: Home, name: str) -> str:
    """Bytes that somebody has claimed, and then needs no more: nothing is left."""
    try:
        await home.keeper.write(NewUpload(id=name, name=name), body_of(name))
        await home.keeper.claim([name], "asset/one")
        await home.keeper.release([name], "asset/one")
    except (DeletedError, NotFoundError):
        pass
    return ""


async def many(home: Home, name: str) -> str:
    """Five that are deleted together, by two in each call of the store: nothing is left."""
    for number in range(5):
        one = f"{name}-{number}"
        with suppress(DeletedError):
            await home.keeper.write(NewUpload(id=one, name=one), body_of(one))
    await home.keeper.delete_all(f"{name}-")
    return ""


async def given_up(home: Home, name: str) -> str:
    """An upload that is given up when its bytes are there: nothing is left."""
    body = body_of(name)
    new = NewUpload(id=name, name=name, size_bytes=len(body), sha256=sha(body))
    try:
        (begun,) = await home.uploader.begin([new])
        if begun.put is not None:
            await home.send(begun.put, body)
        await home.uploader.abort([name])
    except (DeletedError, NotFoundError):
        pass
    return ""


WAYS: dict[str, Callable[[Home, str], Awaitable[str]]] = {
    "checked": checked,
    "in_parts": in_parts,
    "plain": plain,
    "written": written,
    "copied": copied,
    "released": released,
    "many": many,
    "given_up": given_up,
}


async def _complete(home: Home, blob_id: str, sha256: str | None = None) -> str:
    (done,) = await home.completer.complete([(blob_id, sha256)])
    if isinstance(done, Exception):
        raise done
    return done.id


async def _one(what: str, where: Site, name: str, last: int) -> list[str]:
    """Do it once; answer the steps that were made."""
    async with home_at(where) as home:
        steps = Steps(last)
        steps.everywhere()
        blob_id = await WAYS[what](home, name)
        line = json.dumps({"name": name, "id": blob_id}) + "\n"
        if blob_id:
            os.write(1, line.encode())
        return steps.names


def _forked(what: str, where: Site, name: str, last: int) -> bool:
    """Do it in a child; whether that came to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            names = asyncio.run(_one(what, where, name, last))
            if last > len(names) or not last:
                os.write(2, f"{len(names)} steps: {', '.join(names)}\n".encode() if last else b"")
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"{name}, step {last}: it failed with {status}"
    return status == 0


def main(what: str, where: Site, seed: str) -> None:
    """Die at every step."""
    limits.SINGLE_BYTES, parts.FEW_PART_BYTES = 1 << 20, PART
    s3_bytes._IN_ONE_CALL = 2
    # What botocore knows of S3 is read once, not in every child.
    session = boto3.Session()
    session.client("s3", region_name="us-east-1").close()
    boto3.Session = lambda: session  # type: ignore[assignment,misc]
    chance = random.Random(seed)
    last, ended = 0, False
    while not ended:
        last += 1
        for again in (False, True) if seed == "both" else (chance.random() < 0.5,):
            name = f"{what}-{last}-{again}"
            ended = _forked(what, where, name, last)
            if again and not ended:
                assert _forked(what, where, name, 0)
    print(json.dumps({"steps": last - 1}))


if __name__ == "__main__":
    main(sys.argv[1], Site(**json.loads(sys.argv[2])), sys.argv[3])
