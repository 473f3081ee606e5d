"""Rows of jobs as tuples of columns, the same in SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from asgard_server.sim_data.domain import Artifact, Job
from asgard_server.store.blob_rows import micros, moment


class _Column(NamedTuple):
    """A field of a job: into its column, and back. `long`: left out of short rows."""

    name: str
    into: Callable[[Any], Any]
    back: Callable[[Any], Any]
    long: bool = False


def _plain(name: str, *, long: bool = False) -> _Column:
    return _Column(name, lambda value: value, lambda value: value, long)


def _flag(name: str) -> _Column:
    return _Column(name, bool, bool)


def _time(name: str) -> _Column:
    def into(value: datetime | None) -> int | None:
        return None if value is None else micros(value)

    def back(value: int | None) -> datetime | None:
        return None if value is None else moment(value)

    return _Column(name, into, back)


def _files_text(files: Sequence[Artifact]) -> str:
    return orjson.dumps([[each.name, each.size_bytes, each.etag] for each in files]).decode()


def _files(text: str) -> tuple[Artifact, ...]:
    return tuple(Artifact(*each) for each in orjson.loads(text))


_COLUMNS = (
    _plain("id"),
    _plain("owner"),
    _plain("status"),
    _time("created_at"),
    _time("updated_at"),
    _plain("seed_text", long=True),
    _plain("goal"),
    _plain("tier"),
    _flag("enrich_web"),
    _plain("forecast_days"),
    _plain("pipeline_stage"),
    _plain("live_status_json", long=True),
    _plain("markets_config_json", long=True),
    _plain("result_report", long=True),
    _plain("result_structured_json", long=True),
    _plain("key_insight"),
    _plain("error"),
    _flag("sim_data_available"),
    _Column("files", _files_text, _files),
    _plain("retry_of"),
    _plain("superseded_by"),
    _plain("share_token"),
    _plain("worker"),
    _plain("lease_token"),
    _time("lease_until"),
    _time("grants_until"),
    _plain("report_worker"),
    _plain("report_attempts"),
    _time("report_at"),
    _time("report_lease_until"),
    _time("completed_at"),
    _time("deleted_at"),
    _flag("emptied"),
    _plain("claims"),
)
COLUMNS = tuple(column.name for column in _COLUMNS)
# Without what may be long: lists and events show nothing of it.
SHORT = ", ".join(
    column.name if not column.long else ("''" if column.name == "seed_text" else "NULL")
    for column in _COLUMNS
)


def row_of(job: Job) -> tuple[Any, ...]:
    """The columns of a job, its id first."""
    return tuple(column.into(getattr(job, column.name)) for column in _COLUMNS)


def job_of(row: Sequence[Any]) -> Job:
    """The job of columns in their order."""
    return Job(
        **{column.name: column.back(value) for column, value in zip(_COLUMNS, row, strict=True)}
    )
