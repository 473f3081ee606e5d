"""New assets of one replica, many in one transaction of PostgreSQL.

One by one each would be two dozen round trips, and hold the head of the log, which all wait for,
through the last of them. What callers ask for at once is five: BEGIN, the versions of names, what
"latest" points at, all rows, COMMIT. What this way does not know (an id that is taken, an output of
an experiment, large content) goes alone, as on SQLite, and is told there what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from gimle.asgard.core.errors import AsgardError, StorageFullError, StorageUnavailableError
from gimle.asgard.core.ids import new_id

from asgard_server.access.domain import OWN, VISIBILITY, broadcast, visibility_of
from asgard_server.asset.domain import Asset
from asgard_server.asset.wishes import Asked
from asgard_server.auth.principal import Principal
from asgard_server.rpc import requests
from asgard_server.store.blob_rows import micros
from asgard_server.store.gathering import COMPANY_S, Gathering
from asgard_server.store.sql import asset_log, asset_owning, asset_rows, asset_texts, audit
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.asset_series import LATEST
from asgard_server.store.sql.session import Database, Row, Session

# What has more is not kept waiting for others, nor they for it.
SMALL = 32_768

# Rows of names are locked in their order, and only where there is something to be made.
_NUMBER = """
WITH given AS MATERIALIZED (
  SELECT * FROM unnest(?::text[], ?::text[], ?::text[], ?::text[])
    AS g (id, series_id, scope_id, name)
), free AS MATERIALIZED (
  SELECT * FROM given
   WHERE NOT EXISTS (SELECT FROM assets WHERE assets.id = given.id)
     AND NOT EXISTS (
       SELECT FROM deleted_ids AS gone WHERE gone.object_kind = 'asset' AND gone.id = given.id)
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
SELECT pointing.series_id, pointing.asset_id, readers.principal
  FROM asset_aliases AS pointing
  LEFT JOIN readers
    ON readers.object_kind = 'asset' AND readers.object_id = pointing.asset_id
 WHERE pointing.series_id = ANY(?::text[]) AND pointing.alias = ?
 ORDER BY readers.principal
"""
_NUMBERS = frozenset(
    {"created_at", "updated_at", "size_bytes", "ready_at", "abandoned_at", "variation", "run"}
    | {"version", "deprecated_at", "invalidated_at"}
)


def _rows(*types: str) -> str:
    """A table of what is given by columns."""
    return f"unnest({', '.join(f'?::{each}[]' for each in types)})"


_OF_ASSETS = ("bigint" if each in _NUMBERS else "text" for each in asset_rows.COLUMNS)
# The head of the log comes last: whoever has it waits for nothing but the end of the transaction.
_ADD = f"""
WITH made AS (
  INSERT INTO assets ({", ".join(asset_rows.COLUMNS)})
  SELECT * FROM {_rows(*_OF_ASSETS)} RETURNING 1
), kept AS (
  INSERT INTO asset_contents (asset_id, body) SELECT * FROM {_rows("text", "bytea")} RETURNING 1
), searched AS (
  INSERT INTO asset_texts (asset_id, name, asset_type, content, metadata, words)
  SELECT id, name, asset_type, content, metadata, words::tsvector
    FROM {_rows(*["text"] * 6)} AS t (id, name, asset_type, content, metadata, words) RETURNING 1
), granted AS (
  INSERT INTO grants
    (object_id, principal, action, source, granted_by, granted_at, object_kind)
  SELECT *, 'asset' FROM {_rows(*["text"] * 5, "bigint")} RETURNING 1
), reading AS (
  INSERT INTO readers (object_id, principal, created_at, object_kind)
  SELECT *, 'asset' FROM {_rows("text", "text", "bigint")} RETURNING 1
), pointed AS (
  INSERT INTO asset_aliases (series_id, asset_id, alias)
  SELECT *, '{LATEST}' FROM {_rows("text", "text")}
  ON CONFLICT (series_id, alias) DO UPDATE SET asset_id = excluded.asset_id RETURNING 1
), history AS (
  INSERT INTO asset_alias_history (series_id, asset_id, set_by, set_at, alias)
  SELECT *, '{LATEST}' FROM {_rows("text", "text", "text", "bigint")} RETURNING 1
), noted AS (
  INSERT INTO audit ({audit.WRITTEN}) SELECT * FROM {_rows("bigint", *["text"] * 8)} RETURNING 1
), moved AS (
  UPDATE asset_log_head SET revision = revision + cardinality(?::text[])
   WHERE (SELECT count(*) FROM made) + (SELECT count(*) FROM kept)
    + (SELECT count(*) FROM searched) + (SELECT count(*) FROM granted)
    + (SELECT count(*) FROM reading) + (SELECT count(*) FROM pointed)
    + (SELECT count(*) FROM history) + (SELECT count(*) FROM noted) >= 0
  RETURNING revision
)
{asset_log.LOGGED}
"""  # noqa: S608 - ours


class _Job(NamedTuple):
    """What somebody asks for, and in which request."""

    asked: Asked
    by: Principal
    request_id: str


@dataclass(frozen=True, slots=True)
class _New:
    """An asset that is to be made, and who reads it beside its maker."""

    job: _Job
    asset: Asset
    broadcast: str | None

    @property
    def at(self) -> int:
        return micros(self.asset.created_at)

    @property
    def readers(self) -> list[str]:
        return sorted({self.job.by.sub, self.broadcast or self.job.by.sub})

    @property
    def is_latest(self) -> bool:
        """Whether "latest" points at it: of a name whose row is locked it is the newest."""
        return self.asset.series_id is not None and self.asset.state == "ready"


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
    wanted: dict[int, _New] = {}
    taken: set[object] = set()
    for place, job in enumerate(jobs):
        new = await _new(session, job)
        if new is None:
            continue
        keys = {new.asset.id, (new.asset.scope_id, new.asset.name or new.asset.id)}
        if keys.isdisjoint(taken):  # the second of one id, or of one name, comes after the first
            taken |= keys
            wanted[place] = new
    numbers = await _numbered(session, [each.asset for each in wanted.values()])
    made = {
        place: replace(
            new, asset=replace(new.asset, series_id=numbers[id][0], version=numbers[id][1])
        )
        for place, new in wanted.items()
        if (id := new.asset.id) in numbers
    }
    if made:
        pointed_at = await _pointed_at(session, made.values())
        await _add(session, sorted(made.values(), key=lambda each: each.asset.id), pointed_at)
    return {
        place: replace(new.asset, aliases=(LATEST,)) if new.is_latest else new.asset
        for place, new in made.items()
    }


async def _new(session: Session, job: _Job) -> _New | None:
    """Whose it becomes, and who reads it; None where it cannot be, and the way alone says why."""
    try:
        owner = await asset_owning.owner_of(session, job.asked, job.by)
        visibility = visibility_of(job.asked.visibility, "private")
        readers = broadcast(visibility, owner)
    except AsgardError:
        return None
    asset = replace(
        job.asked.asset,
        organization_id=owner.organization_id,
        team_id=owner.team_id,
        visibility=visibility,
    )
    return _New(job, asset, readers)


async def _numbered(
    session: Session, assets: Sequence[Asset]
) -> dict[str, tuple[str | None, int | None]]:
    """Of those whose id is free: their name's row, which is locked from here on, and version."""
    given = [(each.id, new_id(each.created_at), each.scope_id, each.name) for each in assets]
    return {row[0]: (row[1], row[2]) for row in await session.all(_NUMBER, *_columns(given, 4))}


async def _pointed_at(session: Session, made: Iterable[_New]) -> dict[str, Change]:
    """The assets that "latest" points at no more, by their names' rows."""
    moving = [
        each.asset.series_id for each in made if each.is_latest and (each.asset.version or 0) > 1
    ]
    if not moving:
        return {}
    readers: dict[tuple[str, str], list[str]] = {}
    for series_id, asset_id, principal in await session.all(_POINTED_AT, moving, LATEST):
        each = readers.setdefault((series_id, asset_id), [])
        if principal is not None:
            each.append(principal)
    return {series: Change("asset", id, who, who) for (series, id), who in readers.items()}


async def _add(session: Session, made: Sequence[_New], pointed_at: Mapping[str, Change]) -> None:
    latest = [each for each in made if each.is_latest]
    changes: list[Change] = []
    for each in made:
        changes.append(Change("asset", each.asset.id, (), each.readers))
        if each.is_latest and (before := pointed_at.get(each.asset.series_id or "")) is not None:
            changes.append(before)
    await session.run(
        _ADD,
        *_columns([asset_rows.row_of(each.asset) for each in made], len(asset_rows.COLUMNS)),
        *_columns([row for each in made for row in _content(each)], 2),
        *_columns([asset_texts.row_of(each.asset, each.job.asked.text) for each in made], 6),
        *_columns([row for each in made for row in _grants(each)], 6),
        *_columns([(each.asset.id, who, each.at) for each in made for who in each.readers], 3),
        *_columns([(each.asset.series_id, each.asset.id) for each in latest], 2),
        *_columns(
            [(each.asset.series_id, each.asset.id, each.job.by.sub, each.at) for each in latest], 4
        ),
        *_columns([_noted(each) for each in made], 9),
        *asset_log.columns(changes),
    )


def _content(new: _New) -> list[Row]:
    content = new.job.asked.content
    return [] if content is None else [(new.asset.id, content)]


def _grants(new: _New) -> list[Row]:
    by = new.job.by.sub
    own = (new.asset.id, by, "administer", OWN, by, new.at)
    if new.broadcast is None:
        return [own]
    return [own, (new.asset.id, new.broadcast, "read", VISIBILITY, by, new.at)]


def _noted(new: _New) -> Row:
    asset = new.asset
    return audit.row_of(
        new.job.by,
        "asset.create",
        "asset",
        asset.id,
        asset.organization_id,
        asset_rows.audited(asset),
        new.at,
        new.job.request_id,
    )


def _columns(rows: Sequence[Sequence[object]], width: int) -> list[list[Any]]:
    """Rows as PostgreSQL is given many of them: a list for each column."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * width
