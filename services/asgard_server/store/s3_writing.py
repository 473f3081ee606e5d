"""One write in an object store: begun in the ledger, made on a condition, noted for the index."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from typing import Any

from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    NotFoundError,
    StorageUnavailableError,
)
from gimle.asgard.core.folder.arrayfiles import ArrayFile, as_stored
from gimle.asgard.core.folder.layout import array_name
from gimle.asgard.core.s3.objects import ConflictError
from gimle.asgard.core.s3.reading import document_path

from asgard_server.run.ledger import Ledger, Write
from asgard_server.run.store import Found, Key
from asgard_server.store.s3_objects import Made, Objects
from asgard_server.store.written import Written

# A writer that lives says so this often; others take it for dead after three times that.
ALIVE_EVERY_S = 3.0
# Data with more values than this is not encoded on the loop.
_FEW_VALUES = 4_096


def new_write(key: Key, run_id: str, *, files: Sequence[str] = (), lists: bool = False) -> Write:
    """A write with a token of its own."""
    return Write(token_hex(16), key, run_id, tuple(files), lists)


class Writing:
    """Writes the documents of one place.

    `finish` finishes the deletion of a document that has begun. A write that fails for sure
    is ended; one of which nobody knows stays in the ledger, for whoever looks there.
    """

    def __init__(
        self,
        objects: Objects,
        ledger: Ledger,
        written: Written,
        finish: Callable[[Key], Awaitable[None]],
    ) -> None:
        self._objects = objects
        self._ledger = ledger
        self._written = written
        self._finish = finish

    async def begin(self, *writes: Write) -> None:
        """Write writes down.

        Raises NotFoundError when they, or their run, are being deleted, or were.
        """
        gone = await self._ledger.begin(writes)
        if gone:
            for key in gone:
                if key.kind == "result":
                    await self._finish(key)
            # An id that was given up is free when that is finished; a deleted one never is.
            gone = await self._ledger.begin(writes)
        for key in sorted(gone, reverse=True):  # the run before its results
            await self.forget(*writes)
            raise NotFoundError(*key)

    async def still(self, write: Write) -> None:
        """Make sure that nobody has taken us for dead.

        Raises StorageUnavailableError, and NotFoundError when the run was deleted meanwhile.
        """
        begun = await self._ledger.begun(0, write.run_id)
        gone = await self._ledger.begin((write,))
        if gone or all(one.token != write.token for one in begun):
            await self.forget(write)
            if Key("run", write.run_id) in gone:
                raise NotFoundError("run", write.run_id)
            raise StorageUnavailableError(
                str(self._objects.place), "the writing was given up; save again"
            )

    async def forget(self, *writes: Write) -> None:
        """End writes that came to nothing; if that fails, others will."""
        with suppress(StorageUnavailableError):
            await self._ledger.end([write.token for write in writes])

    async def create(self, write: Write, body: bytes, result: ResultDocument | None = None) -> None:
        """Write a new document, `body` of `result`. Raises AlreadyExistsError."""
        path, at = document_path(*write.key), time.monotonic()
        with self.alive(write):
            made = await self._objects.create(path, body)
            if made is None:
                there = await self._objects.get(path)
                if there is not None and not there.body:
                    # Whoever emptied it has taken us for dead, or is done with the id.
                    await self.still(write)
                    await self._finish(write.key)
                    made = await self._over_nothing(path, body)
            if made is not None and made.unanswered:
                await self._ledger.stray((write,))
        if made is None:
            await self.forget(write)
            raise AlreadyExistsError(write.key.kind, write.key.id)
        found = Found(body, made.etag, datetime.now(UTC), result=result)
        self._written.note(write, None, found, at)

    async def _over_nothing(self, path: str, body: bytes) -> Made | None:
        """Write a new document, also in the place of one without a byte."""
        made = await self._objects.create(path, body)
        if made is not None:
            return made
        there = await self._objects.get(path)
        if there is None or there.body:
            return None
        with suppress(ConflictError):
            return Made(await self._objects.replace(path, body, there.etag), unanswered=False)
        return None

    async def replace(self, write: Write, body: bytes, etag: str) -> None:
        """Write a document in the place of the one with `etag`. Raises ConflictError."""
        at = time.monotonic()
        with self.alive(write):
            new = await self._objects.replace(document_path(*write.key), body, etag)
        self._written.note(write, etag, Found(body, new, datetime.now(UTC)), at)

    def note(self, write: Write) -> None:
        """Say that a document may have changed, so that the index reads it and ends the write."""
        self._written.note(write, None, None)

    @contextmanager
    def alive(self, *writes: Write) -> Iterator[None]:
        """Say again and again, inside, that these writes go on."""
        loop = asyncio.get_running_loop()
        saying: set[asyncio.Task[Any]] = set()
        timer: asyncio.TimerHandle

        async def say() -> None:
            with suppress(StorageUnavailableError):
                await self._ledger.alive([write.token for write in writes])

        def again() -> None:
            nonlocal timer
            task = loop.create_task(say())
            saying.add(task)
            task.add_done_callback(saying.discard)
            timer = loop.call_later(ALIVE_EVERY_S, again)

        timer = loop.call_later(ALIVE_EVERY_S, again)
        try:
            yield
        finally:
            timer.cancel()


async def encoded(result: ResultDocument) -> tuple[ResultDocument, bytes, list[ArrayFile]]:
    """A result as it is stored, its document, and its arrays that become files.

    Raises TypeError for values that cannot be stored.
    """
    if _is_small(result.data):
        return _encoded(result)
    return await asyncio.to_thread(_encoded, result)


def _encoded(result: ResultDocument) -> tuple[ResultDocument, bytes, list[ArrayFile]]:
    return as_stored(result, partial(array_name, result.id))


def _is_small(data: Any) -> bool:
    """Whether there are few values; a list whose first item is none of its own holds but those."""
    values = [data]
    count = 0
    while values and count <= _FEW_VALUES:
        value = values.pop()
        if isinstance(value, dict):
            values.extend(value.values())
        elif isinstance(value, list | tuple):
            if value and isinstance(value[0], dict | list | tuple):
                values.extend(value[: _FEW_VALUES + 1])
            count += len(value)
        elif isinstance(value, str):
            count += len(value) // 16
        else:
            count += getattr(value, "size", 1)
    return count <= _FEW_VALUES
