"""The rules of RunService: how a run and its results come to be, change, end, and whose they are.

Pure: functions over documents that return new ones or raise errors that carry
their data. Nothing here knows gRPC, a folder or SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from gimle.asgard.core.documents import ResultDocument, RunDocument, encode_run, etag
from gimle.asgard.core.errors import EtagMismatchError, InvalidFieldError
from gimle.asgard.core.experiment_errors import VariationRunStateError
from gimle.asgard.core.ids import check_id, new_id

from asgard_server.run.limits import (
    BATCH_LIMIT,
    NOTE_LIMIT,
    TEXT_LIMIT,
    TYPE_LIMIT,
    checked_moment,
    checked_text,
    checked_word,
    run_name,
    run_tags,
)
from asgard_server.run.repeats import same_value

# A run that nobody finishes counts as live for this long after its last change.
LIVE_FOR = timedelta(seconds=60)

# What FinishRun may say; another of these may replace it.
ENDINGS = ("succeeded", "failed", "failed_crash", "failed_abandoned")
# The end of a variation's run whose lease has ended: it stays, so nobody but services says it.
LOST = "failed_lost"

# What a document says of whose a run is.
_OWNED = ("owner", "organization_id", "visibility")


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


def run_document(new: NewRun, now: datetime, at: str = "") -> RunDocument:
    """The document of a new run. `at` is put before the names of fields, as in `run.`.

    Raises `InvalidFieldError` for a field that breaks its rule.
    """
    created_at = checked_moment(new.created_at, f"{at}create_time") or now
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
        equation=checked_text(new.equation, f"{at}equation", TEXT_LIMIT),
        circuit=checked_text(new.circuit, f"{at}circuit", TEXT_LIMIT),
        metadata=new.metadata,
        tags=run_tags(new.tags, at),
        note=checked_text(new.note, f"{at}note", NOTE_LIMIT),
        status=new.status,
        extra=dict(new.whose) if new.belongs is None else new.belongs.fields,
    )


def result_document(new: NewResult, run_id: str, now: datetime, at: str = "") -> ResultDocument:
    """The document of a new result. `at` is put before field names, as in `results[3].`."""
    created_at = checked_moment(new.created_at, f"{at}create_time") or now
    return ResultDocument(
        id=check_id(new.id, f"{at}result_id") if new.id else new_id(created_at),
        run_id=run_id,
        result_type=checked_word(new.result_type, f"{at}result_type", TYPE_LIMIT),
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


def unchanged(run: RunDocument, seen: RunDocument | None) -> RunDocument:
    """The run, if it is still the one that was seen. Raises `EtagMismatchError`."""
    if seen is not None and (now := encode_run(run)) != encode_run(seen):
        raise EtagMismatchError(etag(now))
    return run


def changed(run: RunDocument, values: Mapping[str, Any], now: datetime) -> RunDocument:
    """A run with checked values in place; the same object when nothing differs."""
    if all(same_value(value, getattr(run, name)) for name, value in values.items()):
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


def finished(
    run: RunDocument, status: str, now: datetime, ended_at: datetime | None = None
) -> RunDocument:
    """A run that has ended, now unless said; the same object when it had ended so already.

    Raises `VariationRunStateError` for one that was lost, which stays so.
    """
    ended_at = checked_moment(ended_at, "finish_time") or now
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
