"""Reading a storage folder: documents, arrays, listings."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from gimle.asgard.core.documents import ResultDocument, RunDocument, decode_result, decode_run
from gimle.asgard.core.errors import (
    AsgardError,
    DocumentError,
    NotFoundError,
    StorageUnavailableError,
)
from gimle.asgard.core.folder import files, refusals
from gimle.asgard.core.folder.arrayfiles import loader
from gimle.asgard.core.folder.layout import METADATA, Layout, document_id
from gimle.asgard.core.folder.place import read_storage_id
from gimle.asgard.core.ids import check_id
from gimle.asgard.core.reading import EPOCH, newest_first, with_arrays


class Reading:
    """What a folder can be asked."""

    #: How many documents are worth reading side by side: the file system is near.
    reads_at_once = 1

    path: str
    storage_id: str | None
    _layout: Layout

    def check(self) -> None:
        """Make sure that this is still the folder that was opened.

        Raises StorageUnavailableError when it vanished or has another storage id.
        """
        try:
            storage_id = read_storage_id(self._layout)
        except StorageUnavailableError:
            raise
        except OSError as error:
            raise refusals.unavailable(self.path, error) from error
        if storage_id == self.storage_id and os.path.isdir(self._layout.runs):
            return
        if storage_id is None or storage_id == self.storage_id:
            mend = f"{METADATA} or runs/ is missing; was the folder moved or unmounted?"
        else:
            mend = f"another storage ({storage_id}) lies there now; open it anew"
        raise StorageUnavailableError(self.path, mend)

    def read_bytes(self, kind: str, id: str) -> bytes | None:
        """Read the bytes of a run's or result's document, None when there is none.

        Raises DocumentError where the file alone cannot be read.
        """
        path = self._layout.document(kind, check_id(id, f"{kind}_id"))
        try:
            return files.read(path)
        except OSError as error:
            if error.errno in files.OF_THE_FILE and os.access(self._layout.folder(kind), os.X_OK):
                raise DocumentError(id, str(error.strerror)) from error
            raise refusals.unavailable(self.path, error) from error

    def stat(self, kind: str, id: str) -> os.stat_result | None:
        """Look at the file of a document, None when there is none."""
        try:
            return os.stat(self._layout.document(kind, check_id(id, f"{kind}_id")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise refusals.unavailable(self.path, error) from error

    def read_run(self, run_id: str) -> RunDocument:
        """Read a run. Raises NotFoundError, DocumentError."""
        body = self.read_bytes("run", run_id)
        if body is None:
            raise NotFoundError("run", run_id)
        if b'"created_at"' in body:
            return decode_run(body, run_id)
        return decode_run(body, run_id, self._modified("run", run_id))

    def read_result_document(self, result_id: str) -> ResultDocument:
        """Read a result; arrays in files stay ArrayRef. Raises NotFoundError, DocumentError."""
        body = self.read_bytes("result", result_id)
        if body is None:
            raise NotFoundError("result", result_id)
        if b'"created_at"' in body:
            return decode_result(body, result_id)
        return decode_result(body, result_id, self._modified("result", result_id))

    def _modified(self, kind: str, id: str) -> datetime | None:
        """When a document by hand that does not say its time was last written."""
        seen = self.stat(kind, id)
        return None if seen is None else EPOCH + timedelta(microseconds=seen.st_mtime_ns // 1000)

    def read_result(self, result_id: str) -> ResultDocument:
        """Read a result with its arrays, those above 1 MiB memory-mapped (copy-on-write).

        Only what is committed is seen. Raises NotFoundError, DocumentError.
        """
        load = loader(self._layout, result_id)
        try:
            return with_arrays(result_id, lambda: self.read_result_document(result_id), load)
        except OSError as error:
            if isinstance(error, AsgardError):
                raise
            raise refusals.unavailable(self.path, error) from error

    def ids(self, kind: str) -> list[str]:
        """The ids of all documents of a kind, in no order.

        Raises StorageUnavailableError when the listing is not whole.
        """
        try:
            names = os.listdir(self._layout.folder(kind))
        except OSError as error:
            raise refusals.unavailable(self.path, error) from error
        return [id for name in names if (id := document_id(name)) is not None]

    def entries(self, kind: str) -> Iterator[tuple[str, str]]:
        """List (id, stamp) of all documents of a kind.

        The stamp changes whenever a document is replaced. Documents that vanish meanwhile
        are left out. Raises StorageUnavailableError when the listing is not whole.
        """
        try:
            with os.scandir(self._layout.folder(kind)) as listing:
                for entry in listing:
                    id = document_id(entry.name)
                    if id is None:
                        continue
                    try:
                        seen = entry.stat()
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        if error.errno not in files.OF_THE_FILE:
                            raise
                        continue
                    yield id, f"{seen.st_mtime_ns}-{seen.st_size}-{seen.st_ino}"
        except OSError as error:
            if isinstance(error, StorageUnavailableError):
                raise
            raise refusals.unavailable(self.path, error) from error

    def run_ids_newest_first(self) -> Iterator[str]:
        """List the ids of runs, newest first by (created_at, id).

        The time of a UUIDv7 is read from its name; for any other name the document is
        read, and one that cannot be read is put at the time of its last change.
        """
        return newest_first(self.ids("run"), self._created_at)

    def _created_at(self, run_id: str) -> datetime | None:
        try:
            return self.read_run(run_id).created_at
        except NotFoundError:
            return None
        except DocumentError:
            return self._modified("run", run_id) or EPOCH


def place_of(where: str | os.PathLike[str]) -> str:
    """The absolute path of a folder, so that a later chdir does not move it."""
    return str(Path(where).absolute())
