"""Who a call is made by: a principal, and the keys by which grants and readers name it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["user", "agent", "worker", "service"]

KINDS: tuple[Kind, ...] = get_args(Kind)

EVERYONE = "everyone"
LOCAL_SUB = "local"
SERVICE_SUB = "service"


@dataclass(frozen=True, slots=True)
class RunScope:
    """The run that a worker's key is tied to."""

    experiment_id: str
    variation: int
    run: int


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls.

    `sub` is the id of the user, or of the service, that acts; an agent and a worker act for the
    user whose key they hold, and `kind` tells them apart. `organizations` and `teams` are ids.
    `admin` administers identity and reads the audit, and sees nothing private by that. `is_local`
    is whoever sits at this machine. `run` is what a worker is tied to. `key_id` names the API key
    it came by, for the audit. `keys` are the strings that stand in grants and readers.
    """

    sub: str
    kind: Kind = "user"
    organizations: frozenset[str] = frozenset()
    teams: frozenset[str] = frozenset()
    handle: str = ""
    admin: bool = False
    is_local: bool = False
    run: RunScope | None = None
    key_id: str = ""
    keys: frozenset[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        keys = frozenset((self.sub, EVERYONE)) | self.organizations | self.teams
        object.__setattr__(self, "keys", keys)

    @property
    def is_service(self) -> bool:
        """Whether it is one of Asgard's own services, which sees everything."""
        return self.kind == "service"

    @property
    def sees_everything(self) -> bool:
        """Whether no rule of access stands between it and anything: a service, the local user."""
        return self.is_local or self.kind == "service"


LOCAL = Principal(LOCAL_SUB, handle="@local", admin=True, is_local=True)
"""Whoever sits at this machine, where nobody has to say who they are."""
