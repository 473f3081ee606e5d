"""The principals that many objects name at once, in `readers` or in `grants`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from asgard_server.access.domain import Kind
from asgard_server.store.sql.session import Session


async def principals(
    session: Session, table: Literal["readers", "grants"], kind: Kind, ids: Iterable[str]
) -> dict[str, list[str]]:
    """Of each of these objects the principals, sorted; none of what is not there."""
    found: dict[str, list[str]] = {each: [] for each in ids}
    if not found:
        return found
    if session.engine == "sqlite":
        rows = await session.all(
            f"SELECT DISTINCT object_id, principal FROM {table} WHERE object_kind = ?"  # noqa: S608 - ours
            " AND object_id IN (SELECT value FROM json_each(?)) ORDER BY object_id, principal",
            *(kind, json.dumps(list(found))),
        )
    else:
        # Object by object: `= ANY` of all of them is a condition that PostgreSQL tries on every
        # row of the kind, where it planned so while the table was small.
        rows = await session.all(
            "SELECT DISTINCT its.object_id, its.principal FROM unnest(?::text[]) AS one (id)"  # noqa: S608 - ours
            f" CROSS JOIN LATERAL (SELECT object_id, principal FROM {table} WHERE object_kind = ?"
            " AND object_id = one.id OFFSET 0) AS its ORDER BY object_id, principal",
            *(list(found), kind),
        )
    for id, principal in rows:
        found[id].append(principal)
    return found
