"""The ports of AssetService: its tables, and whoever keeps the bytes of components."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from asgard_server.access.domain import Action
from asgard_server.asset.domain import Arrived, Asset, OutputOf, State
from asgard_server.asset.wishes import Asked, NewComponent
from asgard_server.auth.principal import Principal

Position = tuple[datetime, str]


class Seen(NamedTuple):
    """An asset, and what the caller may do with it."""

    asset: Asset
    allowed: frozenset[Action]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which assets are listed: those for which all that is given holds."""

    owner: str = ""
    asset_type: str = ""
    state: State | None = None
    output_of: OutputOf | None = None
    name: str = ""


class Removed(NamedTuple):
    """What a deletion has removed."""

    grants: int
    components: int
    inline: int
    size_bytes: int


class AliasMove(NamedTuple):
    """That an alias was set; removed, where no asset is named."""

    alias: str
    asset_id: str | None
    set_by: str
    set_at: datetime


class Assets(Protocol):
    """The assets. Each method is one transaction, with its grants, audit and change log.

    What the caller may not read raises `NotFoundError`; what he may read and not do,
    `ForbiddenError`.
    """

    async def create(self, asked: Asked, by: Principal) -> Asset:
        """Add an asset, or answer the one that was asked for alike under this id.

        Raises `AlreadyExistsError`, `DeletedError`, `NotFoundError` for experiment, organization
        or team, `NotAMemberError`, `AssetOrgMismatchError`, `RunLeaseLostError`.
        """

    async def find(self, asset_id: str, by: Principal, action: Action = "read") -> Seen:
        """Look one up that the caller may do this with."""

    async def named(self, name: str, by: Principal) -> str:
        """The id of what is called `name@alias`, perhaps behind the handle of its owner."""

    async def content(self, asset_id: str) -> bytes | None:
        """The content of an inline asset; None of another, or of one that is gone."""

    async def is_searched(self, asset_id: str) -> bool:
        """Whether search knows it."""

    async def change(
        self,
        asset_id: str,
        by: Principal,
        action: Action,
        step: str,
        change: Callable[[Asset], Asset],
        lease_token: str = "",
    ) -> Asset:
        """Replace the row by what `change` makes of it, while nobody else does; answer it.

        `step` is what the audit calls it. Raises what `change` does, and `RunLeaseLostError` where
        a lease token is given that is not that of the run whose output it is.
        """

    async def delete(self, asset_id: str, by: Principal, now: datetime) -> Removed:
        """Remove it, and leave word that its blobs are to go. Raises `AssetLinkedError`."""

    async def keep_content_as_blob(self, asset_id: str, blob_id: str) -> bool:
        """Note that the content of an inline asset gets a blob; whether the asset is there."""

    async def page(
        self, by: Principal, wanted: Filter, behind: Position | None, limit: int
    ) -> list[Asset]:
        """What the caller may read, newest first."""

    async def awaiting_review(
        self, by: Principal, behind: Position | None, limit: int
    ) -> list[Asset]:
        """What is whole, awaits review and may be approved by the caller, oldest first."""


class Versions(Protocol):
    """The versions of named assets, and the aliases that point at them."""

    async def versions(
        self, asset_id: str, by: Principal, below: int | None, limit: int
    ) -> list[Asset]:
        """Versions that the caller may read, newest first, those below a number."""

    async def moves(self, asset_id: str, by: Principal, limit: int) -> list[AliasMove]:
        """How its aliases moved, newest first, over versions that the caller may read."""

    async def point(self, asset_id: str, alias: str, by: Principal, now: datetime) -> Asset:
        """Let an alias point here. Raises `AssetStateError`, `InvalidFieldError`."""

    async def unpoint(self, asset_id: str, alias: str, by: Principal, now: datetime) -> bool:
        """Remove an alias that points here; whether it was there."""


class Upkeep(Protocol):
    """The tables' other face, for the sweeper."""

    async def overdue(self, before: datetime, limit: int) -> list[str]:
        """Pending assets of before then that nobody is to approve, or that are not whole."""

    async def release(self, before: datetime, now: datetime, limit: int) -> int:
        """Remove the content of assets abandoned before then, and leave word that their blobs are
        to go; answer how many assets those were.
        """

    async def forget(self, before: datetime) -> None:
        """Forget ids that were deleted before then."""


class Turns(Protocol):
    """Of several replicas one does what is to be done once."""

    def turn(self, name: str) -> AsyncIterator[bool]:
        """Hold a lock among replicas while iterated; yields once whether it was got."""


@dataclass(frozen=True, slots=True)
class Upload:
    """How one component is to be uploaded: by a request, in parts, or not at all any more."""

    name: str
    url: str = ""
    method: str = ""
    headers: Mapping[str, str] | None = None
    expires_at: datetime | None = None
    parts_blob_id: str = ""


class Download(NamedTuple):
    """A URL that reads a blob, until then."""

    url: str
    expires_at: datetime


class Blobs(Protocol):
    """Whoever keeps the bytes. Raises `StorageUnavailableError`."""

    async def uploads(
        self, asset: Asset, declared: Sequence[NewComponent], seconds: int, by: Principal
    ) -> list[Upload]:
        """Grant the uploads of components, which `by` may bring in parts; a repeat grants them
        anew.
        """

    async def renew(
        self, asset: Asset, names: Sequence[str], seconds: int, by: Principal
    ) -> list[Upload]:
        """Grant uploads that have begun anew, and let `by` bring them."""

    async def complete(self, asset: Asset) -> dict[str, Arrived]:
        """Look at what has arrived; answer that by name, and keep it if it is all. Until then what
        was sent may be sent anew. Raises `DigestMismatchError`.
        """

    async def claim(self, asset: Asset) -> None:
        """Say that the asset needs its blobs."""

    async def release(self, owner: str) -> None:
        """Let everything go that is an owner's ("asset/<id>"). A repeat is no error."""

    async def downloads(self, blobs: Sequence[tuple[str, str]], seconds: int) -> list[Download]:
        """URLs that read blobs, given by ids and the file names to save them by."""

    async def write(self, owner: str, blob_id: str, content_type: str, body: bytes) -> None:
        """Write a small blob of an owner, and claim it for him. A repeat is no error."""

    async def read(self, blob_id: str) -> bytes:
        """Read a small blob. Raises `BlobTooLargeError`."""
