"""What the contract of `RunIndex` is tried on: documents in memory, and every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asgard_server.run.store import Entry, Found, Key, Kind
from asgard_server.store import sqlite_words
from asgard_server.store.postgres import PostgresRunIndex
from asgard_server.store.retention import USUAL, Kept
from asgard_server.store.sqlite import SqliteRunIndex
from gimle.asgard.core.documents import ResultDocument, RunDocument, encode_result, encode_run
from gimle.asgard.core.errors import StorageUnavailableError

from tests.engines import postgres

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_run(run_id: str, **fields: Any) -> RunDocument:
    """A run made at NOW, with what `fields` say."""
    return replace(RunDocument(run_id, f"run {run_id}", NOW, NOW), **fields)


def a_result(result_id: str, run_id: str, **fields: Any) -> ResultDocument:
    """A small result made at NOW, with what `fields` say."""
    plain = ResultDocument(result_id, run_id, "Solution1D", {"computed": [1.0]}, NOW)
    return replace(plain, **fields)


class Shelf:
    """A place of documents in memory, with a clock, that can be away."""

    def __init__(self) -> None:
        self.documents: dict[Key, Found] = {}
        self.now = NOW
        self.unavailable = False
        self.poisoned: Key | None = None
        self._stamps = 0

    def put(self, document: object) -> Key:
        """Write a document; answer what it is called."""
        if isinstance(document, RunDocument):
            key, body = Key("run", document.id), encode_run(document)
        else:
            assert isinstance(document, ResultDocument)
            key, body = Key("result", document.id), encode_result(document)
        self.put_bytes(key, body)
        return key

    def put_bytes(self, key: Key, body: bytes) -> None:
        """Write these very bytes."""
        self._stamps += 1
        self.documents[key] = Found(body, f"stamp-{self._stamps}", self.now)

    def touch(self, key: Key) -> None:
        """Write the same bytes again."""
        self.put_bytes(key, self.documents[key].body)

    def remove(self, key: Key) -> None:
        """Take a document away."""
        del self.documents[key]

    def read(self, key: Key) -> Found | None:
        """What an index reads with."""
        if self.unavailable or key == self.poisoned:
            raise StorageUnavailableError("the shelf", "bring it back")
        return self.documents.get(key)

    def listing(self, kind: Kind) -> Iterable[Entry]:
        """All documents of a kind, lazily."""
        for key, found in list(self.documents.items()):
            if self.unavailable:
                raise StorageUnavailableError("the shelf", "bring it back")
            if key.kind == kind:
                yield Entry(key, found.stamp)


@asynccontextmanager
async def open_index(
    engine: str, shelf: Shelf, folder: Path, batch: int | None = None, kept: Kept = USUAL
) -> AsyncIterator[Any]:
    """Open an index of `engine` over `shelf`; opened again, it is the same one.

    `kept`: how far its log reaches back. `batch`: after how many runs what is put off is
    done, so that little ones see it too.
    """
    if engine == "postgres":
        async with _postgres(shelf, folder, kept) as opened:
            yield opened
        return
    assert engine == "sqlite"
    index = await SqliteRunIndex.open(
        folder / ".asgard" / "index.sqlite3",
        shelf.read,
        storage_id="storage-1",
        clock=lambda: shelf.now,
        kept=kept,
    )
    usual = sqlite_words.LATE
    sqlite_words.LATE = batch or usual
    try:
        yield index
    finally:
        sqlite_words.LATE = usual
        await index.close()


@asynccontextmanager
async def _postgres(shelf: Shelf, folder: Path, kept: Kept) -> AsyncIterator[PostgresRunIndex]:
    async def read(key: Key) -> Found | None:
        return shelf.read(key)

    index = await PostgresRunIndex.open(
        await postgres.database_of(folder),
        read,
        storage_id="storage-1",
        clock=lambda: shelf.now,
        kept=kept,
    )
    try:
        yield index
    finally:
        await index.close()
        postgres.give_back(folder)
