"""Who may read a run, who may change it, and who says whose it is: rules over its document. Pure.

A document names its owner, or nobody: then the run is everybody's who is identified, as a file in a
shared folder is. Of a run of a variation it also says whom the experiment lets read and change it,
and nothing else counts. A run that a caller may not read is not there: `NotFoundError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from gimle.asgard.core.access_errors import ForbiddenError, NotAMemberError
from gimle.asgard.core.documents import RunDocument
from gimle.asgard.core.errors import InvalidFieldError, NotFoundError

from asgard_server.access.domain import EVERYONE, Owner, broadcast, visibility_of
from asgard_server.auth.principal import Principal

OWNED = ("owner", "organization_id", "visibility")
"""The fields by which a document says whose a run is."""

_SUB_LIMIT = 500
_NOT_ITS_OWN = "a worker's key changes its own run, and nothing else"


class Circle(NamedTuple):
    """Who may read a run, and who may change it: keys of principals."""

    readers: frozenset[str]
    writers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Whose:
    """What is asked of whose a run is; None: nothing is said of it."""

    owner: str | None = None
    organization_id: str | None = None
    visibility: str | None = None

    @property
    def says_nothing(self) -> bool:
        """Whether everything may stay as it is."""
        return (self.owner, self.organization_id, self.visibility) == (None, None, None)


def circle_of(run: RunDocument) -> Circle | None:
    """Who may read and who may change a run; None: whoever is identified.

    A document whose owner is no text is nobody's to read, but for those who see everything.
    """
    extra = run.extra
    if not extra:
        return None
    readers, writers = _names(extra.get("readers")), _names(extra.get("writers"))
    if readers:
        return Circle(readers | writers, writers)
    owner = extra.get("owner")
    if owner is None or owner == "":
        return None
    if not isinstance(owner, str):
        return Circle(frozenset(), frozenset())
    found, visibility = {owner}, extra.get("visibility")
    organization = extra.get("organization_id")
    if visibility == "public":
        found.add(EVERYONE)
    elif visibility == "org_public" and isinstance(organization, str) and organization:
        found.add(organization)
    return Circle(frozenset(found), frozenset((owner,)))


def readers_of(run: RunDocument) -> frozenset[str] | None:
    """Who may read a run; None: whoever is identified."""
    circle = circle_of(run)
    return None if circle is None else circle.readers


def may_read(run: RunDocument, by: Principal) -> bool:
    """Whether a caller may read a run, and its results."""
    if by.sees_everything:
        return True
    readers = readers_of(run)
    return readers is None or not by.keys.isdisjoint(readers)


def require_read(run: RunDocument, by: Principal) -> RunDocument:
    """The run, for who may read it. Raises `NotFoundError`."""
    if not may_read(run, by):
        raise NotFoundError("run", run.id)
    return run


def require_change(run: RunDocument, by: Principal) -> RunDocument:
    """The run, for who may change it and its results. Raises `NotFoundError`, `ForbiddenError`."""
    if by.sees_everything:
        return run
    require_read(run, by)
    if by.run is not None:
        if not _is_of(run, by):
            raise ForbiddenError(_NOT_ITS_OWN)
        return run
    circle = circle_of(run)
    if circle is not None and by.keys.isdisjoint(circle.writers):
        raise ForbiddenError(f"you may read the run {run.id}, not change it; ask its owner")
    return run


def require_delete(run: RunDocument, by: Principal) -> RunDocument:
    """The run, for who may delete it: a worker never. Raises as `require_change`."""
    require_change(run, by)
    if by.run is not None:
        raise ForbiddenError("a worker's key deletes no run")
    return run


def require_maker(by: Principal) -> None:
    """Raise `ForbiddenError` for a worker's key: its run is there already."""
    if by.run is not None:
        raise ForbiddenError(_NOT_ITS_OWN)


def made_by(by: Principal, asked: Whose) -> dict[str, str]:
    """What the document of a new run says of whose it is; nothing of one that is everybody's.

    Raises `ForbiddenError` for an owner that the caller is not, `NotAMemberError`,
    `InvalidFieldError`.
    """
    if by.sees_everything:
        return _fields(_sub(asked.owner), asked.organization_id or "", asked.visibility, by)
    require_maker(by)
    if asked.owner not in (None, "", by.sub):
        raise ForbiddenError("whoever makes a run owns it; give it away afterwards")
    return _fields(by.sub, asked.organization_id or "", asked.visibility, by)


def given(run: RunDocument, asked: Whose, by: Principal, now: datetime) -> RunDocument:
    """The run as its owner says whose it is from now on; the same object when it is so already.

    Raises `NotFoundError`, `ForbiddenError` for whoever does not own it, `NotAMemberError`,
    `InvalidFieldError`.
    """
    if asked.says_nothing:
        return run
    _require_own(run, by)
    old = {name: _text(run.extra.get(name)) for name in OWNED}
    owner = old["owner"] if asked.owner is None else _sub(asked.owner)
    if not owner and not by.sees_everything:
        raise InvalidFieldError("owner", "is missing", "give the id of who is to own it")
    organization, visibility = asked.organization_id, asked.visibility
    if organization is None:
        organization = old["organization_id"]
        visibility = visibility if visibility is not None else old["visibility"]
    elif visibility is None and old["visibility"] == "public":
        visibility = "public"
    if not owner and asked.owner is not None:
        organization, visibility = asked.organization_id or "", asked.visibility
    moved = organization != old["organization_id"]
    fields = _fields(owner, organization, visibility, by, member=not moved)
    others = {name: value for name, value in run.extra.items() if name not in OWNED}
    extra = {**others, **fields}
    if extra == dict(run.extra):
        return run
    return replace(run, extra=extra, updated_at=max(now, run.updated_at))


def _fields(
    owner: str, organization: str, visibility: str | None, by: Principal, *, member: bool = False
) -> dict[str, str]:
    """The fields of a document. `member`: its organisation is not looked at."""
    if not owner:
        name = "organization_id" if organization else "visibility"
        if organization or visibility:
            mend = "give an owner too, or leave it out: a run without one is everybody's"
            raise InvalidFieldError(name, "is given of a run without an owner", mend)
        return {}
    if organization and not (member or by.sees_everything or organization in by.organizations):
        raise NotAMemberError(organization)
    usual = "org_public" if organization else "private"
    shown = visibility_of(visibility or usual)
    broadcast(shown, Owner(organization or None))
    told = {"owner": owner, "organization_id": organization, "visibility": shown}
    return {name: text for name, text in told.items() if text}


def _require_own(run: RunDocument, by: Principal) -> None:
    if by.sees_everything:
        return
    require_read(run, by)
    if _names(run.extra.get("readers")):
        raise ForbiddenError("whose it is, its experiment says: share or move that")
    if by.run is not None or run.extra.get("owner") != by.sub:
        raise ForbiddenError(f"whose the run {run.id} is, its owner says alone")


def _is_of(run: RunDocument, by: Principal) -> bool:
    """Whether a worker's key is tied to this run, which only ExperimentService can have made."""
    if by.run is None or not _names(run.extra.get("readers")):
        return False
    told: Mapping[str, Any] = run.metadata
    named = (told.get("experiment_id"), told.get("variation"), told.get("run"))
    return named == (by.run.experiment_id, by.run.variation, by.run.run)


def _names(value: object) -> frozenset[str]:
    """Names in a list of a document; what others wrote there may be anything."""
    if not isinstance(value, list | tuple):
        return frozenset()
    return frozenset(each for each in value if isinstance(each, str) and each)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _sub(text: str | None) -> str:
    """Check the id of a user: no handle, which only IdentityService knows."""
    found = text or ""
    if found.startswith("@") and found != "@local":
        raise InvalidFieldError("owner", f"is the handle {found[:80]!r}", "give the id of the user")
    if len(found) > _SUB_LIMIT or not found.isprintable():
        raise InvalidFieldError("owner", "is no id of a user", "give the id that `asgard me` shows")
    return "local" if found == "@local" else found
