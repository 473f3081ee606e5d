"""New assets written to PostgreSQL, many by one statement: rows, texts, grants, audit, log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from asgard_server.access.domain import OWN, VISIBILITY
from asgard_server.asset.domain import Asset
from asgard_server.auth.principal import Principal
from asgard_server.store.blob_rows import micros
from asgard_server.store.sql import asset_log, asset_rows, asset_texts, audit
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.asset_series import LATEST
from asgard_server.store.sql.session import Row, Session

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


class New(NamedTuple):
    """An asset that is to be written, and what with it.

    `broadcast` reads it beside its maker `by`; `text` is searched; `moved` is the change of what
    its alias "latest" points at no more.
    """

    asset: Asset
    content: bytes | None
    text: str
    by: Principal
    broadcast: str | None
    request_id: str
    moved: Change | None = None

    @property
    def at(self) -> int:
        """When it is made, in microseconds."""
        return micros(self.asset.created_at)

    @property
    def readers(self) -> list[str]:
        """Who may read it, sorted."""
        return sorted({self.by.sub, self.broadcast or self.by.sub})


async def add(session: Session, new: Sequence[New]) -> None:
    """Write assets whose ids are free, in the order of these; those with an alias are the newest
    of their names, whose rows are locked. It is the last statement of its transaction.
    """
    latest = [each for each in new if each.asset.aliases]
    await session.run(
        _ADD,
        *columns([asset_rows.row_of(each.asset) for each in new], len(asset_rows.COLUMNS)),
        *columns([(each.asset.id, each.content) for each in new if each.content is not None], 2),
        *columns([asset_texts.row_of(each.asset, each.text) for each in new], 6),
        *columns([row for each in new for row in _grants(each)], 6),
        *columns([(each.asset.id, who, each.at) for each in new for who in each.readers], 3),
        *columns([(each.asset.series_id, each.asset.id) for each in latest], 2),
        *columns(
            [(each.asset.series_id, each.asset.id, each.by.sub, each.at) for each in latest], 4
        ),
        *columns([_noted(each) for each in new], 9),
        *asset_log.columns([change for each in new for change in _changes(each)]),
    )


def columns(rows: Sequence[Sequence[object]], width: int) -> list[list[Any]]:
    """Rows as PostgreSQL is given many of them: a list for each column."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * width


def _changes(new: New) -> list[Change]:
    own = Change("asset", new.asset.id, (), new.readers)
    return [own] if new.moved is None else [own, new.moved]


def _grants(new: New) -> list[Row]:
    by = new.by.sub
    own = (new.asset.id, by, "administer", OWN, by, new.at)
    if new.broadcast is None:
        return [own]
    return [own, (new.asset.id, new.broadcast, "read", VISIBILITY, by, new.at)]


def _noted(new: New) -> Row:
    asset = new.asset
    return audit.row_of(
        *(new.by, "asset.create", "asset", asset.id, asset.organization_id),
        *(asset_rows.audited(asset), new.at, new.request_id),
    )
