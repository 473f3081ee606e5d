"""What a caller may read, as a page of a list and as a condition of any other question.

A page is the merge of the newest of each of the caller's principals (docs/protocols.md 13): a
few seeks in an index, wherever in time the readable ones lie. Of a caller with many principals
only those can have a part in the page whose newest object is among the newest of all; one seek
for each tells which these are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from asgard_server.access.domain import Kind
from asgard_server.auth.principal import Principal
from asgard_server.store.sql.among import among
from asgard_server.store.sql.session import Session

TABLES: dict[Kind, str] = {"asset": "assets", "experiment": "experiments"}

# Seeks in one statement: PostgreSQL plans more of them slowly, SQLite refuses 500.
_SEEKS = 64

# Of many principals so many tell how far back a page reaches, with this much more than it needs;
# where more than `_RECENT` lies there, they told wrong.
_SAMPLE = 64
_MORE = 2.5
_RECENT = 2_000

Position = tuple[int, str]
"""An object's created_at and id, by which lists are ordered."""


def readable(
    session: Session, kind: Kind, column: str, principal: Principal
) -> tuple[str, tuple[object, ...]]:
    """A condition that the caller may read the object whose id is in a column, and its values."""
    if principal.sees_everything:
        return "TRUE", ()
    # From the object's few readers to the caller's principals, never the other way round.
    mine = "+r.principal" if session.engine == "sqlite" else "r.principal"
    chosen, keys = among(session, mine, principal.keys)
    condition = (
        f"EXISTS (SELECT 1 FROM readers AS r WHERE r.object_kind = ? AND r.object_id = {column}"  # noqa: S608 - ours
        f" AND {chosen})"
    )
    return condition, (kind, keys)


async def page(
    session: Session,
    kind: Kind,
    principal: Principal,
    behind: Position | None,
    limit: int,
    where: str = "",
    values: Iterable[object] = (),
    *,
    narrow: bool = False,
) -> list[Position]:
    """What a caller may read, newest first, of what lies behind a position.

    `where` is a condition on the object's table, called `o`, `values` those of its placeholders.
    `narrow`: few objects fulfil it, and an index of the table finds them.
    """
    seek = _Seek(kind, where, tuple(values), behind)
    if narrow or principal.sees_everything:
        return await _among_all(session, seek, principal, limit)
    keys = list(principal.keys)
    if len(keys) > _SEEKS:
        if session.engine == "postgres":
            found = None if where else await _recent(session, seek, keys, limit)
            return await _led(session, seek, keys, limit) if found is None else found
        keys = await _leading(session, seek, keys, limit)
    merged: set[Position] = set()
    for first in range(0, len(keys), _SEEKS):
        merged.update(await _merged(session, seek, keys[first : first + _SEEKS], limit))
    return sorted(merged, reverse=True)[:limit]


class _Seek:
    """The objects that one principal may read, newest first, in an index."""

    def __init__(
        self, kind: Kind, where: str, values: tuple[object, ...], behind: Position | None
    ) -> None:
        self.kind = kind
        self.where = f"({where})" if where else "TRUE"
        self.values = values
        self.behind = behind
        # The readers come first, in their order: CROSS JOIN says so to SQLite.
        objects = f" CROSS JOIN {TABLES[kind]} AS o" if where else ""
        self.tables = f"readers AS r{objects}"
        self.joined = f"o.id = r.object_id AND {self.where}" if where else "TRUE"

    def statement(self, principal: str, columns: str, limit: str = "?") -> str:
        """The seek of the principal that a text says, a placeholder or a column."""
        further = "" if self.behind is None else " AND (r.created_at, r.object_id) < (?, ?)"
        return (
            f"SELECT {columns} FROM {self.tables} WHERE r.object_kind = ?"  # noqa: S608 - ours
            f" AND r.principal = {principal}{further} AND {self.joined}"
            f" ORDER BY r.created_at DESC, r.object_id DESC LIMIT {limit}"
        )

    def bound(self, *principal: str) -> tuple[object, ...]:
        """The values of its placeholders, but for the limit."""
        return (self.kind, *principal, *(self.behind or ()), *self.values)


async def _merged(session: Session, seek: _Seek, keys: Sequence[str], limit: int) -> list[Position]:
    # As few statements as there are powers of two: nobody is called "", who costs next to nothing.
    padded = [*keys, *[""] * ((1 << (len(keys) - 1).bit_length()) - len(keys))] if keys else []
    if not padded:
        return []
    one = f"SELECT * FROM ({seek.statement('?', 'r.created_at, r.object_id')}) AS one"  # noqa: S608 - ours
    rows = await session.all(
        "SELECT DISTINCT created_at, object_id FROM ("  # noqa: S608 - ours
        f"{' UNION ALL '.join([one] * len(padded))}) AS merged"
        " ORDER BY created_at DESC, object_id DESC LIMIT ?",
        *(value for key in padded for value in (*seek.bound(key), limit)),
        limit,
    )
    return [(row[0], row[1]) for row in rows]


def _leaders(session: Session, seek: _Seek) -> str:
    """Those principals of many that can have a part in a page, as `leaders (value, since)`.

    Behind `limit` newest objects of different times there is no place for what is older than all
    of them, and so none for a principal whose newest is: a page has nothing from before `since`.
    """
    newest = seek.statement("one.value", "r.created_at", "1")
    sqlite = session.engine == "sqlite"
    many = "json_each(?) AS one" if sqlite else "unnest(?::text[]) AS one (value)"
    return (
        f"WITH heads AS MATERIALIZED (SELECT ({newest}) AS newest, one.value FROM {many}),"  # noqa: S608 - ours
        " times AS (SELECT DISTINCT newest FROM heads WHERE newest IS NOT NULL"
        " ORDER BY newest DESC LIMIT ?),"
        " bound AS (SELECT CASE WHEN count(*) < ? THEN 0 ELSE min(newest) END AS since FROM times),"
        " leaders AS (SELECT value, since FROM heads CROSS JOIN bound WHERE newest >= since)"
    )


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

    One scan that steps from principal to principal costs half of as many seeks. It answers None
    where too little or too much lies there: the newest of one principal may say nothing of others.
    """
    sample = keys[:_SAMPLE]
    newest = seek.statement("one.value", "r.created_at", "1")
    place = min(len(sample), math.ceil(_MORE * limit * len(sample) / len(keys)))
    further = "" if seek.behind is None else " AND (r.created_at, r.object_id) < (?, ?)"
    rows = await session.all(
        f"WITH heads AS MATERIALIZED (SELECT ({newest}) AS newest"  # noqa: S608 - ours
        " FROM unnest(?::text[]) AS one (value)),"
        " since AS (SELECT newest FROM heads WHERE newest IS NOT NULL"
        " ORDER BY newest DESC OFFSET ? LIMIT 1),"
        " recent AS MATERIALIZED (SELECT r.created_at, r.object_id FROM readers AS r"
        " WHERE r.object_kind = ? AND r.principal = ANY(?::text[])"
        f" AND r.created_at >= (SELECT newest FROM since){further} LIMIT ?)"
        " SELECT DISTINCT created_at, object_id, (SELECT count(*) FROM recent) FROM recent"
        " ORDER BY created_at DESC, object_id DESC LIMIT ?",
        *(*seek.bound(), sample, place - 1),
        *(seek.kind, keys, *(seek.behind or ()), _RECENT, limit),
    )
    if len(rows) < limit or rows[0][2] == _RECENT:
        return None
    return [(row[0], row[1]) for row in rows]


async def _led(session: Session, seek: _Seek, keys: Sequence[str], limit: int) -> list[Position]:
    """The merge of the leaders in the same statement, which PostgreSQL has words for."""
    newer = "leaders.value AND r.created_at >= leaders.since"
    one = seek.statement(newer, "r.created_at, r.object_id")
    rows = await session.all(
        f"{_leaders(session, seek)} SELECT DISTINCT one.created_at, one.object_id FROM leaders"  # noqa: S608 - ours
        f" CROSS JOIN LATERAL ({one}) AS one"
        " ORDER BY one.created_at DESC, one.object_id DESC LIMIT ?",
        *(*seek.bound(), keys, limit, limit, *seek.bound(), limit, limit),
    )
    return [(row[0], row[1]) for row in rows]


async def _among_all(
    session: Session, seek: _Seek, principal: Principal, limit: int
) -> list[Position]:
    """What fulfils the condition and the caller may read, asked for from the objects."""
    may, keys = readable(session, seek.kind, "o.id", principal)
    further = "" if seek.behind is None else " AND (o.created_at, o.id) < (?, ?)"
    rows = await session.all(
        f"SELECT o.created_at, o.id FROM {TABLES[seek.kind]} AS o WHERE {seek.where}{further}"  # noqa: S608 - ours
        f" AND {may} ORDER BY o.created_at DESC, o.id DESC LIMIT ?",
        *(*seek.values, *(seek.behind or ()), *keys, limit),
    )
    return [(row[0], row[1]) for row in rows]
