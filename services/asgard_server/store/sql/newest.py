"""Pages of what the principals of a caller may read, newest first (docs/protocols.md 13).

A page is the merge of the newest of each principal: a few seeks in an index, wherever in time the
readable ones lie. Of many principals only those can have a part in the page whose newest object is
among the newest of all; one seek for each tells which these are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from asgard_server.store.sql.session import Session

# Seeks in one statement: PostgreSQL plans more of them slowly, SQLite refuses 500.
_SEEKS = 64

# Of many principals so many tell how far back a page reaches, with this much more than it needs;
# where more than `_RECENT` lies there, they told wrong.
_SAMPLE = 64
_MORE = 2.5
_RECENT = 2_000

_EARLIEST = -(1 << 63)
# Nobody is called so.
_NOBODY = ""

Position = tuple[int, str]
"""An object's time, in microseconds, and its id, by which lists are ordered."""


class Shelf(NamedTuple):
    """Where objects lie that lists tell of, and who may read them."""

    readers: str
    """A table with a row for each object and each `principal` who may read it."""
    at: str
    """Its column of the object's time; also that of `objects`."""
    id: str
    """Its column of the object's id."""
    objects: str
    """The objects' own table, whose ids are in `id`."""
    kind: str = "TRUE"
    """A condition on the rows of `readers`, called `r`."""
    free: str = ""
    """A condition on those of `objects` that everybody may read, and of whom `readers` has no
    rows; they have an index of time and id of their own. Empty: there are none."""


async def page(
    session: Session,
    shelf: Shelf,
    principals: Iterable[str],
    behind: Position | None,
    limit: int,
    where: str = "",
    values: Iterable[object] = (),
) -> list[Position]:
    """What these principals may read, newest first, of what lies behind a position.

    `where` is a condition on the object's table, called `o`, `values` those of its placeholders.
    """
    seek = _Seek(shelf, where, tuple(values), behind)
    keys = list(principals)
    if len(keys) > _SEEKS:
        if session.engine == "postgres":
            found = None if where else await _recent(session, seek, keys, limit)
            return await _led(session, seek, keys, limit) if found is None else found
        keys = await _leading(session, seek, keys, limit)
    keys = keys or [_NOBODY]  # what everybody may read is asked for beside somebody's
    merged: set[Position] = set()
    for first in range(0, len(keys), _SEEKS):
        merged.update(await _merged(session, seek, keys[first : first + _SEEKS], limit))
    return sorted(merged, reverse=True)[:limit]


class _Seek:
    """The objects that one principal may read, newest first, in an index."""

    def __init__(
        self, shelf: Shelf, where: str, values: tuple[object, ...], behind: Position | None
    ) -> None:
        self._shelf = shelf
        self._where = f"({where})" if where else "TRUE"
        self._values = values
        self._behind = behind or ()
        # The readers come first, in their order: CROSS JOIN says so to SQLite.
        objects = f" CROSS JOIN {shelf.objects} AS o" if where else ""
        self._tables = f"{shelf.readers} AS r{objects}"
        self._joined = f"o.id = r.{shelf.id} AND {self._where}" if where else "TRUE"
        self.at = f"r.{shelf.at}"

    def statement(self, principal: str, limit: str = "?") -> str:
        """The seek of the principal that a text says, a placeholder or a column."""
        at, id, kind = self.at, f"r.{self._shelf.id}", self._shelf.kind
        further = f" AND ({at}, {id}) < (?, ?)" if self._behind else ""
        return (
            f"SELECT {at} AS at, {id} AS id FROM {self._tables} WHERE {kind}"  # noqa: S608 - ours
            f" AND r.principal = {principal}{further} AND {self._joined}"
            f" ORDER BY {at} DESC, {id} DESC LIMIT {limit}"
        )

    def bound(self, *principal: str) -> tuple[object, ...]:
        """The values of its placeholders, but for the limit."""
        return (*principal, *self._behind, *self._values)

    def beside(self, limit: int) -> tuple[str, tuple[object, ...]]:
        """What everybody may read, as a further part of a UNION ALL, and its values."""
        shelf = self._shelf
        if not shelf.free:
            return "", ()
        at = f"o.{shelf.at}"
        further = f" AND ({at}, o.id) < (?, ?)" if self._behind else ""
        statement = (
            f" UNION ALL SELECT * FROM (SELECT {at} AS at, o.id AS id FROM {shelf.objects} AS o"  # noqa: S608 - ours
            f" WHERE {shelf.free}{further} AND {self._where}"
            f" ORDER BY {at} DESC, o.id DESC LIMIT ?) AS of_all"
        )
        return statement, (*self._behind, *self._values, limit)


async def _merged(session: Session, seek: _Seek, keys: Sequence[str], limit: int) -> list[Position]:
    # As few statements as there are powers of two: to seek for nobody costs next to nothing.
    padded = [*keys, *[_NOBODY] * ((1 << (len(keys) - 1).bit_length()) - len(keys))]
    one = f"SELECT * FROM ({seek.statement('?')}) AS one"  # noqa: S608 - ours
    beside, values = seek.beside(limit)
    rows = await session.all(
        f"SELECT DISTINCT at, id FROM ({' UNION ALL '.join([one] * len(padded))}{beside})"  # noqa: S608 - ours
        " AS merged ORDER BY at DESC, id DESC LIMIT ?",
        *(value for key in padded for value in (*seek.bound(key), limit)),
        *(*values, limit),
    )
    return [(row[0], row[1]) for row in rows]


def _leaders(session: Session, seek: _Seek) -> str:
    """Those principals of many that can have a part in a page, as `leaders (value, since)`.

    Behind `limit` newest objects of different times there is no place for what is older than all
    of them, and so none for a principal whose newest is: a page has nothing from before `since`.
    """
    sqlite = session.engine == "sqlite"
    many = "json_each(?) AS one" if sqlite else "unnest(?::text[]) AS one (value)"
    return (
        f"WITH heads AS MATERIALIZED (SELECT ({_head(seek)}) AS newest, one.value FROM {many}),"  # noqa: S608 - ours
        " times AS (SELECT DISTINCT newest FROM heads WHERE newest IS NOT NULL"
        " ORDER BY newest DESC LIMIT ?),"
        f" bound AS (SELECT CASE WHEN count(*) < ? THEN {_EARLIEST} ELSE min(newest) END AS since"
        " FROM times),"
        " leaders AS (SELECT value, since FROM heads CROSS JOIN bound WHERE newest >= since)"
    )


def _head(seek: _Seek) -> str:
    """The time of the newest object of a principal, `one.value`."""
    return f"SELECT at FROM ({seek.statement('one.value', '1')}) AS head"  # noqa: S608 - ours


async def _leading(session: Session, seek: _Seek, keys: Sequence[str], limit: int) -> list[str]:
    """The leaders among these principals."""
    rows = await session.all(
        f"{_leaders(session, seek)} SELECT value FROM leaders",  # noqa: S608 - ours
        *(*seek.bound(), json.dumps(keys), limit, limit),
    )
    return [row[0] for row in rows]


async def _recent(
    session: Session, seek: _Seek, keys: Sequence[str], limit: int
) -> list[Position] | None:
    """The page, if all that lies behind a time that a sample of the principals tells is one.

    To look whether each has something there costs less than to find out who leads. It answers None
    where too little or too much lies there: the newest of one principal may say nothing of others.

    Principal by principal, in their order: `= ANY` of all of them is a condition that PostgreSQL
    tries on every row of the index, where it planned so while the table was small.
    """
    sample = keys[:_SAMPLE]
    place = min(len(sample), math.ceil(_MORE * limit * len(sample) / len(keys)))
    newer = f"one.value AND {seek.at} >= (SELECT newest FROM since)"  # noqa: S608 - ours
    beside, values = seek.beside(limit)
    rows = await session.all(
        f"WITH heads AS MATERIALIZED (SELECT ({_head(seek)}) AS newest"  # noqa: S608 - ours
        " FROM unnest(?::text[]) AS one (value)),"
        " since AS (SELECT newest FROM heads WHERE newest IS NOT NULL"
        " ORDER BY newest DESC OFFSET ? LIMIT 1),"
        " recent AS MATERIALIZED (SELECT theirs.at, theirs.id FROM unnest(?::text[]) AS one (value)"
        f" CROSS JOIN LATERAL ({seek.statement(newer)}) AS theirs LIMIT ?),"
        " own AS (SELECT DISTINCT at, id FROM recent ORDER BY at DESC, id DESC LIMIT ?)"
        " SELECT DISTINCT at, id, (SELECT count(*) FROM recent), (SELECT count(*) FROM own)"
        f" FROM (SELECT * FROM own{beside}) AS merged ORDER BY at DESC, id DESC LIMIT ?",
        *(*seek.bound(), sample, place - 1),
        *(keys, *seek.bound(), limit, _RECENT, limit, *values, limit),
    )
    if not rows or rows[0][2] == _RECENT or rows[0][3] < limit:
        return None
    return [(row[0], row[1]) for row in rows]


async def _led(session: Session, seek: _Seek, keys: Sequence[str], limit: int) -> list[Position]:
    """The merge of the leaders in the same statement, which PostgreSQL has words for."""
    newer = f"leaders.value AND {seek.at} >= leaders.since"
    beside, values = seek.beside(limit)
    rows = await session.all(
        f"{_leaders(session, seek)} SELECT DISTINCT at, id FROM (SELECT theirs.at, theirs.id"  # noqa: S608 - ours
        f" FROM leaders CROSS JOIN LATERAL ({seek.statement(newer)}) AS theirs{beside}) AS merged"
        " ORDER BY at DESC, id DESC LIMIT ?",
        *(*seek.bound(), keys, limit, limit, *seek.bound(), limit, *values, limit),
    )
    return [(row[0], row[1]) for row in rows]
