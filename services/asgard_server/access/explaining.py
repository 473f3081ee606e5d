"""Why somebody may do something with an asset, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from asgard_server.access.domain import ALL, EVERYONE, VISIBILITY, Action, allowed

_FROM = "experiment:"


@dataclass(frozen=True, slots=True)
class Grant:
    """That a principal, called by its handle where it has one, may do an action."""

    principal: str
    action: Action
    source: str
    granted_by: str
    granted_at: datetime
    handle: str = ""

    @property
    def name(self) -> str:
        """What people call the principal."""
        return self.handle or self.principal


@dataclass(frozen=True, slots=True)
class Way:
    """A way from a principal to an action: by whom it is in, and what was granted to that."""

    action: Action
    through: str
    source: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a principal may do, and each way to it; nothing without a way."""

    principal: str
    allowed: frozenset[Action]
    ways: tuple[Way, ...] = ()


def explain(
    principal: str,
    name: str,
    keys: Iterable[str],
    grants: Iterable[Grant],
    names: Mapping[str, str],
) -> Explanation:
    """Say what a principal with these keys may do by these grants.

    `name` is what people call it; `names`, those who have granted something.
    """
    mine = frozenset(keys)
    used = [each for each in grants if each.principal in mine]
    ways = [
        Way(each.action, each.principal, each.source, _sentence(principal, name, each, names))
        for each in used
    ]
    return Explanation(principal, allowed(each.action for each in used), tuple(ways))


def everything(principal: str, name: str, why: str) -> Explanation:
    """Say of somebody whom no rule holds back that they may do everything."""
    sentence = f"{name} {why}"
    return Explanation(principal, ALL, (Way("administer", principal, why, sentence),))


def _sentence(principal: str, name: str, grant: Grant, names: Mapping[str, str]) -> str:
    day = grant.granted_at.date().isoformat()
    by = names.get(grant.granted_by, grant.granted_by)
    who = _who(principal, name, grant)
    if grant.source == VISIBILITY:
        return f"{who} may read it by its visibility, which {by} set on {day}"
    if grant.source.startswith(_FROM):
        experiment = grant.source.removeprefix(_FROM)
        return f"{who} may {grant.action} it as the experiment {experiment}, which it is linked to"
    return f"{who} was granted {grant.action} by {by} on {day}"


def _who(principal: str, name: str, grant: Grant) -> str:
    if grant.principal == principal:
        return name
    if grant.principal == EVERYONE:
        return f"{name} is one of everyone, who"
    return f"{name} is in {grant.name}, which"
