"""What is raised of who you are and what you may. All are `ServiceError`s: a folder asks nobody.

ServiceError
├── UnauthenticatedError     nobody is identified, or the key or token is not one of ours
│   └── TokenExpiredError    it was one, and its time is over: get a new one
├── ForbiddenError           it can be read, and this may not be done to it
├── NotAMemberError          the caller is not a member of the scope it named
├── LastAdministratorError   nobody would be left who administers it
└── InUseError               things belong to it: it cannot be deleted
"""

from __future__ import annotations

from collections.abc import Mapping

from gimle.asgard.core.errors import ServiceError


class UnauthenticatedError(ServiceError):
    """Nobody is identified where somebody must be."""

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message or "nobody is identified; send an API key or a token: Authorization: Bearer ..."
        )


class TokenExpiredError(UnauthenticatedError):
    """The API key or token was good until a while ago."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or "the API key or token has expired; get a new one")


class ForbiddenError(ServiceError):
    """The thing can be read, and this may not be done to it."""


class NotAMemberError(ServiceError):
    """The caller is not a member of `scope`, an organisation or a team, as it was named."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"caller is not a member of {scope}")
        self.scope = scope


class LastAdministratorError(ServiceError):
    """`principal` is the last who administers `what`; name another administrator first."""

    def __init__(self, what: str, principal: str) -> None:
        super().__init__(
            f"{principal} is the last administrator of {what}; name another one before"
        )
        self.what = what
        self.principal = principal


class InUseError(ServiceError):
    """`what` cannot be deleted while things belong to it: `counts` of each kind."""

    def __init__(self, what: str, counts: Mapping[str, int]) -> None:
        there = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
        super().__init__(f"{what} still has {there}; delete or move them before")
        self.what = what
        self.counts = dict(counts)
