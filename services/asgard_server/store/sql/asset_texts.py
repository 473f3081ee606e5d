"""What search knows of assets: a row of text for each, of which both engines index the words."""

from __future__ import annotations

from asgard_server.asset.domain import Asset
from asgard_server.asset.wishes import searchable
from asgard_server.store.sql.session import Session


async def put_text(session: Session, asset: Asset, content: str) -> None:
    """Add the text of a new asset."""
    await session.run(
        "INSERT INTO asset_texts (asset_id, name, asset_type, content, metadata)"
        " VALUES (?, ?, ?, ?, ?)",
        asset.id,
        asset.name or "",
        asset.asset_type,
        content,
        searchable(asset.metadata_json or ""),
    )


async def put_metadata(session: Session, asset: Asset) -> None:
    """Replace what is known of its metadata."""
    await session.run(
        "UPDATE asset_texts SET metadata = ? WHERE asset_id = ?",
        *(searchable(asset.metadata_json or ""), asset.id),
    )


async def forget_text(session: Session, asset_id: str) -> None:
    """Let search know an asset no more."""
    await session.run("DELETE FROM asset_texts WHERE asset_id = ?", asset_id)


async def has_text(session: Session, asset_id: str) -> bool:
    """Whether search knows an asset."""
    found = await session.value("SELECT 1 FROM asset_texts WHERE asset_id = ?", asset_id)
    return found is not None
