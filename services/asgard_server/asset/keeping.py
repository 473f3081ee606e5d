"""Assets as callers make, read, change and delete them (docs/protocols.md 12)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gimle.asgard.core.asset_errors import AssetStateError
from gimle.asgard.core.errors import NotFoundError

from asgard_server.access.domain import Action
from asgard_server.asset import domain, metrics, wishes
from asgard_server.asset.domain import DEFAULT, Asset, Component
from asgard_server.asset.store import Assets, Blobs, Download, Removed, Upload
from asgard_server.asset.telling import Told
from asgard_server.auth.principal import Principal


@dataclass(frozen=True, slots=True)
class Made:
    """A new asset, and how its components are to be uploaded."""

    asset: Asset
    uploads: Sequence[Upload] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """An asset with what was asked for beside its row."""

    asset: Asset
    allowed: frozenset[Action]
    content: bytes | None = None
    urls: Mapping[str, str] | None = None
    index_present: bool | None = None


class Keeper:
    """What can be done with assets beside finalizing them.

    `told` is called after each change: watchers are to look.
    """

    def __init__(
        self, assets: Assets, blobs: Blobs, clock: Callable[[], datetime], told: Told
    ) -> None:
        self._assets = assets
        self._blobs = blobs
        self._clock = clock
        self._told = told

    async def create(self, by: Principal, asked: wishes.Asked) -> Made:
        """Make an asset; ask for uploads once its row says which blobs are its own.

        Raises what `Assets.create` does.
        """
        asset = await self._assets.create(asked, by)
        metrics.CREATED.labels(asset.kind).inc()
        await self._told()
        if asset.kind != "components" or asset.state != "pending" or asset.is_whole:
            return Made(asset)
        uploads = await self._blobs.uploads(asset, asked.declared, domain.UPLOAD_SECONDS, by)
        return Made(asset, uploads)

    async def show(
        self,
        by: Principal,
        asset_id: str,
        *,
        presigned: bool = False,
        indexed: bool = False,
        content: bool = False,
    ) -> Shown:
        """Read an asset, with what is asked for. Raises `NotFoundError`."""
        asset, allowed = await self._assets.find(asset_id, by)
        return Shown(
            asset,
            allowed,
            content=await self._content(asset) if content else None,
            urls=await self._urls(asset) if presigned else None,
            index_present=await self._assets.is_searched(asset_id) if indexed else None,
        )

    async def named(self, by: Principal, name: str) -> str:
        """The id of what is called `name@alias`. Raises `NotFoundError`."""
        return await self._assets.named(name, by)

    async def update(self, by: Principal, asset_id: str, metadata: bytes) -> Asset:
        """Replace its metadata. Raises `InvalidFieldError`, `NotFoundError`, `ForbiddenError`."""
        text = wishes.json_object(metadata, "metadata")

        def changed(asset: Asset) -> Asset:
            if asset.metadata_json == text:
                return asset
            return replace(asset, metadata_json=text, updated_at=self._clock())

        asset = await self._assets.change(asset_id, by, "write", "asset.update", changed)
        await self._told()
        return asset

    async def presign_reads(
        self, by: Principal, asset_id: str, names: Sequence[str]
    ) -> tuple[dict[str, str], datetime]:
        """URLs that read components. Raises `ComponentNotFoundError`, `AssetStateError`."""
        asset = await self._with_bytes(by, asset_id)
        found = await self._lent(asset, names)
        until = min((each.expires_at for each in found.values()), default=self._clock())
        return {name: each.url for name, each in found.items()}, until

    async def presign_writes(
        self, by: Principal, asset_id: str, names: Sequence[str]
    ) -> list[Upload]:
        """Uploads of components, granted anew. Raises as `presign_reads` does."""
        asset, _ = await self._assets.find(asset_id, by, "write")
        if asset.kind != "components":
            raise AssetStateError(asset.id, asset.kind, "nothing of it is to be uploaded")
        domain.require_state(asset, "pending", mend="what it has cannot change")
        if asset.is_whole:
            raise AssetStateError(asset.id, "complete", "what it has cannot change")
        chosen = [each.name for each in domain.chosen(asset, names)]
        return await self._blobs.renew(asset, chosen, domain.UPLOAD_SECONDS, by)

    async def delete(self, by: Principal, asset_id: str) -> Removed:
        """Delete an asset: from the row on it is gone for everybody, and its bytes follow.

        Raises `NotFoundError`, `ForbiddenError`, `AssetLinkedError`.
        """
        removed = await self._assets.delete(asset_id, by, self._clock())
        metrics.DELETED.inc()
        await self._told()
        return removed

    async def component(self, by: Principal, asset_id: str, name: str) -> tuple[Asset, Component]:
        """One component that can be read; the only one for an empty name. Raises
        `ComponentNotFoundError`, `AssetStateError`.
        """
        asset = await self._with_bytes(by, asset_id)
        if not name and len(asset.files) == 1:
            return asset, asset.files[0]
        return asset, domain.chosen(asset, [name or DEFAULT])[0]

    async def body(self, asset: Asset, component: Component) -> bytes:
        """The bytes of a small component. Raises `BlobTooLargeError`."""
        if asset.kind == "inline":
            return await self._assets.content(asset.id) or b""
        return await self._blobs.read(component.blob_id or "")

    async def _with_bytes(self, by: Principal, asset_id: str) -> Asset:
        """One whose bytes can be had, and are ours to give. Raises `AssetStateError`."""
        asset, _ = await self._assets.find(asset_id, by)
        if asset.kind == "reference":
            raise AssetStateError(asset.id, "a reference", f"its bytes lie at {asset.uri}")
        if not _is_readable(asset):
            raise AssetStateError(asset.id, asset.state, "finalize it first")
        return asset

    async def _content(self, asset: Asset) -> bytes | None:
        return await self._assets.content(asset.id) if asset.kind == "inline" else None

    async def _urls(self, asset: Asset) -> Mapping[str, str]:
        if asset.kind == "reference" or not _is_readable(asset):
            return {}
        found = await self._lent(asset, ())
        return {name: each.url for name, each in found.items()}

    async def _lent(self, asset: Asset, names: Sequence[str]) -> dict[str, Download]:
        """URLs that read components; of an inline asset the blob is made at first asking."""
        chosen = domain.chosen(asset, names)
        try:
            return await self._downloads(chosen)
        except NotFoundError:
            if asset.kind != "inline":
                raise
        await self._written(asset, chosen[0].blob_id or "")
        return await self._downloads(chosen)

    async def _written(self, asset: Asset, blob_id: str) -> None:
        # First the row: whoever dies from here on leaves a blob that is known to be the asset's.
        body = await self._assets.content(asset.id)
        if body is None or not await self._assets.keep_content_as_blob(asset.id, blob_id):
            raise NotFoundError("asset", asset.id)
        await self._blobs.write(asset.blobs_owner, blob_id, asset.content_type, body)

    async def _downloads(self, components: Sequence[Component]) -> dict[str, Download]:
        wanted = [(each.blob_id or "", each.name) for each in components]
        urls = await self._blobs.downloads(wanted, domain.READ_SECONDS)
        return {each.name: url for each, url in zip(components, urls, strict=True)}


def _is_readable(asset: Asset) -> bool:
    """Whether its bytes can be had: of one that awaits review, too."""
    return asset.state == "ready" or (asset.state == "pending" and asset.is_whole)
