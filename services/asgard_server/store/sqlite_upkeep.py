"""Taking in a whole place at once, and comparing a listing with what is known."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from datetime import datetime
from itertools import islice

import structlog
from gimle.asgard.core.errors import DocumentError
from gimle.asgard.core.ids import id_time, new_id

from asgard_server.run.store import Entry, Found, Key, Kind
from asgard_server.store import sqlite_bulk
from asgard_server.store.rows import ResultValues, RunValues, result_values, run_values
from asgard_server.store.sqlite_schema import TABLE
from asgard_server.store.sqlite_transaction import Transaction
from asgard_server.store.sqlite_writer import Committed, Writer

# Documents taken in by one transaction of a rebuild. Measured for the text index: 47 us a run
# at 1,000, 24 us at 5,000, when a save that waits for its turn waits for a fifth of a second.
BATCH = 5_000

log = structlog.get_logger()


def rebuild(
    connection: sqlite3.Connection,
    writer: Writer,
    read: Callable[[Key], Found | None],
    now: Callable[[], int],
    listings: Sequence[tuple[Kind, Iterable[Entry]]],
) -> int:
    """Take in all documents listed, through `writer`, then begin a new epoch; count them."""
    (epoch,) = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    # The snapshot would keep the write-ahead log from being folded back into the file;
    # from here on only a temporary table is read.
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    taken = 0
    pending: list[Future[Committed]] = []
    for kind, listing in listings:
        with closing(_in_order(connection, kind, listing)) as batches:
            for batch in batches:
                pending.append(writer.submit(_prepare(connection, read, now(), batch, epoch)))
                taken += len(batch)
                # One is being written while the next is being read.
                if len(pending) > 1:
                    pending.pop(0).result()
    for future in pending:
        future.result()
    writer.submit(lambda transaction: sqlite_bulk.end_building(transaction, epoch)).result()
    return taken


def _prepare(
    connection: sqlite3.Connection,
    read: Callable[[Key], Found | None],
    now: int,
    batch: Sequence[Key],
    epoch: str,
) -> Callable[[Transaction], None]:
    """Read a batch and make of it what the writer has to do."""
    runs: list[RunValues] = []
    results: list[ResultValues] = []
    for key in batch:
        try:
            found = read(key)
            if found is None:
                continue
            if key.kind == "run":
                runs.append(run_values(connection, key.id, found, now))
            else:
                results.append(result_values(connection, key.id, found, now))
        except DocumentError as error:
            log.warning("unreadable document", kind=key.kind, id=key.id, problem=str(error))

    def take(transaction: Transaction) -> None:
        if not sqlite_bulk.is_epoch(transaction, epoch):
            # Watchers of the new epoch would never hear of a row that is not logged.
            for key in batch:
                transaction.observe(key)
            return
        if results:
            sqlite_bulk.take_results(transaction, results)
        if runs:
            sqlite_bulk.take_runs(transaction, runs)

    return take


def known_stamp(connection: sqlite3.Connection, key: Key) -> str | None:
    """The stamp that the row of a document carries."""
    row = connection.execute(
        f"SELECT stamp FROM {TABLE[key.kind]} WHERE id = ?",  # noqa: S608 - our tables
        (key.id,),
    ).fetchone()
    return None if row is None else str(row[0])


def unknown(connection: sqlite3.Connection, entries: Sequence[Entry]) -> list[Key]:
    """Those listed that are new or changed; unreadable ones only if they have changed, too."""
    found: list[Key] = []
    for key, stamp in entries:
        if known_stamp(connection, key) == stamp:
            continue
        broken = connection.execute(
            "SELECT 1 FROM unreadable WHERE kind = ? AND id = ? AND stamp = ?", (*key, stamp)
        ).fetchone()
        if broken is None:
            found.append(key)
    return found


def newest(connection: sqlite3.Connection, kind: Kind, now: datetime) -> str | None:
    """The greatest id that tells a time until `now`."""
    rows = connection.execute(
        f"SELECT id FROM {TABLE[kind]} WHERE id < ? ORDER BY id DESC",  # noqa: S608 - our tables
        (new_id(now),),
    )
    return next((row[0] for row in rows if id_time(row[0]) is not None), None)


def _in_order(
    connection: sqlite3.Connection, kind: Kind, listing: Iterable[Entry]
) -> Generator[list[Key]]:
    """The documents listed, by id: time for most, so that every tree grows at its end."""
    with (
        _seen(connection, listing),
        closing(connection.execute("SELECT id FROM seen ORDER BY id")) as cursor,
    ):
        while rows := cursor.fetchmany(BATCH):
            yield [Key(kind, row[0]) for row in rows]


@contextmanager
def _seen(connection: sqlite3.Connection, listing: Iterable[Entry]) -> Iterator[None]:
    """The listing as a table `seen`: compared in C, it neither fills memory nor holds the GIL."""
    connection.execute(
        "CREATE TEMP TABLE seen (id TEXT PRIMARY KEY, stamp TEXT NOT NULL) WITHOUT ROWID"
    )
    try:
        entries = iter(listing)
        while batch := [(entry.key.id, entry.stamp) for entry in islice(entries, 1_000)]:
            connection.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", batch)
        yield
    finally:
        connection.execute("DROP TABLE seen")


def compare(
    connection: sqlite3.Connection,
    kind: Kind,
    listing: Iterable[Entry],
    started: int,
    now: Callable[[], int],
) -> list[str]:
    """Ids of documents that are new, changed, or missing from a listing begun at `started`.

    A row noticed later than now is one from before the clock went back: it is old.
    """
    table = TABLE[kind]
    with _seen(connection, listing):
        found = connection.execute(
            f"SELECT s.id FROM seen s LEFT JOIN {table} d ON d.id = s.id"  # noqa: S608 - ours
            " WHERE d.stamp IS NOT s.stamp AND NOT EXISTS (SELECT 1 FROM unreadable u"
            "  WHERE u.kind = ?1 AND u.id = s.id AND u.stamp = s.stamp)"
            f" UNION SELECT id FROM {table} WHERE (noticed_at < ?2 OR noticed_at > ?3)"
            "  AND id NOT IN (SELECT id FROM seen)"
            " UNION SELECT id FROM unreadable WHERE kind = ?1 AND id NOT IN (SELECT id FROM seen)",
            (kind, started, now()),
        )
        return [row[0] for row in found]
