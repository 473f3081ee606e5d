"""What is being written or deleted: objects under `.asgard/`, so that a dead writer's work ends.

Nothing is removed because something else is missing: a sweeper removes only what an intent
names that is older than any writer lives on with it, and finishes only deletes that have
left their marker.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import orjson
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.folder.layout import owned
from gimle.asgard.core.ids import is_id
from gimle.asgard.core.s3.objects import Objects

INTENTS, DELETING = ".asgard/intents", ".asgard/deleting"

# A writer gives up long before its intent is swept. S3 has no lock that dies with its holder.
WRITER_LIVES_S = 12 * 3600
SWEPT_AFTER_S = 24 * 3600
FINISHED_AFTER_S = 600
"""By then whoever began a delete has finished it, or has died."""
BARRED_FOR_S = 1200
"""So long a service keeps a deleted document that a late write would bring back, without a byte."""


class Intent:
    """Array files that are about to be written for a new result."""

    def __init__(self, objects: Objects, result_id: str, names: Iterable[str]) -> None:
        self._objects = objects
        self._result_id = result_id
        self._path = f"{INTENTS}/{result_id}.{token_hex(6)}"
        self._begun = time.monotonic()
        self.names = list(names)
        self._write()

    def _write(self) -> None:
        body = {"result": self._result_id, "files": self.names}
        self._objects.put(self._path, orjson.dumps(body))

    def add(self, name: str) -> None:
        """Name one more file, before it is written."""
        self.names.append(name)
        self._write()

    def check(self) -> None:
        """Make sure that nobody sweeps what this intent names. Raises StorageUnavailableError."""
        if time.monotonic() - self._begun > WRITER_LIVES_S:
            raise StorageUnavailableError(
                str(self._objects.place), "writing the arrays took over 12 hours; save again"
            )

    def end(self) -> None:
        """Take the intent back: the document is written, or the files are removed."""
        self._objects.delete([self._path])


@dataclass
class Marker:
    """A delete: everything that goes, by name. `kind` is of what was asked to be deleted."""

    kind: str
    id: str
    run_id: str
    results: list[str]
    names: list[str]

    def write(self, objects: Objects) -> None:
        """Say so, before anything goes."""
        body = {"kind": self.kind, "run": self.run_id, "results": self.results, "files": self.names}
        objects.put(f"{DELETING}/{self.id}", orjson.dumps(body))

    def end(self, objects: Objects) -> None:
        """All is gone."""
        objects.delete([f"{DELETING}/{self.id}"])


def read_marker(objects: Objects, id: str) -> Marker | None:
    """The marker of a run or result, None when there is none or it is broken."""
    found = objects.get(f"{DELETING}/{id}")
    if found is None:
        return None
    try:
        said = orjson.loads(found.body)
        results = [name for name in said["results"] if is_id(name)]
        marker = Marker(said["kind"], id, said["run"], results, _own(said["files"], results))
    except (ValueError, TypeError, KeyError):
        return None
    if marker.kind not in ("run", "result") or not is_id(marker.run_id):
        return None
    return marker


def old_markers(objects: Objects) -> Iterator[str]:
    """Runs and results whose delete began some time ago and has not ended."""
    for entry in objects.list(DELETING):
        id = entry.path.rpartition("/")[2]
        if entry.age_s > FINISHED_AFTER_S and is_id(id):
            yield id


def old_intents(objects: Objects) -> Iterator[tuple[str, str, list[str]]]:
    """(path, result, array files) of each intent whose writer must be dead."""
    for entry in objects.list(INTENTS):
        if entry.age_s <= SWEPT_AFTER_S:
            continue
        found = objects.get(entry.path)
        if found is None:
            continue
        try:
            said: dict[str, Any] = orjson.loads(found.body)
            result_id = said["result"]
            names = _own(said["files"], [result_id])
        except (ValueError, TypeError, KeyError):
            continue
        if is_id(result_id):
            yield entry.path, result_id, names


def files_of_intents(objects: Objects) -> Iterator[str]:
    """Every array file that an intent names, however old: it is its writer's, or the sweeper's."""
    for entry in objects.list(INTENTS):
        found = objects.get(entry.path)
        if found is None:
            continue
        try:
            yield from map(str, orjson.loads(found.body)["files"])
        except (ValueError, TypeError, KeyError):
            continue


def _own(names: list[Any], results: list[str]) -> list[str]:
    """Those array files that are the results' own."""
    return [
        name for name in names if "/" not in name and any(owned(result, name) for result in results)
    ]
