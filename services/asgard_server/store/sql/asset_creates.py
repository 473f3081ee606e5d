"""New assets of one replica, many in one transaction of PostgreSQL.

One by one each would be two dozen round trips, and hold the head of the log, which all wait for,
through the last of them. What callers ask for at once is five: BEGIN, the versions of names, what
"latest" points at, all rows, COMMIT. What this way does not know (an id that is taken, an output of
an experiment, large content) goes alone, as on SQLite, and is told there what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from gimle.asgard.core.errors import AsgardError, StorageFullError, StorageUnavailableError
from gimle.asgard.core.ids import new_id

from asgard_server.access.domain import Owner, Visibility, broadcast, visibility_of
from asgard_server.asset.domain import Asset
from asgard_server.asset.wishes import Asked
from asgard_server.auth.principal import Principal
from asgard_server.rpc import requests
from asgard_server.store.gathering import COMPANY_S, Gathering
from asgard_server.store.sql import asset_owning
from asgard_server.store.sql.asset_adding import New, add, columns
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.asset_series import LATEST
from asgard_server.store.sql.session import Database, Session

# What has more is not kept waiting for others, nor they for it.
SMALL = 32_768

# Rows of names are locked in their order, and only where there is something to be made. What is
# looked up is looked up for each row by itself: joined, it would be read as a whole by a plan that
# was made while there was little of it.
_NUMBER = """
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(?::text[], ?::text[], ?::text[], ?::text[])
    AS g (id, series_id, scope_id, name)
), free AS MATERIALIZED (
  SELECT * FROM given
   WHERE (SELECT 1 FROM assets WHERE assets.id = given.id) IS NULL
     AND (SELECT 1 FROM deleted_ids AS gone
           WHERE gone.object_kind = 'asset' AND gone.id = given.id) IS NULL
), numbered AS (
  INSERT INTO asset_series (id, scope_id, name, versions)
  SELECT series_id, scope_id, name, 1 FROM free WHERE name IS NOT NULL
   ORDER BY scope_id COLLATE "C", name COLLATE "C"
  ON CONFLICT (scope_id, name) DO UPDATE SET versions = asset_series.versions + 1
  RETURNING id, scope_id, name, versions
)
SELECT free.id, numbered.id, numbered.versions
  FROM free LEFT JOIN numbered USING (scope_id, name)
"""
# Nobody moves it any more: the rows of these names are locked.
_POINTED_AT = """
SELECT series_id, asset_id, ARRAY(
    SELECT principal FROM readers
     WHERE object_kind = 'asset' AND object_id = pointing.asset_id ORDER BY principal)
  FROM asset_aliases AS pointing WHERE series_id = ANY(?::text[]) AND alias = ?
"""


class _Job(NamedTuple):
    """What somebody asks for, and in which request."""

    asked: Asked
    by: Principal
    request_id: str


class _Whose(NamedTuple):
    """What can be made of a job: whose it becomes, and who reads it beside its maker."""

    job: _Job
    owner: Owner
    visibility: Visibility
    broadcast: str | None

    @property
    def id(self) -> str:
        return self.job.asked.asset.id

    @property
    def named(self) -> tuple[str, str | None]:
        """Whose name it has, and which."""
        asset = self.job.asked.asset
        return self.owner.scope or asset.created_by, asset.name


class AssetCreates:
    """Makes the assets of all who ask, in a transaction for those who ask together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: Gathering[_Job, Asset | None] = Gathering(
            self._serve, company_s=COMPANY_S, returning=True
        )

    async def ask(self, asked: Asked, by: Principal) -> Asset | None:
        """The asset that was made; None where it is to be tried alone, and nothing was made.

        Raises `StorageUnavailableError`, `StorageFullError`.
        """
        if not _fits(asked):
            return None
        return await self._jobs.ask(_Job(asked, by, requests.current_id()))

    async def _serve(self, jobs: Sequence[_Job]) -> Sequence[Asset | None]:
        try:
            made = await self._database.write(lambda session: _create(session, jobs))
        except (StorageUnavailableError, StorageFullError):
            raise
        except Exception:  # noqa: BLE001 - one has spoilt it for all, and alone it is told why
            return [None] * len(jobs)
        return [made.get(place) for place in range(len(jobs))]


def _fits(asked: Asked) -> bool:
    asset = asked.asset
    size = len(asked.content or b"") + len(asset.metadata_json or "")
    return asset.output_of is None and asset.kind != "components" and size <= SMALL


async def _create(session: Session, jobs: Sequence[_Job]) -> dict[int, Asset]:
    """What could be made together, by its place among the jobs."""
    wanted: dict[int, _Whose] = {}
    taken: set[object] = set()
    for place, job in enumerate(jobs):
        whose = await _whose(session, job)
        if whose is None:
            continue
        keys = {whose.id, whose.named if whose.named[1] is not None else whose.id}
        if keys.isdisjoint(taken):  # the second of one id, or of one name, comes after the first
            taken |= keys
            wanted[place] = whose
    numbers = await _numbered(session, wanted.values())
    assets = {
        place: _asset(whose, *numbers[whose.id])
        for place, whose in wanted.items()
        if whose.id in numbers
    }
    if assets:
        moved = await _moved(session, assets.values())
        new = [
            New(
                *(asset, whose.job.asked.content, whose.job.asked.text, whose.job.by),
                *(whose.broadcast, whose.job.request_id, moved.get(asset.series_id or "")),
            )
            for place, asset in assets.items()
            if (whose := wanted[place])
        ]
        await add(session, sorted(new, key=lambda each: each.asset.id))
    return assets


async def _whose(session: Session, job: _Job) -> _Whose | None:
    """Whose it becomes, and who reads it; None where it cannot be, and the way alone says why."""
    try:
        owner = await asset_owning.owner_of(session, job.asked, job.by)
        visibility = visibility_of(job.asked.visibility, "private")
        return _Whose(job, owner, visibility, broadcast(visibility, owner))
    except AsgardError:
        return None


def _asset(whose: _Whose, series_id: str | None, version: int | None) -> Asset:
    asset = whose.job.asked.asset
    # Its name's row is locked, so it is the newest of it.
    is_latest = series_id is not None and asset.state == "ready"
    return replace(
        asset,
        organization_id=whose.owner.organization_id,
        team_id=whose.owner.team_id,
        visibility=whose.visibility,
        series_id=series_id,
        version=version,
        aliases=(LATEST,) if is_latest else (),
    )


async def _numbered(
    session: Session, wanted: Collection[_Whose]
) -> dict[str, tuple[str | None, int | None]]:
    """Of those whose id is free: their name's row, which is locked from here on, and version."""
    given = [(each.id, new_id(each.job.asked.asset.created_at), *each.named) for each in wanted]
    return {row[0]: (row[1], row[2]) for row in await session.all(_NUMBER, *columns(given, 4))}


async def _moved(session: Session, assets: Iterable[Asset]) -> dict[str, Change]:
    """The changes of those that "latest" points at no more, by their names' rows."""
    moving = [each.series_id for each in assets if each.aliases and (each.version or 0) > 1]
    if not moving:
        return {}
    rows = await session.all(_POINTED_AT, moving, LATEST)
    return {series: Change("asset", id, readers, readers) for series, id, readers in rows}
