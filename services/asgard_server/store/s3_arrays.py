"""Arrays of results in S3: written under their result's write, read through a cache on disk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from gimle.asgard.core.arrays import Array, ArrayRef
from gimle.asgard.core.documents import ResultDocument, decode_result, encode_result
from gimle.asgard.core.errors import DocumentError
from gimle.asgard.core.folder import npy
from gimle.asgard.core.folder.arrayfiles import ArrayFile
from gimle.asgard.core.folder.layout import array_file
from gimle.asgard.core.reading import put_back
from gimle.asgard.core.s3 import arrays
from gimle.asgard.core.s3.objects import Objects as SlowObjects

from asgard_server.run.store import Found
from asgard_server.store.array_cache import ArrayCache
from asgard_server.store.s3_objects import Objects


class Arrays:
    """Reads and writes the arrays of one place; for threads.

    `writing` is the library's own client, for what it costs is bytes.
    """

    def __init__(self, objects: Objects, writing: SlowObjects, cache: ArrayCache) -> None:
        self._objects = objects
        self._writing = writing
        self._cache = cache

    def write(self, file: ArrayFile, name: str) -> bool:
        """Write an array as files/`name`; answer False when there is one."""
        return arrays.write(self._writing, f"files/{name}", file.array)

    def opened(self, found: Found, result_id: str) -> ResultDocument:
        """A result with its arrays, large ones memory-mapped.

        Raises DocumentError, FileNotFoundError for an array that is missing.
        """
        result = decode_result(found.body, result_id, found.modified_at)

        def load(ref: ArrayRef) -> Array:
            return self._load(ref, result_id)

        try:
            data = {key: put_back(value, load) for key, value in result.data.items()}
        except ValueError as error:
            if isinstance(error, DocumentError):
                raise
            raise DocumentError(result_id, str(error)) from error
        return replace(result, data=data)

    def _load(self, ref: ArrayRef, result_id: str) -> Array:
        if not ref.chunks:
            return self._part(ref, result_id)
        stored = ref.stored_shape
        parts = [
            self._part(ArrayRef(path, ref.dtype, (rows, *stored[1:])), result_id)
            for path, rows in ref.files
        ]
        whole: Array = np.concatenate(parts)
        return whole.swapaxes(0, 1) if ref.transposed else whole

    def _part(self, ref: ArrayRef, result_id: str) -> Array:
        path = f"files/{array_file(result_id, ref.path)}"
        etag = self._objects.etag_now(path)
        if etag is None:
            raise FileNotFoundError(2, "there is no such object", path)
        file = self._cache.path(
            f"{self._objects.place}/{path} {etag}",
            lambda handle: self._objects.download(path, handle),
        )
        if file is None:
            raise FileNotFoundError(2, "there is no such object", path)
        return npy.read(file, ref, result_id)


def renamed(result: ResultDocument, names: dict[str, str]) -> tuple[ResultDocument, bytes]:
    """A result whose arrays lie in files of other names, and its document."""

    def at(ref: ArrayRef) -> Any:
        return replace(ref, path=names.get(ref.path, ref.path))

    moved = replace(result, data={key: put_back(value, at) for key, value in result.data.items()})
    return moved, encode_result(moved)
