"""The rules of RunService: limits of every field, status, live, pages, repeats.

Pure: functions over documents that return new ones or raise errors that carry
their data. Nothing here knows gRPC, a folder or SQL.
"""

from __future__ import annotations

import hashlib
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple

from gimle.asgard.core.arrays import same_bits
from gimle.asgard.core.documents import ResultDocument, RunDocument, encode_run, etag
from gimle.asgard.core.errors import (
    EtagMismatchError,
    InvalidFieldError,
    PageTokenMismatchError,
)
from gimle.asgard.core.experiment_errors import VariationRunStateError
from gimle.asgard.core.ids import check_id, new_id

# Limits, in characters unless named otherwise. What they keep out is a mistake
# (a whole log as a tag) or belongs elsewhere (numbers into arrays).
NAME_LIMIT = 500
TEXT_LIMIT = 200_000
NOTE_LIMIT = 1_000_000
TAG_LIMIT = 100
TAGS_LIMIT = 100
TYPE_LIMIT = 200
QUERY_LIMIT = 1_000
ARRAYS_LIMIT = 1_000
BATCH_LIMIT = 1_000
METADATA_LIMIT_BYTES = 1_048_576
DATA_LIMIT_BYTES = 16_777_216

PAGE_DEFAULT = 50
PAGE_LIMIT = 1_000

# A run that nobody finishes counts as live for this long after its last change.
LIVE_FOR = timedelta(seconds=60)

# What FinishRun may say; another of these may replace it.
ENDINGS = ("succeeded", "failed", "failed_crash", "failed_abandoned")
# The end of a variation's run whose lease has ended: it stays, so nobody but services says it.
LOST = "failed_lost"

# What a document says of whose a run is.
_OWNED = ("owner", "organization_id", "visibility")

# The fields UpdateRun may change.
CHANGEABLE = ("name", "equation", "circuit", "metadata", "tags", "note")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Belongs:
    """Whose a run of a variation is, as ExperimentService says.

    `readers` and `writers`: whom the experiment lets read and change it; none where that is not
    said.
    """

    owner: str
    organization_id: str
    visibility: str
    readers: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, Any]:
        """What the document says of it."""
        told: dict[str, Any] = {
            "owner": self.owner,
            "organization_id": self.organization_id,
            "visibility": self.visibility,
        }
        if self.readers:
            told |= {"readers": list(self.readers), "writers": list(self.writers)}
        return {name: value for name, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run somebody asks for. No id or time: the service chooses."""

    name: str
    id: str = ""
    created_at: datetime | None = None
    equation: str | None = None
    circuit: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    note: str | None = None
    status: str | None = None
    belongs: Belongs | None = None
    whose: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewResult:
    """A result somebody asks for; arrays in `data` are numpy arrays."""

    result_type: str
    data: dict[str, Any]
    id: str = ""
    created_at: datetime | None = None
    display: dict[str, Any] = field(default_factory=dict)


class Position(NamedTuple):
    """Where a page ends: the next one begins behind it."""

    created_at: datetime
    id: str


def run_document(new: NewRun, now: datetime, at: str = "") -> RunDocument:
    """The document of a new run. `at` is put before the names of fields, as in `run.`.

    Raises `InvalidFieldError` for a field that breaks its rule.
    """
    created_at = _moment(new.created_at, f"{at}create_time") or now
    run_id = check_id(new.id, f"{at}run_id") if new.id else new_id(created_at)
    pending = new.status == "pending" and new.belongs is not None
    if new.status not in (None, "running") and not pending:
        raise InvalidFieldError(
            f"{at}status",
            f"is {new.status!r}",
            "leave it out, or say running; FinishRun says how a run ended",
        )
    return RunDocument(
        id=run_id,
        name=run_name(new.name, at),
        created_at=created_at,
        updated_at=now,
        equation=_text(new.equation, f"{at}equation", TEXT_LIMIT),
        circuit=_text(new.circuit, f"{at}circuit", TEXT_LIMIT),
        metadata=new.metadata,
        tags=run_tags(new.tags, at),
        note=_text(new.note, f"{at}note", NOTE_LIMIT),
        status=new.status,
        extra=dict(new.whose) if new.belongs is None else new.belongs.fields,
    )


def result_document(new: NewResult, run_id: str, now: datetime, at: str = "") -> ResultDocument:
    """The document of a new result. `at` is put before field names, as in `results[3].`."""
    created_at = _moment(new.created_at, f"{at}create_time") or now
    return ResultDocument(
        id=check_id(new.id, f"{at}result_id") if new.id else new_id(created_at),
        run_id=run_id,
        result_type=_word(new.result_type, f"{at}result_type", TYPE_LIMIT),
        data=new.data,
        display=new.display,
        created_at=created_at,
    )


def batch(
    run: NewRun, results: Sequence[NewResult], now: datetime
) -> tuple[RunDocument, list[ResultDocument]]:
    """The documents of a run that is saved together with its results."""
    if len(results) > BATCH_LIMIT:
        raise InvalidFieldError(
            "results",
            f"holds {len(results):,} results",
            f"send at most {BATCH_LIMIT:,}, and the others by AddResult",
        )
    document = run_document(run, now, "run.")
    made = [
        result_document(new, document.id, now, f"results[{place}].")
        for place, new in enumerate(results)
    ]
    if len({result.id for result in made}) < len(made):
        raise InvalidFieldError(
            "results", "name the same result_id twice", "give each result its own id, or none"
        )
    return replace(document, results=tuple(result.id for result in made)), made


def run_name(text: str, at: str = "") -> str:
    """Check the name of a run: 1 to 500 characters of one line, not all of them blank."""
    return _word(text, f"{at}name", NAME_LIMIT)


def run_tags(tags: Sequence[str], at: str = "") -> tuple[str, ...]:
    """Check tags: at most 100, each 1 to 100 characters of one line, none twice."""
    if len(tags) > TAGS_LIMIT:
        raise InvalidFieldError(f"{at}tags", f"are {len(tags):,}", f"keep at most {TAGS_LIMIT}")
    checked = tuple(_word(tag, f"{at}tags[{place}]", TAG_LIMIT) for place, tag in enumerate(tags))
    if len(set(checked)) < len(checked):
        raise InvalidFieldError(f"{at}tags", "say the same tag twice", "say each tag once")
    return checked


def run_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check new values of a run's fields. Raises `InvalidFieldError`."""
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in CHANGEABLE:
            raise InvalidFieldError(
                "update_mask", f"names {name!r}", f"name any of {', '.join(CHANGEABLE)}"
            )
        if name == "name":
            checked[name] = run_name(value or "")
        elif name == "tags":
            checked[name] = run_tags(value)
        elif name == "metadata":
            checked[name] = value
        else:
            checked[name] = _text(value, name, NOTE_LIMIT if name == "note" else TEXT_LIMIT)
    return checked


def unchanged(run: RunDocument, seen: RunDocument | None) -> RunDocument:
    """The run, if it is still the one that was seen. Raises `EtagMismatchError`."""
    if seen is not None and (now := encode_run(run)) != encode_run(seen):
        raise EtagMismatchError(etag(now))
    return run


def changed(run: RunDocument, values: Mapping[str, Any], now: datetime) -> RunDocument:
    """A run with checked values in place; the same object when nothing differs."""
    if all(_same_value(value, getattr(run, name)) for name, value in values.items()):
        return run
    return replace(run, **values, updated_at=max(now, run.updated_at))


def ending(status: str | None, *, by_service: bool = False) -> str:
    """How a run ended: succeeded unless something else is said.

    Raises `InvalidFieldError` for what is no end, and for a run that is lost unless a service,
    which keeps the leases, says so.
    """
    if status == LOST and by_service:
        return LOST
    if status not in (None, *ENDINGS):
        raise InvalidFieldError(
            "status", f"is {status!r}", f"say one of {', '.join(ENDINGS)}: how the run ended"
        )
    return status or "succeeded"


def append_length(at: int | None) -> int | None:
    """Check the length an append expects."""
    if at is not None and at < 0:
        raise InvalidFieldError("expected_length", f"is {at}", "count rows from 0")
    return at


def finished(
    run: RunDocument, status: str, now: datetime, ended_at: datetime | None = None
) -> RunDocument:
    """A run that has ended, now unless said; the same object when it had ended so already.

    Raises `VariationRunStateError` for one that was lost, which stays so.
    """
    ended_at = _moment(ended_at, "finish_time") or now
    if run.status == status:
        return run
    if run.status == LOST:
        raise VariationRunStateError(run.id, LOST, "it stays so; resume its variation")
    return replace(run, status=status, finished_at=ended_at, updated_at=max(now, run.updated_at))


def begun(run: RunDocument, now: datetime) -> RunDocument:
    """A pending run that goes on now; the same object when it does so already.

    Raises `VariationRunStateError` for one that has ended.
    """
    if run.status == "running":
        return run
    if run.status != "pending":
        raise VariationRunStateError(run.id, run.status or "not pending", "it cannot begin")
    return replace(run, status="running", updated_at=max(now, run.updated_at))


def owned(run: RunDocument, belongs: Belongs, now: datetime) -> RunDocument:
    """A run that belongs to others from now on; the same object when it does so already."""
    replaced = (*_OWNED, "readers", "writers") if belongs.readers else _OWNED
    others = {name: value for name, value in run.extra.items() if name not in replaced}
    extra = {**others, **belongs.fields}
    if extra == dict(run.extra):
        return run
    return replace(run, extra=extra, updated_at=max(now, run.updated_at))


def is_live(status: str | None, changed_at: datetime, now: datetime) -> bool:
    """Whether a run is still being computed, as far as anybody can tell."""
    return status == "running" or (status is None and now - changed_at < LIVE_FOR)


def same_run(wanted: RunDocument, found: RunDocument, *, timed: bool) -> bool:
    """Whether `found` is what creating `wanted` made. `timed`: the caller gave the time."""
    return all(
        _same_value(getattr(wanted, name), getattr(found, name)) for name in (*CHANGEABLE, "status")
    ) and (not timed or wanted.created_at == found.created_at)


def same_result(wanted: ResultDocument, found: ResultDocument) -> bool:
    """Whether `found`, with its arrays, holds what adding `wanted` stored."""
    return (
        wanted.run_id == found.run_id
        and wanted.result_type == found.result_type
        and _same_value(wanted.display, found.display)
        and _same_value(wanted.data, found.data)
    )


def _same_value(wanted: Any, found: Any) -> bool:
    if hasattr(wanted, "dtype") and hasattr(found, "dtype"):
        return same_bits(wanted, found)
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(
            _same_value(value, found[key]) for key, value in wanted.items()
        )
    if isinstance(wanted, (list, tuple)) and isinstance(found, (list, tuple)):
        return len(wanted) == len(found) and all(map(_same_value, wanted, found))
    if isinstance(wanted, float) and isinstance(found, float) and math.isnan(wanted):
        return math.isnan(found)
    return bool(type(wanted) is type(found) and wanted == found)


def request_digest(*parts: bytes) -> bytes:
    """The digest that tells a repeat from another request under the same id."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.digest()


def page_size(asked: int) -> int:
    """The number of items on a page: 50 unless asked, at most 1,000."""
    if asked < 0:
        raise InvalidFieldError("page_size", f"is {asked}", "say 1 to 1,000, or 0 for 50")
    return min(asked or PAGE_DEFAULT, PAGE_LIMIT)


def search_text(query: str) -> str:
    """Check the free text of a list."""
    return _text(query, "query", QUERY_LIMIT) or ""


_PAGE = Struct(">8sq")


def page_token(position: Position, *arguments: str) -> str:
    """The token of the page behind `position` of the list that `arguments` ask for."""
    micros = (position.created_at - EPOCH) // timedelta(microseconds=1)
    packed = _PAGE.pack(_arguments(arguments), micros) + position.id.encode()
    return urlsafe_b64encode(packed).decode().rstrip("=")


def page_position(token: str, *arguments: str) -> Position | None:
    """Where a page begins. Raises `PageTokenMismatchError` for a token of another list."""
    if not token:
        return None
    try:
        packed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        digest, micros = _PAGE.unpack_from(packed)
        position = Position(EPOCH + timedelta(microseconds=micros), packed[_PAGE.size :].decode())
    except (Base64Error, StructError, ValueError, OverflowError):
        digest = b""
    if digest != _arguments(arguments):
        raise PageTokenMismatchError(
            "page_token is not one of this list: send back next_page_token as it came, "
            "with the other arguments unchanged, or leave it out to begin anew"
        )
    return position


def next_page(places: Sequence[tuple[datetime, str]], size: int, *arguments: str) -> str:
    """The token behind the first `size` of `places`, empty where there are no more."""
    return page_token(Position(*places[size - 1]), *arguments) if len(places) > size else ""


def _arguments(arguments: Sequence[str]) -> bytes:
    return request_digest(*(argument.encode() for argument in arguments))[:8]


def _moment(moment: datetime | None, name: str) -> datetime | None:
    if moment is not None and not EPOCH <= moment < _LATEST:
        raise InvalidFieldError(name, f"is {moment.isoformat()}", "say a time from 1970 to 9998")
    return moment


def _text(text: str | None, name: str, limit: int) -> str | None:
    if text is not None and len(text) > limit:
        raise InvalidFieldError(
            name, f"has {len(text):,} characters", f"keep it to {limit:,} characters"
        )
    if text is not None and "\0" in text:
        raise InvalidFieldError(name, "holds a NUL character", "leave it out")
    return text


def _word(text: str, name: str, limit: int) -> str:
    if not text.strip():
        raise InvalidFieldError(name, "is empty", f"say 1 to {limit} characters")
    if not text.isprintable():
        raise InvalidFieldError(
            name, "holds a line break or another control character", "keep it to one line of text"
        )
    checked = _text(text, name, limit)
    assert checked is not None  # noqa: S101 - only None goes in as None
    return checked
