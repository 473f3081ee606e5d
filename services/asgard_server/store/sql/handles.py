"""What people call principals."""

from __future__ import annotations

from collections.abc import Iterable

from asgard_server.access.domain import EVERYONE
from asgard_server.store.sql.among import among
from asgard_server.store.sql.session import Session

_TABLES = (
    ("users", "sub", "handle", "@"),
    ("organizations", "id", "slug", "o/"),
    ("teams", "id", "slug", "t/"),
)


async def handles_of(session: Session, ids: Iterable[str]) -> dict[str, str]:
    """The handles of principals: "@alice", "o/acme", "t/ml-team", "everyone"; of those who have."""
    asked = sorted(set(ids))
    found = {each: each for each in asked if each == EVERYONE}
    for table, key, name, mark in _TABLES:
        chosen, values = among(session, key, asked)
        rows = await session.all(f"SELECT {key}, {name} FROM {table} WHERE {chosen}", values)  # noqa: S608 - ours
        found.update({row[0]: f"{mark}{row[1]}" for row in rows})
    return found
