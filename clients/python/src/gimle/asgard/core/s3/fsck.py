"""Examining a storage in S3: what is not whole, and what nothing refers to any more.

S3 has no moment in which everything stands still: writers go on while it is listed. Things are
listed in the order in which references are followed backwards (arrays, results, runs), what looks
wrong is looked at once more by itself, and what is younger than any writer takes is left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from gimle.asgard.core.documents import ResultDocument, RunDocument, decode_result, decode_run
from gimle.asgard.core.errors import DocumentError, StorageUnavailableError
from gimle.asgard.core.folder.fsck import OLD_SECONDS, Finding, Report
from gimle.asgard.core.folder.layout import KINDS, METADATA, document_id
from gimle.asgard.core.ids import is_id
from gimle.asgard.core.s3.arrays_checked import names_in, owners_of, problem_of
from gimle.asgard.core.s3.bucket import Bucket
from gimle.asgard.core.s3.deleting import Deleter, array_names
from gimle.asgard.core.s3.markers import (
    BARRED_FOR_S,
    DELETING,
    FINISHED_AFTER_S,
    files_of_intents,
    read_marker,
)
from gimle.asgard.core.s3.objects import Entry, Objects
from gimle.asgard.core.s3.opening import storage_id
from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.s3.reading import document_path

Tell = Callable[[str, int], None]
D = TypeVar("D", RunDocument, ResultDocument)

_READERS = 16
# So many documents between two words of progress.
_STEP = 200


@dataclass(frozen=True)
class UnderWay:
    """What a service that serves this storage has begun, as its ledger says: that is its own.

    files: arrays that are being written, or are being deleted.
    results: those it will list in their runs by itself.
    documents: paths of those that it is deleting, or keeps without a byte, so that a late write
        does not bring them back; it removes them in its time.
    """

    files: frozenset[str] = frozenset()
    results: frozenset[str] = frozenset()
    documents: frozenset[str] = frozenset()


def examine(
    place: Place,
    *,
    repair: bool = False,
    deep: bool = False,
    under_way: UnderWay | None = None,
    tell: Tell = lambda step, count: None,
    old_seconds: float = OLD_SECONDS,
) -> Report:
    """Examine every document and object of a storage in S3, and with `repair` mend it.

    Repairing lists results that their run does not list, finishes deletes, and removes what
    nothing refers to and is older than `old_seconds` by the store's clock. `deep` reads every
    array as well. `tell` hears step and count. Raises StorageUnavailableError when there is no
    storage or a listing does not end well: nothing is repaired then.
    """
    objects = Objects(place)
    _require_storage(objects)
    examination = _Examination(objects, repair, deep, under_way or UnderWay(), tell, old_seconds)
    with ThreadPoolExecutor(_READERS) as readers:
        examination.run(readers)
    return Report(
        len(examination.runs),
        len(examination.results),
        len(examination.files),
        examination.findings,
    )


def _require_storage(objects: Objects) -> str | None:
    found = objects.get(METADATA)
    if found is None:
        raise StorageUnavailableError(
            str(objects.place),
            f"there is no {METADATA}: it is not a storage, or was moved or emptied",
        )
    return storage_id(found.body, objects.place)


class _Examination:
    def __init__(
        self,
        objects: Objects,
        repair: bool,
        deep: bool,
        under_way: UnderWay,
        tell: Tell,
        old_seconds: float,
    ) -> None:
        self.objects, self.repair, self.deep, self.tell = objects, repair, deep, tell
        self.under_way, self.old_seconds = under_way, old_seconds
        self.findings: list[Finding] = []
        self.strangers: list[Entry] = []
        self.files: dict[str, Entry] = {}
        self.entries: dict[str, dict[str, Entry]] = {}
        self.runs: dict[str, RunDocument | None] = {}
        self.results: dict[str, ResultDocument | None] = {}

    @cached_property
    def bucket(self) -> Bucket:
        """The storage, to change runs in it: opened when the first is to be mended."""
        return Bucket(self.objects.place)

    def run(self, readers: ThreadPoolExecutor) -> None:
        self.files = {_name(entry): entry for entry in self.objects.list("files")}
        being_written = self.under_way.files | set(files_of_intents(self.objects))
        self.entries = {kind: self._listed(kind) for kind in ("result", "run")}
        self._read("result", decode_result, self.results, readers)
        self._read("run", decode_run, self.runs, readers)
        self._unfinished()
        self._memberships()
        self._arrays(readers)
        self._orphan_arrays(being_written)
        self._strange_names()

    # Reading ------------------------------------------------------------------------------

    def _listed(self, kind: str) -> dict[str, Entry]:
        listed = {}
        for entry in self.objects.list(KINDS[kind]):
            id = document_id(_name(entry))
            if id is None:
                self.strangers.append(entry)
            else:
                listed[id] = entry
        return listed

    def _read(
        self,
        kind: str,
        decode: Callable[..., D],
        into: dict[str, D | None],
        readers: ThreadPoolExecutor,
    ) -> None:
        ids = [id for id, entry in self.entries[kind].items() if entry.size]
        bodies = readers.map(lambda id: self.objects.get(document_path(kind, id)), ids)
        for count, (id, found) in enumerate(zip(ids, bodies, strict=True)):
            if count % _STEP == 0:
                self.tell(f"reading {kind}s", count)
            if found is None or not found.body:
                continue
            try:
                into[id] = decode(found.body, id, found.modified)
            except DocumentError as error:
                into[id] = None
                self._found("unreadable", document_path(kind, id), error.problem, len(found.body))

    # Documents ----------------------------------------------------------------------------

    def _unfinished(self) -> None:
        marked = set()
        for entry in self.objects.list(DELETING):
            id = _name(entry)
            marked.add(id)
            # What is younger, whoever began it is at; what is no id, is no marker.
            if entry.age_s > FINISHED_AFTER_S and is_id(id):
                self._unfinished_delete(id, entry)
        for listed in self.entries.values():
            for id, entry in listed.items():
                emptied = not entry.size and id not in marked and not self._barred(entry)
                if emptied and self.objects.size(entry.path) == 0:
                    self._removable(
                        "unfinished", entry, "its delete has begun, and what it was is gone"
                    )

    def _unfinished_delete(self, id: str, entry: Entry) -> None:
        if not self._there(entry.path):
            return  # ended meanwhile
        if self.repair:
            Deleter(self.objects).finish(id)
        done = self.repair and not self._there(entry.path)
        self._found("unfinished", entry.path, "a delete has begun and not ended", 0, done)

    def _barred(self, entry: Entry) -> bool:
        """Whether a document has no byte on purpose: to bar a late write, or in a delete."""
        # Whose ledger is not at hand is believed to end it as soon as others end a delete.
        long_enough = BARRED_FOR_S + FINISHED_AFTER_S
        young = entry.age_s <= min(long_enough, self.old_seconds)
        return young or entry.path in self.under_way.documents

    def _memberships(self) -> None:
        members: dict[str, list[str]] = {}
        for result in self.results.values():
            if result is not None:
                members.setdefault(result.run_id, []).append(result.id)
        orphans: list[tuple[str, str]] = []
        for run_id, own in members.items():
            run = self.runs.get(run_id)
            if run_id not in self.entries["run"] or not self.entries["run"][run_id].size:
                orphans += [(id, run_id) for id in own if self._is_orphan(id, run_id)]
            elif run is not None:
                listed = set(run.results)
                for id in own:
                    if id not in listed:
                        self._unlisted(run_id, id)
        deleting = self._deleting() if orphans else set()
        for id, run_id in orphans:
            if not {id, run_id} & deleting and self._there(document_path("result", id)):
                self._orphan_result(id, run_id)
        for run in self.runs.values():
            for id in run.results if run is not None else ():
                if id not in self.entries["result"]:
                    self._listed_but_missing(run, id)

    def _is_orphan(self, id: str, run_id: str) -> bool:
        entry = self.entries["result"][id]
        return self._settled(entry) and not self._there(document_path("run", run_id))

    def _deleting(self) -> set[str]:
        """Documents and array files that are being deleted: a marker names them."""
        markers = [read_marker(self.objects, _name(entry)) for entry in self.objects.list(DELETING)]
        return {
            name
            for marker in markers
            if marker is not None
            for name in (marker.id, marker.run_id, *marker.results, *marker.names)
        }

    def _orphan_result(self, id: str, run_id: str) -> None:
        entry = self.entries["result"][id]
        own = [self.files[name] for name in self._names(id) if name in self.files]
        if self._removable("orphan_result", entry, f"its run {run_id} does not exist"):
            # In one finding with their document: what names them is gone.
            self.objects.delete(each.path for each in own)
            gone = sum(each.size for each in own)
            last = self.findings.pop()
            self.findings.append(replace(last, size_bytes=last.size_bytes + gone))
            for each in own:
                del self.files[_name(each)]

    def _names(self, result_id: str) -> list[str]:
        result = self.results[result_id]
        return [] if result is None else array_names(result)

    def _unlisted(self, run_id: str, id: str) -> None:
        entry = self.entries["result"][id]
        if id in self.under_way.results or not self._settled(entry):
            return
        found = self.objects.get(document_path("run", run_id))
        if found is None or not found.body or not self._there(entry.path):
            return
        with suppress(DocumentError):
            if id in decode_run(found.body, run_id, found.modified).results:
                return  # its writer, or a service, has listed it meanwhile
        if self.repair:

            def listing(run: RunDocument) -> RunDocument:
                there = id in run.results
                return run if there else replace(run, results=(*run.results, id))

            self.bucket.update_run(run_id, listing)
        self._found("unlisted", entry.path, f"its run {run_id} does not list it", 0, self.repair)

    def _listed_but_missing(self, run: RunDocument | None, id: str) -> None:
        if run is None or self._there(document_path("result", id)):
            return
        entry = self.entries["run"][run.id]
        repaired = self.repair and entry.age_s > self.old_seconds
        if repaired:
            self.bucket.update_run(
                run.id, lambda now: replace(now, results=tuple(x for x in now.results if x != id))
            )
        elif not self._settled(entry):
            return
        self._found(
            "listed_but_missing", entry.path, f"its result {id} does not exist", 0, repaired
        )

    # Arrays -------------------------------------------------------------------------------

    def _arrays(self, readers: ThreadPoolExecutor) -> None:
        def problem(id: str) -> str | None:
            result = self.results[id]
            if result is None:
                return None
            said = problem_of(self.objects, result, self.files, deep=self.deep)
            if said is None:
                return None
            # An append or a merge may have put a field elsewhere since: what counts is now.
            found = self.objects.get(document_path("result", id))
            if found is None or not found.body:
                return None
            try:
                now = decode_result(found.body, id, found.modified)
            except DocumentError as error:
                return error.problem
            return said if now.data == result.data else problem_of(self.objects, now, None)

        for count, (id, said) in enumerate(
            zip(self.results, readers.map(problem, self.results), strict=True)
        ):
            if count % _STEP == 0:
                self.tell("checking arrays", count)
            if said is not None:
                self._found("missing_array", document_path("result", id), said)

    def _orphan_arrays(self, being_written: Iterable[str]) -> None:
        if None in self.results.values():
            # An unreadable document may be the one that refers to an array.
            return
        used = {*being_written, *names_in(self.results.values())}
        left = [
            entry
            for name, entry in self.files.items()
            if name not in used and self._settled(entry) and not self._named_now(name)
        ]
        # Asked after that: whose document is gone because it is being deleted still has a marker.
        deleting = self._deleting() if left else set()
        for entry in left:
            if _name(entry) not in deleting and self._there(entry.path):
                self._removable("orphan_array", entry, "no result refers to it")

    def _named_now(self, name: str) -> bool:
        """Whether the result that a file is called after names it by now."""
        for id in owners_of(name):
            found = self.objects.get(document_path("result", id))
            if found is None or not found.body:
                continue
            try:
                return name in array_names(decode_result(found.body, id, found.modified))
            except DocumentError:
                return True
        return False

    # Strangers ----------------------------------------------------------------------------

    def _strange_names(self) -> None:
        """Tell of names that are no document's, and are not a store's own while it writes one.

        A store may list a name that it gives an object for a moment, while it replaces another:
        so all are looked at last, when they have had the time to go.
        """
        for entry in self.strangers:
            size = self.objects.size(entry.path)
            if size is not None:
                self._found("unknown", entry.path, "its name is not <id>.json", size)

    # What is done about it ----------------------------------------------------------------

    def _removable(self, kind: str, entry: Entry, problem: str) -> bool:
        """Report a leftover; remove it when asked to and it is old. Answer whether removed."""
        repaired = self.repair and entry.age_s > self.old_seconds
        if repaired:
            _require_storage(self.objects)  # the bucket is still the one that was listed
            self.objects.delete([entry.path])
        self._found(kind, entry.path, problem, entry.size, repaired)
        return repaired

    def _settled(self, entry: Entry) -> bool:
        """Whether its writer has done with it, or has died."""
        return entry.age_s > min(FINISHED_AFTER_S, self.old_seconds)

    def _there(self, path: str) -> bool:
        return self.objects.there(path)

    def _found(
        self, kind: str, path: str, problem: str, size: int = 0, repaired: bool = False
    ) -> None:
        self.findings.append(Finding(kind, path, problem, repaired, size))


def _name(entry: Entry) -> str:
    return entry.path.rpartition("/")[2]
