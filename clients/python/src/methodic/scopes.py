"""Whose things are: the caller, a team, an organization."""

from __future__ import annotations

import threading
from typing import Any, Final

from methodic.answers import Answer
from methodic.errors import ChronicleConfigError
from methodic.transport import Transport


class _Personal:
    """Says that one call is for the caller alone, whatever organization the client is for."""

    def __repr__(self) -> str:
        return "PERSONAL"


PERSONAL: Final = _Personal()

Organization = str | _Personal | None


class Scope(Answer):
    """A user, team or organization: `id`, `kind`, `name`, `slug`."""


class Me:
    """`chronicle.me`: who asks."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self) -> Answer:
        """Who the server takes the caller for."""
        found: Answer = self._transport.get("/v1/me")
        return found

    def scopes(self) -> list[Scope]:
        """The caller, then its teams and organizations."""
        return [Scope(each) for each in self._transport.get("/v1/me/scopes")["scopes"]]


class Owner:
    """The organization that a client is for; its slug is looked up when it is first needed."""

    def __init__(self, me: Me, organization_id: str | None, slug: str | None) -> None:
        self._me = me
        self._id = organization_id
        self._slug = slug
        self._lock = threading.Lock()

    def of(self, organization_id: Organization) -> str | None:
        """What a call is for: what it says itself, else what the client is for; None: the caller.

        Raises ChronicleConfigError for a slug that the caller has no organization of.
        """
        if isinstance(organization_id, _Personal):
            return None
        return organization_id or self._default()

    def _default(self) -> str | None:
        with self._lock:
            if self._id is None and self._slug is not None:
                self._id = self._looked_up(self._slug)
            return self._id

    def _looked_up(self, slug: str) -> str:
        scopes: list[Any] = [each for each in self._me.scopes() if each.kind == "organization"]
        for each in scopes:
            if each.slug == slug:
                return str(each.id)
        known = ", ".join(sorted(each.slug for each in scopes)) or "none"
        raise ChronicleConfigError(
            f"you are in no organization {slug!r} (of yours there are: {known}); mend "
            "CHRONICLE_ORGANIZATION_SLUG or organization_slug="
        )
