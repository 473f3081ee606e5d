"""`chronicle.assets`: creation, bytes, validity, access."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gimle.asgard.core.ids import new_id
from gimle.asgard.transfer.progress import Listener

from methodic import moving, paths
from methodic.answers import Answer, Answers
from methodic.asset_access import AssetAccess
from methodic.asset_review import AssetReview
from methodic.errors import ChronicleError
from methodic.moving import Source
from methodic.scopes import Organization, Owner
from methodic.transport import Transport

Metadata = Mapping[str, Any]
Paths = list[Path]


class Assets(AssetReview, AssetAccess):
    """Every call on assets. Answers can be read both ways, `["id"]` and `.id`."""

    def __init__(self, transport: Transport, owner: Owner) -> None:
        super().__init__(transport)
        self._owner = owner

    # Creating ---------------------------------------------------------------------------

    def create_inline(
        self,
        asset_type: str,
        content: Any,
        name: str | None = None,
        content_type: str = "application/json",
        output_of: Mapping[str, Any] | None = None,
        pending_reasons: Sequence[str] | None = None,
        *,
        asset_config: Metadata | None = None,
        metadata: Metadata | None = None,
        organization_id: Organization = None,
        team_id: str | None = None,
        visibility: str | None = None,
        lease_token: str | None = None,
    ) -> Answer:
        """Create an asset of JSON, or of a text with its content type; at most 2 MiB.

        It is ready at once, unless `pending_reasons` (["review_required"]) are given. Answers
        `{"asset": {"id": ...}}`. Raises TooLargeError, InvalidRequestError.
        """
        return self._create(
            {
                "asset_type": asset_type,
                "content": content,
                "content_type": content_type,
                "name": name,
                "output_of": output_of,
                "pending_reasons": pending_reasons,
                "asset_config": asset_config,
                "metadata": metadata,
                "team_id": team_id,
                "visibility": visibility,
                "lease_token": lease_token,
            },
            organization_id,
        )

    def create_with_presigned(
        self,
        asset_type: str,
        components: Sequence[str] = (),
        name: str | None = None,
        content_type: str | None = None,
        output_of: Mapping[str, Any] | None = None,
        asset_config: Metadata | None = None,
        organization_id: Organization = None,
        team_id: str | None = None,
        *,
        files: Sequence[Source] | None = None,
        metadata: Metadata | None = None,
        pending_reasons: Sequence[str] | None = None,
        visibility: str | None = None,
        lease_token: str | None = None,
        asset_id: str | None = None,
    ) -> Answer:
        """Create an asset whose components are uploaded by URL.

        Answers `.asset_id` and `.upload_urls` {component: URL}; the one of an asset without named
        components is called "default". PUT each, then `finalize`. `files`, with size and digest
        known, get URLs that take these very bytes, once.
        """
        return self._create(
            {
                "id": asset_id,
                "asset_type": asset_type,
                "components": list(components) or (None if files else ["default"]),
                "component_files": [each.to_json() for each in files] if files else None,
                "name": name,
                "content_type": content_type,
                "output_of": output_of,
                "asset_config": asset_config,
                "metadata": metadata,
                "pending_reasons": pending_reasons,
                "team_id": team_id,
                "visibility": visibility,
                "lease_token": lease_token,
            },
            organization_id,
        )

    create_presigned = create_with_presigned

    def register_by_reference(
        self,
        uri: str,
        asset_type: str = "dataset",
        name: str | None = None,
        *,
        metadata: Metadata | None = None,
        size_bytes: int | None = None,
        visibility: str | None = None,
        organization_id: Organization = None,
        team_id: str | None = None,
    ) -> Answer:
        """Register bytes that lie in a bucket already (s3://, gs://); ready at once."""
        body = {
            "asset_type": asset_type,
            "uri": uri,
            "name": name,
            "metadata": metadata,
            "size_bytes": size_bytes,
            "team_id": team_id,
            "visibility": visibility,
        }
        return self._create(body, organization_id)

    def upload_component(
        self, url: str, local_path: str | os.PathLike[str], content_type: str = moving.CONTENT_TYPE
    ) -> None:
        """PUT a file to a presigned URL. Raises UploadError."""
        moving.put(url, Path(local_path), content_type)

    def finalize(self, asset_id: str, *, lease_token: str | None = None) -> Answer:
        """Make a pending asset ready, and immutable; again is no error.

        Raises ConflictError "asset_incomplete", whose metadata names what is missing.
        """
        body = {} if lease_token is None else {"lease_token": lease_token}
        found: Answer = self._transport.put(f"{paths.asset(asset_id)}/finalize", body)
        return found

    # Reading ----------------------------------------------------------------------------

    def get(
        self,
        asset_id: str,
        include_presigned: bool = False,
        *,
        include_content: bool = False,
        index_status: bool = False,
    ) -> Answer:
        """What is known of an asset; `download_urls` with it where they are asked for."""
        found: Answer = self._transport.get(
            paths.asset(asset_id),
            include_presigned=include_presigned or None,
            include_content=include_content or None,
            index_status=index_status or None,
        )
        return found

    def get_by_name(self, name: str) -> Answer:
        """The asset "name", "name@alias" or "name@3"; of somebody else "o/acme/name@latest"."""
        found: Answer = self._transport.get(f"/v1/named-assets/{paths.quoted(name, safe='/@')}")
        return found

    def list(self, owner: str | None = None, **filters: Any) -> Answers:
        """Every asset that may be read, newest first; `iter` does not hold them all."""
        return [*self.iter(owner, **filters)]

    def iter(self, owner: str | None = None, **filters: Any) -> Iterator[Answer]:
        """Assets, newest first; by asset_type, state, experiment_id, variation, run, name."""
        yield from self._transport.pages("/v1/assets", "assets", owner=owner, **filters)

    def presign(
        self, asset_id: str, operation: str = "read", components: Sequence[str] = ()
    ) -> Answer:
        """URLs of components: `.urls`, until `.expires_at`."""
        body = {"operation": operation, "components": list(components)}
        found: Answer = self._transport.post(f"{paths.asset(asset_id)}/presign", body, safe=True)
        return found

    def download(
        self,
        asset_id: str,
        dest_dir: str | os.PathLike[str],
        *,
        progress: Listener | None = None,
        stop: threading.Event | None = None,
    ) -> Paths:
        """Fetch every component into a folder, straight to disk, and compare digests.

        Again fetches what is not there yet. Raises UploadError.
        """
        found = self.get(asset_id, include_presigned=True)
        if not found.get("download_urls"):
            raise ChronicleError(
                f"asset {asset_id} has no bytes here: it is {found.state}, at {found.uri}"
            )
        return moving.fetch_all(
            found,
            Path(dest_dir),
            lambda: self.get(asset_id, include_presigned=True),
            progress=progress,
            stop=stop,
        )

    def lineage(
        self, asset_id: str, direction: str | None = None, depth: int | None = None
    ) -> Answer:
        """What it was made from ("upstream") and what was made from it ("downstream")."""
        found: Answer = self._transport.get(
            f"{paths.asset(asset_id)}/lineage", direction=direction, depth=depth
        )
        return found

    def versions(self, asset_id: str) -> Answers:
        """Every version of this asset's name, the newest first."""
        return [*self._transport.pages(f"{paths.asset(asset_id)}/versions", "versions")]

    def set_alias(self, asset_id: str, alias: str) -> Answer:
        """Let an alias of its name point at this version."""
        found: Answer = self._transport.put(
            f"{paths.asset(asset_id)}/aliases/{paths.quoted(alias)}"
        )
        return found

    def update_metadata(self, asset_id: str, metadata: Metadata) -> Answer:
        """Replace the metadata."""
        found: Answer = self._transport.call(
            "PATCH", paths.asset(asset_id), body={"metadata": dict(metadata)}, safe=True
        )
        return found

    def _create(self, body: Mapping[str, Any], organization_id: Organization) -> Answer:
        whose: str | None = None
        if body.get("output_of") is None or isinstance(organization_id, str):
            whose = self._owner.of(organization_id)
        # An id of our own makes it safe to ask again when the answer was lost.
        chosen = body.get("id") or new_id(datetime.now(UTC))
        found: Answer = self._transport.post(
            "/v1/assets", {**body, "id": chosen, "organization_id": whose}, safe=True
        )
        return found
