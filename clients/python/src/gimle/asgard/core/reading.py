"""What reading is wherever a storage lies: a result with its arrays, and the order of runs."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gimle.asgard.core.arrays import Array, ArrayRef
from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import DocumentError
from gimle.asgard.core.growth import references
from gimle.asgard.core.ids import id_microseconds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def with_arrays(
    result_id: str, read: Callable[[], ResultDocument], load: Callable[[ArrayRef], Array]
) -> ResultDocument:
    """The result that `read` answers, with the arrays that `load` answers for its references.

    Raises DocumentError when one is not there, or cannot be what the document says, and
    what `read` and `load` raise otherwise.
    """
    seen: list[ArrayRef] | None = None
    while True:
        result = read()
        try:
            return replace(
                result, data={key: put_back(value, load) for key, value in result.data.items()}
            )
        except FileNotFoundError as error:
            # An append that widens a field, or a merge of its parts, puts it into another file;
            # a document that still names the missing one says that it is lost.
            named = list(references(result.data))
            if named == seen:
                raise DocumentError(
                    result_id, f"its array file {error.filename} is missing"
                ) from error
            seen = named
        except ValueError as error:
            if isinstance(error, DocumentError):
                raise
            raise DocumentError(result_id, str(error)) from error


def put_back(value: Any, load: Callable[[ArrayRef], Array]) -> Any:
    """Replace each reference in a result's data by its array."""
    if type(value) is ArrayRef:
        return load(value)
    if type(value) is dict:
        return {key: put_back(item, load) for key, item in value.items()}
    if type(value) is list:
        return [
            put_back(item, load) if type(item) in (dict, list, ArrayRef) else item for item in value
        ]
    return value


def newest_first(
    run_ids: Iterable[str], created_at: Callable[[str], datetime | None]
) -> Iterator[str]:
    """The ids of runs, newest first by (created_at, id).

    The time of a UUIDv7 is read from its name; only for others is `created_at` asked, which
    answers None for a run that has gone meanwhile.
    """
    timed: list[tuple[int, str]] = []
    others: list[tuple[int, str]] = []
    for run_id in run_ids:
        microseconds = id_microseconds(run_id)
        if microseconds is not None:
            timed.append((microseconds, run_id))
        elif (time := created_at(run_id)) is not None:
            others.append(((time - EPOCH) // _MICROSECOND, run_id))
    timed.sort(reverse=True)
    others.sort(reverse=True)
    return (run_id for _, run_id in heapq.merge(timed, others, reverse=True))
