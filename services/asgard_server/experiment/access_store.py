"""The port of ExperimentService to who may do what with an experiment, and who is who."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from asgard_server.access.domain import Action, Owner, Visibility
from asgard_server.auth.principal import Principal


class Granted(NamedTuple):
    """A grant, with the handle of whom it is for."""

    principal: str
    action: Action
    source: str
    granted_by: str
    granted_at: datetime
    handle: str = ""


class Access(Protocol):
    """Who may do what with an experiment, and who is who."""

    async def require(self, id: str, by: Principal, action: Action) -> None:
        """Raise `NotFoundError` or `ForbiddenError` unless the caller may do this."""

    async def actions(self, id: str, by: Principal) -> frozenset[Action]:
        """What the caller may do."""

    async def own(self, id: str, by: Principal, now: datetime) -> None:
        """Let the caller, who makes it, administer it."""

    async def broadcast(
        self, id: str, visibility: Visibility, owner: Owner, by: Principal, now: datetime
    ) -> None:
        """Let it be read as its visibility says. Raises `InvalidFieldError`."""

    async def grant(
        self, id: str, principal: str, action: Action, by: Principal, now: datetime
    ) -> bool:
        """Grant an action; answer whether that is new."""

    async def revoke(self, id: str, principal: str, action: Action) -> bool:
        """Take a grant back; whether it was there. Raises `LastAdministratorError`."""

    async def grants(self, id: str) -> list[Granted]:
        """Who may do what."""

    async def circle(self, id: str) -> Circle:
        """Who may read it, and who may write to it."""

    async def settle(self, id: str, now: datetime) -> None:
        """Make its readers of its grants, and let its assets have what they have of them."""

    async def principal(self, text: str) -> str:
        """The principal of an id or a handle. Raises `NotFoundError`."""

    async def owner(self, organization: str, team: str, by: Principal) -> Owner:
        """An organisation or a team of the caller. Raises `NotFoundError`, `NotAMemberError`."""


class Circle(NamedTuple):
    """Who may read something, and who may change it: principals, sorted."""

    readers: tuple[str, ...]
    writers: tuple[str, ...]
