"""The ports of who may do what with assets, of flags, of finding, and of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from asgard_server.access.domain import Action, Kind, Visibility
from asgard_server.access.explaining import Explanation, Grant
from asgard_server.asset.domain import Asset, Flag, State
from asgard_server.auth.principal import Principal

FlagName = Literal["deprecated", "invalidated"]


class Granted(NamedTuple):
    """A grant as it is now, and whether it is new."""

    grant: Grant
    added: bool


@dataclass(frozen=True, slots=True)
class Move:
    """Where an asset is to go: an organisation and perhaps a team of it, as they were named."""

    organization: str
    team: str
    visibility: Visibility


class Sharing(Protocol):
    """Who may do what with assets. Each method is one transaction, with audit and change log.

    What the caller may not administer raises `NotFoundError`, and so does a principal that is not
    there.
    """

    async def grant(
        self, asset_id: str, principal: str, action: Action, by: Principal, now: datetime
    ) -> Granted:
        """Grant an action to whom an id or a handle stands for."""

    async def share(
        self, asset_id: str, scope: str, action: Action, by: Principal, now: datetime
    ) -> Granted:
        """Grant an action to a team or an organisation of the caller. Raises `NotAMemberError`."""

    async def revoke(
        self, asset_id: str, principal: str, action: Action, by: Principal, now: datetime
    ) -> bool:
        """Take a grant back; whether it was there. Raises `LastAdministratorError`."""

    async def grants(self, asset_id: str, by: Principal) -> list[Grant]:
        """Who may do what, and where it comes from."""

    async def explain(self, asset_id: str, principal: str, by: Principal) -> Explanation:
        """Why somebody may do something; the caller, for an empty text, who need only read it."""

    async def set_visibility(
        self, asset_id: str, visibility: Visibility, by: Principal, now: datetime
    ) -> Asset:
        """Let others read it by its visibility. Raises `InvalidFieldError`."""

    async def move(self, asset_id: str, to: Move, by: Principal, now: datetime) -> Asset:
        """Give it to an organisation. Raises `NotAMemberError`, `AssetStateError`."""


class FlagEntry(NamedTuple):
    """That a flag was set or taken back. `number` rises with time."""

    number: int
    flag: FlagName
    is_set: bool
    reason: str
    set_by: str
    set_at: datetime


class Flags(Protocol):
    """What is said against assets. Changing it needs Write; else as `Assets`."""

    async def set(
        self, asset_id: str, flag: FlagName, reason: str, by: Principal, now: datetime
    ) -> Asset:
        """Set a flag, or replace its reason."""

    async def clear(
        self,
        asset_id: str,
        flags: Sequence[FlagName],
        reason: str,
        by: Principal,
        now: datetime,
    ) -> Asset:
        """Take flags back, as far as they are set."""

    async def history(
        self, asset_id: str, by: Principal, below: int | None, limit: int
    ) -> list[FlagEntry]:
        """What was said against it, newest first, below a number."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is searched for. All of it holds for what is found.

    `is_hopeless`: something was asked for that is no word, and no text has it.
    """

    words: tuple[str, ...] = ()
    is_hopeless: bool = False
    asset_types: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    owner: str = ""
    experiment_id: str = ""
    linked_to: str = ""
    created_after: datetime | None = None
    created_before: datetime | None = None


class Place(NamedTuple):
    """Where something stands among what was found: how well it fits, and then the newest first."""

    fit: int
    created_at: int
    id: str


class Hit(NamedTuple):
    """Something that was found; `snippet` is a piece of its text."""

    place: Place
    asset: Asset
    snippet: str


@dataclass(frozen=True, slots=True)
class Found:
    """One page of what was found, and how many there are: of each type and state, and in all.

    More than `MOST` are not counted.
    """

    hits: tuple[Hit, ...]
    types: tuple[tuple[str, int], ...]
    states: tuple[tuple[State, int], ...]
    total: int
    is_more: bool


MOST = 10_000


@dataclass(frozen=True, slots=True)
class Node:
    """An asset or an experiment on the way; `distance` in steps, negative upstream."""

    kind: Kind
    id: str
    distance: int
    label: str = ""
    asset_type: str = ""
    deprecated: Flag | None = None
    invalidated: Flag | None = None
    retracted: bool = False


class Edge(NamedTuple):
    """That an asset went into an experiment or a variation of it, or came out."""

    asset_id: str
    experiment_id: str
    variation: int | None
    direction: Literal["input", "output"]
    allow_invalid: bool


@dataclass(frozen=True, slots=True)
class Lineage:
    """What an asset was made from and what was made from it; `is_cut`: there is more."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    is_cut: bool


class Finding(Protocol):
    """Assets by their words and their relations. Nothing that the caller may not read counts."""

    async def search(
        self, wanted: Wanted, by: Principal, behind: Place | None, limit: int
    ) -> Found:
        """What fits, the best first, behind a place."""

    async def lineage(
        self, asset_id: str, by: Principal, *, up: bool, down: bool, depth: int
    ) -> Lineage:
        """What is within `depth` steps. Raises `NotFoundError`."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """That a principal did something; `details_json` is an object."""

    number: int
    at: datetime
    principal: str
    principal_kind: str
    action: str
    object_kind: str
    object_id: str
    organization_id: str
    details_json: str
    request_id: str


@dataclass(frozen=True, slots=True)
class AuditOf:
    """Whose entries are asked for; everything, when nothing is given."""

    asset_id: str = ""
    experiment_id: str = ""
    organization: str = ""
    principal: str = ""


class Audit(Protocol):
    """Who did what when to which."""

    async def page(
        self, wanted: AuditOf, by: Principal, below: int | None, limit: int
    ) -> list[AuditEntry]:
        """Entries, newest first. Raises `NotFoundError` for those whom it is not for."""


class Readable(NamedTuple):
    """That something can be read now, and by whom; the asset, where it is one."""

    kind: Kind
    id: str
    readers: frozenset[str]
    asset: Asset | None


class LogEntry(NamedTuple):
    """That something changed; who could and can read it by this change."""

    revision: int
    kind: Kind
    id: str
    before: frozenset[str]
    after: frozenset[str]


@dataclass(frozen=True, slots=True)
class LogNews:
    """Entries of the log, and what they are about as it is now; nothing of what is gone."""

    epoch: str
    head: int
    entries: list[LogEntry]
    now: dict[tuple[Kind, str], Readable]


class RevisionGoneError(Exception):
    """The log no longer reaches back to this revision."""


UNWRITTEN = "unwritten"
"""The epoch of a log that nothing was ever written to."""


class Log(Protocol):
    """The change log of assets and experiments."""

    async def head(self) -> tuple[str, int]:
        """The log's epoch, and its newest revision."""

    async def news(self, epoch: str, revision: int, limit: int) -> LogNews:
        """Entries that follow a revision. Raises `RevisionGoneError`."""

    async def walk(
        self, kind: Kind, by: Principal, behind: tuple[int, str] | None, limit: int
    ) -> tuple[list[Readable], tuple[int, str] | None]:
        """What the caller may read, newest first, and where to go on; None at the end."""

    async def trim(self, keep: int) -> None:
        """Forget all but the newest entries."""
