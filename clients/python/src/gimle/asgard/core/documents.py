"""The two documents of the storage format: what they hold, and their bytes. No I/O.

`encode_*` writes strict JSON (exact.py says how values JSON lacks are written);
`decode_*` accepts documents written by hand: only what membership needs must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from gimle.asgard.core import exact
from gimle.asgard.core.arrays import ArrayRef
from gimle.asgard.core.errors import DocumentError, InvalidFieldError
from gimle.asgard.core.ids import are_ids, id_time, is_id

__all__ = [
    "OWNED",
    "ArrayRef",
    "ResultDocument",
    "RunDocument",
    "decode_result",
    "decode_run",
    "digest",
    "encode_result",
    "encode_run",
    "etag",
    "format_time",
    "parse_time",
]

OWNED = ("owner", "organization_id", "visibility")
"""The keys by which a run's document says whose it is; among its `extra`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Levels of nesting; a document adds a few of its own to the 254 that a writer follows.
_DEEPEST = 250


@dataclass(frozen=True, slots=True)
class RunDocument:
    """A run as its document says. Times are aware and in UTC, to the microsecond.

    results: ids of its results, oldest first; a result's own `run_id` is the truth.
    extra: keys this release does not know, kept when the document is rewritten.
    """

    id: str
    name: str
    created_at: datetime
    updated_at: datetime
    equation: str | None = None
    circuit: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    results: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    note: str | None = None
    status: str | None = None
    finished_at: datetime | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResultDocument:
    """A result as its document says.

    data: values, numpy arrays or memory maps; ArrayRef where an array lies in a file.
    extra: keys this release does not know, kept when the document is rewritten.
    """

    id: str
    run_id: str
    result_type: str
    data: dict[str, Any]
    created_at: datetime
    display: dict[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)


def encode_run(run: RunDocument) -> bytes:
    """Write a run's document. What is not set is left out. Raises what `exact.dumps` does."""
    body: dict[str, Any] = {
        "id": run.id,
        "name": run.name,
        "created_at": format_time(run.created_at),
        "updated_at": format_time(run.updated_at),
    }
    if run.equation is not None:
        body["equation"] = run.equation
    if run.circuit is not None:
        body["circuit"] = run.circuit
    body["metadata"] = run.metadata
    body["results"] = run.results
    body["tags"] = run.tags
    if run.note is not None:
        body["note"] = run.note
    if run.status is not None:
        body["status"] = run.status
    if run.finished_at is not None:
        body["finished_at"] = format_time(run.finished_at)
    if run.extra:
        body.update(run.extra)
    try:
        return exact.dumps(body)
    except InvalidFieldError as error:  # of nesting, which nothing else has
        raise InvalidFieldError("metadata", error.problem, error.mend) from None


def encode_result(result: ResultDocument) -> bytes:
    """Write a result's document; arrays in its data are written inline. Raises as `exact.dumps`."""
    return exact.dumps(result_body(result))


def encode_result_plain(result: ResultDocument) -> bytes | None:
    """Write a result's document, or answer None when there may be arrays in it."""
    return exact.dumps_plain(result_body(result))


def result_body(result: ResultDocument) -> dict[str, Any]:
    """Lay out a result's document."""
    body: dict[str, Any] = {
        "id": result.id,
        "run_id": result.run_id,
        "result_type": result.result_type,
        "created_at": format_time(result.created_at),
        "display": result.display,
        "data": result.data,
    }
    if result.extra:
        body.update(result.extra)
    return body


def decode_run(body: bytes, id: str | None = None, modified: datetime | None = None) -> RunDocument:
    """Read a run's document.

    `id` is what its file is called, for documents that do not say their own; `modified`
    stands in for a missing created_at when the id does not tell it.
    Raises DocumentError.
    """
    fields = _Fields(body, id)
    created_at = fields.time("created_at") or id_time(fields.id) or modified or _EPOCH
    return RunDocument(
        fields.id,
        fields.text("name") or "",
        created_at,
        fields.time("updated_at") or created_at,
        fields.text("equation"),
        fields.text("circuit"),
        fields.object("metadata"),
        tuple(fields.ids("results")),
        tuple(fields.texts("tags")),
        fields.text("note"),
        fields.text("status"),
        fields.time("finished_at"),
        fields.rest,
    )


def decode_result(
    body: bytes, id: str | None = None, modified: datetime | None = None
) -> ResultDocument:
    """Read a result's document; arrays in files stay ArrayRef. Arguments as `decode_run`.

    Raises DocumentError.
    """
    fields = _Fields(body, id)
    run_id = fields.text("run_id")
    if run_id is None or not is_id(run_id):
        raise DocumentError(fields.id, "it has no run_id, which says whose result it is")
    return ResultDocument(
        fields.id,
        run_id,
        fields.text("result_type") or "Unknown",
        fields.object("data"),
        fields.time("created_at") or id_time(fields.id) or modified or _EPOCH,
        fields.object("display"),
        fields.rest,
    )


def same_run(one: RunDocument, other: RunDocument) -> bool:
    """Whether two documents say the same of a run.

    Their bytes are compared: to Python 1, 1.0 and True are equal, and arrays cannot say.
    """
    return one is other or encode_run(one) == encode_run(other)


def digest(body: bytes) -> bytes:
    """Tell bytes from other bytes: 16 bytes of BLAKE2b."""
    return blake2b(body, digest_size=16).digest()


def etag(body: bytes) -> str:
    """Name a state of a document: the hex of its digest."""
    return blake2b(body, digest_size=16).hexdigest()


def format_time(time: datetime) -> str:
    """Write a time as RFC 3339 in UTC, with microseconds and `Z`."""
    if time.tzinfo is not UTC:
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return time.isoformat(timespec="microseconds")[:-6] + "Z"


def parse_time(text: str) -> datetime:
    """Read a time of RFC 3339 or ISO 8601; without an offset it is UTC. Raises ValueError."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is UTC:
        return time
    try:
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text} is in no year from 1 to 9999 in UTC") from None


def _is_shallow(value: Any) -> bool:
    """Tell whether `exact.dumps` can write what was read."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return True
    return False


class _Fields:
    """Takes the fields of a document one by one; `rest` is what nobody took."""

    def __init__(self, body: bytes, id: str | None) -> None:
        try:
            rest = exact.loads(body)
        except ValueError as error:
            raise DocumentError(id or "", str(error)) from error
        if type(rest) is not dict:
            raise DocumentError(id or "", "it is not a JSON object")
        if body.count(b"[") + body.count(b"{") > _DEEPEST:
            for key, value in rest.items():
                # What is only ever written again in a file of its own may be any depth.
                if key != "data" and not _is_shallow(value):
                    raise DocumentError(id or "", f"{key} is nested deeper than {_DEEPEST} levels")
        own = rest.pop("id", None)
        if id is None:
            if type(own) is not str or not is_id(own):
                raise DocumentError("", "it has no id")
            id = own
        self.id = id
        self.rest: dict[str, Any] = rest

    def text(self, key: str) -> str | None:
        value = self.rest.pop(key, None)
        if value is None or type(value) is str:
            return value
        raise DocumentError(self.id, f"{key} is not text")

    def time(self, key: str) -> datetime | None:
        value = self.rest.pop(key, None)
        if value is None:
            return None
        try:
            return parse_time(value)
        except (TypeError, ValueError):
            raise DocumentError(self.id, f"{key} is not a time: {value!r}") from None

    def object(self, key: str) -> dict[str, Any]:
        value = self.rest.pop(key, None)
        if value is None:
            return {}
        if type(value) is dict:
            return value
        raise DocumentError(self.id, f"{key} is not a JSON object")

    def texts(self, key: str) -> list[str]:
        return self._list(key, lambda item: type(item) is str, "text")

    def ids(self, key: str) -> list[str]:
        value = self.rest.get(key)
        if type(value) is list and are_ids(value):
            del self.rest[key]
            return value
        return self._list(key, lambda item: type(item) is str and is_id(item), "the id of a result")

    def _list(self, key: str, fits: Callable[[Any], bool], kind: str) -> list[str]:
        value = self.rest.pop(key, None)
        if value is None:
            return []
        if type(value) is not list:
            raise DocumentError(self.id, f"{key} is not a list")
        for item in value:
            if not fits(item):
                raise DocumentError(self.id, f"{key} holds {item!r}, which is not {kind}")
        return value
