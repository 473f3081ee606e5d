"""Objects below a place, asynchronously: whole reads, and writes on condition of what is there.

obstore talks to the store, but for small puts (`s3_puts`): one costs it 0.2 ms of CPU, a client
of botocore's 1.8 ms. Both try once; trying again is decided here, where it is known whether a
condition that fails may have been met by an attempt whose answer was lost.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import obstore
from gimle.asgard.core.s3.objects import ConflictError
from gimle.asgard.core.s3.place import Place
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from asgard_server.store.s3_clients import client_of, endpoint_of, region_of
from asgard_server.store.s3_puts import puts_of
from asgard_server.store.s3_refusals import (
    passes,
    refusal,
    refuse_missing_bucket,
    status_of,
    vanished,
)

# A store that is restarted is waited for; whoever waits longer is told.
PATIENCE_S = 15.0
# Shorter than the time after which others take a writer for dead.
ATTEMPT_S = 8.0
# How often a put that is refused is tried again.
_DENIALS = 3
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0

T = TypeVar("T")


class Object(NamedTuple):
    """An object as it is now. `modified` is by the store's clock."""

    body: bytes
    etag: str
    modified: datetime


class Head(NamedTuple):
    """How an object begins; `size` is of all of it."""

    body: bytes
    etag: str
    size: int


class Made(NamedTuple):
    """A new object's etag. `unanswered`: another attempt to write it may still arrive."""

    etag: str
    unanswered: bool


class Listed(NamedTuple):
    """An object in a listing: its path below the place. `modified` is by the store's clock."""

    path: str
    size: int
    etag: str
    modified: datetime


class Objects:
    """The objects of one place. Methods raise `StorageUnavailableError`, `StorageFullError`.

    They wait for a store that does not answer, PATIENCE_S at most.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._skip = len(place.key(""))
        self._store = client_of(place, timeout=timedelta(seconds=ATTEMPT_S))
        self._puts = puts_of(place, endpoint_of(place), region_of(place), ATTEMPT_S)
        # Arrays may be of any size.
        self._long = client_of(place, read_timeout=timedelta(seconds=30))

    async def get(self, path: str) -> Object | None:
        """Read an object whole, None when there is none."""

        async def read() -> Object:
            answer = await obstore.get_async(self._store, self.place.key(path))
            body = await answer.bytes_async()
            meta = answer.meta
            return Object(bytes(body), meta["e_tag"] or "", meta["last_modified"])

        try:
            return await self._patiently(read)
        except FileNotFoundError as error:
            refuse_missing_bucket(self.place, error)
            return None

    def get_now(self, path: str) -> Object | None:
        """Read an object whole, None when there is none; for a thread, and without patience."""
        try:
            answer = obstore.get(self._store, self.place.key(path))
            meta = answer.meta
            return Object(bytes(answer.bytes()), meta["e_tag"] or "", meta["last_modified"])
        except FileNotFoundError as error:
            refuse_missing_bucket(self.place, error)
            return None
        except BaseError as error:
            raise refusal(self.place, error) from error

    async def etag(self, path: str) -> str | None:
        """The etag of an object, None when there is none."""

        async def look() -> Any:
            return await obstore.head_async(self._store, self.place.key(path))

        try:
            meta = await self._patiently(look)
        except FileNotFoundError as error:
            refuse_missing_bucket(self.place, error)
            return None
        return str(meta["e_tag"]) if meta["size"] else None

    def etag_now(self, path: str) -> str | None:
        """The etag of an object, None when there is none; for a thread, without patience."""
        try:
            meta = obstore.head(self._store, self.place.key(path))
        except FileNotFoundError as error:
            refuse_missing_bucket(self.place, error)
            return None
        except BaseError as error:
            raise refusal(self.place, error) from error
        return str(meta["e_tag"]) if meta["size"] else None

    async def create(self, path: str, body: bytes) -> Made | None:
        """Write a new object; answer None when there is one already."""
        try:
            return await self._put(path, body, "create")
        except ConflictError:
            return None

    async def replace(self, path: str, body: bytes, etag: str) -> str:
        """Write an object in the place of the one with `etag`; answer the new etag.

        Raises ConflictError when another one is there, or none.
        """
        return (await self._put(path, body, {"e_tag": etag})).etag

    async def _put(self, path: str, body: bytes, mode: Any) -> Made:
        key = self.place.key(path)
        attempts = unanswered = 0

        async def write() -> str:
            nonlocal attempts, unanswered
            attempts += 1
            try:
                return await self._put_once(key, body, mode)
            except BaseError as error:
                unanswered += status_of(error) is None
                raise

        try:
            return Made(await self._patiently(write, denials=_DENIALS), unanswered > 0)
        except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
            refuse_missing_bucket(self.place, error)
            if attempts > 1:
                # The first attempt may have done it, and only its answer been lost.
                there = await self.get(path)
                if there is not None and there.body == body:
                    return Made(there.etag, unanswered > 0)
            raise ConflictError(path) from error

    async def _put_once(self, key: str, body: bytes, mode: Any) -> str:
        if self._puts is not None:
            condition = ("if-none-match", "*") if mode == "create" else ("if-match", mode["e_tag"])
            etag = await self._puts.put(key, body, condition)
            if etag is not None:
                return etag
        answer = await obstore.put_async(self._store, key, body, mode=mode, use_multipart=False)
        return str(answer["e_tag"])

    def close(self) -> None:
        """Close connections that are kept for small puts."""
        if self._puts is not None:
            self._puts.close()

    async def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        keys = [self.place.key(path) for path in paths]
        if keys:

            async def remove() -> None:
                await obstore.delete_async(self._store, keys)

            await self._patiently(remove)

    def list(self, folder: str, behind: str | None = None) -> Iterator[Listed]:
        """List the objects directly in `folder`, by name, those > `behind`; for a thread.

        Raises StorageUnavailableError when the listing does not end well, at once or midway.
        """
        start = f"{folder}/"
        stream: Any = obstore.list(
            self._store,
            prefix=self.place.key(folder),
            offset=None if behind is None else self.place.key(start + behind),
            chunk_size=1_000,
        )
        try:
            for batch in stream:
                for meta in batch:
                    path = meta["path"][self._skip :]
                    if path.startswith(start) and "/" not in path[len(start) :]:
                        yield Listed(path, meta["size"], meta["e_tag"] or "", meta["last_modified"])
        except FileNotFoundError as error:
            raise refusal(self.place, error) from error
        except BaseError as error:
            raise refusal(self.place, error) from error

    def head_now(self, path: str, length: int) -> Head | None:
        """The first bytes of an object, and how many there are; for a thread, without patience."""
        try:
            answer = obstore.get(self._long, self.place.key(path), options={"range": (0, length)})
            meta = answer.meta
            return Head(bytes(answer.bytes()), meta["e_tag"] or "", meta["size"])
        except FileNotFoundError as error:
            refuse_missing_bucket(self.place, error)
            return None
        except BaseError as error:
            raise refusal(self.place, error) from error

    def part_now(self, path: str, start: int, length: int, etag: str | None = None) -> bytes | None:
        """Read some bytes of an object, fewer at its end; None when there is none, or not of this
        etag any more. For a thread, and without patience.
        """
        wanted: Any = {"range": (start, start + length)}
        if etag is not None:
            wanted["if_match"] = etag
        try:
            answer = obstore.get(self._long, self.place.key(path), options=wanted)
            return bytes(answer.bytes())
        except FileNotFoundError as error:
            refuse_missing_bucket(self.place, error)
            return None
        except PreconditionError:
            return None
        except BaseError as error:
            raise refusal(self.place, error) from error

    def download(self, path: str, handle: int) -> bool:
        """Write an object's bytes to a file; answer False when there is none. For a thread."""
        try:
            for part in obstore.get(self._long, self.place.key(path)).stream(1 << 22):
                data = memoryview(part)
                while data:
                    data = data[os.write(handle, data) :]
        except FileNotFoundError as error:
            refuse_missing_bucket(self.place, error)
            return False
        except BaseError as error:
            raise refusal(self.place, error) from error
        return True

    async def _patiently(self, work: Callable[[], Awaitable[T]], denials: int = 0) -> T:
        """Do something that may be done again, as long as the store does not answer.

        So many times being refused is taken for a folder that vanished.
        """
        end = time.monotonic() + PATIENCE_S
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return await work()
            except FileNotFoundError:
                raise
            except BaseError as error:
                if vanished(error) and denials > 0:
                    denials -= 1
                elif not passes(error):
                    if isinstance(error, AlreadyExistsError | PreconditionError):
                        raise
                    raise refusal(self.place, error) from error
                if time.monotonic() + pause > end:
                    raise refusal(self.place, error) from error
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - not for secrets
            pause = min(pause * 2, _LONGEST_PAUSE_S)
