"""DiscreteSequence: values over their index, drawn as steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asgard_server.run.render.fit import Empty, Unfit, find, is_time, need, numbers
from asgard_server.run.render.options import RenderOptions
from asgard_server.run.render.series import draw, parts, positions, value_range, window

TYPE = "DiscreteSequence"


def steps(
    data: Mapping[str, Any], display: Mapping[str, Any], options: RenderOptions
) -> dict[str, Any]:
    """The view of a DiscreteSequence. Raises Unfit when data is something else."""
    notes: list[str] = []
    field = need(data, TYPE, "values")
    values = numbers(field)
    if values.ndim == 0 or values.size == 0:
        raise Empty(f"{field.name!r} is empty")
    index = find(data, TYPE, "n")
    if index is not None and _is_count(index.value):
        index = None  # `n` may also say how many values there are
    length = max(values.shape) if values.ndim == 1 or index is None else len(numbers(index))
    if index is None and values.ndim == 2:
        length = values.shape[0]
    axis, keep = positions(index, length, notes, options)
    where, picked = window(axis, options)
    curves = parts("computed", values, length)
    expected = find(data, TYPE, "expected")
    if expected is not None:
        try:
            curves += _expected(parts("expected", numbers(expected), length), length)
        except Unfit as unfit:
            notes.append(f"not drawn: {unfit.reason}")
    series, found = [], []
    for name, curve in curves:
        if len(curve) != length:
            raise Unfit(f"{field.name!r} has {len(curve):,} values, its index has {length:,}")
        kept = axis.align(curve if keep is None else curve[keep])
        drawn, extremes = draw(name, kept if picked is None else kept[picked], where)
        series.append(drawn)
        found.append(extremes)
    return {
        "kind": "steps",
        "n_total": len(axis.values),
        "x_range": list(axis.span()),
        "window": list(where.bounds),
        "ordered": axis.ordered,
        "y_range": value_range(found, series),
        "series": series,
        "x_is_time": is_time(index),
        "notes": notes,
    }


def _expected(curves: list[tuple[str, Any]], length: int) -> list[tuple[str, Any]]:
    for name, curve in curves:
        if len(curve) != length:
            raise Unfit(f"{name!r} has {len(curve):,} values, the sequence has {length:,}")
    return curves


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
