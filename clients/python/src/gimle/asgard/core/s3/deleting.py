"""Deleting: the marker, then documents without a byte, then nothing; the marker at the end.

S3 cannot delete on a condition, so a document is first replaced, on condition of its etag, by
one without a byte. Whoever adds to it meanwhile fails on the same condition and learns that it
is gone; whoever was faster is seen before that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gimle.asgard.core.documents import ResultDocument, decode_result, decode_run
from gimle.asgard.core.errors import DocumentError, NotFoundError
from gimle.asgard.core.folder.layout import array_file, owned
from gimle.asgard.core.growth import references
from gimle.asgard.core.s3.markers import Marker, old_intents, old_markers, read_marker
from gimle.asgard.core.s3.objects import ConflictError, Found, Objects
from gimle.asgard.core.s3.patience import attempts
from gimle.asgard.core.s3.reading import document_path


@dataclass(frozen=True)
class Deleter:
    """Deletes from one storage."""

    objects: Objects

    def delete_run(self, run_id: str) -> None:
        """Delete a run, its results and their arrays. Raises NotFoundError."""
        path = document_path("run", run_id)
        for _ in attempts(self.objects.place):
            found = self._find("run", run_id)
            try:
                listed: Iterable[str] = decode_run(found.body, run_id).results
            except DocumentError:
                listed = ()
            marker = Marker("run", run_id, run_id, [], [])
            for result_id in dict.fromkeys(listed):
                names = self._arrays_of(result_id, run_id)
                if names is not None:
                    marker.results.append(result_id)
                    marker.names += names
            marker.write(self.objects)
            try:
                self.objects.replace(path, b"", found.etag)
            except ConflictError:
                continue
            self._finish(marker)
            return

    def delete_result(self, result_id: str) -> str:
        """Delete a result and its arrays; answer whose it was. Raises NotFoundError.

        The caller takes it off its run's list.
        """
        for _ in attempts(self.objects.place):
            found = self._find("result", result_id)
            result = decode_result(found.body, result_id)
            marker = Marker("result", result_id, result.run_id, [result_id], array_names(result))
            marker.write(self.objects)
            try:
                self.objects.replace(document_path("result", result_id), b"", found.etag)
            except ConflictError:
                continue
            self._finish(marker)
            return result.run_id
        raise AssertionError  # the last attempt raises

    def _find(self, kind: str, id: str) -> Found:
        """A document that is there; one whose delete had begun is gone for good first."""
        found = self.objects.get(document_path(kind, id))
        if found is None or not found.body:
            self.finish(id)
            raise NotFoundError(kind, id)
        return found

    def finish(self, id: str) -> None:
        """Finish the delete of a run or result, if it has begun."""
        marker = read_marker(self.objects, id)
        if marker is None:
            return
        there = self.objects.get(document_path(marker.kind, id))
        if there is not None and there.body:
            # It ended before it began: what the marker names is whole.
            marker.end(self.objects)
            return
        self._finish(marker)

    def _finish(self, marker: Marker) -> None:
        if marker.kind == "run":
            for result_id in marker.results:
                self._retire(result_id, marker)
            self.objects.delete([document_path("run", marker.id)])
        self.objects.delete(document_path("result", id) for id in marker.results)
        self.objects.delete(f"files/{name}" for name in marker.names)
        marker.end(self.objects)

    def _retire(self, result_id: str, marker: Marker) -> None:
        """Let a result of a deleted run grow no more, and name all it has in the marker."""
        for _ in attempts(self.objects.place):
            path = document_path("result", result_id)
            found = self.objects.get(path)
            if found is None or not found.body:
                return
            names = self._names(found.body, result_id)
            if not set(names) <= set(marker.names):
                marker.names = list(dict.fromkeys((*marker.names, *names)))
                marker.write(self.objects)
            try:
                self.objects.replace(path, b"", found.etag)
            except ConflictError:
                continue
            return

    def _arrays_of(self, result_id: str, run_id: str) -> list[str] | None:
        """The array files of a result, None when there is none or it is another run's."""
        found = self.objects.get(document_path("result", result_id))
        if found is None or not found.body:
            return None
        try:
            result = decode_result(found.body, result_id)
        except DocumentError:
            return []
        return array_names(result) if result.run_id == run_id else None

    @staticmethod
    def _names(body: bytes, result_id: str) -> list[str]:
        try:
            return array_names(decode_result(body, result_id))
        except DocumentError:
            return []

    def remove_result(self, result: ResultDocument) -> None:
        """Take back a result that this process has just written and nobody was told of."""
        self.objects.delete([document_path("result", result.id)])
        self.objects.delete(f"files/{name}" for name in array_names(result))

    def sweep(self) -> None:
        """Finish what dead deleters and writers left."""
        for id in old_markers(self.objects):
            self.finish(id)
        for path, result_id, names in old_intents(self.objects):
            if self.objects.get(document_path("result", result_id)) is None:
                self.objects.delete(f"files/{name}" for name in names)
            self.objects.delete([path])


def array_names(result: ResultDocument) -> list[str]:
    """The array files that are this result's own, chunks and all."""
    names = []
    for ref in references(result.data):
        for path, _ in ref.files:
            try:
                name = array_file(result.id, path)
            except DocumentError:
                continue
            if owned(result.id, name):
                names.append(name)
    return names
