"""The arrays of a result: taken out of its data into files, and put back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gimle.asgard.core.arrays import INLINE_ELEMENTS, Array, ArrayRef, as_array, dtype_name
from gimle.asgard.core.documents import ResultDocument, encode_result, encode_result_plain
from gimle.asgard.core.errors import AlreadyExistsError, DocumentError
from gimle.asgard.core.folder import files, npy
from gimle.asgard.core.folder.layout import Layout, array_file, array_name, growing_name, owned
from gimle.asgard.core.growth import Path, grows_on_second_axis, references


@dataclass(frozen=True)
class ArrayFile:
    """An array that is to become a file called `name`; growth axis first."""

    name: str
    array: Array

    def write(self, layout: Layout, *, durable: bool) -> None:
        """Write the file whole. Raises AlreadyExistsError when the name is taken."""
        temporary = layout.array(growing_name(self.name))
        try:
            npy.write(
                temporary,
                iter((self.array,)),
                self.array.dtype,
                self.array.shape,
                durable=durable,
            )
        except BaseException:
            files.remove(temporary)
            raise
        if not files.place_new(temporary, layout.array(self.name)):
            raise AlreadyExistsError("array file", self.name)


def take_out(
    result: ResultDocument, free: Callable[[Path, list[str]], str]
) -> tuple[ResultDocument, list[ArrayFile]]:
    """Replace each array over 1,024 elements by a reference; answer the files to be written.

    `free` names the file of the field at a path, unlike the names given to it.
    Raises TypeError that names the field for arrays that cannot be stored.
    """
    taking = _Taking(result.result_type, free)
    data = {key: taking.replaced(value, (str(key),)) for key, value in result.data.items()}
    return replace(result, data=data), taking.taken


def as_stored(
    result: ResultDocument, free: Callable[[Path, list[str]], str]
) -> tuple[ResultDocument, bytes, list[ArrayFile]]:
    """The document of a new result with its bytes, and the files that its arrays go into.

    As `take_out`. Raises TypeError that names the field for what cannot be stored.
    """
    body = encode_result_plain(result)
    if body is not None:
        return result, body, []
    stored, taken = take_out(result, free)
    return stored, encode_result(stored), taken


class _Taking:
    """The arrays of one result, on their way into files."""

    def __init__(self, result_type: str, free: Callable[[Path, list[str]], str]) -> None:
        self.taken: list[ArrayFile] = []
        self._result_type = result_type
        self._free = free

    def replaced(self, value: Any, path: Path) -> Any:
        """The value with references for its arrays."""
        if isinstance(value, Mapping):
            return {key: self.replaced(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [
                item
                if type(item) in (float, int, str)
                else self.replaced(item, (*path, str(index)))
                for index, item in enumerate(value)
            ]
        if type(value) in (str, int, float, bool, ArrayRef) or value is None:
            return value
        try:
            array = as_array(value)
        except TypeError as error:
            raise TypeError(f"{'.'.join(('data', *path))}: {error}") from None
        if array is None or array.size <= INLINE_ELEMENTS:
            return value if array is None else array
        transposed = array.ndim > 1 and grows_on_second_axis(self._result_type, path)
        name = self._free(path, [file.name for file in self.taken])
        self.taken.append(ArrayFile(name, array.swapaxes(0, 1) if transposed else array))
        return ArrayRef(f"files/{name}", dtype_name(array.dtype), array.shape, transposed)


def free_name(layout: Layout, result_id: str, path: Path, taken: list[str]) -> str:
    """A name for a field's file that no file has."""
    taken = list(taken)
    while True:
        name = array_name(result_id, path, taken)
        if not os.path.lexists(layout.array(name)):
            return name
        taken.append(name)


def loader(layout: Layout, result_id: str) -> Callable[[ArrayRef], Array]:
    """What reads the arrays of a result. Raises DocumentError, FileNotFoundError."""

    def load(ref: ArrayRef) -> Array:
        return npy.read(layout.array(array_file(result_id, ref.path)), ref, result_id)

    return load


def parts(*arrays: Array | None) -> Iterator[Array]:
    """Those that are there, one after the other."""
    return (array for array in arrays if array is not None)


def array_names(result: ResultDocument) -> list[str]:
    """The array files that are this result's own."""
    names = []
    for ref in references(result.data):
        try:
            name = array_file(result.id, ref.path)
        except DocumentError:
            continue
        if owned(result.id, name):
            names.append(name)
    return names
