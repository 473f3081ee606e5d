"""Examining a storage folder: what is not whole, and what nothing refers to any more.

Nothing is removed because something else is missing, unless it is asked for and old:
a copy may be on its way, files before results before runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gimle.asgard.core.arrays import dtype_named
from gimle.asgard.core.documents import ResultDocument, RunDocument
from gimle.asgard.core.errors import DocumentError, NotFoundError
from gimle.asgard.core.folder import files
from gimle.asgard.core.folder.arrayfiles import array_names, loader
from gimle.asgard.core.folder.intents import Intents, Markers, listed
from gimle.asgard.core.folder.layout import Layout, array_file, document_id
from gimle.asgard.core.folder.locks import Locks
from gimle.asgard.core.growth import references

if TYPE_CHECKING:
    from gimle.asgard.core.folder.folder import Folder

OLD_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    kind: unreadable, missing_array, unlisted, listed_but_missing, orphan_result,
        orphan_array, temporary, unfinished, unknown.
    path: below the storage folder.
    repaired: whether `repair` mended it; what is younger than 24 hours is left alone.
    size_bytes: what it takes, where it is bytes that nobody needs.
    """

    kind: str
    path: str
    problem: str
    repaired: bool = False
    size_bytes: int = 0


@dataclass(frozen=True)
class Report:
    """What an examination found."""

    runs: int
    results: int
    arrays: int
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing is left to mend."""
        return all(finding.repaired for finding in self.findings)


def examine(
    folder: Folder,
    layout: Layout,
    intents: Intents,
    markers: Markers,
    locks: Locks,
    repair: bool,
) -> Report:
    """Examine every document and file; see Folder.fsck."""
    examination = _Examination(folder, layout, intents, markers, locks, repair)
    examination.run()
    return Report(
        len(examination.runs),
        len(examination.results),
        len(examination.array_names),
        examination.findings,
    )


class _Examination:
    def __init__(
        self,
        folder: Folder,
        layout: Layout,
        intents: Intents,
        markers: Markers,
        locks: Locks,
        repair: bool,
    ) -> None:
        self.folder, self.layout, self.locks, self.repair = folder, layout, locks, repair
        self.intents, self.markers = intents, markers
        self.findings: list[Finding] = []
        self.runs: dict[str, RunDocument | None] = {}
        self.results: dict[str, ResultDocument | None] = {}
        self.array_names: list[str] = []

    def run(self) -> None:
        # In the order in which references are followed backwards: what is written while
        # we look has its arrays before its document and its document before its listing.
        self.array_names = [name for name in listed(self.layout.files) if not name.startswith(".")]
        being_written = {
            name for id in self.intents.names() for name in self.intents.files_named(id)
        }
        for id in self.folder.ids("result"):
            self._read_result(id)
        for id in self.folder.ids("run"):
            self._read_run(id)
        self._unfinished()
        self._memberships()
        self._missing_arrays()
        self._orphan_arrays(being_written)
        self._strangers()

    def _read_result(self, id: str) -> None:
        try:
            self.results[id] = self.folder.read_result_document(id)
        except NotFoundError:
            return
        except DocumentError as error:
            self.results[id] = None
            self._found("unreadable", f"results/{id}.json", error.problem)

    def _read_run(self, id: str) -> None:
        try:
            self.runs[id] = self.folder.read_run(id)
        except NotFoundError:
            return
        except DocumentError as error:
            self.runs[id] = None
            self._found("unreadable", f"runs/{id}.json", error.problem)

    def _unfinished(self) -> None:
        for id in self.markers.names():
            if self.markers.read(id) is None:
                self._removable(
                    "unfinished", f".asgard/deleting/{id}", "a delete's marker is broken"
                )
            else:
                self._found(
                    "unfinished", f".asgard/deleting/{id}", "a delete has begun and not ended"
                )

    def _memberships(self) -> None:
        members: dict[str, list[str]] = {}
        for result in self.results.values():
            if result is not None:
                members.setdefault(result.run_id, []).append(result.id)
        for run_id, own in members.items():
            if run_id not in self.runs:
                for id in own:
                    self._orphan_result(id, run_id)
                continue
            run = self.runs[run_id]
            if run is not None:
                missing = sorted(set(own) - set(run.results))
                if missing:
                    self._unlisted(run_id, missing)
        for run in self.runs.values():
            for id in run.results if run is not None else ():
                if id not in self.results:
                    self._listed_but_missing(run, id)

    def _orphan_result(self, id: str, run_id: str) -> None:
        path, problem = f"results/{id}.json", f"its run {run_id} does not exist"
        result = self.results[id]
        repaired = self._removable("orphan_result", path, problem)
        if repaired and result is not None:
            for name in array_names(result):
                files.remove(self.layout.array(name))

    def _unlisted(self, run_id: str, ids: list[str]) -> None:
        still: list[str] = []

        def listing(run: RunDocument) -> RunDocument:
            still.extend(
                id
                for id in ids
                if id not in run.results and self.folder.stat("result", id) is not None
            )
            return replace(run, results=(*run.results, *still)) if self.repair else run

        try:
            self.folder.update_run(run_id, listing)
        except (NotFoundError, DocumentError):
            return
        for id in still:
            problem = f"its run {run_id} does not list it"
            self._found("unlisted", f"results/{id}.json", problem, self.repair)

    def _listed_but_missing(self, run: RunDocument | None, id: str) -> None:
        if run is None or self.folder.stat("result", id) is not None:
            return
        path = f"runs/{run.id}.json"
        repaired = self.repair and self._old(path)
        if repaired:
            self.folder.update_run(
                run.id,
                lambda now: replace(now, results=tuple(x for x in now.results if x != id)),
            )
        self._found("listed_but_missing", path, f"its result {id} does not exist", repaired)

    def _missing_arrays(self) -> None:
        for id, result in self.results.items():
            for ref in references(result.data) if result is not None else ():
                load = loader(self.layout, id)
                try:
                    dtype_named(ref.dtype)
                    load(ref)
                except FileNotFoundError:
                    if self.folder.stat("result", id) is not None:
                        self._found("missing_array", f"results/{id}.json", f"{ref.path} is missing")
                except ValueError as error:
                    problem = error.problem if isinstance(error, DocumentError) else str(error)
                    self._found("missing_array", f"results/{id}.json", problem)

    def _orphan_arrays(self, being_written: set[str]) -> None:
        if any(result is None for result in self.results.values()):
            # An unreadable document may be the one that refers to an array.
            return
        used = set(being_written)
        for id, result in self.results.items():
            for ref in references(result.data) if result is not None else ():
                try:
                    used.add(array_file(id, ref.path))
                except DocumentError:
                    continue
        for name in self.array_names:
            if name not in used:
                self._removable("orphan_array", f"files/{name}", "no result refers to it")

    def _strangers(self) -> None:
        for folder in ("runs", "results"):
            for name in listed(f"{self.layout.root}/{folder}"):
                if not name.startswith(".") and document_id(name) is None:
                    self._found("unknown", f"{folder}/{name}", "its name is not <id>.json")
        for path in self._temporaries():
            self._removable("temporary", path, "it was never finished")

    def _temporaries(self) -> Iterator[str]:
        for folder in ("runs", "results", "files", ".asgard/intents", ".asgard/deleting", "."):
            for name in listed(f"{self.layout.root}/{folder}"):
                if name.startswith(".") and name.endswith(".tmp"):
                    yield name if folder == "." else f"{folder}/{name}"

    def _removable(self, kind: str, path: str, problem: str) -> bool:
        """Report a leftover; remove it when asked to and it is old. Answer whether removed."""
        full = f"{self.layout.root}/{path}"
        if not os.path.lexists(full):
            return False
        size = _size(full)
        repaired = self.repair and self._old(path)
        if repaired:
            files.remove(full)
        self._found(kind, path, problem, repaired, size)
        return repaired

    def _old(self, path: str) -> bool:
        try:
            changed = os.stat(f"{self.layout.root}/{path}").st_ctime
        except FileNotFoundError:
            return False
        return time.time() - changed > OLD_SECONDS

    def _found(
        self, kind: str, path: str, problem: str, repaired: bool = False, size: int = 0
    ) -> None:
        self.findings.append(Finding(kind, path, problem, repaired, size))


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0
