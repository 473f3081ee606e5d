"""Whether two homes hold the same: documents by what they say, arrays by their SHA-256."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import numpy as np
from gimle.asgard.core import exact
from gimle.asgard.core.arrays import Array, ArrayRef, dtype_name, same_bits
from gimle.asgard.core.documents import ResultDocument, RunDocument, digest, result_body
from gimle.asgard.core.enclosing import pieces
from gimle.asgard.core.growth import Path, grows_on_second_axis

_BLOCK_BYTES = 1 << 20

# A time so far ahead of its clock a service keeps, and tells as that of the run's arrival.
_AHEAD = timedelta(minutes=5)

# What an author says of a run. How it stands is compared apart: it changes while it is copied.
SAID = ("created_at", "name", "equation", "circuit", "metadata", "tags", "note")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells a result from another one, wherever it lies.

    document: the digest of its document, in which an array is its dtype and shape. arrays: the
    SHA-256 of each array's elements by its field. nbytes: of documents and arrays.
    """

    document: bytes
    arrays: Mapping[str, str]
    nbytes: int


def fingerprint(result: ResultDocument, *, extra: bool) -> Fingerprint:
    """The fingerprint of a result with its arrays; of one with references, without SHA-256.

    extra: with the keys that this release does not know, which a service does not tell.
    """
    arrays: dict[str, str] = {}
    body = result_body(result if extra else replace(result, extra={}))
    nbytes = 0

    def bare(value: Any, path: Path) -> Any:
        nonlocal nbytes
        if isinstance(value, Mapping):
            return {key: bare(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [bare(item, (*path, str(place))) for place, item in enumerate(value)]
        if isinstance(value, ArrayRef):
            return _described(value.dtype, value.shape)
        if isinstance(value, np.ndarray):
            arrays[".".join(path)] = _sha256(value)
            nbytes += value.nbytes
            return _described(dtype_name(value.dtype), value.shape)
        return value

    body["data"] = {key: bare(value, (key,)) for key, value in result.data.items()}
    encoded = exact.dumps(body)
    return Fingerprint(digest(encoded), arrays, nbytes + len(encoded))


def _described(dtype: Any, shape: tuple[int, ...]) -> Any:
    return {"array": [dtype, list(shape)]}


def _sha256(array: Array) -> str:
    total = sha256()
    for piece in pieces(array, _BLOCK_BYTES):
        total.update(piece)
    return total.hexdigest()


def difference(mine: Fingerprint, theirs: Fingerprint) -> str:
    """In what two fingerprints differ, in words; empty when they do not."""
    if mine.document != theirs.document:
        return "its document says something else"
    for name, value in mine.arrays.items():
        other = theirs.arrays.get(name, value)  # one of them may be the document alone
        if other != value:
            return f"{name} has the SHA-256 {other[:16]}..., not {value[:16]}..."
    return ""


def run_difference(mine: RunDocument, theirs: RunDocument, *, extra: bool) -> str:
    """In what a run and its copy differ besides how they stand, in words; empty when they do not.

    extra: both are documents as they are, and not as a service tells them.
    """
    names = (*SAID, "extra") if extra else SAID
    differing = [name for name in names if not _same(getattr(mine, name), getattr(theirs, name))]
    if not extra and mine.created_at - theirs.created_at > _AHEAD and "created_at" in differing:
        differing.remove("created_at")
    return f"its {', '.join(differing)} says something else" if differing else ""


def _same(mine: Any, theirs: Any) -> bool:
    # Their bytes are compared: to Python 1, 1.0 and True are equal, and arrays cannot say.
    return exact.dumps([mine]) == exact.dumps([theirs])


@dataclass(frozen=True, slots=True)
class Missing:
    """Rows by which a result is longer than its copy, which has `length` of them."""

    rows: dict[str, Any]
    length: int


def missing_rows(mine: ResultDocument, copy: ResultDocument) -> Missing | None:
    """What a copy lacks of a result that has grown since; None where that is not all.

    Both with their arrays.
    """
    grown: dict[Path, tuple[int, Array]] = {}
    for path, whole, part in _leaves(mine.data, copy.data, ()):
        if not isinstance(whole, np.ndarray):
            if not _same(whole, part):
                return None
            continue
        second = grows_on_second_axis(mine.result_type, path)
        there = _as_rows(part, whole)
        if there is None or whole.ndim <= int(second):
            return None
        first, rows = (there.swapaxes(0, 1), whole.swapaxes(0, 1)) if second else (there, whole)
        length = len(first)
        if first.shape[1:] != rows.shape[1:] or length > len(rows):
            return None
        if not same_bits(np.asarray(first), rows[:length]):
            return None
        if length < len(rows):
            added = rows[length:]
            grown[path] = (length, added.swapaxes(0, 1) if second else added)
    lengths = {length for length, _ in grown.values()}
    if len(lengths) != 1:
        return None
    return Missing(_nested(grown), lengths.pop())


def _leaves(
    mine: Mapping[str, Any], copy: Mapping[str, Any], path: Path
) -> Iterator[tuple[Path, Any, Any]]:
    """Every field of both, objects looked into; a field that one of them lacks is None there."""
    for key in {**mine, **copy}:
        whole, part = mine.get(key), copy.get(key)
        if isinstance(whole, Mapping) and isinstance(part, Mapping):
            yield from _leaves(whole, part, (*path, key))
        else:
            yield (*path, key), whole, part


def _as_rows(part: Any, whole: Array) -> Array | None:
    """What a copy has of a field, as an array like `whole`; it may have been a list then."""
    if isinstance(part, np.ndarray):
        return part if part.dtype == whole.dtype and part.ndim == whole.ndim else None
    if part == []:
        return whole[:0]
    if not isinstance(part, list):
        return None
    rows: Array = np.asarray(part)
    return rows if rows.dtype == whole.dtype and rows.ndim == whole.ndim else None


def _nested(grown: Mapping[Path, tuple[int, Array]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for path, (_, rows) in grown.items():
        inside = data
        for key in path[:-1]:
            inside = inside.setdefault(key, {})
        inside[path[-1]] = rows
    return data
