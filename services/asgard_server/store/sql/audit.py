"""Who did what when to which: rows that are added and read, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from asgard_server.auth.principal import Principal
from asgard_server.rpc import requests
from asgard_server.store.sql.among import among
from asgard_server.store.sql.session import Row, Session

WRITTEN = (
    "at, principal, principal_kind, action, object_kind, object_id, organization_id,"
    " details_json, request_id"
)
COLUMNS = f"number, {WRITTEN}"
_INSERT = f"INSERT INTO audit ({WRITTEN})"


class Entry(NamedTuple):
    """That a principal did something; `at` in microseconds, `details_json` an object."""

    number: int
    at: int
    principal: str
    principal_kind: str
    action: str
    object_kind: str
    object_id: str
    organization_id: str | None
    details_json: str
    request_id: str


async def note(
    session: Session,
    principal: Principal,
    action: str,
    kind: str,
    id: str,
    organization_id: str | None,
    details: Mapping[str, Any],
    *,
    at: int | None = None,
) -> None:
    """Write down that a principal does something ("asset.move"), in the transaction that does it.

    `at`: microseconds, now when it is not given.
    """
    at = time.time_ns() // 1_000 if at is None else at
    row = row_of(principal, action, kind, id, organization_id, details, at, requests.current_id())
    await session.run(f"{_INSERT} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)


def row_of(
    principal: Principal,
    action: str,
    kind: str,
    id: str,
    organization_id: str | None,
    details: Mapping[str, Any],
    at: int,
    request_id: str,
) -> Row:
    """What is written down, in the order of `WRITTEN`."""
    who = (principal.sub, principal.kind)
    return (at, *who, action, kind, id, organization_id, _text(details), request_id)


async def note_assets(
    session: Session,
    principal: Principal,
    action: str,
    ids: Sequence[str],
    details: Mapping[str, Any],
    at: int,
) -> None:
    """Do as `note` for many assets, in one statement."""
    chosen, value = among(session, "id", ids)
    await session.run(
        f"{_INSERT} SELECT CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT),"  # noqa: S608 - ours
        " 'asset', id, organization_id, CAST(? AS TEXT), CAST(? AS TEXT)"
        f" FROM assets WHERE {chosen} ORDER BY id",
        *(at, principal.sub, principal.kind, action, _text(details), requests.current_id()),
        value,
    )


async def page(
    session: Session, behind: int | None, limit: int, where: str = "", values: tuple[Any, ...] = ()
) -> list[Entry]:
    """Entries, the newest first, those older than a number; `where` is a condition on the table."""
    conditions = [f"({where})"] if where else []
    if behind is not None:
        conditions.append("number < ?")
        values = (*values, behind)
    filtered = " WHERE " + " AND ".join(conditions) if conditions else ""
    rows = await session.all(
        f"SELECT {COLUMNS} FROM audit{filtered} ORDER BY number DESC LIMIT ?",  # noqa: S608 - ours
        *(*values, limit),
    )
    return [Entry(*row) for row in rows]


def _text(details: Mapping[str, Any]) -> str:
    return json.dumps(details, ensure_ascii=False, separators=(",", ":"))
