"""Reading a storage in S3: documents, arrays, listings."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from gimle.asgard.core.arrays import Array, ArrayRef
from gimle.asgard.core.documents import ResultDocument, RunDocument, decode_result, decode_run
from gimle.asgard.core.errors import DocumentError, NotFoundError, StorageUnavailableError
from gimle.asgard.core.folder.arrayfiles import put_back
from gimle.asgard.core.folder.layout import KINDS, METADATA, document_id
from gimle.asgard.core.ids import check_id, id_microseconds
from gimle.asgard.core.s3 import arrays
from gimle.asgard.core.s3.objects import Found, Objects
from gimle.asgard.core.s3.place import Place

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def document_path(kind: str, id: str) -> str:
    """Where a run's or result's document lies, below the place."""
    return f"{KINDS[kind]}/{id}.json"


class Reading:
    """What a storage in S3 can be asked.

    A document without a byte is one whose delete has begun: it is not there any more.
    """

    place: Place
    _objects: Objects

    def find(self, kind: str, id: str) -> Found:
        """Read a document's bytes. Raises NotFoundError."""
        found = self._objects.get(document_path(kind, check_id(id, f"{kind}_id")))
        if found is None or not found.body:
            raise NotFoundError(kind, id)
        return found

    def read_run(self, run_id: str) -> RunDocument:
        """Read a run. Raises NotFoundError, DocumentError."""
        found = self.find("run", run_id)
        return decode_run(found.body, run_id, found.modified)

    def read_result_document(self, result_id: str) -> ResultDocument:
        """Read a result; arrays stay ArrayRef. Raises NotFoundError, DocumentError."""
        found = self.find("result", result_id)
        return decode_result(found.body, result_id, found.modified)

    def read_result(self, result_id: str) -> ResultDocument:
        """Read a result with its arrays, into memory. Raises NotFoundError, DocumentError."""
        seen: ResultDocument | None = None

        def load(ref: ArrayRef) -> Array:
            return arrays.read(self._objects, ref, result_id)

        while True:
            result = self.read_result_document(result_id)
            try:
                data = {key: put_back(value, load) for key, value in result.data.items()}
            except FileNotFoundError as error:
                # An append or a merge may have put the field elsewhere; a document that still
                # names the missing object says that it is lost.
                if result == seen:
                    raise DocumentError(
                        result_id, f"its array file {error.filename} is missing"
                    ) from error
                seen = result
                continue
            except ValueError as error:
                if isinstance(error, DocumentError):
                    raise
                raise DocumentError(result_id, str(error)) from error
            return ResultDocument(
                result.id,
                result.run_id,
                result.result_type,
                data,
                result.created_at,
                result.display,
                result.extra,
            )

    def ids(self, kind: str) -> list[str]:
        """The ids of all documents of a kind, by name."""
        names = (
            (entry.path.rpartition("/")[2], entry.size) for entry in self._objects.list(KINDS[kind])
        )
        return [id for name, size in names if size and (id := document_id(name)) is not None]

    def entries(self, kind: str) -> Iterator[tuple[str, str]]:
        """List (id, stamp) of all documents of a kind; the stamp is another after each write."""
        for entry in self._objects.list(KINDS[kind]):
            id = document_id(entry.path.rpartition("/")[2])
            if id is not None and entry.size:
                yield id, f"{entry.etag}-{entry.size}"

    def read_bytes(self, kind: str, id: str) -> bytes | None:
        """Read the bytes of a run's or result's document, None when there is none."""
        try:
            return self.find(kind, id).body
        except NotFoundError:
            return None

    def check(self) -> None:
        """Make sure that the storage is there. Raises StorageUnavailableError."""
        if self._objects.get(METADATA) is None:
            raise StorageUnavailableError(
                str(self.place), f"{METADATA} is missing; was the prefix moved or emptied?"
            )

    def run_ids_newest_first(self) -> Iterator[str]:
        """List the ids of runs, newest first by (created_at, id), after a LIST of all of them.

        The time of a UUIDv7 is read from its name; for any other the document is read.
        """
        timed: list[tuple[int, str]] = []
        others: list[tuple[int, str]] = []
        for id in self.ids("run"):
            microseconds = id_microseconds(id)
            if microseconds is not None:
                timed.append((microseconds, id))
            elif (dated := self._dated(id)) is not None:
                others.append(dated)
        timed.sort(reverse=True)
        others.sort(reverse=True)
        return (id for _, id in heapq.merge(timed, others, reverse=True))

    def _dated(self, run_id: str) -> tuple[int, str] | None:
        try:
            found = self.find("run", run_id)
        except NotFoundError:
            return None
        try:
            time = decode_run(found.body, run_id, found.modified).created_at
        except DocumentError:
            time = found.modified
        return (time - _EPOCH) // _MICROSECOND, run_id
