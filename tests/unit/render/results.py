"""Builders of results, and views parsed back from what is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from asgard_server.run.render import RenderOptions, render
from gimle.asgard.core.documents import ResultDocument


def a_result(
    result_type: str, data: Any, display: dict[str, Any] | None = None, id: str = "r-1"
) -> ResultDocument:
    """A result of run `u-1` that holds `data`."""
    return ResultDocument(
        id=id,
        run_id="u-1",
        result_type=result_type,
        data=data,
        display=display or {},
        created_at=datetime(2026, 11, 21, tzinfo=UTC),
    )


def view_of(
    result_type: str, data: Any, display: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """The view as a page receives it."""
    rendered = render(a_result(result_type, data, display), RenderOptions(**options))
    assert rendered.content_type == "application/json"
    view: dict[str, Any] = orjson.loads(rendered.body)
    return view


def numbers_of(result_type: str, data: Any, **options: Any) -> bytes:
    """The binary form of a view."""
    rendered = render(a_result(result_type, data), RenderOptions(binary=True, **options))
    assert rendered.content_type == "application/octet-stream"
    return rendered.body
