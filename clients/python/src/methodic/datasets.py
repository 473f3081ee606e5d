"""`chronicle.datasets`: datasets are assets with some metadata that is agreed upon."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gimle.asgard.transfer.progress import Listener

from methodic import moving
from methodic.answers import Answer, Answers
from methodic.assets import Assets, Paths
from methodic.experiments import Experiments
from methodic.transport import Transport

_MATCHED = ("n_dims", "precision", "pde_family", "geometry")
_ORDERS: Mapping[str, Callable[[Answer], Any]] = {
    "created_at": lambda each: each.created_at,
    "name": lambda each: each.get("name") or "",
    "size_bytes": lambda each: each.get("size_bytes") or 0,
}


class Datasets:
    """Every call on datasets; access and validity are those of `chronicle.assets`."""

    def __init__(self, transport: Transport, assets: Assets, experiments: Experiments) -> None:
        self._transport = transport
        self._assets = assets
        self._experiments = experiments

    def upload(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        asset_type: str = "dataset",
        content_type: str | None = None,
        source: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        link_experiment: str | None = None,
        link_variation: int | None = None,
        propagate_acl: bool = True,
        *,
        progress: Listener | None = None,
    ) -> Answer:
        """Upload a file or a folder; answers `.asset_id`, `.components`, `.provenance`."""
        where = Path(path)
        files = (
            moving.sources(where)
            if where.is_dir()
            else [moving.source(where, where.name, content_type)]
        )
        told = {
            **(metadata or {}),
            **({"source": source} if source else {}),
            **({"provenance": dict(provenance)} if provenance else {}),
        }
        made = self._assets.create_with_presigned(
            asset_type, name=name or where.name, files=files, metadata=told or None
        )
        to = moving.AssetUploads(self._transport, made.asset_id, made.uploads)
        moving.send_all(files, to, progress=progress)
        asset = self._assets.finalize(made.asset_id).asset
        if link_experiment is not None:
            self.link(asset.id, link_experiment, link_variation, propagate_acl=propagate_acl)
        return _reference(asset)

    def register(
        self, components: Sequence[str], name: str | None = None, **options: Any
    ) -> Answer:
        """Create a dataset whose components are uploaded by URL; then `assets.finalize`."""
        return self._assets.create_with_presigned("dataset", components, name, **options)

    def register_by_reference(
        self,
        uri: str,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        size_bytes: int | None = None,
        visibility: str | None = None,
    ) -> Answer:
        """Register what lies in a bucket already (s3://, gs://): a dict with its id."""
        made = self._assets.register_by_reference(
            *(uri, "dataset", name), metadata=metadata, size_bytes=size_bytes, visibility=visibility
        )
        asset: Answer = made.asset
        return asset

    def update_metadata(self, asset_id: str, metadata: Mapping[str, Any]) -> Answer:
        """Replace the metadata."""
        return self._assets.update_metadata(asset_id, metadata)

    def list(
        self,
        n_dims: int | None = None,
        precision: str | None = None,
        pde_family: str | None = None,
        geometry: str | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        order_by: str = "created_at",
    ) -> Answers:
        """Datasets whose metadata says so, the newest (or the largest, or by name) first."""
        wanted = dict(zip(_MATCHED, (n_dims, precision, pde_family, geometry), strict=True))
        found = [
            each
            for each in self._all()
            if _fits(each, wanted) and _is_between(each, min_size, max_size)
        ]
        if order_by.lstrip("-") not in _ORDERS:
            raise ValueError(f"order_by is {order_by!r}; there are {', '.join(_ORDERS)}")
        key = _ORDERS[order_by.lstrip("-")]
        return sorted(found, key=key, reverse=order_by != "name")

    def load(
        self, asset_id: str, dest: str | os.PathLike[str], *, progress: Listener | None = None
    ) -> Paths:
        """Fetch every file into a folder; again fetches what is not there yet."""
        return self._assets.download(asset_id, dest, progress=progress)

    def provenance(self, asset_id: str) -> Answer:
        """Where it comes from: what was told of it, and size and digest of each component."""
        return _provenance(self._assets.get(asset_id))

    def link(
        self,
        asset_id: str,
        experiment_id: str,
        variation: int | None = None,
        *,
        propagate_acl: bool = True,
        allow_invalid_assets: bool = False,
    ) -> Answer:
        """Link it as an input of an experiment, or of one of its variations."""
        if variation is None:
            return self._experiments.add_inputs(
                experiment_id,
                [asset_id],
                propagate_acl=propagate_acl,
                allow_invalid_assets=allow_invalid_assets,
            )
        body = {"asset_ids": [asset_id], "allow_invalid_assets": allow_invalid_assets or None}
        path = f"/v1/experiments/{experiment_id}/variations/{variation:d}/inputs"
        found: Answer = self._transport.post(path, body, safe=True)
        return found

    def _all(self) -> Iterator[Answer]:
        return self._assets.iter(asset_type="dataset", page_size=1_000)


def _reference(asset: Answer) -> Answer:
    return Answer(
        asset_id=asset.id,
        components=[each.name for each in asset.components],
        provenance=_provenance(asset),
        asset=asset,
    )


def _provenance(asset: Answer) -> Answer:
    told = (asset.get("metadata") or {}).get("provenance") or {}
    components = [
        Answer(component=each.name, sha256=each.get("sha256"), size_bytes=each.get("size_bytes"))
        for each in asset.components
    ]
    return Answer({**told, "size_bytes": asset.get("size_bytes"), "components": components})


def _fits(asset: Answer, wanted: Mapping[str, Any]) -> bool:
    metadata = asset.get("metadata") or {}
    return all(value is None or metadata.get(name) == value for name, value in wanted.items())


def _is_between(asset: Answer, least: int | None, most: int | None) -> bool:
    size = asset.get("size_bytes")
    if size is None:
        return least is None and most is None
    return (least is None or size >= least) and (most is None or size <= most)
