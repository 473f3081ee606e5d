"""What the index keeps of a document, and how a row becomes a value of the port again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from gimle.asgard.core import exact
from gimle.asgard.core.documents import (
    RunDocument,
    decode_result,
    decode_run,
    digest,
    encode_run,
)

from asgard_server.run.rights import readers_of
from asgard_server.run.store import Found, Key, Readers, ResultRow, RunRow

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# How far ahead of our clock a document's created_at is taken at its word.
TOLERATED_AHEAD = 5 * 60 * 1_000_000

# Above this many bytes a document is cut to size by SQLite's own JSON functions, which
# run without the interpreter's lock: parsing it in Python would stop the event loop.
LARGE = 256 * 1024
# A run with more results than this is encoded again without their ids.
FEW_RESULTS = 16


class RunValues(NamedTuple):
    """What is written into the row of a run."""

    id: str
    created_at: int
    sorted_at: int
    modified_at: int
    digest: bytes
    stamp: str
    document: bytes
    text: str
    readers: tuple[str, ...] | None = None


class ResultValues(NamedTuple):
    """What is written into the row of a result."""

    id: str
    run_id: str
    created_at: int
    sorted_at: int
    modified_at: int
    digest: bytes
    stamp: str
    result_type: str
    display: bytes


def to_micros(moment: datetime) -> int:
    """Whole microseconds since 1970 of an aware datetime."""
    return (moment - EPOCH) // MICROSECOND


def from_micros(micros: int) -> datetime:
    """The aware datetime, UTC, of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros)


def received(created_at: int, modified_at: int, now: int) -> int:
    """The time a document is ordered by: its own, or that of its arrival if that is to come."""
    if created_at <= now + TOLERATED_AHEAD:
        return created_at
    return min(now, modified_at)


def run_values(connection: sqlite3.Connection, run_id: str, found: Found, now: int) -> RunValues:
    """Take from a run's document what its row holds. Raises `DocumentError`."""
    body = found.body
    if len(body) > LARGE:
        body = _without(connection, body, "$.results", "[]")
    run = found.run or decode_run(body, run_id, found.modified_at)
    if len(run.results) > FEW_RESULTS:
        body = encode_run(replace(run, results=()))
    created, modified = to_micros(run.created_at), to_micros(found.modified_at)
    return RunValues(
        id=run_id,
        created_at=created,
        sorted_at=received(created, modified, now),
        modified_at=min(modified, now),
        digest=digest(found.body),
        stamp=found.stamp,
        document=body,
        text=searchable(run),
        readers=sorted_readers(readers_of(run)),
    )


def sorted_readers(readers: Readers) -> tuple[str, ...] | None:
    """Who may read a run as its row says it; None: whoever is identified."""
    return None if readers is None else tuple(sorted(readers))


def spelt(readers: Sequence[str] | None) -> str | None:
    """Readers as JSON."""
    return None if readers is None else json.dumps(list(readers), separators=(",", ":"))


def unspelt(text: str | None) -> Readers:
    """Readers of JSON."""
    return None if text is None else frozenset(json.loads(text))


def result_values(
    connection: sqlite3.Connection, result_id: str, found: Found, now: int
) -> ResultValues:
    """Take from a result's document what its row holds. Raises `DocumentError`."""
    result = found.result
    if result is None:
        body = found.body
        if len(body) > LARGE:
            body = _without(connection, body, "$.data", "{}")
        result = decode_result(body, result_id, found.modified_at)
    created, modified = to_micros(result.created_at), to_micros(found.modified_at)
    return ResultValues(
        id=result_id,
        run_id=result.run_id,
        created_at=created,
        sorted_at=received(created, modified, now),
        modified_at=min(modified, now),
        digest=digest(found.body),
        stamp=found.stamp,
        result_type=result.result_type or "Unknown",
        display=exact.dumps(result.display) if result.display else b"{}",
    )


def _without(connection: sqlite3.Connection, body: bytes, path: str, empty: str) -> bytes:
    """A JSON document with one member emptied; as it is when it is not JSON."""
    try:
        row = connection.execute(
            "SELECT CAST(json_set(CAST(? AS TEXT), ?, json(?)) AS BLOB)", (body, path, empty)
        ).fetchone()
    except sqlite3.OperationalError:  # malformed: the decoder says so in its own words
        return body
    return bytes(row[0])


RUN_COLUMNS = "id, document, sorted_at, created_at, result_count, digest, changed_at"


def run_row(row: tuple[Any, ...]) -> RunRow:
    """Make a `RunRow` of RUN_COLUMNS."""
    run_id, document, sorted_at, created_at, count, etag, changed_at = row
    run = decode_run(document, run_id, from_micros(created_at))
    changes: dict[str, Any] = {}
    if run.results:
        changes["results"] = ()
    if sorted_at != created_at:
        changes["created_at"] = from_micros(sorted_at)
    if changes:
        run = replace(run, **changes)
    return RunRow(run, count, etag.hex(), from_micros(changed_at))


def runs_of_results(rows: Mapping[Key, RunRow | ResultRow]) -> set[str]:
    """The runs of those rows that are results."""
    return {row.run_id for row in rows.values() if isinstance(row, ResultRow)}


RESULT_COLUMNS = "id, run_id, result_type, display, sorted_at, digest"


def result_row(row: tuple[Any, ...]) -> ResultRow:
    """Make a `ResultRow` of RESULT_COLUMNS."""
    result_id, run_id, result_type, display, sorted_at, etag = row
    return ResultRow(
        result_id,
        run_id,
        result_type,
        exact.loads(display) if display != b"{}" else {},
        from_micros(sorted_at),
        etag.hex(),
    )


def fold(text: str) -> str:
    """Letter case removed; what SQLite's text cannot hold replaced."""
    if text.isascii():
        return text.lower().replace("\0", " ")
    return text.casefold().encode("utf-8", "replace").decode().replace("\0", " ")


def searchable(run: RunDocument) -> str:
    """Everything of a run that a text search looks at, folded; no word spans two lines of it."""
    parts = [run.name]
    if run.equation:
        parts.append(run.equation)
    if run.circuit:
        parts.append(run.circuit)
    if run.metadata:
        _spell(run.metadata, parts)
    if run.note:
        parts.append(run.note)
    parts.extend(run.tags)
    return fold("\n".join(parts))


def _spell(value: Any, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            parts.append(str(key))
            _spell(item, parts)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _spell(item, parts)
    elif value is None or isinstance(value, bool):
        parts.append(json.dumps(value))
    else:
        parts.append(str(value))
