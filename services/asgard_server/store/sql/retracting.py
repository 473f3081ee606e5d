"""Invalidating assets: one, or all that an experiment or a variation has put out."""

from __future__ import annotations

from typing import NamedTuple

from asgard_server.auth.principal import Principal
from asgard_server.store.sql import audit
from asgard_server.store.sql.among import among
from asgard_server.store.sql.asset_log import Change, unchanged
from asgard_server.store.sql.session import Session


class Retracted(NamedTuple):
    """How many outputs a retraction has invalidated, now or before, and what is to be logged."""

    outputs: int
    changes: list[Change]


def retraction(experiment_id: str, variation: int | None = None) -> str:
    """What an invalidation says of the retraction that brought it."""
    if variation is None:
        return f"experiment:{experiment_id}"
    return f"variation:{experiment_id}/{variation}"


async def retract(
    session: Session,
    experiment_id: str,
    variation: int | None,
    reason: str,
    principal: Principal,
    at: int,
) -> Retracted:
    """Invalidate all outputs of an experiment, or of one of its variations, which is held.

    Those that somebody has invalidated before for a reason of their own keep it. A repeat replaces
    the reason of the others. `at` in microseconds.
    """
    brought = retraction(experiment_id, variation)
    ids = await _outputs(session, experiment_id, variation)
    if not ids:
        return Retracted(0, [])
    chosen, value = among(session, "id", ids)
    rows = await session.all(
        f"SELECT id FROM assets WHERE {chosen} AND (invalidated_at IS NULL"  # noqa: S608 - ours
        " OR (invalidated_with = ? AND invalidated_reason <> ?))"
        f" ORDER BY id{session.for_update}",
        *(value, brought, reason),
    )
    hit = [row[0] for row in rows]
    if hit:
        await invalidate(session, hit, reason, brought, principal, at)
    found = await session.value(
        f"SELECT count(*) FROM assets WHERE {chosen} AND invalidated_with = ?",  # noqa: S608 - ours
        *(value, brought),
    )
    return Retracted(found, await unchanged(session, hit))


async def _outputs(session: Session, experiment_id: str, variation: int | None) -> list[str]:
    of_one = "" if variation is None else " AND variation = ?"
    rows = await session.all(
        "SELECT DISTINCT asset_id FROM asset_links WHERE experiment_id = ?"  # noqa: S608 - ours
        f" AND direction = 'output'{of_one} ORDER BY asset_id",
        *(experiment_id, *(() if variation is None else (variation,))),
    )
    return [row[0] for row in rows]


async def invalidate(
    session: Session, ids: list[str], reason: str, brought: str, principal: Principal, at: int
) -> None:
    """Invalidate assets, which are held, by a retraction, with history and audit."""
    chosen, value = among(session, "id", ids)
    await session.run(
        "UPDATE assets SET invalidated_at = ?, invalidated_by = ?, invalidated_reason = ?,"  # noqa: S608 - ours
        f" invalidated_with = ?, updated_at = ? WHERE {chosen}",
        *(at, principal.sub, reason, brought, at, value),
    )
    await session.run(
        "INSERT INTO asset_flags (asset_id, flag, is_set, reason, set_by, set_at)"  # noqa: S608 - ours
        " SELECT id, 'invalidated', 1, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT)"
        f" FROM assets WHERE {chosen} ORDER BY id",
        *(reason, principal.sub, at, value),
    )
    details = {"reason": reason, "retraction": brought}
    await audit.note_assets(session, principal, "asset.invalidate", ids, details, at)
