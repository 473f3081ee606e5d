"""The two homes of a copy, and what can go wrong between them."""

from __future__ import annotations

from dataclasses import dataclass

from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import (
    ServiceError,
    StorageFullError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from gimle.asgard.monitor.copy.comparing import Fingerprint, fingerprint
from gimle.asgard.monitor.copy.report import Kind
from gimle.asgard.monitor.home import Home

# These are of a home and not of a run: nothing more can be copied.
OF_THE_HOME = (StorageUnavailableError, StorageFullError, StorageReadOnlyError, ServiceError)


class TroubleError(Exception):
    """Ends the copying of one run or result."""

    def __init__(self, kind: Kind, problem: str) -> None:
        super().__init__(problem)
        self.kind: Kind = kind


def keeps_documents(home: Home) -> bool:
    """Whether a home keeps documents as they are and tells all of them; a service does not."""
    return hasattr(home, "entries")


@dataclass(frozen=True, slots=True)
class Homes:
    """Whence, whither, and how closely they are compared."""

    source: Home
    target: Home
    verify: bool

    @property
    def extra(self) -> bool:
        """Whether both tell the keys of documents that this release does not know."""
        return keeps_documents(self.source) and keeps_documents(self.target)

    def fingerprint(self, result: ResultDocument) -> Fingerprint:
        """The fingerprint of a result, by what both homes can tell of it."""
        return fingerprint(result, extra=self.extra)
