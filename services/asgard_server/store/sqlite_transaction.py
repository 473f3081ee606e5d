"""What happens inside one write transaction of the index: observing documents, logging them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import structlog
from gimle.asgard.core.documents import digest as digest_of
from gimle.asgard.core.errors import DocumentError

from asgard_server.run.store import Change, Found, Key, RunRow
from asgard_server.store import sqlite_log, sqlite_readers
from asgard_server.store.log_tail import Logged
from asgard_server.store.retention import USUAL, Kept
from asgard_server.store.rows import (
    ResultValues,
    RunValues,
    from_micros,
    result_values,
    run_values,
    spelt,
    unspelt,
)
from asgard_server.store.sqlite_ledger import end_writes
from asgard_server.store.sqlite_places import free_places, insert_rows
from asgard_server.store.sqlite_schema import TABLE
from asgard_server.store.sqlite_words import add_texts, index_late, remove_text, write_text
from asgard_server.store.written import Note, Written, standing

log = structlog.get_logger()

_NOBODY = "[]"


class Transaction:
    """Rows and log entries written between BEGIN IMMEDIATE and COMMIT.

    `read` reads a document as it now is; `now` is in microseconds. `written`: what this
    process knows to have written itself. `logged` are, at the end, entries of the log of
    `epoch` whose rows are as they were written here.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        read: Callable[[Key], Found | None],
        now: int,
        *,
        written: Written | None = None,
        kept: Kept = USUAL,
    ) -> None:
        self.connection = connection
        self._read = read
        self.now = now
        self._own = written
        self._kept = kept
        self._settling: list[Note] = []
        self._asked: dict[Key, Callable[[], Found | None] | None] = {}
        self._readable: set[Key] = set()
        self._alive: set[Key] = set()
        self._entries: list[sqlite_log.Entry] = []
        self.more_runs = 0
        self._more_late = False
        self._known: dict[Key, RunRow] = {}
        self._gone_readers: dict[str, str | None] = {}
        self.epoch = ""
        self.logged: list[Logged] = []

    def observe(self, key: Key, read: Callable[[], Found | None] | None = None) -> None:
        """Make row and log agree, before the end, with what the document of `key` then says.

        `read` is a cheaper way to know what it says then.
        """
        self._asked.setdefault(key, read)

    def _observe_asked(self) -> None:
        """Observe what was asked for: results first, and new runs all together.

        It is logged in the order in which it was asked for.
        """
        asked, self._asked = self._asked, {}
        keys = list(asked)
        runs: dict[str, Found] = {}
        for key, read in asked.items():
            found = self._document(key) if read is None else read()
            if key.kind == "run" and found is not None:
                runs[key.id] = found
            elif key.kind == "result":
                self._observe(key, found, None)
        for key in keys:
            if key.kind == "run" and key.id not in runs:
                self._observe(key, None, None)
        rows = {row[0]: row[1:] for row in self._rows_of_runs(runs)} if runs else {}
        new: list[RunValues] = []
        for run_id, found in runs.items():
            key = Key("run", run_id)
            if run_id in rows:
                self._observe(key, found, rows[run_id])
            else:
                with self._noting_unreadable(key, found):
                    new.append(run_values(self.connection, run_id, found, self.now))
        if new:
            self._insert_runs(new, runs)
        if len(keys) > 1:
            rank = {key: number for number, key in enumerate(keys)}
            # A result that went with its run was not asked for by itself.
            self._entries.sort(
                key=lambda entry: rank.get(Key(*entry[:2]), rank.get(Key("run", entry[2]), 0))
            )

    def _document(self, key: Key) -> Found | None:
        """A document as it now is: what this process itself has made of the row's, or read."""
        notes = self._own.of([key]).get(key, []) if self._own else []
        found: Found | None = None
        if notes:
            row = self.connection.execute(
                f"SELECT stamp FROM {TABLE[key.kind]} WHERE id = ?",  # noqa: S608 - our tables
                (key.id,),
            ).fetchone()
            found = standing(notes, row[0] if row else None)
        if found is None:
            found = self._read(key)
        if notes:
            end_writes(self.connection, notes, {key} if found else set())
            self._settling += notes
        return found

    def _rows_of_runs(self, ids: Collection[str]) -> list[tuple[Any, ...]]:
        return self.connection.execute(
            "SELECT id, place, digest, stamp, created_at, sorted_at, changed_at, result_count,"
            " readers"
            " FROM runs WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(ids)),),
        ).fetchall()

    def _observe(self, key: Key, found: Found | None, row: tuple[Any, ...] | None) -> None:
        """Observe a result, or a run that has a row or no document."""
        if found is None:
            self._readable.add(key)
            self._remove(key)
            return
        with self._noting_unreadable(key, found):
            if row is None:
                self._observe_result(key, found)
            else:
                self._observe_run(key, found, row)

    @contextmanager
    def _noting_unreadable(self, key: Key, found: Found) -> Iterator[None]:
        try:
            yield
        except DocumentError as error:
            # Whatever the row says stays true of the last document that could be read.
            log.warning("unreadable document", kind=key.kind, id=key.id, problem=str(error))
            self._readable.discard(key)
            self.connection.execute(
                "INSERT OR REPLACE INTO unreadable VALUES (?, ?, ?)", (*key, found.stamp)
            )

    def _insert_runs(self, new: Sequence[RunValues], found: Mapping[str, Found]) -> None:
        """Write the rows of runs that have none, with as few statements as that takes."""
        counts = {
            row[0]: row[1:]
            for row in self.connection.execute(
                "SELECT run_id, count(*), max(changed_at) FROM results"
                " WHERE run_id IN (SELECT value FROM json_each(?)) GROUP BY run_id",
                (json.dumps([one.id for one in new]),),
            )
        }
        places = free_places(self.connection, new)
        rows: list[tuple[Any, ...]] = []
        for place, one in zip(places, new, strict=True):
            count, changed = counts.get(one.id, (0, 0))
            changed = max(one.modified_at, changed)
            rows.append(_row(place, one, count, changed, self.now))
            key = Key("run", one.id)
            readers = spelt(one.readers)
            self._written(key, one.id, None if readers is None else _NOBODY, readers)
            if (run := found[one.id].run) and not run.results and one.sorted_at == one.created_at:
                self._known[key] = RunRow(run, count, one.digest.hex(), from_micros(changed))
        insert_rows(self.connection, "runs", rows)
        insert_rows(
            self.connection,
            "run_readers",
            [row for one in new for row in sqlite_readers.rows_of(one)],
        )
        texts = [(place, one.text) for place, one in zip(places, new, strict=True)]
        add_texts(self.connection, texts)
        self._more_late = True
        self.more_runs += len(new)

    def _observe_run(self, key: Key, found: Found, old: tuple[Any, ...]) -> None:
        if self._same(key, old[1], old[2], found):
            return
        new = run_values(self.connection, key.id, found, self.now)
        place, _, _, created_at, sorted_at, changed, count, readers = old
        if new.created_at == created_at:
            # A time of arrival stays what it was when the document is edited.
            new = new._replace(sorted_at=sorted_at)
        self.connection.execute("DELETE FROM runs WHERE place = ?", (place,))
        if new.sorted_at != sorted_at:
            remove_text(self.connection, place)
            (place,) = free_places(self.connection, [new])
        row = _row(place, new, count, max(new.modified_at, changed), self.now)
        insert_rows(self.connection, "runs", [row])
        sqlite_readers.forget(self.connection, key.id, sorted_at, readers)
        insert_rows(self.connection, "run_readers", sqlite_readers.rows_of(new))
        if write_text(self.connection, place, new.text):
            self._more_late = True
        self._written(key, key.id, readers, spelt(new.readers))

    def _observe_result(self, key: Key, found: Found) -> None:
        old = self.connection.execute(
            "SELECT run_id, digest, stamp, created_at, sorted_at FROM results WHERE id = ?",
            (key.id,),
        ).fetchone()
        if old is not None and self._same(key, old[1], old[2], found):
            return
        new = result_values(self.connection, key.id, found, self.now)
        if old is not None:
            if new.created_at == old[3]:
                new = new._replace(sorted_at=old[4])
            self._count(old[0], -1, 0)
        self.insert_results([new])
        self._count(new.run_id, 1, new.modified_at)
        self._written(key, new.run_id)

    def _same(self, key: Key, digest: bytes, stamp: str, found: Found) -> bool:
        """Whether a document is the one the row was made of; keeps its newest stamp."""
        if digest_of(found.body) != digest:
            return False
        if stamp != found.stamp:
            self.connection.execute(
                f"UPDATE {TABLE[key.kind]} SET stamp = ? WHERE id = ?",  # noqa: S608 - our tables
                (found.stamp, key.id),
            )
        self._readable.add(key)
        return True

    def _written(
        self, key: Key, run_id: str, before: str | None = None, after: str | None = None
    ) -> None:
        self._readable.add(key)
        self._alive.add(key)
        self._entries.append((key.kind, key.id, run_id, 0, before, after))

    def _readers(self, run_id: str) -> str | None:
        """Who may read a run; nobody, where it is not there."""
        row = self.connection.execute("SELECT readers FROM runs WHERE id = ?", (run_id,)).fetchone()
        return self._gone_readers.get(run_id, _NOBODY) if row is None else row[0]

    def _forget(self) -> None:
        """Take off the lists of the unreadable and the deleted what is neither."""
        listed = self.connection.execute(
            "SELECT EXISTS (SELECT 1 FROM unreadable), EXISTS (SELECT 1 FROM tombstones)"
        ).fetchone()
        for some, table, keys in zip(
            listed, ("unreadable", "tombstones"), (self._readable, self._alive), strict=True
        ):
            if some and keys:
                self.connection.execute(
                    f"DELETE FROM {table} WHERE (kind, id) IN"  # noqa: S608 - our tables
                    " (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]')"
                    " FROM json_each(?))",
                    (json.dumps(list(keys)),),
                )

    def _remove(self, key: Key) -> None:
        if key.kind == "run":
            row = self.connection.execute(
                "SELECT place, sorted_at, readers FROM runs WHERE id = ?", (key.id,)
            ).fetchone()
            if row is None:
                return
            self.connection.execute("DELETE FROM runs WHERE place = ?", row[:1])
            sqlite_readers.forget(self.connection, key.id, *row[1:])
            self._gone_readers[key.id] = row[2]
            remove_text(self.connection, row[0])
            self.more_runs -= 1
            run_id = key.id
            # A deleted run takes its results along; each is believed on its own evidence.
            results = self.connection.execute(
                "SELECT id FROM results WHERE run_id = ?", (run_id,)
            ).fetchall()
            for (result_id,) in results:
                one = Key("result", result_id)
                self._observe(one, self._read(one), None)
        else:
            row = self.connection.execute(
                "DELETE FROM results WHERE id = ? RETURNING run_id", (key.id,)
            ).fetchall()
            if not row:
                return
            run_id = row[0][0]
            self._count(run_id, -1, 0)
        self._alive.discard(key)
        self.connection.execute(
            "INSERT OR REPLACE INTO tombstones VALUES (?, ?, ?)", (*key, self.now)
        )
        before = self._readers(run_id)
        after = None if before is None else _NOBODY
        self._entries.append((key.kind, key.id, run_id, 1, before, after))

    def _count(self, run_id: str, more: int, changed_at: int) -> None:
        self.connection.execute(
            "UPDATE runs SET result_count = result_count + ?, changed_at = max(changed_at, ?)"
            " WHERE id = ?",
            (more, changed_at, run_id),
        )

    def insert_results(
        self, values: Sequence[ResultValues], word: Literal["REPLACE", "IGNORE"] = "REPLACE"
    ) -> None:
        """Write rows of results; `word` says what to do with those there: REPLACE or IGNORE."""
        self.connection.executemany(
            f"INSERT OR {word} INTO results"  # noqa: S608 - REPLACE or IGNORE
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    one.id,
                    one.run_id,
                    one.sorted_at,
                    one.created_at,
                    one.modified_at,
                    self.now,
                    one.digest,
                    one.stamp,
                    one.result_type,
                    one.display,
                )
                for one in values
            ],
        )

    def remember(self, key: Key, digest: bytes) -> None:
        """Keep the digest of a request."""
        self.connection.execute(
            "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?)", (*key, digest, self.now)
        )

    def finish(self) -> int:
        """Number and write the log entries, last of all; answer the head revision."""
        if self._asked:
            self._observe_asked()
        if self._readable:
            self._forget()
        if self._more_late:
            index_late(self.connection)
        head, self.epoch = sqlite_log.append(
            self.connection, self._entries, self.more_runs, self.now
        )
        first = head - len(self._entries) + 1
        for revision, (kind, object_id, run_id, gone, *told) in enumerate(self._entries, first):
            key = Key(kind, object_id)
            if not gone and (row := self._known.get(key)):
                change = Change(revision, key, run_id, False, *map(unspelt, told))
                self.logged.append((change, row))
        sqlite_log.trim(self.connection, first, head, self._kept, self.now)
        return head

    def settled(self) -> None:
        """Say, behind the commit, that what this process has written is known."""
        if self._own is not None and self._settling:
            self._own.settled(self._settling)


def _row(place: int, run: RunValues, count: int, changed: int, now: int) -> tuple[Any, ...]:
    """The columns of a run."""
    return (
        place,
        run.id,
        run.sorted_at,
        run.created_at,
        count,
        changed,
        now,
        run.digest,
        run.stamp,
        spelt(run.readers),
        run.document,
    )
