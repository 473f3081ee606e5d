"""Filling a new index: rows in batches, without a log, as little as possible under the GIL."""

from __future__ import annotations

import json
from collections.abc import Sequence

from asgard_server.store.rows import ResultValues, RunValues, spelt
from asgard_server.store.sqlite_places import free_places, insert_rows
from asgard_server.store.sqlite_readers import rows_of
from asgard_server.store.sqlite_schema import new_epoch
from asgard_server.store.sqlite_transaction import Transaction


def take_results(transaction: Transaction, values: Sequence[ResultValues]) -> None:
    """Write rows of those results that have none yet, without logging them."""
    transaction.insert_results(values, "IGNORE")
    transaction.connection.execute(
        "UPDATE runs SET"
        " result_count = (SELECT count(*) FROM results WHERE run_id = runs.id),"
        " changed_at = max(changed_at,"
        " (SELECT coalesce(max(changed_at), 0) FROM results WHERE run_id = runs.id))"
        " WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(list({one.run_id for one in values})),),
    )


def take_runs(transaction: Transaction, values: Sequence[RunValues]) -> None:
    """Write rows of those runs that have none yet, without logging them."""
    connection = transaction.connection
    known = {
        row[0]
        for row in connection.execute(
            "SELECT id FROM runs WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps([one.id for one in values]),),
        )
    }
    new = list({one.id: one for one in values if one.id not in known}.values())
    places = free_places(connection, new)
    connection.executemany(
        "INSERT INTO runs SELECT ?1, ?2, ?3, ?4, count(*), max(?5, coalesce(max(changed_at), 0)),"
        " ?6, ?7, ?8, ?9, ?10 FROM results WHERE run_id = ?2",
        [
            (
                place,
                one.id,
                one.sorted_at,
                one.created_at,
                one.modified_at,
                transaction.now,
                one.digest,
                one.stamp,
                spelt(one.readers),
                one.document,
            )
            for place, one in zip(places, new, strict=True)
        ],
    )
    insert_rows(connection, "run_readers", [row for one in new for row in rows_of(one)])
    connection.executemany(
        "INSERT INTO texts VALUES (?, ?)",
        [(place, one.text) for place, one in zip(places, new, strict=True)],
    )
    # One statement: it runs without the interpreter's lock while the next are being read.
    connection.execute(
        "INSERT INTO words (rowid, text) SELECT place, text FROM texts"
        " WHERE place IN (SELECT value FROM json_each(?)) ORDER BY place",
        (json.dumps(places),),
    )
    transaction.more_runs += len(new)


def end_building(transaction: Transaction, epoch: str) -> None:
    """Say that the index knows all documents, under a new epoch.

    Unless it is no longer the index of `epoch`: somebody else was faster, or it was thrown
    away and is another one now.
    """
    if is_epoch(transaction, epoch):
        transaction.connection.execute("UPDATE meta SET value = 'whole' WHERE key = 'state'")
        transaction.connection.execute(
            "UPDATE meta SET value = ? WHERE key = 'epoch'", (new_epoch(),)
        )
        transaction.connection.execute("INSERT INTO words (words, rank) VALUES ('automerge', 4)")


def is_epoch(transaction: Transaction, epoch: str) -> bool:
    """Whether the index is still at `epoch`."""
    row = transaction.connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    return bool(row == (epoch,))
