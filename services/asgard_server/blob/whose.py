"""Whose blobs are: what a caller sees and changes, and which names are theirs (docs/access.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gimle.asgard.core.access_errors import ForbiddenError
from gimle.asgard.core.job_errors import ServiceCallersOnlyError

from asgard_server.auth.principal import Principal
from asgard_server.blob.domain import Blob


@dataclass(frozen=True, slots=True)
class Whose:
    """For whom something is done with blobs.

    `maker`: the principal whose names are meant, and whose the blobs are that are made; empty for
    the services and the local user, who have theirs together. `everything`: blobs of all others are
    to be had, too, by their ids. `only_adds`: by a worker's key nothing is deleted.
    """

    maker: str = ""
    everything: bool = False
    only_adds: bool = False

    def sees(self, blob: Blob) -> bool:
        """Whether the blob is there for the caller."""
        return self.everything or (self.maker != "" and blob.maker == self.maker)

    def brings(self, blob: Blob) -> bool:
        """Whether the caller may bring parts of an upload."""
        return self.sees(blob) or self.maker in blob.lent_to

    def seen(self, found: Mapping[str, Blob]) -> dict[str, Blob]:
        """Of what was found what is there for the caller."""
        return {name: blob for name, blob in found.items() if self.sees(blob)}

    def require_service(self) -> None:
        """Raise `ServiceCallersOnlyError` unless the caller speaks for those who need blobs."""
        if not self.everything:
            raise ServiceCallersOnlyError

    def require_deleting(self) -> None:
        """Raise `ForbiddenError` by a worker's key."""
        if self.only_adds:
            raise ForbiddenError("a worker's key adds and reads blobs, and deletes none")


SERVICES = Whose(everything=True)
"""The services themselves, and whoever sits at this machine."""

NOBODY = Whose()
"""Who has no blobs."""


def whose(caller: Principal) -> Whose:
    """For whom a call is made. An agent and a worker act for their user."""
    if caller.sees_everything:
        return SERVICES
    return Whose(caller.sub, only_adds=caller.kind == "worker")
