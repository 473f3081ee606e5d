"""Assets in SQL: each method is one transaction, with grants, audit and change log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from gimle.asgard.core.asset_errors import AssetLinkedError
from gimle.asgard.core.errors import AlreadyExistsError, DeletedError

from asgard_server.access.domain import OWN, Action, broadcast, visibility_of
from asgard_server.asset.domain import Asset, OutputOf
from asgard_server.asset.store import Filter, Position, Removed, Seen
from asgard_server.asset.wishes import Asked
from asgard_server.auth.principal import Principal
from asgard_server.store.blob_rows import micros, moment
from asgard_server.store.sql import (
    access,
    asset_lists,
    asset_log,
    asset_owning,
    asset_rows,
    asset_series,
    asset_texts,
    audit,
    links,
    outbox,
    run_outputs,
)
from asgard_server.store.sql.asset_creates import AssetCreates
from asgard_server.store.sql.asset_log import Change
from asgard_server.store.sql.links import Link
from asgard_server.store.sql.session import Database, Session

# A call that claims blobs has ended after this time, whatever becomes of it: what it claimed for
# an asset that was deleted meanwhile is let go by then.
CLAIMING = timedelta(hours=1)


class _TakenError(Exception):
    """Somebody has just made an asset under the same id; nothing of ours is to stay."""


class SqlAssets:
    """The port `Assets` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # SQLite's writers share a flush of the disk as it is, and have no round trips to save.
        self._creates = AssetCreates(database) if database.engine == "postgres" else None

    async def create(self, asked: Asked, by: Principal) -> Asset:
        """Add an asset, or answer the one that was asked for alike under this id."""
        if self._creates is not None:
            made = await self._creates.ask(asked, by)
            if made is not None:
                return made
        try:
            return await self._database.write(lambda session: _create(session, asked, by))
        except _TakenError:  # by now it is there, or is gone again
            return await self._database.write(lambda session: _create(session, asked, by))

    async def find(self, asset_id: str, by: Principal, action: Action = "read") -> Seen:
        """Look one up that the caller may do this with."""

        async def find(session: Session) -> Seen:
            return Seen(*await asset_rows.seen(session, asset_id, by, action))

        return await self._database.look(find)

    async def named(self, name: str, by: Principal) -> str:
        """The id of what is called `name@alias`, perhaps behind the handle of its owner."""
        return await self._database.look(lambda session: asset_series.named(session, name, by))

    async def content(self, asset_id: str) -> bytes | None:
        """The content of an inline asset; None of another, or of one that is gone."""

        async def content(session: Session) -> bytes | None:
            query = "SELECT body FROM asset_contents WHERE asset_id = ?"
            body = await session.value(query, asset_id)
            return None if body is None else bytes(body)

        return await self._database.look(content)

    async def is_searched(self, asset_id: str) -> bool:
        """Whether search knows it."""
        return await self._database.look(lambda session: asset_texts.has_text(session, asset_id))

    async def change(
        self,
        asset_id: str,
        by: Principal,
        action: Action,
        step: str,
        change: Callable[[Asset], Asset],
        lease_token: str = "",
    ) -> Asset:
        """Replace the row by what `change` makes of it, while nobody else does; answer it."""
        return await self._database.write(
            lambda session: _change(session, asset_id, by, action, step, change, lease_token)
        )

    async def delete(self, asset_id: str, by: Principal, now: datetime) -> Removed:
        """Remove it, and leave word that its blobs are to go."""
        return await self._database.write(lambda session: _delete(session, asset_id, by, now))

    async def keep_content_as_blob(self, asset_id: str, blob_id: str) -> bool:
        """Note that the content of an inline asset gets a blob; whether the asset is there."""

        async def keep(session: Session) -> bool:
            row = await session.one(
                f"SELECT content_type FROM assets WHERE id = ?{session.for_update}",  # noqa: S608 - ours
                asset_id,
            )
            if row is None:
                return False
            await session.run(
                "INSERT INTO asset_components (asset_id, name, position, blob_id, content_type)"
                " VALUES (?, 'default', 0, ?, ?) ON CONFLICT (asset_id, name) DO NOTHING",
                *(asset_id, blob_id, row[0]),
            )
            return True

        return await self._database.write(keep)

    async def page(
        self, by: Principal, wanted: Filter, behind: Position | None, limit: int
    ) -> list[Asset]:
        """What the caller may read, newest first."""
        return await self._database.read(
            lambda session: asset_lists.page(session, by, wanted, behind, limit)
        )

    async def awaiting_review(
        self, by: Principal, behind: Position | None, limit: int
    ) -> list[Asset]:
        """What is whole, awaits review and may be approved by the caller, oldest first."""
        return await self._database.read(
            lambda session: asset_lists.awaiting_review(session, by, behind, limit)
        )


async def _create(session: Session, asked: Asked, by: Principal) -> Asset:
    wanted = asked.asset
    if (there := await _repeated(session, wanted, by)) is not None:
        return there
    owner = await asset_owning.owner_of(session, asked, by)
    visibility = visibility_of(asked.visibility, "private")
    readers = broadcast(visibility, owner)
    owned = replace(
        wanted,
        organization_id=owner.organization_id,
        team_id=owner.team_id,
        visibility=visibility,
    )
    asset = await asset_series.numbered(session, owned)
    if not await asset_rows.add(session, asset):
        raise _TakenError
    if asked.content is not None:
        await session.run(
            "INSERT INTO asset_contents (asset_id, body) VALUES (?, ?)", asset.id, asked.content
        )
    await asset_texts.put_text(session, asset, asked.text)
    at = micros(asset.created_at)
    await access.grant(session, "asset", asset.id, by.sub, "administer", OWN, by.sub, at)
    await access.broadcast(session, "asset", asset.id, readers, by.sub, at)
    retracted = False
    if (made_by := asset.output_of) is None:
        _, after = await access.regrant(session, "asset", asset.id, at)
    else:
        after = await _link(session, asset, by, made_by)
        retracted = await run_outputs.retract_with(
            session, asset.id, made_by.experiment_id, made_by.variation, by, at
        )
    changes = [Change("asset", asset.id, (), after)]
    if asset.state == "ready" and asset.series_id is not None:
        changes += await _latest(session, asset, asset.series_id, by, asset.created_at)
    await audit.note(
        *(session, by, "asset.create", "asset", asset.id, asset.organization_id),
        asset_rows.audited(asset),
        at=at,
    )
    if asset.series_id is not None or retracted:
        asset = await asset_rows.load(session, asset.id)
    await asset_log.log_all(session, changes)
    return asset


async def _repeated(session: Session, wanted: Asset, by: Principal) -> Asset | None:
    """What is there under the id, where the same was asked for, and the caller may still write it.

    Raises `AlreadyExistsError`, `DeletedError`, `NotFoundError`, `ForbiddenError`.
    """
    query = "SELECT request_digest, created_by FROM assets WHERE id = ?"
    if (row := await session.one(query, wanted.id)) is not None:
        if row != (wanted.request_digest, by.sub):
            raise AlreadyExistsError("asset", wanted.id)
        await access.require(session, "asset", wanted.id, by, "write")
        return await asset_rows.load(session, wanted.id)
    query = "SELECT deleted_at FROM deleted_ids WHERE object_kind = 'asset' AND id = ?"
    if (deleted_at := await session.value(query, wanted.id)) is not None:
        raise DeletedError(wanted.id, moment(deleted_at))
    return None


async def _link(session: Session, asset: Asset, by: Principal, output: OutputOf) -> access.Readers:
    """Link a new asset as an output, and let those of the experiment do with it what they may;
    answer who may read it.
    """
    wish = Link(
        asset.id,
        "output",
        output.experiment_id,
        output.variation,
        output.run,
        linked_by=by.sub,
        linked_at=micros(asset.created_at),
    )
    return tuple((await links.link(session, wish, by)).change.after)


async def _latest(
    session: Session, asset: Asset, series_id: str, by: Principal, now: datetime
) -> list[Change]:
    """Move "latest" at the end of a change of an asset; answer which others that changes."""
    gone = asset.id if asset.state != "ready" else ""
    moved = await asset_series.moved_latest(session, series_id, by.sub, now, besides=gone)
    return await asset_log.unchanged(session, [each for each in moved if each != asset.id])


async def _change(
    session: Session,
    asset_id: str,
    by: Principal,
    action: Action,
    step: str,
    change: Callable[[Asset], Asset],
    lease_token: str,
) -> Asset:
    before = await asset_rows.held(session, asset_id, by, action)
    if lease_token and (made_by := before.output_of) is not None:
        await run_outputs.require_lease(
            session, made_by.experiment_id, made_by.variation, made_by.run, lease_token
        )
    after = change(before)
    if after == before:
        return before
    await asset_rows.put(session, before, after)
    if after.metadata_json != before.metadata_json:
        await asset_texts.put_metadata(session, after)
    changes = await asset_log.unchanged(session, [asset_id])
    if before.state != "ready" and after.state == "ready" and after.series_id is not None:
        changes += await _latest(session, after, after.series_id, by, after.updated_at)
    details: dict[str, str] = {"state": after.state}
    if after.abandoned_reason != before.abandoned_reason:
        details["reason"] = after.abandoned_reason or ""
    at = micros(after.updated_at)
    await audit.note(session, by, step, "asset", asset_id, after.organization_id, details, at=at)
    if after.series_id is not None:
        after = await asset_rows.load(session, asset_id)
    await asset_log.log_all(session, changes)
    return after


async def _delete(session: Session, asset_id: str, by: Principal, now: datetime) -> Removed:
    asset = await asset_rows.held(session, asset_id, by, "delete")
    counts = await links.counts(session, asset_id)
    if any(counts.values()):
        raise AssetLinkedError(asset_id, counts)
    others = await _leave_series(session, asset, by, now)
    await asset_texts.forget_text(session, asset_id)
    inline = await session.run("DELETE FROM asset_contents WHERE asset_id = ?", asset_id)
    blobs = await session.value(
        "SELECT count(*) FROM asset_components WHERE asset_id = ? AND blob_id IS NOT NULL", asset_id
    )
    components = await session.run("DELETE FROM asset_components WHERE asset_id = ?", asset_id)
    await links.forget(session, asset_id)
    await session.run("DELETE FROM asset_flags WHERE asset_id = ?", asset_id)
    grants, readers = await access.forget(session, "asset", asset_id)
    await session.run("DELETE FROM assets WHERE id = ?", asset_id)
    at = micros(now)
    await session.run(
        "INSERT INTO deleted_ids (object_kind, id, deleted_at) VALUES ('asset', ?, ?)"
        " ON CONFLICT (object_kind, id) DO NOTHING",
        *(asset_id, at),
    )
    if blobs:
        await leave_release(session, asset.blobs_owner, at)
    details = {"asset_type": asset.asset_type, "name": asset.name or "", "state": asset.state}
    await audit.note(
        session, by, "asset.delete", "asset", asset_id, asset.organization_id, details, at=at
    )
    await asset_log.log_all(session, [*others, Change("asset", asset_id, readers, ())])
    return Removed(
        grants, components if asset.kind == "components" else 0, inline, asset.size_bytes or 0
    )


async def leave_release(session: Session, owner: str, at: int) -> None:
    """Leave word that all blobs of an owner are to go: now, and once more for what a call that is
    under way may still claim for him.
    """
    body = {"owner": owner}
    await outbox.leave(session, "blobs.release", owner, body, at)
    later = at + CLAIMING // timedelta(microseconds=1)
    await outbox.leave(session, "blobs.release", f"{owner}/late", body, at, later)


async def _leave_series(
    session: Session, asset: Asset, by: Principal, now: datetime
) -> list[Change]:
    if asset.series_id is None:
        return []
    await asset_series.leave(session, asset, by.sub, now)
    return await _latest(session, replace(asset, state="abandoned"), asset.series_id, by, now)
