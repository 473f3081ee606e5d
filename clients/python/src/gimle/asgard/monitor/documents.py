"""The documents of new runs and results, made of the fields that an author gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from gimle.asgard.core.documents import OWNED, ResultDocument, RunDocument
from gimle.asgard.core.ids import check_id, new_id
from gimle.asgard.monitor import fields


def new_run(
    name: str,
    equation: str | None,
    circuit: str | None,
    metadata: Mapping[str, Any] | None,
    tags: Iterable[str],
    note: str | None,
    status: str | None,
    id: str | None,
    created_at: datetime | None,
) -> RunDocument:
    """A run to be created. Raises InvalidFieldError, InvalidNameError."""
    checked = fields.checked(
        name=name,
        equation=equation,
        circuit=circuit,
        metadata={} if metadata is None else metadata,
        tags=tags,
        note=note,
        status=status,
    )
    when = fields.moment(created_at)
    run_id = new_id(when) if id is None else check_id(id, "id")
    return RunDocument(id=run_id, created_at=when, updated_at=when, **checked)


def owned(
    run: RunDocument, owner: str | None, organization_id: str | None, visibility: str | None
) -> RunDocument:
    """A new run that says whose it is, as far as that is given. Raises InvalidFieldError."""
    told = fields.checked(owner=owner, organization_id=organization_id, visibility=visibility)
    extra = {name: told[name] for name in OWNED if told[name]}
    return replace(run, extra=extra) if extra else run


def moved(run: RunDocument, changes: Mapping[str, Any]) -> RunDocument:
    """The run with changes of its fields, those that say whose it is among them."""
    told = {name: value for name, value in changes.items() if name in OWNED}
    others = {name: value for name, value in changes.items() if name not in OWNED}
    if told:
        extra = {name: value for name, value in run.extra.items() if name not in told}
        others["extra"] = extra | {name: value for name, value in told.items() if value}
    return replace(run, **others)


def new_result(
    run_id: str,
    result_type: str,
    data: Mapping[str, Any],
    display: Mapping[str, Any] | None,
    id: str | None,
    created_at: datetime | None,
) -> ResultDocument:
    """A result to be added. Raises InvalidFieldError, InvalidNameError."""
    when = fields.moment(created_at)
    return ResultDocument(
        new_id(when) if id is None else check_id(id, "id"),
        run_id,
        fields.text("result_type", result_type),
        fields.mapping("data", data),
        when,
        fields.mapping("display", {} if display is None else display),
    )
