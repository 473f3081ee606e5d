"""What the assets of an experiment have of its grants, for all of them at once.

The same as a link does for its asset, in a handful of statements: an experiment may have ten
thousand outputs, and nobody else writes meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from asgard_server.access.domain import from_experiment
from asgard_server.store.sql.among import among
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.session import Session

# The grants that assets are to have of an experiment: all of its outputs, reading of its inputs.
_WANTED = (
    "SELECT DISTINCT l.asset_id, g.principal,"
    " CASE l.direction WHEN 'output' THEN g.action ELSE 'read' END AS action"
    " FROM asset_links AS l JOIN grants AS g ON g.object_kind = 'experiment'"
    " AND g.object_id = l.experiment_id"
    " WHERE l.experiment_id = ? AND (l.direction = 'output' OR l.propagate_acl = 1)"
)


async def inherit_all(session: Session, experiment_id: str, at: int) -> list[Change]:
    """Let all assets of an experiment, which is held, have what it grants now.

    Answers what is to be logged. `at` in microseconds.
    """
    source = from_experiment(experiment_id)
    linked = await _held(session, experiment_id)
    if not linked:
        return []
    gone = await session.all(
        "DELETE FROM grants WHERE object_kind = 'asset' AND source = ? AND NOT EXISTS"  # noqa: S608 - ours
        f" (SELECT 1 FROM ({_WANTED}) AS w WHERE w.asset_id = grants.object_id"
        " AND w.principal = grants.principal AND w.action = grants.action)"
        " RETURNING object_id",
        *(source, experiment_id),
    )
    come = await session.all(
        "INSERT INTO grants (object_kind, object_id, principal, action, source, granted_by,"  # noqa: S608 - ours
        f" granted_at) SELECT 'asset', w.asset_id, w.principal, w.action, {_text(session)},"
        f" {_text(session)}, {_number(session)} FROM ({_WANTED}) AS w WHERE true"
        " ON CONFLICT DO NOTHING RETURNING object_id",
        *(source, source, at, experiment_id),
    )
    changed = sorted({row[0] for row in (*gone, *come)})
    return await _reread(session, {each: linked[each] for each in changed if each in linked})


async def _held(session: Session, experiment_id: str) -> dict[str, int]:
    """Its assets by their ids, with their creation; nobody else changes them from here on."""
    rows = await session.all(
        "SELECT id, created_at FROM assets WHERE id IN (SELECT asset_id FROM asset_links"  # noqa: S608 - ours
        " WHERE experiment_id = ? AND (direction = 'output' OR propagate_acl = 1))"
        f" ORDER BY id{session.for_update}",
        experiment_id,
    )
    return dict(rows)


async def _reread(session: Session, assets: Mapping[str, int]) -> list[Change]:
    """Make the readers of assets of their grants."""
    before = await _principals(session, "readers", list(assets))
    after = await _principals(session, "grants", list(assets))
    lost = [(each, one) for each in assets for one in before[each] - after[each]]
    won = [(assets[each], each, one) for each in assets for one in after[each] - before[each]]
    await session.many(
        "DELETE FROM readers WHERE object_kind = 'asset' AND object_id = ? AND principal = ?", lost
    )
    await session.many(
        "INSERT INTO readers (object_kind, created_at, object_id, principal)"
        " VALUES ('asset', ?, ?, ?)",
        won,
    )
    return [Change("asset", each, sorted(before[each]), sorted(after[each])) for each in assets]


async def _principals(session: Session, table: str, ids: Sequence[str]) -> Mapping[str, set[str]]:
    chosen, values = among(session, "object_id", ids)
    rows = await session.all(
        f"SELECT DISTINCT object_id, principal FROM {table}"  # noqa: S608 - ours
        f" WHERE object_kind = 'asset' AND {chosen}",
        values,
    )
    found: dict[str, set[str]] = defaultdict(set)
    for asset_id, principal in rows:
        found[asset_id].add(principal)
    return found


def _text(session: Session) -> str:
    """A placeholder for a text that a statement selects, whose type nothing else tells."""
    return "?" if session.engine == "sqlite" else "?::text"


def _number(session: Session) -> str:
    return "?" if session.engine == "sqlite" else "?::bigint"
