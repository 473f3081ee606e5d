"""Whose a run is to be, as callers name it: by ids, or by handles that IdentityService knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol, TypeGuard

from gimle.asgard.core.errors import InvalidFieldError, NotFoundError

from asgard_server.run.rights import Whose

Kind = Literal["user", "organization", "team", "everyone"]

_HANDLES = ("@", "o/", "t/")


class Names(Protocol):
    """Who knows which principal a handle stands for."""

    async def __call__(self, handle: str) -> tuple[Kind, str] | None:
        """The kind and the id of a principal, None for nobody there.

        Raises `StorageUnavailableError` while nobody can say.
        """


async def nobody_knows(handle: str) -> tuple[Kind, str] | None:
    """For a service without IdentityService. Raises `InvalidFieldError`."""
    name = "owner" if handle.startswith("@") else "organization_id"
    mend = "give the id it stands for: this server knows no users (ASGARD_IDENTITY_ADDRESS)"
    raise InvalidFieldError(name, f"is the handle {handle[:80]!r}", mend)


async def named(asked: Whose, names: Names) -> Whose:
    """The same with ids instead of handles; ids are taken as they are.

    Raises `NotFoundError` of a user or an organisation, and what `names` does.
    """
    if not (_is_handle(asked.owner) or _is_handle(asked.organization_id)):
        return asked
    return replace(
        asked,
        owner=await _id(names, "user", asked.owner),
        organization_id=await _id(names, "organization", asked.organization_id),
    )


def _is_handle(text: str | None) -> TypeGuard[str]:
    return text is not None and text != "@local" and text.startswith(_HANDLES)


async def _id(names: Names, kind: Kind, text: str | None) -> str | None:
    if not _is_handle(text):
        return text
    found = await names(text)
    if found is None or found[0] != kind:
        raise NotFoundError(kind, text)
    return found[1]
