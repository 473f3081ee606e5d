"""OptimizationResult: the loss, the best of it so far, and how the parameters moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from asgard_server.run.render.axis import Axis, counted
from asgard_server.run.render.fit import Array, Field, Unfit, find, is_time, need, numbers, vector
from asgard_server.run.render.options import RenderOptions
from asgard_server.run.render.reduce import real_part
from asgard_server.run.render.series import draw, parts, plain, positions, value_range, window
from asgard_server.run.render.tree import simple

TYPE = "OptimizationResult"
MAX_PARAMETERS = 32


def optimization(
    data: Mapping[str, Any], display: Mapping[str, Any], options: RenderOptions
) -> dict[str, Any]:
    """The view of an OptimizationResult. Raises Unfit when data is something else."""
    notes: list[str] = []
    field = need(data, TYPE, "loss")
    loss = real_part(vector(field))
    if loss.dtype.kind == "c":
        raise Unfit(f"{field.name!r} is complex; a loss is a real number")
    steps_field = find(data, TYPE, "step")
    if steps_field is not None and isinstance(steps_field.value, int | float):
        steps_field = None  # a single number: how many steps there were
    axis, keep = positions(steps_field, len(loss), notes, options)
    if keep is not None:
        loss = loss[keep]
    loss = axis.align(loss)
    where, picked = window(axis, options)
    shown, found = draw("loss", loss if picked is None else loss[picked], where)
    best_so_far = np.fmin.accumulate(_finite(loss))
    index = found.index if picked is None else picked[found.index]
    curves = _parameters(data, notes)
    return {
        "kind": "optimization",
        "n": len(loss),
        "x_range": list(axis.span()),
        "window": list(where.bounds),
        "y_range": value_range([found], [shown]),
        "loss": {
            "x": shown["x"],
            "y": shown["y"],
            "best": plain(best_so_far[index]),
            "reduced": shown["reduced"],
            "nonfinite": shown["nonfinite"],
        },
        "log_suggested": _log_suggested(loss),
        "best": _best(loss, axis, curves, None if keep is None else keep),
        "optimum": _optimum(find(data, TYPE, "optimum")),
        "x_is_time": is_time(steps_field),
        "parameters": [_evolution(*curve, axis, keep, options) for curve in curves],
        "notes": notes,
    }


def _finite(loss: Array) -> Array:
    if loss.dtype.kind != "f":
        return loss
    return np.where(np.isfinite(loss), loss, np.nan)


def _log_suggested(loss: Array) -> bool:
    seen = _finite(loss)
    seen = seen[~np.isnan(seen)] if seen.dtype.kind == "f" else seen
    if len(seen) == 0:
        return False
    low, high = float(seen.min()), float(seen.max())
    return low > 0 and high / low > 100


def _parameters(data: Mapping[str, Any], notes: list[str]) -> list[tuple[str, Array]]:
    field = find(data, TYPE, "parameters")
    if field is None:
        return []
    curves: list[tuple[str, Array]] = []
    for name, value in _named(field):
        try:
            series = numbers(Field(name, value))
            if series.ndim == 0:
                raise Unfit(f"{name!r} is a single number, not a series")
            curves += parts(name, real_part(series))
        except Unfit as unfit:
            notes.append(f"not drawn: {unfit.reason}")
    if len(curves) > MAX_PARAMETERS:
        notes.append(f"drawn are the first {MAX_PARAMETERS} of {len(curves)} parameters")
    return curves[:MAX_PARAMETERS]


def _named(field: Field) -> list[tuple[str, Any]]:
    value = field.value
    if isinstance(value, Mapping):
        return [(str(name), series) for name, series in value.items()]
    if isinstance(value, list | tuple) and value and all(isinstance(v, Mapping) for v in value):
        # One object for each step: turn it into one series for each name.
        names = dict.fromkeys(name for step in value for name in step)
        return [(str(name), [step.get(name) for step in value]) for name in names]
    return [(field.name, value)]


def _evolution(
    name: str, values: Array, axis: Axis, keep: Array | None, options: RenderOptions
) -> dict[str, Any]:
    total = len(axis.values) if keep is None else None
    if total == len(values):
        along, values = axis, axis.align(values)
    else:
        along = counted(len(values))  # as with a starting value before the first loss
    where, picked = window(along, options)
    drawn, _ = draw(name, values if picked is None else values[picked], where)
    return {"name": name, "x": drawn["x"], "y": drawn["y"], "reduced": drawn["reduced"]}


def _best(
    loss: Array, axis: Axis, curves: list[tuple[str, Array]], keep: Array | None
) -> dict[str, Any] | None:
    seen = _finite(loss)
    if seen.dtype.kind == "f":
        if np.isnan(seen).all():
            return None
        at = int(np.nanargmin(seen))
    else:
        at = int(np.argmin(seen))
    position = len(loss) - 1 - at if axis.flipped else at
    if keep is not None:
        position = int(keep[position])
    total = len(loss) if keep is None else None
    reached = {
        name: values[position].item()
        for name, values in curves
        if total is not None and len(values) == total
    }
    return {"step": axis.values[at].item(), "loss": loss[at].item(), "parameters": reached}


def _optimum(field: Field | None) -> Any:
    return None if field is None else simple(field.value)
