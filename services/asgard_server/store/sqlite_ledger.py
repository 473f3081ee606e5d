"""What the processes of one machine have begun, in the index's file: the port `Ledger`.

For a place without locks, an object store, that is served without a database server. Whoever
throws the index away while nothing runs loses what is here: the end of interrupted work, which
fsck still finds.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from asgard_server.run.ledger import Deletion, Write, stray_token
from asgard_server.run.store import Key
from asgard_server.store.gathering import Gathering
from asgard_server.store.sqlite_link import Link
from asgard_server.store.sqlite_schema import IndexFile, errors_of_the_port
from asgard_server.store.written import Note

T = TypeVar("T")

# A deletion is remembered for longer than a process believes that a run is there.
_DONE_KEPT_S = 3600.0


class SqliteLedger:
    """The ledger of one storage, shared by the processes of this machine.

    Methods raise `StorageUnavailableError` when the file cannot be used.
    """

    def __init__(self, path: Path, storage_id: str | None) -> None:
        self._file = IndexFile(path, storage_id or "")
        self._link = Link(self._file)
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._beginning: Gathering[Sequence[Write], frozenset[Key]] = Gathering(self._begin)

    @classmethod
    async def open(cls, path: Path, *, storage_id: str | None) -> SqliteLedger:
        """Open the ledger in the index's file at `path`, made if there is none."""
        ledger = cls(path, storage_id)
        try:
            await ledger._write(lambda connection: None)
        except BaseException:
            await ledger.close()
            raise
        return ledger

    async def close(self) -> None:
        """Finish what is being written, and close the file."""
        await asyncio.to_thread(self._thread.shutdown)
        self._link.close()

    async def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        def work() -> T:
            try:
                return _in_transaction(self._link.connection(), job)
            except sqlite3.Error as error:
                if self._link.discarded(error):
                    return _in_transaction(self._link.connection(), job)
                raise

        with errors_of_the_port(self._file.path):
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # Writes

    async def begin(self, writes: Sequence[Write]) -> frozenset[Key]:
        """Write down writes; answer which documents and runs of theirs are being deleted."""
        return await self._beginning.ask(writes)

    async def _begin(self, asked: Sequence[Sequence[Write]]) -> list[frozenset[Key]]:
        def write_down(connection: sqlite3.Connection) -> list[frozenset[Key]]:
            now = time.time()
            connection.executemany(
                "INSERT INTO writes VALUES (?, ?, ?, ?, ?, ?, ?, 0)"
                " ON CONFLICT (token) DO UPDATE SET at = excluded.at, files = excluded.files",
                [
                    (
                        *(write.token, *write.key, write.run_id, now),
                        *(json.dumps(write.files), write.lists),
                    )
                    for some in asked
                    for write in some
                ],
            )
            return [frozenset(_gone(connection, some)) for some in asked]

        return await self._write(write_down)

    async def alive(self, tokens: Sequence[str]) -> None:
        """Say that writes still go on, those that nobody has ended."""
        now = time.time()
        await self._write(
            lambda connection: connection.executemany(
                "UPDATE writes SET at = ? WHERE token = ? AND NOT observed",
                [(now, token) for token in tokens],
            )
        )

    async def end(self, tokens: Sequence[str]) -> None:
        """Forget writes."""
        if tokens:
            await self._write(
                lambda connection: connection.executemany(
                    "DELETE FROM writes WHERE token = ?", [(token,) for token in tokens]
                )
            )

    async def begun(self, older_than_s: float, run_id: str | None = None) -> list[Write]:
        """Writes that nobody has observed and nobody has begun again for so long."""
        return await self._writes("NOT observed", older_than_s, run_id)

    async def unlisted(self, older_than_s: float, run_id: str | None = None) -> list[Write]:
        """Observed writes of results that their runs' documents do not name."""
        return await self._writes("observed AND lists", older_than_s, run_id)

    async def stray(self, writes: Sequence[Write]) -> None:
        """Write down that requests of these writes may still arrive."""
        now = time.time()
        await self._write(
            # A stray is a row that is neither to be observed nor to be listed.
            lambda connection: connection.executemany(
                "INSERT INTO writes VALUES (?, ?, ?, ?, ?, '[]', 0, 1)"
                " ON CONFLICT (token) DO UPDATE SET at = excluded.at",
                [(stray_token(write.key), *write.key, write.run_id, now) for write in writes],
            )
        )

    async def strays(self, older_than_s: float, run_id: str | None = None) -> list[Write]:
        """Writes that may still arrive, written down so long ago."""
        return await self._writes("observed AND NOT lists", older_than_s, run_id)

    async def _writes(self, which: str, older_than_s: float, run_id: str | None) -> list[Write]:
        of_run = "" if run_id is None else "AND run_id = ?"
        rows = await self._fetch(
            "SELECT token, kind, id, run_id, files, lists FROM writes"  # noqa: S608 - ours
            f" WHERE {which} AND at <= ? {of_run} ORDER BY at LIMIT 10000",
            *(time.time() - older_than_s, *(() if run_id is None else (run_id,))),
        )
        return [
            Write(token, Key(kind, id), run, tuple(json.loads(files)), bool(lists))
            for token, kind, id, run, files, lists in rows
        ]

    # Deletions

    async def mark(self, deletion: Deletion) -> None:
        """Write down a deletion, or more of one."""
        await self._write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO deletions VALUES (?, ?, ?, ?, ?, ?, 0)",
                (
                    *(*deletion.key, deletion.run_id),
                    *(json.dumps(deletion.results), json.dumps(deletion.files), time.time()),
                ),
            )
        )

    async def marked(self, older_than_s: float, key: Key | None = None) -> list[Deletion]:
        """Deletions that are not done, and that nobody has marked for so long."""
        of_key = "" if key is None else "AND kind = ? AND id = ?"
        rows = await self._fetch(
            "SELECT kind, id, run_id, results, files FROM deletions"  # noqa: S608 - ours
            f" WHERE NOT done AND at <= ? {of_key} LIMIT 1000",
            *(time.time() - older_than_s, *(key or ())),
        )
        return [
            Deletion(Key(kind, id), run, tuple(json.loads(results)), tuple(json.loads(files)))
            for kind, id, run, results, files in rows
        ]

    async def unmark(self, key: Key, *, free: bool = False) -> None:
        """Say that a deletion is done. `free`: its id may be taken again."""

        def say(connection: sqlite3.Connection) -> None:
            now = time.time()
            connection.execute(
                "UPDATE deletions SET done = 1, at = ? WHERE kind = ? AND id = ?", (now, *key)
            )
            if free:
                connection.execute("DELETE FROM deletions WHERE kind = ? AND id = ?", key)
            connection.execute("DELETE FROM deletions WHERE done AND at < ?", (now - _DONE_KEPT_S,))

        await self._write(say)

    async def _fetch(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        return await self._write(lambda connection: connection.execute(sql, arguments).fetchall())

    # Locks

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[bool]:
        """Hold the lock `name` inside, if nobody does; say whether it is held."""
        digest = blake2b(name.encode(), digest_size=8).hexdigest()
        path = self._file.path.with_name(f"{self._file.path.stem}.{digest}.lock")
        handle = _locked(path)
        try:
            yield handle is not None
        finally:
            if handle is not None:
                # Before the lock ends, so that nobody holds one on a file without a name.
                with suppress(FileNotFoundError):
                    path.unlink()
                os.close(handle)


def _locked(path: Path) -> int | None:
    """A handle that holds the lock of a file, None when another does."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == os.stat(path).st_ino:
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:  # whoever held it has just taken its name
            pass
        os.close(handle)


def _in_transaction(connection: sqlite3.Connection, job: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        answer = job(connection)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # what went wrong before matters, not this
            connection.rollback()
        raise
    return answer


def _gone(connection: sqlite3.Connection, writes: Iterable[Write]) -> list[Key]:
    """Documents and runs of these writes that are being deleted, or were."""
    keys = {key for write in writes for key in (write.key, Key("run", write.run_id))}
    return [
        key
        for key in keys
        if connection.execute("SELECT 1 FROM deletions WHERE kind = ? AND id = ?", key).fetchone()
    ]


def end_writes(connection: sqlite3.Connection, notes: Iterable[Note], there: set[Key]) -> None:
    """End the writes of documents that were observed, in the transaction that observes them.

    `there`: the documents that exist; results of these stay until their run names them.
    """
    for note in notes:
        write = note.write
        if write.lists and write.key in there:
            connection.execute(
                "INSERT INTO writes VALUES (?, ?, ?, ?, ?, '[]', 1, 1)"
                " ON CONFLICT (token) DO UPDATE SET observed = 1",
                (write.token, *write.key, write.run_id, time.time()),
            )
        else:
            connection.execute("DELETE FROM writes WHERE token = ?", (write.token,))
