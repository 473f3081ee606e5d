"""Arrays of results in S3: written under their result's write, read through a cache on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from gimle.asgard.core.arrays import Array, ArrayRef, dtype_named
from gimle.asgard.core.documents import ResultDocument, decode_result, encode_result
from gimle.asgard.core.errors import DocumentError
from gimle.asgard.core.folder import npy
from gimle.asgard.core.folder.arrayfiles import ArrayFile
from gimle.asgard.core.folder.layout import array_file
from gimle.asgard.core.reading import put_back
from gimle.asgard.core.s3 import arrays
from gimle.asgard.core.s3.objects import Objects as SlowObjects

from asgard_server.run.lazy import ArrayMovedError, LazyArray
from asgard_server.run.store import Found
from asgard_server.store.array_cache import ArrayCache
from asgard_server.store.s3_objects import Objects
from asgard_server.store.sparse_file import SparseFile

_HEAD_BYTES = 1 << 12

_readers = ThreadPoolExecutor(8, "asgard-heads")


class _Part(NamedTuple):
    """The elements in an object: `size` bytes from `offset` on."""

    path: str
    etag: str
    offset: int
    size: int


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
        return self._with_arrays(found, result_id, self._load)

    def _with_arrays(
        self, found: Found, result_id: str, load: Callable[[ArrayRef, str], Any]
    ) -> ResultDocument:
        result = decode_result(found.body, result_id, found.modified_at)
        try:
            data = {
                key: put_back(value, lambda ref: load(ref, result_id))
                for key, value in result.data.items()
            }
        except ValueError as error:
            if isinstance(error, DocumentError):
                raise
            raise DocumentError(result_id, str(error)) from error
        return replace(result, data=data)

    def looked_at(self, found: Found, result_id: str) -> ResultDocument:
        """A result whose large arrays are read as they are looked at. Raises as `opened` does."""
        return self._with_arrays(found, result_id, self._lazy)

    def _load(self, ref: ArrayRef, result_id: str) -> Array:
        if not ref.chunks:
            return self._part(ref, result_id)
        # Put together on the disk: in memory they would be there twice.
        whole = self._region(ref, result_id)
        return self._part(ref, result_id) if whole is None else whole.plain()

    def _lazy(self, ref: ArrayRef, result_id: str) -> Array | LazyArray:
        if ref.nbytes <= npy.MAPPED_BYTES:
            return self._load(ref, result_id)
        whole = self._region(ref, result_id)
        return self._load(ref, result_id) if whole is None else whole

    def _region(self, ref: ArrayRef, result_id: str) -> LazyArray | None:
        """An array that is read on demand; None for one that lies in Fortran's order."""
        stored = ref.stored_shape
        dtype = dtype_named(ref.dtype)
        each = int(np.prod(stored[1:], dtype=object)) * dtype.itemsize
        files = [(f"files/{array_file(result_id, path)}", rows * each) for path, rows in ref.files]
        heads = list(_readers.map(lambda file: self._head(file[0], file[1], result_id), files))
        if any(head is None for head in heads):
            return None
        parts = [head for head in heads if head is not None]
        region = self._cached(parts)
        count = int(np.prod(stored, dtype=object))
        array: Array = region.base[: count * dtype.itemsize].view(dtype).reshape(stored)
        return LazyArray(region, array.swapaxes(0, 1) if ref.transposed else array)

    def _cached(self, parts: Sequence[_Part]) -> SparseFile:
        """The elements of these objects one after the other, on this machine's disk."""
        if len(parts) == 1:
            (part,) = parts
            return self._cache.sparse(
                self._name(part), part.size, lambda start, length: self._bytes(part, start, length)
            )
        # Each by itself, too: an append adds one, and the others are not fetched again.
        single = [self._cached([part]) for part in parts]
        ends = np.cumsum([part.size for part in parts]).tolist()

        def fetch(start: int, length: int) -> bytes:
            pieces = []
            for one, part, end in zip(single, parts, ends, strict=True):
                begin = end - part.size
                span = (max(start, begin) - begin, min(start + length, end) - begin)
                if span[0] < span[1]:
                    one.read([span])
                    pieces.append(one.base[slice(*span)].tobytes())
            return b"".join(pieces)

        return self._cache.sparse("\n".join(map(self._name, parts)), ends[-1], fetch)

    def _name(self, part: _Part) -> str:
        return f"{self._objects.place}/{part.path} {part.etag}"

    def _head(self, path: str, size: int, result_id: str) -> _Part | None:
        """Where the elements of a file begin; None for one in Fortran's order.

        Raises FileNotFoundError, DocumentError.
        """
        found = self._objects.head_now(path, _HEAD_BYTES)
        if found is None:
            raise FileNotFoundError(2, "there is no such object", path)
        offset, fortran = arrays.head(found.body, path, result_id)
        if offset > len(found.body):
            return None  # an unusually long head, of a structured dtype
        if found.size < offset + size:
            raise DocumentError(result_id, f"{path} is shorter than the {size} bytes committed")
        return None if fortran else _Part(path, found.etag, offset, size)

    def _bytes(self, part: _Part, start: int, length: int) -> bytes:
        whole = self._cache.found(self._name(part))
        if whole is not None:
            with open(whole, "rb", buffering=0) as file:
                return os.pread(file.fileno(), length, part.offset + start)
        body = self._objects.part_now(part.path, part.offset + start, length, part.etag)
        if body is None:
            raise ArrayMovedError(part.path)
        return body

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
