"""The documents of new runs and results, made of the fields that an author gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from gimle.asgard.core.documents import ResultDocument, RunDocument
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
