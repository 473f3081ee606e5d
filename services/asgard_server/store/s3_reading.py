"""Reading documents in S3, and noticing what others write there: the port `WatchedPlace`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from gimle.asgard.core.errors import NotFoundError, StorageUnavailableError
from gimle.asgard.core.folder.layout import METADATA, document_id
from gimle.asgard.core.ids import check_id
from gimle.asgard.core.s3.opening import storage_id
from gimle.asgard.core.s3.reading import document_path

from asgard_server.run.ledger import Ledger
from asgard_server.run.store import Entry, Found, Key, Kind
from asgard_server.run.upkeep import Rhythm
from asgard_server.store.s3_objects import Object, Objects

# New names every 5 s, all names every hour (protocols 8).
RHYTHM = Rhythm(look_s=5.0, scan_s=3600.0)
_CHECKED_EVERY_S = 1.0
# Clocks differ, and an upload may take its time.
_OVERLAP_MS = 10 * 60 * 1_000
_FOLDER: dict[Kind, str] = {"run": "runs", "result": "results"}


class S3Reading:
    """What a prefix of a bucket can be asked.

    A document without a byte is one whose delete has begun: it is not there any more.
    """

    def __init__(self, objects: Objects, ledger: Ledger, storage_id: str | None) -> None:
        #: The id that tells this storage from any other.
        self.storage_id = storage_id
        self._objects = objects
        self._ledger = ledger
        self._checked_at = -_CHECKED_EVERY_S

    async def read(self, key: Key) -> Found | None:
        """Read a document's bytes, None when there is none."""
        path = document_path(key.kind, check_id(key.id, f"{key.kind}_id"))
        found = await self._objects.get(path)
        if found is None or not found.body:
            # A deletion is believed while the place is surely there, and looked at again.
            await self.check()
            found = await self._objects.get(path)
        if found is None or not found.body:
            return None
        return Found(found.body, found.etag, found.modified)

    async def _found(self, key: Key) -> Found:
        found = await self.read(key)
        if found is None:
            raise NotFoundError(key.kind, key.id)
        return found

    async def _find(self, key: Key) -> Object:
        found = await self._objects.get(document_path(*key))
        if found is None or not found.body:
            await self.check()
            raise NotFoundError(key.kind, key.id)
        return found

    async def scan(self, kind: Kind) -> Iterable[Entry]:
        """List all documents of a kind, lazily: consume it in a thread."""
        return self._scan(kind)

    def _scan(self, kind: Kind) -> Iterator[Entry]:
        self._check(self._objects.get_now(METADATA))
        yield from self._entries(kind, None)
        # A prefix that was emptied meanwhile has looked empty instead of failing.
        self._check(self._objects.get_now(METADATA))

    def _entries(self, kind: Kind, behind: str | None) -> Iterator[Entry]:
        for listed in self._objects.list(_FOLDER[kind], behind):
            name = document_id(listed.path.rpartition("/")[2])
            if name is not None and listed.size:
                yield Entry(Key(kind, name), listed.etag)

    # For the index

    def read_now(self, key: Key) -> Found | None:
        """Read a document, None when it is gone and the place is not; for a thread."""
        path = document_path(key.kind, check_id(key.id, f"{key.kind}_id"))
        found = self._objects.get_now(path)
        if found is None or not found.body:
            self._check(self._objects.get_now(METADATA))
            found = self._objects.get_now(path)
        if found is None or not found.body:
            return None
        return Found(found.body, found.etag, found.modified)

    async def stamp(self, key: Key) -> str | None:
        """The stamp of a document, None when there is none."""
        return await self._objects.etag(document_path(*key))

    def stamp_now(self, key: Key) -> str | None:
        """The stamp of a document, None when there is none; for a thread."""
        return self._objects.etag_now(document_path(*key))

    # WatchedPlace

    @property
    def rings(self) -> bool:
        """Nobody tells of what others write into a bucket."""
        return False

    @property
    def rhythm(self) -> Rhythm:
        """How often it is to be looked at."""
        return RHYTHM

    def turn(self) -> AbstractAsyncContextManager[bool]:
        """Say inside whether it is this replica that looks at the place."""
        return self._ledger.held("sweep")

    async def pulse(self) -> str | None:
        """Nothing short of a listing tells whether a document came, changed or went."""
        return None

    async def news(self, newest: Mapping[Kind, str | None]) -> list[Entry]:
        """List documents whose names tell a time from 10 minutes before the newest known on."""
        return await asyncio.to_thread(self._news, newest)

    def _news(self, newest: Mapping[Kind, str | None]) -> list[Entry]:
        now = int(time.time() * 1_000)
        entries: list[Entry] = []
        for kind, known in newest.items():
            latest = now if known is None else int(known[:8] + known[9:13], 16)
            # Names that tell no time sort behind all that do for some centuries to come.
            behind, until = _name(latest - _OVERLAP_MS), _name(now + _OVERLAP_MS)
            for entry in self._entries(kind, behind):
                if entry.key.id > until:
                    break
                entries.append(entry)
        return entries

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[frozenset[Key] | None]]:
        """Yield nothing: there is no bell."""
        yield _silence()

    async def check(self) -> None:
        """Raise StorageUnavailableError when the place is gone, or is another one."""
        self._checked_at = -_CHECKED_EVERY_S
        self._check(await self._objects.get(METADATA))
        self._checked_at = time.monotonic()

    async def check_lately(self) -> None:
        """As `check`, but not every time: nothing new is to be begun in a place that is gone."""
        if time.monotonic() - self._checked_at >= _CHECKED_EVERY_S:
            await self.check()

    def _check(self, found: Object | None) -> None:
        place = self._objects.place
        if found is None:
            mend = f"{METADATA} is missing; was the prefix moved or emptied?"
            raise StorageUnavailableError(str(place), mend)
        if storage_id(found.body, place) != self.storage_id:
            mend = "it is another storage than was opened; restart the service to use it"
            raise StorageUnavailableError(str(place), mend)


def _name(milliseconds: int) -> str:
    """What sorts before all UUIDv7 of a time and behind all before."""
    return f"{max(0, milliseconds) >> 16:08x}-{milliseconds & 0xFFFF:04x}"


async def _silence() -> AsyncIterator[frozenset[Key] | None]:
    await asyncio.Event().wait()
    yield None
