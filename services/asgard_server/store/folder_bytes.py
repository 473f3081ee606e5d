"""The bytes of blobs in a folder: `Bytes` for the service, and what the page's process writes.

blobs/{id}/{attempt}            the bytes of a blob, linked there once (link(2))
sim-data/{job_id}/{file}        a file of a SimSwarm job (folder_artifacts.py)
.asgard/uploads/staging/...     what plain requests have brought, to be linked to a key
.asgard/uploads/parts/{upload}/ parts of uploads that go on (folder_parts.py)
.asgard/uploads/incoming/       requests that are under way
files/{name}.npy                arrays of results, linked there once by a grant of RunService
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from gimle.asgard.core.errors import AsgardError, StorageFullError, StorageUnavailableError
from gimle.asgard.core.folder.refusals import unavailable

from asgard_server.blob.domain import Blob, Held, Target
from asgard_server.blob.kept import Kept
from asgard_server.blob.parts import Part
from asgard_server.blob.store import Listed, Room
from asgard_server.store.folder_digests import (
    SUFFIX,
    computed,
    digest_path,
    made_digest,
    noted_digest,
)
from asgard_server.store.folder_incoming import Incoming, appear, held_fast, remove_abandoned
from asgard_server.store.folder_parts import STEP, FolderParts

P = ParamSpec("P")
T = TypeVar("T")

_ARRAY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~%-]{0,250}\.npy")


class FolderBytes:
    """Bytes of blobs below `storage`, read and written in the threads of `pool`.

    The folders of uploads are made by the first one.
    """

    lists = None  # a file is asked for as quickly as listed

    def __init__(self, storage: Path, pool: Executor) -> None:
        self._storage = storage
        self._uploads = storage / ".asgard" / "uploads"
        self._parts = FolderParts(self._uploads / "parts")
        self._pool = pool

    def tidy(self) -> None:
        """Remove what requests have left whose process has died, in a thread."""
        with self.speaking():
            remove_abandoned(self._uploads / "incoming")

    def path(self, key: str) -> Path:
        """Where the bytes of a key are. Raises ValueError for what is not a key of ours."""
        top, *steps = key.split("/")
        if top == "files" and len(steps) == 1 and _ARRAY.fullmatch(steps[0]):
            return self._storage / "files" / steps[0]
        if len(steps) != 2 or not all(STEP.fullmatch(step) for step in steps):
            raise ValueError(f"{key!r} is not a key")
        if top in ("blobs", "sim-data"):
            return self._storage.joinpath(top, *steps)
        if top == "staging":
            return self._uploads.joinpath("staging", *steps)
        raise ValueError(f"{key!r} is not a key")

    def part_path(self, upload_id: str, number: int, sha256: str) -> Path:
        """Where a part comes to lie."""
        return self._parts.path(upload_id, number, sha256)

    def begin(self, size_bytes: int = 0) -> Incoming:
        """Begin to take the bytes of a request, in a thread; whoever begins closes it.

        Raises `StorageFullError` where so many bytes do not fit.
        """
        room = self._room()
        if size_bytes > room.free_bytes:
            raise StorageFullError(room.place, "", size_bytes, room.free_bytes)
        return Incoming(self._uploads / "incoming")

    @contextlib.contextmanager
    def incoming(self) -> Iterator[Incoming]:
        """Take bytes, all in one thread. Raises as `Bytes` does."""
        with self.speaking():
            taking = self.begin()
            try:
                yield taking
            finally:
                taking.close()

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Say in our words why the disk refused."""
        try:
            yield
        except OSError as error:
            if isinstance(error, AsgardError):
                raise
            raise unavailable(str(self._storage), error) from error

    async def in_pool(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what waits for the disk in a thread."""

        def done() -> T:
            with self.speaking():
                return work(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._pool, done)

    # Bytes

    async def room(self) -> Room | None:
        """What is free on the disk of the folder, for who may not take what root may."""
        return await self.in_pool(self._room)

    def _room(self) -> Room:
        found = os.statvfs(self._storage)
        return Room(str(self._storage), found.f_bavail * found.f_frsize)

    async def begin_parts(self, blob: Target) -> str:
        """Begin an upload in parts; answer what it is called."""
        if isinstance(blob, Kept):
            # Nobody but its key remembers it.
            upload_id = _upload_of(blob.key)
            await self.in_pool(self._parts.begin, upload_id, again=True)
            return upload_id
        upload_id = secrets.token_hex(16)
        await self.in_pool(self._parts.begin, upload_id)
        return upload_id

    async def going_on(self, key: str) -> list[str]:
        """Uploads in parts of a key of RunService's that have not ended: one at most."""
        upload_id = _upload_of(key)
        return [upload_id] if await self.in_pool(self._parts.goes_on, upload_id) else []

    async def sha256(self, key: str) -> str | None:
        """The SHA-256 of all bytes of a key, None when there are none."""

        def there(path: Path) -> str | None:
            with contextlib.suppress(FileNotFoundError):
                return computed(path)
            return None

        return await self.in_pool(there, self.path(key))

    async def clear(self, key: str) -> None:
        """Remove everything under a key of RunService's."""

        def clear() -> None:
            self._parts.drop(_upload_of(key))
            self.path(key).unlink(missing_ok=True)

        await self.in_pool(clear)

    async def parts(self, blob: Target) -> list[Part] | None:
        """Parts that have arrived, by number; None when there is no such upload."""
        if blob.upload_id is None:
            return None
        return await self.in_pool(self._parts.arrived, blob.upload_id, blob.size_bytes or 0)

    async def finish_parts(self, blob: Target, parts: Sequence[Part]) -> None:
        """Put the parts together, unless the key has bytes already."""
        await self.in_pool(self._parts.put_together, blob, parts, self.path(blob.key))

    async def drop_upload(self, blob: Target) -> None:
        """Give up the one upload in parts that `blob` names. One that is gone is no error."""
        await self.in_pool(self._drop_parts, blob)

    async def drop_parts(self, blob: Blob) -> None:
        """Remove the parts of a blob that is put together."""
        await self.in_pool(self._drop_parts, blob)

    async def head(self, key: str) -> Held | None:
        """What is there under a key, None for nothing."""
        return await self.in_pool(self._head, self.path(key))

    def _head(self, path: Path) -> Held | None:
        try:
            stat = path.stat()
        except FileNotFoundError:
            return None
        digest = noted_digest(path)
        if digest is None and path.parent.parent.name == "blobs":
            digest = made_digest(path)
        return Held(stat.st_size, f"{stat.st_mtime_ns}-{stat.st_ino}", digest)

    async def copy(self, source: str, held: Held, target: str, content_type: str) -> Held | None:
        """Copy bytes to a key that has none; None when the source is another one by now."""
        return await self.in_pool(self._copy, self.path(source), held.etag, self.path(target))

    def _copy(self, source: Path, etag: str, target: Path) -> Held | None:
        """Give the bytes a second name: nobody writes to a file that has appeared."""
        taking = self._uploads / "incoming"
        with contextlib.suppress(FileNotFoundError), held_fast(taking, source) as found:
            stat = found.stat()
            if f"{stat.st_mtime_ns}-{stat.st_ino}" != etag:
                return None
            target.parent.mkdir(parents=True, exist_ok=True)
            appear(found, target, noted_digest(source) or computed(found))
            return self._head(target)
        return None

    async def read(self, key: str) -> bytes | None:
        """Read the bytes of a key whole, None when there are none."""

        def read(path: Path) -> bytes | None:
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

        return await self.in_pool(read, self.path(key))

    async def write(self, blob: Blob, body: bytes) -> Held:
        """Write the bytes of a blob unless its key has some; answer what is there."""

        def write(path: Path) -> Held:
            with self.incoming() as taking:
                taking.write(body)
                taking.place(path, once=True)
            held = self._head(path)
            if held is None:
                raise StorageUnavailableError(str(path), "it is gone as soon as it is written")
            return held

        return await self.in_pool(write, self.path(blob.key))

    async def remove(self, blob: Blob) -> None:
        """Remove everything of a blob. What is gone is no error."""
        await self.in_pool(partial(self._remove, blob))

    async def remove_all(self, blobs: Sequence[Blob]) -> None:
        """Remove everything of many blobs."""

        def remove() -> None:
            for blob in blobs:
                self._remove(blob)

        await self.in_pool(remove)

    def _remove(self, blob: Blob) -> None:
        for key in {blob.key, blob.arrives_at}:
            path = self.path(key)
            path.unlink(missing_ok=True)
            digest_path(path).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others' attempts may lie there
                path.parent.rmdir()
        self._drop_parts(blob)

    def _drop_parts(self, blob: Target) -> None:
        if blob.upload_id is not None:
            self._parts.drop(blob.upload_id)

    async def list(self, folder: str) -> AsyncIterator[Listed]:
        """All bytes below a folder of keys ("blobs/", "staging/"), in the order of keys."""
        top = self._storage if folder.startswith("blobs") else self._uploads
        for listed in await self.in_pool(lambda: list(_listed(top, folder.rstrip("/")))):
            yield listed


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, while folders in it come and go, of which a glob may fail."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _listed(top: Path, folder: str) -> Iterator[Listed]:
    now = time.time()
    for path in sorted(files_below(top / folder)):
        if path.name.endswith(SUFFIX):
            continue
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            key = f"{folder}/{path.parent.name}/{path.name}"
            yield Listed(key, stat.st_size, now - stat.st_mtime)


def _upload_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]
