"""Reading a storage in S3: documents, arrays, listings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from gimle.asgard.core.documents import ResultDocument, RunDocument, decode_result, decode_run
from gimle.asgard.core.errors import DocumentError, NotFoundError, StorageUnavailableError
from gimle.asgard.core.folder.layout import KINDS, METADATA, document_id
from gimle.asgard.core.ids import check_id
from gimle.asgard.core.reading import newest_first, with_arrays
from gimle.asgard.core.s3 import arrays
from gimle.asgard.core.s3.objects import Found, Objects
from gimle.asgard.core.s3.place import Place


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
        return with_arrays(
            result_id,
            lambda: self.read_result_document(result_id),
            lambda ref: arrays.read(self._objects, ref, result_id),
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
        return newest_first(self.ids("run"), self._created_at)

    def _created_at(self, run_id: str) -> datetime | None:
        try:
            found = self.find("run", run_id)
        except NotFoundError:
            return None
        try:
            return decode_run(found.body, run_id, found.modified).created_at
        except DocumentError:
            return found.modified
