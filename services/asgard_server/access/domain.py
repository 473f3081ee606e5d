"""Who may do what to an asset or an experiment, and who may see it: rules without a database.

A grant lets a principal (a person, a team, an organisation, or everyone) do an action. What
somebody may do is the union of all grants to whom they are, wherever each comes from: `OWN` were
made for this very object, `VISIBILITY` broadcasts it, `from_experiment` came from an experiment
that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from gimle.asgard.core.errors import InvalidFieldError

Kind = Literal["asset", "experiment"]
Action = Literal["read", "write", "delete", "administer"]
Visibility = Literal["private", "org_public", "public"]

ACTIONS: tuple[Action, ...] = get_args(Action)
EVERYONE = "everyone"

OWN = "own"
VISIBILITY = "visibility"

ALL: frozenset[Action] = frozenset(ACTIONS)
READING: frozenset[Action] = frozenset(("read",))
IMPLIED: Mapping[Action, frozenset[Action]] = {
    "read": frozenset(("read",)),
    "write": frozenset(("write", "read")),
    "delete": frozenset(("delete", "read")),
    "administer": ALL,
}
"""What each granted action allows."""

_SPOKEN: Mapping[str, Visibility] = {
    "private": "private",
    "org_public": "org_public",
    "organization": "org_public",
    "org": "org_public",
    "team": "org_public",
    "public": "public",
}


def allowed(granted: Iterable[Action]) -> frozenset[Action]:
    """Everything that may be done with these grants."""
    return frozenset(each for action in granted for each in IMPLIED[action])


def visibility_of(text: str, empty: Visibility | None = None) -> Visibility:
    """The visibility of this name or another of its names. Raises `InvalidFieldError`.

    `empty` is what an empty text means; None: nothing.
    """
    found = _SPOKEN.get(text) if text else empty
    if found is None:
        problem = f"is {text[:80]!r}" if text else "is missing"
        mend = "give private, org_public (or organization, org, team) or public"
        raise InvalidFieldError("visibility", problem, mend)
    return found


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose something is: an organisation's, a team's, or else the person's who made it."""

    organization_id: str | None = None
    team_id: str | None = None

    @property
    def scope(self) -> str | None:
        """The team, or without one the organisation; None for a person."""
        return self.team_id or self.organization_id


def broadcast(visibility: Visibility, owner: Owner) -> str | None:
    """Who reads it by its visibility; None for nobody. Raises `InvalidFieldError`."""
    if visibility == "public":
        return EVERYONE
    if visibility == "private":
        return None
    if owner.scope is None:
        raise InvalidFieldError(
            "visibility",
            "is org_public, and no organization or team owns it",
            "move it into an organization, or give private or public",
        )
    return owner.scope


def from_experiment(experiment_id: str) -> str:
    """The source of grants that come from an experiment."""
    return f"experiment:{experiment_id}"


Granted = tuple[str, Action]
"""A principal and what it may do."""


def inherited(grants: Iterable[Granted], *, as_output: bool, as_input: bool) -> frozenset[Granted]:
    """What an asset has of an experiment's grants.

    Whoever may do something with an experiment may do it with its outputs. An input that its
    readers are to read (`as_input`) has them as readers, whatever else they may do there.
    """
    found: set[Granted] = set()
    for principal, action in grants:
        if as_output:
            found.add((principal, action))
        if as_input:
            found.add((principal, "read"))
    return frozenset(found)
