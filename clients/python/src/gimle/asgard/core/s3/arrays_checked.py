"""What documents name of arrays, held against the objects that there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from gimle.asgard.core.arrays import ArrayRef, dtype_named
from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import DocumentError
from gimle.asgard.core.folder.layout import array_file, document_id
from gimle.asgard.core.growth import references
from gimle.asgard.core.s3 import arrays
from gimle.asgard.core.s3.objects import Entry, Objects


def problem_of(
    objects: Objects,
    result: ResultDocument,
    listed: Mapping[str, Entry] | None,
    *,
    deep: bool = False,
) -> str | None:
    """Say what is wrong with the arrays that a document names, None for nothing.

    listed: the objects in `files/` by name; those that it lacks, and without it all, are asked
        for one by one.
    deep: read them as well.
    """
    for ref in references(result.data):
        try:
            problem = _missing_or_short(objects, result.id, ref, listed)
            if problem is not None:
                return problem
            if deep:
                arrays.read(objects, ref, result.id)
        except FileNotFoundError as error:
            return f"{error.filename} is missing"
        except DocumentError as error:
            return error.problem
        except ValueError as error:
            return str(error)
    return None


def _missing_or_short(
    objects: Objects, result_id: str, ref: ArrayRef, listed: Mapping[str, Entry] | None
) -> str | None:
    row_bytes = _row_bytes(ref)
    for path, rows in ref.files:
        entry = None if listed is None else listed.get(array_file(result_id, path))
        if entry is None:
            if not objects.there(path):
                return f"{path} is missing"
        elif entry.size < rows * row_bytes:
            return f"{path} is shorter than the {rows * row_bytes} bytes committed"
    return None


def _row_bytes(ref: ArrayRef) -> int:
    inner = dtype_named(ref.dtype).itemsize
    for length in ref.stored_shape[1:]:
        inner *= length
    return inner


def names_in(results: Iterable[ResultDocument | None]) -> Iterator[str]:
    """Every array file that one of the documents names."""
    for result in filter(None, results):
        for ref in references(result.data):
            for path, _ in ref.files:
                with suppress(DocumentError):
                    yield array_file(result.id, path)


def owners_of(name: str) -> Iterator[str]:
    """Ids of results that may own an array file: what stands before each of its underscores."""
    for at, letter in enumerate(name):
        if letter == "_" and document_id(f"{name[:at]}.json") is not None:
            yield name[:at]
