"""Grants and readers of assets and experiments. What changes them holds the object's row.

`grants` is who may do what and why; `readers`, made of it in the same transaction, is what lists,
search, lineage and watches look at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gimle.asgard.core.access_errors import ForbiddenError, LastAdministratorError
from gimle.asgard.core.errors import NotFoundError

from asgard_server.access.domain import (
    ALL,
    OWN,
    READING,
    VISIBILITY,
    Action,
    Granted,
    Kind,
    allowed,
)
from asgard_server.auth.principal import Principal, RunScope
from asgard_server.store.sql.among import among
from asgard_server.store.sql.readable import TABLES, page, readable
from asgard_server.store.sql.session import Session

__all__ = [
    "Grant",
    "Readers",
    "actions",
    "broadcast",
    "forget",
    "grant",
    "grants",
    "hold",
    "inherit",
    "page",
    "readable",
    "readers",
    "regrant",
    "require",
    "revoke",
]

WORKING: frozenset[Action] = frozenset(("read", "write"))

Readers = tuple[str, ...]
"""The principals who may read something, sorted."""


class Grant(NamedTuple):
    """That a principal may do an action, why, and who said so when (microseconds)."""

    principal: str
    action: Action
    source: str
    granted_by: str
    granted_at: int


async def hold(session: Session, kind: Kind, id: str) -> int:
    """Keep others from changing an object until the transaction ends; answer its creation.

    Raises `NotFoundError`. Experiments are held before assets, and these in the order of their ids.
    """
    query = f"SELECT created_at FROM {TABLES[kind]} WHERE id = ?{session.for_update}"  # noqa: S608 - ours
    created_at: int | None = await session.value(query, id)
    if created_at is None:
        raise NotFoundError(kind, id)
    return created_at


async def grant(
    session: Session,
    kind: Kind,
    id: str,
    principal: str,
    action: Action,
    source: str,
    by: str,
    at: int,
) -> bool:
    """Let a principal do an action; answer whether that is new. `regrant` is due afterwards."""
    added = await session.run(
        "INSERT INTO grants (object_kind, object_id, principal, action, source, granted_by,"
        " granted_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        *(kind, id, principal, action, source, by, at),
    )
    return added == 1


async def revoke(
    session: Session, kind: Kind, id: str, principal: str, action: Action, source: str = OWN
) -> bool:
    """Take a grant back; answer whether it was there. `regrant` is due afterwards.

    Raises `LastAdministratorError` when nobody would administer the object by a grant of its own.
    """
    removed = await session.run(
        "DELETE FROM grants WHERE object_kind = ? AND object_id = ? AND principal = ?"
        " AND action = ? AND source = ?",
        *(kind, id, principal, action, source),
    )
    if removed and action == "administer" and source == OWN:
        left = await session.value(
            "SELECT count(*) FROM grants WHERE object_kind = ? AND object_id = ?"
            " AND action = 'administer' AND source = ?",
            *(kind, id, OWN),
        )
        if not left:
            raise LastAdministratorError(id, principal)
    return removed == 1


async def broadcast(
    session: Session, kind: Kind, id: str, principal: str | None, by: str, at: int
) -> None:
    """Let this principal, and no other, read by visibility. `regrant` is due afterwards."""
    await session.run(
        "DELETE FROM grants WHERE object_kind = ? AND object_id = ? AND source = ?",
        *(kind, id, VISIBILITY),
    )
    if principal is not None:
        await grant(session, kind, id, principal, "read", VISIBILITY, by, at)


async def inherit(
    session: Session, kind: Kind, id: str, source: str, wanted: Iterable[Granted], by: str, at: int
) -> bool:
    """Let the grants of one source be these; answer whether something changed.

    `regrant` is due afterwards.
    """
    rows = await session.all(
        "SELECT principal, action FROM grants WHERE object_kind = ? AND object_id = ?"
        " AND source = ?",
        *(kind, id, source),
    )
    before, after = {(row[0], row[1]) for row in rows}, set(wanted)
    for principal, action in sorted(before - after):
        await revoke(session, kind, id, principal, action, source)
    for principal, action in sorted(after - before):
        await grant(session, kind, id, principal, action, source, by, at)
    return before != after


async def grants(session: Session, kind: Kind, id: str) -> list[Grant]:
    """Who may do what with an object, in the order of principals."""
    rows = await session.all(
        "SELECT principal, action, source, granted_by, granted_at FROM grants"
        " WHERE object_kind = ? AND object_id = ? ORDER BY principal, action, source",
        *(kind, id),
    )
    return [Grant(*row) for row in rows]


async def readers(session: Session, kind: Kind, id: str) -> Readers:
    """Who may read an object."""
    rows = await session.all(
        "SELECT principal FROM readers WHERE object_kind = ? AND object_id = ? ORDER BY principal",
        *(kind, id),
    )
    return tuple(row[0] for row in rows)


async def regrant(
    session: Session, kind: Kind, id: str, created_at: int
) -> tuple[Readers, Readers]:
    """Make the readers of an object of its grants; answer who they were and who they are."""
    before = await readers(session, kind, id)
    rows = await session.all(
        "SELECT DISTINCT principal FROM grants WHERE object_kind = ? AND object_id = ?"
        " ORDER BY principal",
        *(kind, id),
    )
    after = tuple(row[0] for row in rows)
    if after != before:
        await _replace(session, kind, id, created_at, set(before), set(after))
    return before, after


async def forget(session: Session, kind: Kind, id: str) -> tuple[int, Readers]:
    """Remove all grants and readers of an object; answer how many grants, and who could read it."""
    before = await readers(session, kind, id)
    await session.run("DELETE FROM readers WHERE object_kind = ? AND object_id = ?", kind, id)
    gone = await session.run("DELETE FROM grants WHERE object_kind = ? AND object_id = ?", kind, id)
    return gone, before


async def actions(session: Session, kind: Kind, id: str, principal: Principal) -> frozenset[Action]:
    """What a caller may do with an object; nothing with one that is not there."""
    if principal.sees_everything:
        there = await session.value(f"SELECT 1 FROM {TABLES[kind]} WHERE id = ?", id)  # noqa: S608 - ours
        return ALL if there else frozenset()
    chosen, keys = among(session, "principal", principal.keys)
    rows = await session.all(
        f"SELECT DISTINCT action FROM grants WHERE object_kind = ? AND object_id = ? AND {chosen}",  # noqa: S608 - ours
        *(kind, id, keys),
    )
    may = allowed(row[0] for row in rows)
    if principal.run is None:
        return may
    return may & await _of_worker(session, kind, id, principal.run)


async def _of_worker(session: Session, kind: Kind, id: str, run: RunScope) -> frozenset[Action]:
    """What a worker's key is good for: reading, and changing what its own run makes."""
    if kind == "experiment":
        return WORKING if run.experiment_id == id else READING
    made_by = await session.one("SELECT experiment_id, variation, run FROM assets WHERE id = ?", id)
    return WORKING if made_by == (run.experiment_id, run.variation, run.run) else READING


async def require(
    session: Session, kind: Kind, id: str, principal: Principal, action: Action
) -> None:
    """Answer if a caller may do this.

    Raises `NotFoundError` for what the caller may not read, and where administering is asked for
    also for what the caller may read; else `ForbiddenError`. A worker's key gets that for whatever
    is not of its run.
    """
    judge(await actions(session, kind, id, principal), kind, id, principal, action)


def granted(session: Session, kind: Kind, column: str, who: Principal) -> tuple[str, list[object]]:
    """The actions that grants give a caller on the object whose id is in a column, as a column of
    texts with commas between them, and the values of its placeholders.
    """
    if who.sees_everything:
        return f"'{','.join(sorted(ALL))}'", []
    chosen, keys = among(session, "principal", who.keys)
    listed = "group_concat(DISTINCT action)"
    if session.engine == "postgres":
        listed = "string_agg(DISTINCT action, ',')"
    inside = f"SELECT {listed} FROM grants WHERE object_kind = ? AND object_id = {column}"  # noqa: S608 - ours
    return f"({inside} AND {chosen})", [kind, keys]


def judge(
    may: frozenset[Action], kind: Kind, id: str, principal: Principal, action: Action
) -> None:
    """Answer if an action is among what a caller may do; raise as `require` does if not."""
    if action in may:
        return
    if principal.run is not None and "read" in may:
        raise ForbiddenError("a worker's key changes what its own run makes, and nothing else")
    if "read" not in may or action == "administer":
        raise NotFoundError(kind, id)
    raise ForbiddenError(
        f"you may read the {kind} {id}, not {action} it; ask an administrator of it for {action}"
    )


async def _replace(
    session: Session, kind: Kind, id: str, created_at: int, before: set[str], after: set[str]
) -> None:
    if gone := before - after:
        chosen, keys = among(session, "principal", sorted(gone))
        await session.run(
            "DELETE FROM readers WHERE object_kind = ? AND created_at = ? AND object_id = ?"  # noqa: S608 - ours
            f" AND {chosen}",
            *(kind, created_at, id, keys),
        )
    await session.many(
        "INSERT INTO readers (object_kind, principal, created_at, object_id) VALUES (?, ?, ?, ?)",
        [(kind, each, created_at, id) for each in sorted(after - before)],
    )
