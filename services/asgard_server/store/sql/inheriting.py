"""What the assets of an experiment have of its grants, for all of them at once.

The same as a link does for its asset, in a handful of statements: an experiment may have ten
thousand outputs, and nobody else writes meanwhile. Of more, what is taken back goes in the
transaction that does so, and what is given comes behind it, a thousand at a time
(docs/protocols.md 13).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from gimle.asgard.core.errors import NotFoundError

from asgard_server.access.domain import from_experiment
from asgard_server.store.blob_rows import micros
from asgard_server.store.sql import access, outbox
from asgard_server.store.sql.among import among
from asgard_server.store.sql.asset_log import Change, log_all
from asgard_server.store.sql.principals import principals
from asgard_server.store.sql.session import Database, Session
from asgard_server.store.sql.taking_back import take_back, unwanted_of

# The grants that assets are to have of an experiment: all of its outputs, reading of its inputs.
_WANTED = (
    "SELECT DISTINCT l.asset_id, g.principal,"
    " CASE l.direction WHEN 'output' THEN g.action ELSE 'read' END AS action"
    " FROM asset_links AS l JOIN grants AS g ON g.object_kind = 'experiment'"
    " AND g.object_id = l.experiment_id"
    " WHERE l.experiment_id = ? AND (l.direction = 'output' OR l.propagate_acl = 1)"
)


_LINKED = (
    "SELECT asset_id FROM asset_links"
    " WHERE experiment_id = ? AND (direction = 'output' OR propagate_acl = 1)"
)

# Of more assets than this, what they are to have comes to them a little later.
WIDE = 10_000
_AT_ONCE = 1_000
WORD = "access.inherit"


async def inherit_all(session: Session, experiment_id: str, at: int) -> list[Change]:
    """Let all assets of an experiment, which is held, have what it grants now.

    Answers what is to be logged. `at` in microseconds. Of more than `WIDE` assets only what they
    are to lose is done, and logged: word is left that the rest gets what it is to have
    (`Inheritance`).
    """
    if await _is_wide(session, experiment_id):
        await outbox.leave(
            session, WORD, f"inherit/{experiment_id}", {"experiment_id": experiment_id}, at
        )
        await take_back(session, experiment_id)
        return []
    linked = await _held(session, await _linked(session, experiment_id))
    if not linked:
        return []
    changed = await _taken(session, experiment_id) | await _given(session, experiment_id, at)
    return await _reread(session, {each: linked[each] for each in sorted(changed & set(linked))})


class Inheritance:
    """Gives the assets of a wide experiment what it grants, some in each transaction.

    Each looks at what is granted by then, and does the same again without harm. `told` is called
    after each.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        told: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._clock = clock
        self._told = told

    async def give(self, body: Mapping[str, Any]) -> None:
        """Give all assets of an experiment, if it is still there, what they are to have."""
        experiment_id = body["experiment_id"]

        # What is linked from here on has what it is to have by its link.
        ids = await self._database.look(lambda session: _linked(session, experiment_id))
        for first in range(0, len(ids), _AT_ONCE):
            await self._some(experiment_id, ids[first : first + _AT_ONCE])
            await self._told()

    async def _some(self, experiment_id: str, ids: Sequence[str]) -> None:
        async def work(session: Session) -> None:
            with suppress(NotFoundError):
                await access.hold(session, "experiment", experiment_id)
                held = await _held(session, ids)
                changed = await _given(session, experiment_id, micros(self._clock()), ids)
                changes = await _reread(session, {each: held[each] for each in sorted(changed)})
                await log_all(session, changes)

        await self._database.write(work)


async def _is_wide(session: Session, experiment_id: str) -> bool:
    count: int = await session.value(
        f"SELECT count(*) FROM ({_LINKED} LIMIT ?) AS l",  # noqa: S608 - ours
        *(experiment_id, WIDE + 1),
    )
    return count > WIDE


async def _taken(session: Session, experiment_id: str) -> set[str]:
    """Remove what assets are not to have any more; answer which had something."""
    unwanted, values = await unwanted_of(session, experiment_id)
    rows = await session.all(
        f"DELETE FROM grants AS g WHERE {unwanted} RETURNING object_id",  # noqa: S608 - ours
        *values,
    )
    return {row[0] for row in rows}


async def _given(
    session: Session, experiment_id: str, at: int, some: Sequence[str] | None = None
) -> set[str]:
    """Add what assets, all unless some are named, are to have; answer which had it not."""
    source = from_experiment(experiment_id)
    chosen: str = "TRUE"
    ids: list[object] = []
    if some is not None:
        chosen, *ids = among(session, "l.asset_id", some)
    rows = await session.all(
        "INSERT INTO grants (object_kind, object_id, principal, action, source, granted_by,"  # noqa: S608 - ours
        f" granted_at) SELECT 'asset', w.asset_id, w.principal, w.action, {_text(session)},"
        f" {_text(session)}, {_number(session)} FROM ({_WANTED} AND {chosen}) AS w WHERE true"
        " ON CONFLICT DO NOTHING RETURNING object_id",
        *(source, source, at, experiment_id, *ids),
    )
    return {row[0] for row in rows}


async def _linked(session: Session, experiment_id: str) -> list[str]:
    """The ids of its assets, in order."""
    rows = await session.all(f"{_LINKED} ORDER BY asset_id", experiment_id)
    return list(dict.fromkeys(row[0] for row in rows))


async def _held(session: Session, ids: Sequence[str]) -> dict[str, int]:
    """Assets that are there, with their creation; nobody else changes them from here on."""
    chosen, values = among(session, "id", ids)
    rows = await session.all(
        f"SELECT id, created_at FROM assets WHERE {chosen} ORDER BY id{session.for_update}",  # noqa: S608 - ours
        values,
    )
    return dict(rows)


async def _reread(session: Session, assets: Mapping[str, int]) -> list[Change]:
    """Make the readers of assets of their grants."""
    before, after = (
        {id: set(named) for id, named in found.items()}
        for found in [
            await principals(session, "readers", "asset", assets),
            await principals(session, "grants", "asset", assets),
        ]
    )
    lost = [(assets[each], each, one) for each in assets for one in before[each] - after[each]]
    won = [(assets[each], each, one) for each in assets for one in after[each] - before[each]]
    # With its time: a principal may read very many, and by it the index knows which row it is.
    await session.many(
        "DELETE FROM readers WHERE object_kind = 'asset' AND created_at = ? AND object_id = ?"
        " AND principal = ?",
        lost,
    )
    await session.many(
        "INSERT INTO readers (object_kind, created_at, object_id, principal)"
        " VALUES ('asset', ?, ?, ?)",
        won,
    )
    return [Change("asset", each, sorted(before[each]), sorted(after[each])) for each in assets]


def _text(session: Session) -> str:
    """A placeholder for a text that a statement selects, whose type nothing else tells."""
    return "?" if session.engine == "sqlite" else "?::text"


def _number(session: Session) -> str:
    return "?" if session.engine == "sqlite" else "?::bigint"
