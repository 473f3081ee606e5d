"""The port of IdentityService: rows of who there is, within one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

from asgard_server.identity.domain import ApiKey, Asked, Change, Group, GroupKind, Membership, User

T = TypeVar("T")


class Named(NamedTuple):
    """A member, and the user if there is a row of it."""

    membership: Membership
    user: User | None


class Users(Protocol):
    """The users."""

    async def find(self, sub: str, *, lock: bool = False) -> User | None:
        """Look up by id; `lock` keeps others from changing the user meanwhile."""

    async def named(self, handle: str) -> User | None:
        """Look up by handle, without its @."""

    async def add(self, user: User) -> bool:
        """Add a row, unless the id or the handle is taken; answer whether it was added."""

    async def change(self, user: User) -> None:
        """Replace what a token or an administrator says: name, email, issuer, and the times of the
        newest token and of being shut out.
        """

    async def page(
        self, behind: str, limit: int, sharing: Collection[str] | None, themselves: str
    ) -> list[User]:
        """Users by handle, those > `behind`; `sharing` a group of these, and `themselves`."""


class Groups(Protocol):
    """Organisations and teams."""

    async def find(self, id: str, *, lock: bool = False) -> Group | None:
        """Look up by id; `lock` keeps others from changing its members meanwhile."""

    async def named(self, kind: GroupKind, slug: str) -> Group | None:
        """Look up by slug."""

    async def add(self, group: Group) -> bool:
        """Add a row, unless the slug is taken; answer whether it was added."""

    async def remove(self, group: Group) -> None:
        """Remove a row, and all memberships of it."""

    async def page(
        self,
        kind: GroupKind,
        behind: str,
        limit: int,
        *,
        ids: Collection[str] | None = None,
        within: Collection[str] = (),
        organization_id: str | None = None,
    ) -> list[Group]:
        """Groups by slug, those > `behind`: of these ids, or within these organisations."""

    async def belongings(self, group: Group) -> Mapping[str, int]:
        """How many things of each kind belong to it; without kinds of which there are none."""


class Members(Protocol):
    """Who is a member of what."""

    async def find(self, group_id: str, sub: str) -> Membership | None:
        """Look one up."""

    async def put(self, membership: Membership) -> None:
        """Add it, or replace role and source."""

    async def remove(self, group_id: str, sub: str) -> bool:
        """Remove it, and those of the organisation's teams; answer whether it was there."""

    async def of_user(self, sub: str) -> list[tuple[Membership, GroupKind]]:
        """All memberships of a user."""

    async def of_group(self, group_id: str, behind: str, limit: int) -> list[Named]:
        """Members by id, those > `behind`."""

    async def other_admins(self, group_id: str, sub: str) -> int:
        """How many administrators it has beside one."""


class Keys(Protocol):
    """API keys."""

    async def add(self, key: ApiKey) -> None:
        """Add a row."""

    async def find(self, id: str) -> ApiKey | None:
        """Look up by id."""

    async def hashed(self, hash: str) -> ApiKey | None:
        """Look up by the SHA-256 of the key."""

    async def page(self, sub: str, behind: tuple[datetime, str] | None, limit: int) -> list[ApiKey]:
        """A user's, newest first."""

    async def revoke(self, id: str, at: datetime) -> None:
        """End one, unless it has ended."""

    async def revoke_all(self, sub: str, at: datetime) -> list[str]:
        """End all of a user; answer the ids of those that had not ended."""


class Rows(Protocol):
    """All of it, as one transaction sees and changes it."""

    @property
    def users(self) -> Users:
        """The users."""

    @property
    def groups(self) -> Groups:
        """Organisations and teams."""

    @property
    def members(self) -> Members:
        """Who is a member of what."""

    @property
    def keys(self) -> Keys:
        """API keys."""

    async def record(self, asked: Asked, change: Change) -> None:
        """Add a row to the audit."""


class Directory(Protocol):
    """Where it is kept. Work awaits nothing but its rows, and may be run twice."""

    async def change(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run work as one transaction, all or nothing."""

    async def look(self, work: Callable[[Rows], Awaitable[T]]) -> T:
        """Run work that changes nothing."""
