"""Pages and counts of the runs that a caller may read, in PostgreSQL (docs/protocols.md 13)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any

from asgard_server.run.store import RunRow
from asgard_server.store.rows import RunValues, run_row
from asgard_server.store.sql import newest
from asgard_server.store.sql.newest import Position, Shelf
from asgard_server.store.sql.session import Session

OF_EVERYBODY = "readers IS NULL AND position('\"owner\"'::bytea IN document) = 0"
"""That a run is everybody's; as the release before writes a row, its document tells."""
_WORD = b'"owner"'

_RUNS = Shelf("asgard.run_readers", "sorted_at", "id", "asgard.runs", free=OF_EVERYBODY)
# Callers whose counts are remembered.
_CALLERS = 1_000


def told(run: RunValues) -> RunValues:
    """What is written of a run that is everybody's, but whose document says the word all the same:
    that everybody reads it.
    """
    if run.readers is None and _WORD in run.document:
        return run._replace(readers=("everyone",))
    return run


def is_untold(readers: Sequence[str] | None, document: bytes) -> bool:
    """Whether the release before has written a row, which says nothing of who may read the run."""
    return readers is None and _WORD in document


def condition(argument: int, run: str = "") -> str:
    """A condition that a row of runs is one of a caller's, whose principals are an argument."""
    of = f"{run}." if run else ""
    everybody = OF_EVERYBODY.replace("readers", f"{of}readers").replace(
        "IN document", f"IN {of}document"
    )
    return f"(({everybody}) OR {of}readers && ${argument}::text[])"


async def page(
    session: Session, by: Collection[str], behind: Position | None, limit: int
) -> list[Position]:
    """What these principals may read, newest first, of what lies behind a position."""
    return await newest.page(session, _RUNS, by, behind, limit)


async def rows_at(
    session: Session, columns: str, tables: str, places: Sequence[Position]
) -> list[RunRow]:
    """The rows of runs at these positions, in their order."""
    found = await session.all(
        f"SELECT {columns} FROM {tables} WHERE d.id = ANY(?::text[])",  # noqa: S608 - ours
        [run_id for _, run_id in places],
    )
    rows = {row[0]: run_row(row) for row in found}
    return [rows[run_id] for _, run_id in places if run_id in rows]


class Counts:
    """How many runs callers may read, counted again when something has changed."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[frozenset[str], int], tuple[str, int, int]] = OrderedDict()

    async def count(self, session: Session, by: frozenset[str], most: int) -> int:
        """How many runs these principals may read, counted up to `most`.

        In the transaction whose snapshot is counted: what changes a row moves the log with it.
        """
        head: Any = await session.one("SELECT epoch, revision, state FROM asgard.run_log_head")
        epoch, revision, state = head
        found = self._known.get((by, most))
        if found is not None and found[:2] == (epoch, revision):
            return found[2]
        total = await count(session, by, most)
        if state == "whole":  # while it is built, rows come without
            self._known[by, most] = (epoch, revision, total)
            self._known.move_to_end((by, most))
            if len(self._known) > _CALLERS:
                self._known.popitem(last=False)
        return total


async def count(session: Session, by: Collection[str], most: int) -> int:
    """How many runs these principals may read, counted up to `most`."""
    keys = sorted(by)
    # Principal by principal, as pages are (newest.py).
    row: Any = await session.one(
        f"SELECT (SELECT count(*) FROM (SELECT FROM asgard.runs WHERE {OF_EVERYBODY}"  # noqa: S608 - ours
        " LIMIT ?) AS of_all), count(*), coalesce(sum(times), 0) FROM (SELECT count(*) AS times"
        " FROM (SELECT theirs.id FROM unnest(?::text[]) AS one (value) CROSS JOIN LATERAL"
        " (SELECT id FROM asgard.run_readers WHERE principal = one.value LIMIT ?) AS theirs"
        " LIMIT ?) AS looked GROUP BY id) AS own",
        *(most, keys, most, 2 * most),
    )
    of_all, own, looked = row
    if looked == 2 * most and of_all + own < most:  # most of them are several principals' own
        own = await session.value(
            "SELECT count(DISTINCT theirs.id) FROM unnest(?::text[]) AS one (value) CROSS JOIN"
            " LATERAL (SELECT id FROM asgard.run_readers WHERE principal = one.value OFFSET 0)"
            " AS theirs",
            keys,
        )
    return int(min(of_all + own, most))
