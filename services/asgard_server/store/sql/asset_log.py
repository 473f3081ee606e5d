"""The change log of assets and experiments: which changed, and who could and can read it.

Its numbers are dense, and given by the last statements of a transaction (docs/protocols.md 9).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from asgard_server.access.domain import Kind
from asgard_server.asset.access_store import UNWRITTEN
from asgard_server.store.sql.principals import principals
from asgard_server.store.sql.session import Session

# Behind a part `moved` that has raised the head by as many, the first of what `columns` answers.
LOGGED = """
INSERT INTO asset_log
SELECT revision - cardinality(?::text[]) + place, kind, id, before, after FROM moved,
  unnest(?::text[], ?::text[], ?::text[], ?::text[])
  WITH ORDINALITY AS entry (kind, id, before, after, place)
"""
_POSTGRES = f"""
WITH moved AS (
  UPDATE asset_log_head SET revision = revision + cardinality(?::text[])
  RETURNING revision
)
{LOGGED}
"""  # noqa: S608 - ours
_SQLITE_HEAD = (
    "UPDATE asset_log_head SET revision = revision + ?,"
    " epoch = CASE epoch WHEN '' THEN lower(hex(randomblob(16))) ELSE epoch END"
    " RETURNING revision"
)


class Change(NamedTuple):
    """That an object changed: who could read it before, and who can now; sorted."""

    kind: Kind
    id: str
    before: Sequence[str]
    after: Sequence[str]


async def log_all(session: Session, changes: Sequence[Change]) -> None:
    """Write down that objects changed, in their order: the last statement of their transaction."""
    if not changes:
        return
    if session.engine == "postgres":
        await session.run(_POSTGRES, *columns(changes))
        return
    told = list(map(_row, changes))
    first = await move_head(session, len(told)) - len(told) + 1
    await session.many(
        "INSERT INTO asset_log VALUES (?, ?, ?, ?, ?)",
        [(first + place, *each) for place, each in enumerate(told)],
    )


def columns(changes: Sequence[Change]) -> tuple[list[str], ...]:
    """What PostgreSQL is given to raise the head and to log changes, one at least."""
    kinds, ids, before, after = map(list, zip(*map(_row, changes), strict=True))
    return ids, ids, kinds, ids, before, after


async def move_head(session: Session, count: int) -> int:
    """Give so many numbers away, in SQLite; answer the last of them."""
    revision: int = await session.value(_SQLITE_HEAD, count)
    return revision


async def unchanged(session: Session, ids: Sequence[str]) -> list[Change]:
    """What is to be logged of assets whose readers stay as they are, in the order of `ids`."""
    readers = await principals(session, "readers", "asset", ids)
    return [Change("asset", each, readers[each], readers[each]) for each in ids]


async def head(session: Session) -> tuple[str, int, int]:
    """The log's epoch, its newest revision, and the newest that is kept no more."""
    row = await session.one("SELECT epoch, revision, trimmed FROM asset_log_head")
    assert row is not None  # noqa: S101 - the migration has made it
    return row[0] or UNWRITTEN, row[1], row[2]


async def behind(session: Session, revision: int, limit: int) -> list[tuple[int, Change]]:
    """Entries that follow a revision."""
    rows = await session.all(
        "SELECT revision, object_kind, object_id, readers_before, readers_after FROM asset_log"
        " WHERE revision > ? ORDER BY revision LIMIT ?",
        *(revision, limit),
    )
    return [
        (row[0], Change(row[1], row[2], json.loads(row[3]), json.loads(row[4]))) for row in rows
    ]


async def trim(session: Session, keep: int) -> None:
    """Forget all but the newest entries."""
    _, revision, trimmed = await head(session)
    if (until := revision - keep) > trimmed:
        await session.run("DELETE FROM asset_log WHERE revision <= ?", until)
        await session.run("UPDATE asset_log_head SET trimmed = ?", until)


def _row(change: Change) -> tuple[str, str, str, str]:
    return change.kind, change.id, _list(change.before), _list(change.after)


def _list(principals: Sequence[str]) -> str:
    return json.dumps(list(principals), ensure_ascii=False, separators=(",", ":"))
