"""All that lies in a folder of bytes: `Holdings`. Nothing is made by looking."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from gimle.asgard.core.errors import StorageUnavailableError

from asgard_server.blob.holdings import Holding
from asgard_server.store.folder_bytes import files_below
from asgard_server.store.folder_digests import SUFFIX, digest_path

P = ParamSpec("P")
T = TypeVar("T")

_PIECE = 1 << 20
_UPLOADS = ".asgard/uploads"


class FolderHoldings:
    """What lies below a storage folder, looked at in the threads of `pool`."""

    def __init__(self, storage: Path, pool: Executor) -> None:
        self._storage = storage
        self._pool = pool

    async def _do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def done() -> T:
            try:
                return work(*args, **kwargs)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise StorageUnavailableError(
                    str(self._storage), f"{error.strerror or error}; check its permissions"
                ) from error

        return await asyncio.get_running_loop().run_in_executor(self._pool, done)

    def _path(self, key: str) -> Path:
        inside = f"{_UPLOADS}/{key}" if key.startswith("staging/") else key
        return self._storage / inside

    async def objects(self, folder: str) -> AsyncIterator[Holding]:
        """All bytes below a folder of keys, in the order of their keys' bytes."""
        found = await self._do(lambda: list(self._files(folder.rstrip("/"))))
        for held in sorted(found, key=lambda held: held.key.encode()):
            yield held

    def _files(self, folder: str) -> Iterator[Holding]:
        top = self._path(f"{folder}/")
        for path in files_below(top):
            if path.name.endswith(SUFFIX):
                continue
            with suppress(FileNotFoundError):
                if path.is_file():
                    yield _holding(f"{folder}/{path.relative_to(top)}", path)

    async def unfinished(self) -> AsyncIterator[Holding]:
        """Uploads in parts; a folder knows them by their own names alone."""

        def found() -> Iterator[Holding]:
            for path in (self._storage / _UPLOADS / "parts").glob("*"):
                with suppress(FileNotFoundError):
                    yield Holding("", *_whole(path), upload_id=path.name)

        for held in await self._do(lambda: list(found())):
            yield held

    async def temporaries(self) -> AsyncIterator[Holding]:
        """What requests were bringing when their process ended, and digests of no bytes."""

        def found() -> Iterator[Holding]:
            for path in (self._storage / _UPLOADS / "incoming").glob("*"):
                with suppress(FileNotFoundError):
                    yield _holding(str(path.relative_to(self._storage)), path)
            for path in files_below(self._storage / "blobs"):
                if not path.name.endswith(SUFFIX):
                    continue
                if not path.with_name(path.name.removesuffix(SUFFIX)).exists():
                    with suppress(FileNotFoundError):
                        yield _holding(str(path.relative_to(self._storage)), path)

        for held in await self._do(lambda: list(found())):
            yield held

    async def now(self, key: str) -> Holding | None:
        """The bytes of a key as they are at this moment, None when there are none."""
        try:
            return await self._do(_holding, key, self._path(key))
        except FileNotFoundError:
            return None

    async def pieces(self, key: str) -> AsyncIterator[bytes]:
        """The bytes of a key, some at a time. Raises `FileNotFoundError`."""
        file = await self._do(self._path(key).open, "rb")
        try:
            while piece := await self._do(file.read, _PIECE):
                yield bytes(piece)
        finally:
            file.close()

    async def drop(self, holding: Holding) -> None:
        """Remove bytes, or parts that have not been put together."""

        def drop() -> None:
            if holding.upload_id:
                shutil.rmtree(
                    self._storage / _UPLOADS / "parts" / holding.upload_id, ignore_errors=True
                )
                return
            path = self._path(holding.key)
            path.unlink(missing_ok=True)
            digest_path(path).unlink(missing_ok=True)
            if not holding.key.startswith(_UPLOADS):
                with suppress(OSError):  # other bytes may lie there
                    path.parent.rmdir()

        await self._do(drop)


def _holding(key: str, path: Path) -> Holding:
    stat = path.stat()
    return Holding(key, stat.st_size, _age(stat.st_ctime), f"{stat.st_mtime_ns}-{stat.st_ino}")


def _whole(folder: Path) -> tuple[int, float]:
    """The bytes in a folder, and how long nothing in it has changed."""
    size, changed = 0, folder.stat().st_ctime
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            stat = entry.stat()
            size, changed = size + stat.st_size, max(changed, stat.st_ctime)
    return size, _age(changed)


def _age(then: float) -> float:
    return max(0.0, time.time() - then)
