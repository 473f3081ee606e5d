"""Growing a result: bytes, then the head of the file, then the document that commits them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gimle.asgard.core.arrays import Array, ArrayRef, dtype_name, dtype_named
from gimle.asgard.core.documents import ResultDocument, encode_result
from gimle.asgard.core.errors import (
    AlreadyExistsError,
    CannotAppendError,
    DocumentError,
    LengthMismatchError,
)
from gimle.asgard.core.folder import files, npy
from gimle.asgard.core.folder.arrayfiles import array_names, free_name, loader, parts
from gimle.asgard.core.folder.intents import Intents
from gimle.asgard.core.folder.layout import Layout, array_file, growing_name, owned
from gimle.asgard.core.growth import Growth, already_there, plan, replaced, wide_dtype

Load = Callable[[ArrayRef], Array]


@dataclass(frozen=True)
class Appender:
    """Appends to the results of one folder. The caller holds the run's lock."""

    layout: Layout
    intents: Intents
    durable: bool

    def append(
        self, result: ResultDocument, data: Mapping[str, Any], at: int | None
    ) -> ResultDocument:
        """Grow `result`, as just read, by `data`; answer its new document.

        Raises LengthMismatchError, CannotAppendError, DocumentError.
        """
        length, added, growths = plan(result, data)
        try:
            load = loader(self.layout, result.id)
            if at is not None and at != length:
                if 0 <= at <= at + added <= length and all(
                    already_there(growth, at, load) for growth in growths
                ):
                    return result
                raise LengthMismatchError(length)
            if added == 0:
                return result
            return self._grow(result, growths, length + added, load)
        except FileNotFoundError as error:
            if isinstance(error, AlreadyExistsError):
                raise
            raise DocumentError(result.id, f"its array file {error.filename} is missing") from error

    def _grow(
        self, result: ResultDocument, growths: list[Growth], length: int, load: Load
    ) -> ResultDocument:
        """Write all fields' bytes, then the document.

        Fields that cannot grow where they lie get files of their own, under an intent that
        names these and those they replace: of both, what the document does not name in the
        end is removed, here or by whoever sweeps up behind a dead writer.
        """
        # Every field is checked before the first is written.
        dtypes = [self._dtype(result.id, growth, load) for growth in growths]
        names: list[str | None] = []
        for growth, dtype in zip(growths, dtypes, strict=True):
            taken = [name for name in names if name is not None]
            names.append(
                None
                if self._in_place(result.id, growth, dtype)
                else free_name(self.layout, result.id, growth.path, taken)
            )
        touched = [name for name in names if name is not None]
        if not touched:
            return self._write(result, growths, dtypes, names, length, load)
        touched += array_names(result)
        intent = self.intents.begin(result.id, touched, wait=True)
        try:
            return self._write(result, growths, dtypes, names, length, load)
        finally:
            try:
                self.intents.settle(result.id, touched)
            finally:
                self.intents.end(result.id, intent)

    def _write(
        self,
        result: ResultDocument,
        growths: list[Growth],
        dtypes: list[np.dtype[Any]],
        names: list[str | None],
        length: int,
        load: Load,
    ) -> ResultDocument:
        """Write the fields, those with a name into a file of that name, and the document."""
        grown = result
        for growth, dtype, name in zip(growths, dtypes, names, strict=True):
            if name is None:
                ref = growth.present
                path = self.layout.array(array_file(result.id, ref.path))
                rows = growth.rows.astype(dtype, copy=False)
                npy.grow(path, ref, rows, result.id, durable=self.durable)
                new = growth.reference(ref.path, ref.dtype, length)
            else:
                new = self._write_anew(growth, dtype, length, load, name)
            grown = replace(grown, data=replaced(grown.data, growth.path, new))
        if self.durable and any(names):
            files.sync_folder(self.layout.files)
        files.replace(
            self.layout.results, f"{result.id}.json", encode_result(grown), durable=self.durable
        )
        return grown

    def _dtype(self, result_id: str, growth: Growth, load: Load) -> np.dtype[Any]:
        dtype = wide_dtype(growth, lambda: growth.kept(load))
        if dtype is None:
            raise CannotAppendError(
                result_id,
                f"what is added to {growth.name} is {growth.rows.dtype} and does not go with "
                "what is there without losing something; convert it first",
            )
        return dtype

    def _in_place(self, result_id: str, growth: Growth, dtype: np.dtype[Any]) -> bool:
        ref = growth.present
        if not isinstance(ref, ArrayRef) or ref.transposed != growth.second_axis:
            return False
        if dtype_named(ref.dtype) != dtype or ref.shape[int(growth.second_axis)] != growth.length:
            return False
        name = array_file(result_id, ref.path)
        return owned(result_id, name) and npy.can_grow(self.layout.array(name), ref, result_id)

    def _write_anew(
        self, growth: Growth, dtype: np.dtype[Any], length: int, load: Load, name: str
    ) -> ArrayRef:
        """Write a field that was none, a list, or of another dtype into a file of its own."""
        temporary = self.layout.array(growing_name(name))
        shape = (length, *growth.rows.shape[1:])
        whole = parts(growth.kept(load), growth.rows)
        npy.write(temporary, whole, dtype, shape, durable=self.durable)
        if not files.place_new(temporary, self.layout.array(name)):
            raise AlreadyExistsError("array file", name)
        return growth.reference(f"files/{name}", dtype_name(dtype), length)
