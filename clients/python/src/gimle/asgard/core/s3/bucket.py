"""A storage in S3, and every order of events that keeps it true."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from gimle.asgard.core.arrays import ArrayRef
from gimle.asgard.core.documents import (
    ResultDocument,
    RunDocument,
    decode_run,
    encode_result,
    encode_run,
    same_run,
)
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    AsgardError,
    InvalidFieldError,
    NotFoundError,
    StorageUnavailableError,
)
from gimle.asgard.core.folder.arrayfiles import as_stored
from gimle.asgard.core.folder.layout import array_name
from gimle.asgard.core.ids import check_id
from gimle.asgard.core.listing import with_results
from gimle.asgard.core.reading import put_back
from gimle.asgard.core.s3 import arrays
from gimle.asgard.core.s3.append import Appender
from gimle.asgard.core.s3.deleting import Deleter
from gimle.asgard.core.s3.markers import Intent
from gimle.asgard.core.s3.objects import ConflictError, Objects
from gimle.asgard.core.s3.opening import open_place
from gimle.asgard.core.s3.patience import attempts, turn
from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.s3.reading import Reading, document_path

_log = logging.getLogger("gimle.asgard")
_MERGERS = 4


class Bucket(Reading):
    """A prefix of a bucket with runs, results and arrays that any number of processes write.

    A reader sees a whole document or none, and a write is in the store when the method
    returns. Documents are created on condition that there is none, and changed on condition
    of the etag read; who loses tries again. So many writers to one run are slow.

    Thread-safe, and safe to use on both sides of a fork. Opening finishes what dead writers
    left. The bucket must be there. Methods raise StorageUnavailableError when the store is
    out of reach or refuses, StorageFullError when it has no room.
    """

    #: How many documents are worth reading side by side: each is a trip to the store.
    reads_at_once = 16

    def __init__(self, place: Place) -> None:
        self.place = place
        self._objects = Objects(place)
        self._deleter = Deleter(self._objects)
        self._appender = Appender(self._objects)
        #: The id that tells this storage from any other.
        self.storage_id = open_place(self._objects)
        self.sweep()

    def __repr__(self) -> str:
        return f"Bucket({str(self.place)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same place in the process that this is sent to."""
        return Bucket, (self.place,)

    def create_run(
        self, run: RunDocument, results: Sequence[ResultDocument] = ()
    ) -> tuple[RunDocument, list[ResultDocument]]:
        """Write `results`, then `run`, which lists them; answer both as they are stored.

        Either all of it appears or nothing. Raises AlreadyExistsError when an id is taken,
        TypeError for values that cannot be stored.
        """
        run = with_results(run, results)
        body = encode_run(run)
        if results:
            self._make_room("run", run.id)
        written: list[ResultDocument] = []
        try:
            for result in results:
                written.append(self._write_result(result))  # noqa: PERF401  # what is written is undone on failure
            self._create("run", run.id, body)
        except StorageUnavailableError:
            # Nobody knows whether the run is there, which lists them.
            raise
        except BaseException:
            for result in written:
                self._deleter.remove_result(result)
            raise
        return run, written

    def _create(self, kind: str, id: str, body: bytes) -> None:
        """Write a new document. Raises AlreadyExistsError."""
        path = document_path(kind, id)
        if self._objects.create(path, body) is not None:
            return
        self._make_room(kind, id)
        if self._objects.create(path, body) is None:
            raise AlreadyExistsError(kind, id)

    def _make_room(self, kind: str, id: str) -> None:
        """Finish a delete of this id that has begun. Raises AlreadyExistsError."""
        there = self._objects.get(document_path(kind, id))
        if there is None:
            return
        if there.body:
            raise AlreadyExistsError(kind, id)
        self._deleter.finish(id)

    def update_run(self, run_id: str, change: Callable[[RunDocument], RunDocument]) -> RunDocument:
        """Replace a run by `change` of itself, alone; answer what is stored.

        `updated_at` becomes now unless `change` sets it; a change of nothing writes nothing.
        When the change ends the run, its results that have grown are put together. Raises
        NotFoundError, DocumentError, and what `change` raises.
        """
        old, new = self._change(check_id(run_id, "run_id"), change)
        if new.finished_at is not None and new.finished_at != old.finished_at:
            self._merge(new.results)
        return new

    def _change(
        self, run_id: str, change: Callable[[RunDocument], RunDocument]
    ) -> tuple[RunDocument, RunDocument]:
        with turn(run_id):
            for _ in attempts(self.place):
                found = self.find("run", run_id)
                old = decode_run(found.body, run_id, found.modified)
                new = change(old)
                if same_run(new, old):
                    return old, old
                if new.id != run_id:
                    raise InvalidFieldError("id", "a run keeps its id", f"leave it {run_id}")
                if new.updated_at == old.updated_at:
                    new = replace(new, updated_at=datetime.now(UTC))
                try:
                    self._objects.replace(document_path("run", run_id), encode_run(new), found.etag)
                except ConflictError:
                    continue
                return old, new
        raise AssertionError  # the last attempt raises

    def _merge(self, results: Sequence[str]) -> None:
        def merge(result_id: str) -> None:
            try:
                with turn(result_id):
                    self._appender.merge(result_id)
            except AsgardError as error:
                # Chunks are read as well as a whole; the run has ended all the same.
                _log.warning("the chunks of result %s stay apart: %s", result_id, error)

        with ThreadPoolExecutor(_MERGERS) as mergers:
            list(mergers.map(merge, results))

    def add_result(self, result: ResultDocument) -> ResultDocument:
        """Write a result and list it in its run; answer it as stored (arrays are references).

        Arrays, then the result's document, then the run's list. Raises NotFoundError (the
        run), AlreadyExistsError, TypeError for values that cannot be stored.
        """
        check_id(result.id, "result_id")
        self.find("run", result.run_id)
        stored = self._write_result(result)

        def listing(run: RunDocument) -> RunDocument:
            if result.id in run.results:
                return run
            now = max(datetime.now(UTC), run.updated_at)
            return replace(run, results=(*run.results, result.id), updated_at=now)

        try:
            self._change(result.run_id, listing)
        except NotFoundError:
            # The run was deleted meanwhile, and did not know of this result.
            self._deleter.remove_result(stored)
            raise
        return stored

    def _write_result(self, result: ResultDocument) -> ResultDocument:
        """Write a new result's arrays and document. Raises AlreadyExistsError."""
        # What cannot be stored is told before anything is written.
        stored, body, files = as_stored(result, partial(array_name, result.id))
        if not files:
            self._create("result", result.id, body)
            return stored
        self._make_room("result", result.id)
        intent = Intent(self._objects, result.id, [file.name for file in files])
        placed: list[str] = []
        names: dict[str, str] = {}
        try:
            for file in files:
                name = self._write_array(result.id, intent, file.name, file.array)
                names[f"files/{file.name}"] = f"files/{name}"
                placed.append(f"files/{name}")
            intent.check()
        except BaseException:
            self._objects.delete(placed)
            intent.end()
            raise

        def renamed(ref: ArrayRef) -> Any:
            return replace(ref, path=names.get(ref.path, ref.path))

        stored = replace(
            stored, data={key: put_back(value, renamed) for key, value in stored.data.items()}
        )
        try:
            self._create("result", result.id, encode_result(stored))
        except AlreadyExistsError:
            self._objects.delete(placed)
            intent.end()
            raise
        # After any other failure nobody knows whether the document is there: the intent stays.
        intent.end()
        return stored

    def _write_array(self, result_id: str, intent: Intent, name: str, array: Any) -> str:
        """Write an array under a name that no object has; answer it."""
        first, number = name.removesuffix(".npy"), 1
        while not arrays.write(self._objects, f"files/{name}", array):
            # Somebody who died before his document was written has left one.
            number += 1
            name = f"{first}~{number}.npy"
            intent.add(name)
        return name

    def append(
        self, result_id: str, data: Mapping[str, Any], at: int | None = None
    ) -> ResultDocument:
        """Grow fields of a result by the same number of rows; answer its new document.

        `at` is the number of rows the caller believes are committed: rows that are already
        there are recognised and change nothing. Raises NotFoundError, LengthMismatchError,
        CannotAppendError, which says what does not fit.
        """
        with turn(check_id(result_id, "result_id")):
            return self._appender.append(result_id, data, at)

    def delete_run(self, run_id: str) -> None:
        """Delete a run, its results and their arrays. Raises NotFoundError."""
        with turn(check_id(run_id, "run_id")):
            self._deleter.delete_run(run_id)

    def delete_result(self, result_id: str) -> None:
        """Delete a result and its arrays, and take it off its run's list. Raises NotFoundError."""
        with turn(check_id(result_id, "result_id")):
            run_id = self._deleter.delete_result(result_id)

        def unlisting(run: RunDocument) -> RunDocument:
            return replace(run, results=tuple(id for id in run.results if id != result_id))

        try:
            self._change(run_id, unlisting)
        except NotFoundError:
            return

    def sweep(self) -> None:
        """Finish what dead writers left. Harms no living one."""
        self._deleter.sweep()
