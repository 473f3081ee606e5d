"""What a caller may read, as a page of a list and as a condition of any other question."""

from __future__ import annotations

from collections.abc import Iterable

from asgard_server.access.domain import Kind
from asgard_server.auth.principal import Principal
from asgard_server.store.sql import newest
from asgard_server.store.sql.among import among
from asgard_server.store.sql.newest import Position, Shelf
from asgard_server.store.sql.session import Session

TABLES: dict[Kind, str] = {"asset": "assets", "experiment": "experiments"}

# Who may read what, and where it lies.
_SHELVES: dict[Kind, Shelf] = {
    kind: Shelf("readers", "created_at", "object_id", objects, f"r.object_kind = '{kind}'")
    for kind, objects in TABLES.items()
}


def readable(
    session: Session, kind: Kind, column: str, principal: Principal, *, few: bool = False
) -> tuple[str, tuple[object, ...]]:
    """A condition that the caller may read the object whose id is in a column, and its values.

    `few`: it is asked of some thousand objects at most. Then PostgreSQL is to look at each of
    them, and never to go through all that the caller may read: for each object, where it planned
    so while there was little.
    """
    if principal.sees_everything:
        return "TRUE", ()
    # From the object's few readers to the caller's principals, never the other way round.
    mine, apart = "+r.principal" if session.engine == "sqlite" else "r.principal", ""
    if few and session.engine == "postgres":
        # No index begins with this, and what has an OFFSET is not made a join of.
        mine, apart = "(r.principal || '')", " OFFSET 0"
    chosen, keys = among(session, mine, principal.keys)
    condition = (
        f"EXISTS (SELECT 1 FROM readers AS r WHERE r.object_kind = ? AND r.object_id = {column}"  # noqa: S608 - ours
        f" AND {chosen}{apart})"
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
    if narrow or principal.sees_everything:
        return await _among_all(session, kind, principal, behind, limit, where, values)
    return await newest.page(session, _SHELVES[kind], principal.keys, behind, limit, where, values)


async def _among_all(
    session: Session,
    kind: Kind,
    principal: Principal,
    behind: Position | None,
    limit: int,
    where: str,
    values: Iterable[object],
) -> list[Position]:
    """What fulfils the condition and the caller may read, asked for from the objects."""
    may, keys = readable(session, kind, "o.id", principal)
    further = "" if behind is None else " AND (o.created_at, o.id) < (?, ?)"
    rows = await session.all(
        f"SELECT o.created_at, o.id FROM {TABLES[kind]} AS o WHERE ({where or 'TRUE'}){further}"  # noqa: S608 - ours
        f" AND {may} ORDER BY o.created_at DESC, o.id DESC LIMIT ?",
        *(*values, *(behind or ()), *keys, limit),
    )
    return [(row[0], row[1]) for row in rows]
