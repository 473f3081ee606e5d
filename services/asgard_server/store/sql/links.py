"""Links of assets to experiments and variations, as inputs and outputs, and what comes with them.

Whoever changes links holds the experiment, then the assets in the order of their ids. What changed
is answered as entries for the log, whose statement is the last of the transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gimle.asgard.core.asset_errors import AssetInvalidatedError, AssetStateError
from gimle.asgard.core.errors import NotFoundError

from asgard_server.access.domain import from_experiment, inherited
from asgard_server.auth.principal import Principal
from asgard_server.store.sql import access
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.session import Session

Direction = Literal["input", "output"]

# What stands for "the experiment itself" where a variation's number stands.
NO_VARIATION = -1

KINDS = ("experiment_input_assets", "variation_input_assets", "experiment_output_assets")
"""The kinds of links that are counted, as the answers call them."""

_COLUMNS = (
    "l.asset_id, l.direction, l.experiment_id, l.variation, l.run, l.allow_invalid,"
    " l.propagate_acl, l.linked_by, l.linked_at"
)


@dataclass(frozen=True, slots=True)
class Link:
    """That an asset goes into or came out of an experiment, a variation, or a run of it.

    `allow_invalid`: it was invalidated when it was linked, and linked all the same; when it is
    asked for, that it may be. `propagate_acl`: readers of the experiment read the input, too.
    `linked_at` in microseconds.
    """

    asset_id: str
    direction: Direction
    experiment_id: str
    variation: int | None = None
    run: int | None = None
    allow_invalid: bool = False
    propagate_acl: bool = False
    linked_by: str = ""
    linked_at: int = 0


class Linked(NamedTuple):
    """What came of linking: the link as it is now, whether it is new, what somebody should know,
    and what is to be logged of the asset.
    """

    link: Link
    added: bool
    warnings: tuple[str, ...]
    change: Change


class _Asset(NamedTuple):
    created_at: int
    state: str
    deprecated_reason: str | None
    deprecated_at: int | None
    invalidated_reason: str | None
    invalidated_at: int | None


async def link(session: Session, wish: Link, principal: Principal) -> Linked:
    """Link an asset, which the caller may read; a link that is there stays.

    The caller has been found to be allowed to change the experiment. Raises `NotFoundError` for an
    asset the caller may not read, and for one it does not administer when readers are to be
    propagated; `AssetStateError` for one that is not ready as an input, or abandoned;
    `AssetInvalidatedError`.
    """
    await access.hold(session, "experiment", wish.experiment_id)
    found = await _held(session, wish.asset_id)
    propagates = wish.propagate_acl and wish.direction == "input" and wish.variation is None
    needed: Any = "administer" if propagates else "read"
    await access.require(session, "asset", wish.asset_id, principal, needed)
    there = await _find(session, wish)
    if there is None:
        _check(wish, found)
    made = Link(
        asset_id=wish.asset_id,
        direction=wish.direction,
        experiment_id=wish.experiment_id,
        variation=wish.variation,
        run=wish.run,
        allow_invalid=found.invalidated_at is not None if there is None else there.allow_invalid,
        propagate_acl=propagates or (there is not None and there.propagate_acl),
        linked_by=wish.linked_by if there is None else there.linked_by,
        linked_at=wish.linked_at if there is None else there.linked_at,
    )
    await session.run(
        "INSERT INTO asset_links (asset_id, direction, experiment_id, variation, run,"
        " allow_invalid, propagate_acl, linked_by, linked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (asset_id, direction, experiment_id, variation)"
        " DO UPDATE SET propagate_acl = excluded.propagate_acl",
        *_row(made),
    )
    change = await _reinherit(session, wish.asset_id, wish.experiment_id, found.created_at, made)
    return Linked(made, there is None, _warnings(wish.asset_id, found), change)


async def unlink(
    session: Session,
    asset_id: str,
    direction: Direction,
    experiment_id: str,
    variation: int | None,
    at: int,
) -> Change | None:
    """Remove a link, and what came with it; None if there is none. Raises `NotFoundError`."""
    await access.hold(session, "experiment", experiment_id)
    created_at = await access.hold(session, "asset", asset_id)
    removed = await session.run(
        "DELETE FROM asset_links WHERE asset_id = ? AND direction = ? AND experiment_id = ?"
        " AND variation = ?",
        *(asset_id, direction, experiment_id, _number(variation)),
    )
    if not removed:
        return None
    gone = Link(asset_id, direction, experiment_id, variation, linked_at=at)
    return await _reinherit(session, asset_id, experiment_id, created_at, gone)


async def of_asset(session: Session, asset_id: str) -> list[Link]:
    """What an asset is linked to, the oldest link first."""
    rows = await session.all(
        f"SELECT {_COLUMNS} FROM asset_links AS l WHERE l.asset_id = ?"  # noqa: S608 - ours
        " ORDER BY l.linked_at, l.experiment_id, l.variation, l.direction",
        asset_id,
    )
    return [_link(row) for row in rows]


async def of_experiment(
    session: Session,
    experiment_id: str,
    direction: Direction,
    variation: int | None = None,
    *,
    all_variations: bool = False,
) -> list[Link]:
    """What is linked to an experiment itself, to one of its variations, or to any of them.

    In the order of time. Whether a caller may read these assets is not asked.
    """
    chosen, values = ("", ()) if all_variations else (" AND l.variation = ?", (_number(variation),))
    rows = await session.all(
        f"SELECT {_COLUMNS} FROM asset_links AS l WHERE l.experiment_id = ?"  # noqa: S608 - ours
        f" AND l.direction = ?{chosen} ORDER BY l.linked_at, l.asset_id, l.variation",
        *(experiment_id, direction, *values),
    )
    return [_link(row) for row in rows]


async def counts(session: Session, asset_id: str) -> dict[str, int]:
    """How many links of each kind keep an asset from being deleted.

    The output link of an abandoned asset does not.
    """
    rows = await session.all(
        "SELECT l.direction, l.variation < 0, count(*) FROM asset_links AS l"
        " JOIN assets AS a ON a.id = l.asset_id WHERE l.asset_id = ?"
        " AND NOT (l.direction = 'output' AND a.state = 'abandoned')"
        " GROUP BY l.direction, l.variation < 0",
        asset_id,
    )
    found = dict.fromkeys(KINDS, 0)
    for direction, of_itself, count in rows:
        inputs = KINDS[0] if of_itself else KINDS[1]
        found[inputs if direction == "input" else KINDS[2]] += count
    return found


async def forget(session: Session, asset_id: str) -> None:
    """Remove all links of an asset that is being deleted."""
    await session.run("DELETE FROM asset_links WHERE asset_id = ?", asset_id)


async def _reinherit(
    session: Session, asset_id: str, experiment_id: str, created_at: int, told: Link
) -> Change:
    row = await session.one(
        "SELECT coalesce(max(CASE direction WHEN 'output' THEN 1 ELSE 0 END), 0),"
        " coalesce(max(CASE direction WHEN 'input' THEN propagate_acl ELSE 0 END), 0)"
        " FROM asset_links WHERE asset_id = ? AND experiment_id = ?",
        *(asset_id, experiment_id),
    )
    as_output, as_input = row or (0, 0)
    held = await access.grants(session, "experiment", experiment_id)
    wanted = inherited(
        ((each.principal, each.action) for each in held),
        as_output=bool(as_output),
        as_input=bool(as_input),
    )
    source = from_experiment(experiment_id)
    by = told.linked_by or source
    await access.inherit(session, "asset", asset_id, source, wanted, by, told.linked_at)
    before, after = await access.regrant(session, "asset", asset_id, created_at)
    return Change("asset", asset_id, before, after)


async def _held(session: Session, asset_id: str) -> _Asset:
    row = await session.one(
        "SELECT created_at, state, deprecated_reason, deprecated_at, invalidated_reason,"  # noqa: S608 - ours
        f" invalidated_at FROM assets WHERE id = ?{session.for_update}",
        asset_id,
    )
    if row is None:
        raise NotFoundError("asset", asset_id)
    return _Asset(*row)


def _check(wish: Link, found: _Asset) -> None:
    if wish.direction == "input" and found.state != "ready":
        raise AssetStateError(wish.asset_id, found.state, "only a ready asset is an input")
    if found.state == "abandoned":
        raise AssetStateError(wish.asset_id, found.state, "link one that is pending or ready")
    if found.invalidated_at is not None and not wish.allow_invalid and wish.direction == "input":
        raise AssetInvalidatedError(wish.asset_id, found.invalidated_reason or "")


def _warnings(asset_id: str, found: _Asset) -> tuple[str, ...]:
    told = []
    if found.deprecated_at is not None:
        told.append(f"the asset {asset_id} is deprecated: {found.deprecated_reason}")
    if found.invalidated_at is not None:
        told.append(f"the asset {asset_id} is invalidated: {found.invalidated_reason}")
    return tuple(told)


async def _find(session: Session, wish: Link) -> Link | None:
    row = await session.one(
        f"SELECT {_COLUMNS} FROM asset_links AS l WHERE l.asset_id = ? AND l.direction = ?"  # noqa: S608 - ours
        " AND l.experiment_id = ? AND l.variation = ?",
        *(wish.asset_id, wish.direction, wish.experiment_id, _number(wish.variation)),
    )
    return None if row is None else _link(row)


def _link(row: tuple[Any, ...]) -> Link:
    asset_id, direction, experiment_id, variation, run, invalid, propagate, by, at = row
    number = None if variation == NO_VARIATION else variation
    return Link(
        asset_id, direction, experiment_id, number, run, bool(invalid), bool(propagate), by, at
    )


def _row(made: Link) -> tuple[object, ...]:
    return (
        *(made.asset_id, made.direction, made.experiment_id, _number(made.variation), made.run),
        *(int(made.allow_invalid), int(made.propagate_acl), made.linked_by, made.linked_at),
    )


def _number(variation: int | None) -> int:
    return NO_VARIATION if variation is None else variation
