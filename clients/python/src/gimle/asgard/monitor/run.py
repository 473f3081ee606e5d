"""A run as its author sees it."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from gimle.asgard.core.documents import OWNED, RunDocument
from gimle.asgard.core.errors import DocumentError, NotFoundError
from gimle.asgard.monitor.home import Home
from gimle.asgard.monitor.reading import read_all
from gimle.asgard.monitor.result import Result

_log = logging.getLogger("gimle.asgard")


class Run:
    """A simulation session.

    id, name, equation, circuit, metadata, tags, note, status and the times (aware, UTC;
    finished_at is None until somebody says so) are as last read or saved; change them with
    `storage.update_run`. So are owner, organization_id and visibility; a run without an owner is
    everybody's. `results` are read when they are first looked at.
    """

    id: str
    name: str
    created_at: datetime
    updated_at: datetime
    equation: str | None
    circuit: str | None
    metadata: dict[str, Any]
    tags: list[str]
    note: str | None
    status: str | None
    finished_at: datetime | None
    result_ids: list[str]
    owner: str | None
    organization_id: str | None
    visibility: str | None

    def __init__(self, home: Home, document: RunDocument, results: list[Result] | None) -> None:
        self._home = home
        self._results = results
        self.take(document)

    def take(self, document: RunDocument) -> None:
        """Become what a newer document says; results already read stay."""
        self.id = document.id
        self.name = document.name
        self.created_at = document.created_at
        self.updated_at = document.updated_at
        self.equation = document.equation
        self.circuit = document.circuit
        self.metadata = document.metadata
        self.tags = list(document.tags)
        self.note = document.note
        self.status = document.status
        self.finished_at = document.finished_at
        self.result_ids = list(document.results)
        self.owner, self.organization_id, self.visibility = map(document.extra.get, OWNED)

    @property
    def uuid(self) -> str:
        """The id, under its other name."""
        return self.id

    @property
    def results(self) -> list[Result]:
        """Its results, oldest first."""
        if self._results is None:
            self._results = self.read_results()
        return self._results

    def read_results(self) -> list[Result]:
        """Read the results listed; those that are gone or unreadable are left out, and logged."""
        return read_all(self._readable_result, self.result_ids, at_once=self._home.reads_at_once)

    def _readable_result(self, result_id: str) -> Result | None:
        try:
            document = self._home.read_result_document(result_id)
        except (NotFoundError, DocumentError) as error:
            _log.warning("run %s: %s", self.id, error)
            return None
        return Result(self._home, document, whole=False) if document.run_id == self.id else None

    def added(self, result: Result) -> None:
        """Take note of a result just saved."""
        if result.id not in self.result_ids:
            self.result_ids.append(result.id)
        if self._results is not None:
            self._results.append(result)
        self.updated_at = max(self.updated_at, result.created_at)

    def __repr__(self) -> str:
        count = len(self.result_ids)
        parts = [
            f"<Run {self.name!r} {self.id}",
            f"{count} result{'' if count == 1 else 's'}",
            f"created {self.created_at:%Y-%m-%d %H:%M:%S}Z",
        ]
        if self.status is not None:
            parts.append(self.status)
        return ", ".join(parts) + ">"
