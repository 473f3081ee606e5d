"""Pages of runs, newest first by (sorted_at, id), whole or those in which words occur.

A word of three letters or more is found by FTS5's trigram index, as a phrase of
trigrams, which is exactly "occurs as a substring". Shorter words, and those behind the
first dozen, are looked for in the texts of the newest candidates (LOOKED_AT). FTS5 walks
rowids downwards, and a run's rowid begins with its millisecond, so candidates come newest
first and a page costs what it shows; only runs of one millisecond are put in order by hand.
The latest runs are not in the trigram index yet; their texts are looked at, and the two are
merged.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Generator
from heapq import merge
from itertools import groupby
from typing import NamedTuple

from asgard_server.run.store import LOOKED_AT, RunRow
from asgard_server.store import sqlite_readers
from asgard_server.store.rows import RUN_COLUMNS, fold, run_row
from asgard_server.store.sqlite_places import PLACE_BITS, group_of

# A list says at most "10,000+".
COUNTED_TO = 10_001
_MOST_PHRASES = 12
_LONGEST_PHRASE = 64
_KNOWN_COUNTS = 64


class Search(NamedTuple):
    """Words to be found: all of them; as an FTS5 expression, empty for none; those it lacks."""

    words: tuple[str, ...]
    match: str
    unmatched: tuple[str, ...]


def parse(query: str) -> Search | None:
    """Split a query into its words; None when there is none, so that everything matches."""
    words = sorted(set(fold(query).split()), key=len, reverse=True)
    if not words:
        return None
    phrases = [word[:_LONGEST_PHRASE] for word in words[:_MOST_PHRASES] if len(word) >= 3]
    quoted = ['"' + phrase.replace('"', '""') + '"' for phrase in phrases]
    whole = sum(1 for phrase in phrases if len(phrase) < _LONGEST_PHRASE)
    # Longest first: those cut short come before those that the index answers entirely.
    cut = len(phrases) - whole
    unmatched = (*words[:cut], *words[len(phrases) :])
    return Search(tuple(words), " AND ".join(quoted), unmatched)


Principals = frozenset[str] | None
"""Who asks, as keys of readers; None for one who sees everything."""


class Counts:
    """How many runs match the latest searches, each as of a state of the index.

    Counting costs up to 5 ms where a page costs one; somebody who turns pages, or types, asks
    for the same count again and again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[
            tuple[Search | None, Principals], tuple[tuple[str, int, int], int]
        ] = OrderedDict()

    def of(
        self, connection: sqlite3.Connection, search: Search | None, by: Principals = None
    ) -> int:
        """Count what matches, up to COUNTED_TO, unless it is known and nothing has changed.

        Of what some may read, where they are named; without a search that is all of it.
        """
        asked = (search, by)
        state = connection.execute(
            "SELECT value, revision, runs FROM meta, log_head WHERE key = 'epoch'"
        ).fetchone()
        with self._lock:
            known = self._known.get(asked)
        if known is not None and known[0] == state:
            return known[1]
        if search is None:
            total = sqlite_readers.count(connection, by or (), COUNTED_TO)
        else:
            total = _count(connection, search, by)
        with self._lock:
            self._known[asked] = (state, total)
            self._known.move_to_end(asked)
            if len(self._known) > _KNOWN_COUNTS:
                self._known.popitem(last=False)
        return total


def list_runs(
    connection: sqlite3.Connection,
    counts: Counts,
    query: str,
    behind: tuple[int, str] | None,
    limit: int,
    by: Principals = None,
) -> tuple[list[RunRow], int]:
    """One page behind a position (sorted_at, id), and how many match in all.

    Only of what the principals `by` may read, unless it is None.
    """
    search = parse(query)
    if search is None:
        if by is None:
            return _everything(connection, behind, limit)
        return _readable(connection, counts, behind, limit, by)
    places = _page(connection, search, behind, limit, by)
    rows = {
        row[0]: run_row(row[1:])
        for row in connection.execute(
            f"SELECT place, {RUN_COLUMNS} FROM runs"  # noqa: S608 - our own column names
            f" WHERE place IN ({','.join('?' * len(places))})",
            places,
        )
    }
    complete = behind is None and len(places) < limit
    total = len(places) if complete else counts.of(connection, search, by)
    return [rows[place] for place in places], total


def _count(connection: sqlite3.Connection, search: Search, by: Principals) -> int:
    total = 0
    for source in _sources(connection, search, by):
        (found,) = connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {source.clause} LIMIT {COUNTED_TO})",  # noqa: S608 - ours
            source.arguments,
        ).fetchone()
        total += found
    return min(total, COUNTED_TO)


def _everything(
    connection: sqlite3.Connection, behind: tuple[int, str] | None, limit: int
) -> tuple[list[RunRow], int]:
    where = "" if behind is None else "WHERE (sorted_at, id) < (?, ?)"
    found = connection.execute(
        f"SELECT {RUN_COLUMNS} FROM runs {where}"  # noqa: S608 - our own words
        " ORDER BY sorted_at DESC, id DESC LIMIT ?",
        (*(behind or ()), limit),
    ).fetchall()
    (total,) = connection.execute("SELECT min(runs, ?) FROM log_head", (COUNTED_TO,)).fetchone()
    return [run_row(row) for row in found], total


def _readable(
    connection: sqlite3.Connection,
    counts: Counts,
    behind: tuple[int, str] | None,
    limit: int,
    by: frozenset[str],
) -> tuple[list[RunRow], int]:
    found = sqlite_readers.page(connection, by, behind, limit)
    ids = [run_id for _, run_id in found]
    rows = {
        row[0]: run_row(row)
        for row in connection.execute(
            f"SELECT {RUN_COLUMNS} FROM runs WHERE id IN ({','.join('?' * len(ids))})",  # noqa: S608 - ours
            ids,
        )
    }
    complete = behind is None and len(found) < limit
    total = len(found) if complete else counts.of(connection, None, by)
    return [rows[run_id] for run_id in ids], total


class _Source(NamedTuple):
    """Where some of the matching runs come from: their place, FROM and WHERE, its arguments."""

    place: str
    clause: str
    arguments: tuple[str, ...]


def _sources(connection: sqlite3.Connection, search: Search, by: Principals) -> list[_Source]:
    """Sources that together yield each matching run once, of those that `by` may read."""
    found = _all_sources(connection, search)
    if by is None:
        return found
    may = sqlite_readers.condition("r")
    return [
        one._replace(
            clause=f"{one.clause} AND EXISTS"  # noqa: S608 - ours
            f" (SELECT 1 FROM runs AS r WHERE r.place = {one.place} AND {may})",
            arguments=(*one.arguments, sqlite_readers.keys_of(by)),
        )
        for one in found
    ]


def _all_sources(connection: sqlite3.Connection, search: Search) -> list[_Source]:
    floor = _floor(connection, search)
    if not search.match:
        return [_looked_at("t.place", "texts t", search.words, floor)]
    late = _looked_at("t.place", "late l CROSS JOIN texts t ON t.place = l.place", search.words)
    matched = _Source("w.rowid", "words w WHERE w.words MATCH ?", (search.match,))
    if search.unmatched:
        joined = "words w CROSS JOIN texts t ON t.place = w.rowid"
        looked_at = _looked_at("w.rowid", joined, search.unmatched, floor)
        matched = looked_at._replace(
            clause=f"{looked_at.clause} AND w.words MATCH ?",
            arguments=(*looked_at.arguments, search.match),
        )
    return [matched, late]


def _floor(connection: sqlite3.Connection, search: Search) -> int | None:
    """The oldest place whose text is looked at for words that the index cannot answer."""
    if not search.unmatched:
        return None
    candidates = "FROM words WHERE words MATCH ? ORDER BY rowid"
    if not search.match:
        candidates = "FROM runs WHERE ? = '' ORDER BY sorted_at"
    found = connection.execute(
        f"SELECT rowid {candidates} DESC LIMIT 1 OFFSET ?",
        (search.match, LOOKED_AT - 1),
    ).fetchone()
    # Runs of one millisecond are in no order here: all of them are looked at.
    return found and int(found[0]) >> PLACE_BITS << PLACE_BITS


def _looked_at(
    place: str, tables: str, words: tuple[str, ...], floor: int | None = None
) -> _Source:
    conditions = " AND ".join(["instr(t.text, ?) > 0"] * len(words))
    if floor is not None:
        conditions += f" AND {place} >= {floor}"
    return _Source(place, f"{tables} WHERE {conditions}", words)


def _page(
    connection: sqlite3.Connection,
    search: Search,
    behind: tuple[int, str] | None,
    limit: int,
    by: Principals,
) -> list[int]:
    places: list[int] = []
    with contextlib.closing(_groups(connection, search, behind, by)) as groups:
        for group in groups:
            shown = [run for run in group if behind is None or run[:2] < behind]
            shown.sort(reverse=True)
            places.extend(place for _, _, place in shown)
            if len(places) >= limit:
                break
    return places[:limit]


def _groups(
    connection: sqlite3.Connection,
    search: Search,
    behind: tuple[int, str] | None,
    by: Principals,
) -> Generator[list[tuple[int, str, int]]]:
    """Matching runs (sorted_at, id, place), newest first, those of a millisecond together."""
    cursors = []
    for place, clause, arguments in _sources(connection, search, by):
        if behind is not None:
            clause += f" AND {place} < {(group_of(behind[0]) + 1) << PLACE_BITS}"
        cursors.append(
            connection.execute(
                f"SELECT {place} FROM {clause} ORDER BY {place} DESC",  # noqa: S608 - ours
                arguments,
            )
        )
    found = merge(*cursors, reverse=True)
    try:
        for _, members in groupby(found, key=lambda row: row[0] >> PLACE_BITS):
            yield [
                connection.execute(
                    "SELECT sorted_at, id, place FROM runs WHERE place = ?", member
                ).fetchone()
                for member in members
            ]
    finally:
        for cursor in cursors:
            cursor.close()
