"""Intents of uploads as files under `.asgard/granted/`: the port `Intents` in a folder."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

from gimle.asgard.core.folder import files, refusals
from gimle.asgard.core.ids import check_id, is_id

from asgard_server.run.grants import Intent
from asgard_server.store.granted_intents import FOLDER, decoded, encoded

P = ParamSpec("P")
T = TypeVar("T")

_LOCK = ".lock"
_TURN = ".turn"


class FolderIntents:
    """The intents of a folder: a file each, replaced under one lock for the moment it takes."""

    def __init__(self, storage: Path, pool: Executor, *, durable: bool) -> None:
        self._storage = storage
        self._folder = storage / FOLDER
        self._pool = pool
        self._durable = durable

    async def _in_pool(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def done() -> T:
            try:
                return work(*args, **kwargs)
            except OSError as error:
                raise refusals.unavailable(str(self._folder), error) from error

        return await asyncio.get_running_loop().run_in_executor(self._pool, done)

    async def create(self, intent: Intent) -> str | None:
        """Write an intent; answer its stamp, None when there is one."""

        def create() -> str | None:
            with self._locked(_LOCK):
                if files.read(self._path(intent.result_id)) is not None:
                    return None
                return self._write(intent)

        return await self._in_pool(create)

    async def find(self, result_id: str) -> tuple[Intent, str] | None:
        """Look one up, with its stamp."""
        body = await self._in_pool(files.read, self._path(result_id))
        intent = None if body is None else decoded(result_id, body)
        return None if body is None or intent is None else (intent, _stamp(body))

    async def replace(self, intent: Intent, stamp: str) -> str | None:
        """Write it in the place of the one of this stamp; None when that is another by now."""

        def replace() -> str | None:
            with self._locked(_LOCK):
                body = files.read(self._path(intent.result_id))
                if body is None or _stamp(body) != stamp:
                    return None
                return self._write(intent)

        return await self._in_pool(replace)

    async def remove(self, result_id: str) -> None:
        """Forget one."""
        await self._in_pool(files.remove, self._path(result_id))

    async def untouched(self, before: datetime) -> list[str]:
        """Results whose intents were last written before then."""
        return await self._in_pool(self._untouched, before)

    def _untouched(self, before: datetime) -> list[str]:
        try:
            entries = list(os.scandir(self._folder))
        except FileNotFoundError:
            return []
        found = []
        for entry in entries:
            name = entry.name.removesuffix(".json")
            if name == entry.name or not is_id(name):
                continue
            try:
                modified = datetime.fromtimestamp(entry.stat().st_mtime, UTC)
            except FileNotFoundError:
                continue
            if modified < before:
                found.append(name)
        return found

    async def holds(self, path: str, head: bytes) -> bool:
        """Whether a file of the place begins so."""

        def read() -> bytes:
            try:
                with open(self._storage / path, "rb") as file:
                    return file.read(len(head))
            except FileNotFoundError:
                return b""

        return await self._in_pool(read) == head

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[bool]:
        """Say inside whether it is this process that sweeps."""
        handle = await self._in_pool(self._open, _TURN)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        handle = self._open(name)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _open(self, name: str) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        return os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _write(self, intent: Intent) -> str:
        body = encoded(intent)
        name = f"{check_id(intent.result_id, 'result_id')}.json"
        files.replace(str(self._folder), name, body, durable=self._durable)
        return _stamp(body)

    def _path(self, result_id: str) -> str:
        return str(self._folder / f"{check_id(result_id, 'result_id')}.json")


def _stamp(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
