"""Growing a result: chunk objects, then the document that commits them, on its etag."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
from gimle.asgard.core.arrays import Array, ArrayRef, chunk_path, dtype_name, dtype_named
from gimle.asgard.core.documents import ResultDocument, decode_result, encode_result
from gimle.asgard.core.errors import (
    CannotAppendError,
    DocumentError,
    LengthMismatchError,
    NotFoundError,
)
from gimle.asgard.core.folder.layout import array_file, array_name, owned
from gimle.asgard.core.growth import Growth, already_there, plan, references, replaced, wide_dtype
from gimle.asgard.core.reading import put_back
from gimle.asgard.core.s3 import arrays
from gimle.asgard.core.s3.deleting import array_names
from gimle.asgard.core.s3.objects import ConflictError, Objects
from gimle.asgard.core.s3.patience import attempts
from gimle.asgard.core.s3.reading import document_path

MOST_CHUNKS = 256
"""With more, a field is put into one object again: its document is read whole each time."""

_OWN_BITS = 52  # every JSON reader has the number exactly, and room to count on from it


@dataclass(frozen=True)
class Appender:
    """Appends to the results of one storage."""

    objects: Objects

    def append(
        self, result_id: str, data: Mapping[str, Any], at: int | None
    ) -> ResultDocument:  # fmt: skip
        """Grow a result by `data`; answer its new document.

        A reference in `data` stands for rows in an object of this storage, with the growth axis
        first. Where `own_chunk` has named it the object becomes a chunk as it is; elsewhere its
        rows are read, and it is left to whoever wrote it.

        Raises NotFoundError, LengthMismatchError, CannotAppendError, DocumentError.
        """
        path = document_path("result", result_id)
        load = partial(arrays.read, self.objects, result_id=result_id)
        for _ in attempts(self.objects.place):
            found = self.objects.get(path)
            if found is None or not found.body:
                raise NotFoundError("result", result_id)
            result = decode_result(found.body, result_id, found.modified)
            brought = dict(_brought(data, ()))
            writing = _Writing(self.objects, result, brought)
            try:
                length, added, growths = plan(result, _with(data, _unread))
                if at is not None and at != length:
                    growths = plan(result, _with(data, load))[2]
                    if 0 <= at <= at + added <= length and all(
                        already_there(growth, at, load) for growth in growths
                    ):
                        return result
                    raise LengthMismatchError(length)
                if added == 0:
                    return result
                grown = writing.grow(growths, length + added)
            except FileNotFoundError as error:
                if isinstance(error, NotFoundError):
                    raise
                if self._changed(path, found.etag):
                    continue  # another append or a merge has put the field elsewhere
                raise DocumentError(
                    result_id, f"its array file {error.filename} is missing"
                ) from error
            if self._commit(path, grown, found.etag, writing):
                return grown
        raise AssertionError  # the last attempt raises

    def merge(self, result_id: str) -> None:
        """Put every field that lies in chunks into one object."""
        path = document_path("result", result_id)
        for _ in attempts(self.objects.place):
            found = self.objects.get(path)
            if found is None or not found.body:
                return
            result = decode_result(found.body, result_id, found.modified)
            if not any(ref.chunks for ref in references(result.data)):
                return
            writing = _Writing(self.objects, result)
            try:
                merged = replace(result, data=writing.merged(result.data, ()))
            except FileNotFoundError as error:
                if self._changed(path, found.etag):
                    continue
                raise DocumentError(
                    result_id, f"its array file {error.filename} is missing"
                ) from error
            if self._commit(path, merged, found.etag, writing):
                return

    def _changed(self, path: str, etag: str) -> bool:
        found = self.objects.get(path)
        return found is None or found.etag != etag

    def _commit(self, path: str, grown: ResultDocument, etag: str, writing: _Writing) -> bool:
        """Write the document; False when another was faster, and what was written is gone."""
        try:
            self.objects.replace(path, encode_result(grown), etag)
        except ConflictError:
            writing.undo()
            return False
        # What a reader that holds the old document still wants, it asks the new one for.
        kept = set(array_names(grown))
        self.objects.delete(
            f"files/{name}" for name in array_names(writing.result) if name not in kept
        )
        return True


def own_chunk(
    result: ResultDocument, field: tuple[str, ...], rows: ArrayRef, upload_id: str
) -> str | None:
    """The path under which rows of an upload can be a chunk of a field; `rows.path` is no matter.

    No other upload gets this path: what one leaves behind may be removed while another goes on.
    None where the rows need another dtype, another file, or one for all.
    """
    present: Any = result.data
    for step in field:
        present = present.get(step) if isinstance(present, Mapping) else None
    if not isinstance(present, ArrayRef) or not present.shape:
        return None
    try:
        (growth,) = plan(result, replaced({}, field, _unread(rows)))[2]
    except CannotAppendError:
        return None
    if rows.dtype != present.dtype or not _takes_chunks(result.id, growth):
        return None
    own = int.from_bytes(blake2b(upload_id.encode(), digest_size=8).digest())
    return chunk_path(present.path, own >> (64 - _OWN_BITS))


def _takes_chunks(result_id: str, growth: Growth) -> bool:
    """Whether rows of a field's own dtype can be added to it as a chunk."""
    ref = growth.present
    if not isinstance(ref, ArrayRef) or ref.transposed != growth.second_axis:
        return False
    if ref.shape[int(growth.second_axis)] != growth.length:
        return False
    return len(ref.chunks) < MOST_CHUNKS and owned(result_id, array_file(result_id, ref.path))


def _brought(data: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], ArrayRef]]:
    """Every reference in rows, and the field that it is for."""
    if isinstance(data, ArrayRef):
        yield path, data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _brought(value, (*path, key))


def _with(data: Mapping[str, Any], load: Callable[[ArrayRef], Array]) -> dict[str, Any]:
    return {key: put_back(value, load) for key, value in data.items()}


def _unread(ref: ArrayRef) -> Array:
    """An array of the shape and dtype of a reference, to plan with: it takes no memory."""
    return np.broadcast_to(np.zeros((), dtype_named(ref.dtype)), ref.shape)


class _Writing:
    """The objects written for the next document of `result`.

    `brought`: of fields whose rows lie in an object already, that one.
    """

    def __init__(
        self,
        objects: Objects,
        result: ResultDocument,
        brought: Mapping[tuple[str, ...], ArrayRef] | None = None,
    ) -> None:
        self._brought = brought or {}
        self.result = result
        self._objects = objects
        self._written: list[str] = []

    def undo(self) -> None:
        """Remove what was written, for no document names it."""
        self._objects.delete(self._written)

    def _load(self, ref: ArrayRef) -> Array:
        return arrays.read(self._objects, ref, self.result.id)

    def grow(self, growths: list[Growth], length: int) -> ResultDocument:
        """Write the rows of all fields; answer the document that names them."""
        growths = [self._with_rows(growth) for growth in growths]
        # Every field is checked before the first is written.
        dtypes = [self._dtype(growth) for growth in growths]
        grown = self.result
        try:
            for growth, dtype in zip(growths, dtypes, strict=True):
                if self._takes_chunks(growth, dtype):
                    new = self._add_chunk(growth, dtype, length)
                else:
                    new = self._write_anew(growth, dtype, length)
                grown = replace(grown, data=replaced(grown.data, growth.path, new))
        except BaseException:
            self.undo()
            raise
        return grown

    def merged(self, value: Any, path: tuple[str, ...]) -> Any:
        """A copy of data in which no reference has chunks."""
        if isinstance(value, ArrayRef) and value.chunks:
            try:
                array = self._load(value)
                stored = array.swapaxes(0, 1) if value.transposed else array
                return replace(value, path=self._create(path, stored), chunks=())
            except BaseException:
                self.undo()
                raise
        if isinstance(value, dict):
            return {key: self.merged(item, (*path, key)) for key, item in value.items()}
        return value

    def _dtype(self, growth: Growth) -> np.dtype[Any]:
        dtype = wide_dtype(growth, lambda: growth.kept(self._load))
        if dtype is None:
            raise CannotAppendError(
                self.result.id,
                f"what is added to {growth.name} is {growth.rows.dtype} and does not go with "
                "what is there without losing something; convert it first",
            )
        return dtype

    def _with_rows(self, growth: Growth) -> Growth:
        """The growth with its rows read, unless they are a chunk already."""
        rows = self._brought.get(growth.path)
        if rows is None or self._chunk(growth) is not None:
            return growth
        array = self._load(rows)
        return replace(growth, rows=array.swapaxes(0, 1) if growth.second_axis else array)

    def _chunk(self, growth: Growth) -> int | None:
        """The number of the chunk that a field's rows are already."""
        ref, rows = growth.present, self._brought.get(growth.path)
        if rows is None or not _takes_chunks(self.result.id, growth) or rows.dtype != ref.dtype:
            return None
        digits = rows.path.removesuffix(".npy").rpartition(".")[2]
        number = int(digits) if digits.isdecimal() else -1
        new = all(number != taken for taken, _ in ref.chunks)
        return number if new and chunk_path(ref.path, number) == rows.path else None

    def _takes_chunks(self, growth: Growth, dtype: np.dtype[Any]) -> bool:
        ref = growth.present
        return _takes_chunks(self.result.id, growth) and dtype_named(ref.dtype) == dtype

    def _add_chunk(self, growth: Growth, dtype: np.dtype[Any], length: int) -> ArrayRef:
        ref: ArrayRef = growth.present
        there = self._chunk(growth)
        if there is not None:
            chunks = (*ref.chunks, (there, len(growth.rows)))
            return replace(growth.reference(ref.path, ref.dtype, length), chunks=chunks)
        rows = growth.rows.astype(dtype, copy=False)
        # A number may be taken by a writer that is dead, or that is about to lose or win.
        number = max((taken for taken, _ in ref.chunks), default=-1) + 1
        while not arrays.write(self._objects, path := chunk_path(ref.path, number), rows):
            number += 1
        self._written.append(path)
        chunks = (*ref.chunks, (number, len(rows)))
        return replace(growth.reference(ref.path, ref.dtype, length), chunks=chunks)

    def _write_anew(self, growth: Growth, dtype: np.dtype[Any], length: int) -> ArrayRef:
        """Write a field that was none, a list, of another dtype or of many chunks as one."""
        kept = growth.kept(self._load)
        whole = growth.rows if kept is None else np.concatenate([kept, growth.rows], dtype=dtype)
        path = self._create(growth.path, whole.astype(dtype, copy=False))
        return growth.reference(path, dtype_name(dtype), length)

    def _create(self, field: tuple[str, ...], stored: Array) -> str:
        """Write an array under a name that no object has; answer its path."""
        taken: list[str] = []
        while True:
            name = array_name(self.result.id, field, taken)
            if arrays.write(self._objects, f"files/{name}", stored):
                self._written.append(f"files/{name}")
                return f"files/{name}"
            taken.append(name)
