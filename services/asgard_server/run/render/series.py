"""Named curves over one axis, reduced for drawing: what lines, steps and losses share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asgard_server.run.render.axis import Axis, axis, counted, distinct, glanced
from asgard_server.run.render.fit import Array, Empty, Field, Unfit, vector
from asgard_server.run.render.options import RenderOptions
from asgard_server.run.render.reduce import Reduced, reduce, source

# Components of a field with two dimensions that are drawn as curves of their own.
MAX_COMPONENTS = 16


@dataclass(frozen=True, slots=True)
class Window:
    """The part of an axis to draw: positions start to stop of `axis`, in `columns` pixels."""

    axis: Axis
    start: int
    stop: int
    columns: int
    bounds: tuple[float, float]

    @property
    def whole(self) -> tuple[float, float]:
        """The lowest and highest position of all."""
        return self.axis.span()


def positions(
    field: Field | None, length: int, notes: list[str], options: RenderOptions
) -> tuple[Axis, Array | None]:
    """The axis of `length` values, counted when there is no field.

    Values without a position (NaN) cannot be drawn: the second answer then picks the
    others, from arrays of the original length.
    """
    if field is None:
        return counted(length), None
    values = vector(field)
    if len(values) != length:
        raise Unfit(f"{field.name!r} has {len(values):,} values, the series has {length:,}")
    if values.dtype.kind == "c":
        raise Unfit(f"{field.name!r} is complex and cannot be an axis")
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    found = glanced(values, options.x_min, options.x_max) or axis(np.asarray(values))
    values = np.asarray(values) if not found.ordered else values
    if found.ordered:
        return found, None
    finite = np.isfinite(values)
    if not finite.all():
        keep = np.flatnonzero(finite)
        if len(keep) == 0:
            raise Unfit(f"{field.name!r} has no finite value")
        notes.append(f"{length - len(keep):,} values have no finite {field.name!r}: not drawn")
        found = axis(values[keep])
        if found.ordered:
            return found, keep
        notes.append(_not_in_order(field.name))
        return found, keep
    notes.append(_not_in_order(field.name))
    return found, None


def window(found: Axis, options: RenderOptions) -> tuple[Window, Array | None]:
    """The window asked for. Of an axis out of order, the second answer picks what is inside."""
    columns = options.width or 1200
    if found.ordered:
        start, stop = found.inside(options.x_min, options.x_max)
        return Window(found, start, stop, columns, _bounds(found, options)), None
    bounds = _bounds(found, options)
    if options.x_min is None and options.x_max is None:
        return Window(found, 0, len(found.values), columns, bounds), None
    low, high = (
        -np.inf if options.x_min is None else options.x_min,
        np.inf if options.x_max is None else options.x_max,
    )
    picked = np.flatnonzero((found.values >= low) & (found.values <= high))
    inner = Axis(found.values[picked], ordered=False)
    return Window(inner, 0, len(picked), columns, bounds), picked


def _bounds(found: Axis, options: RenderOptions) -> tuple[float, float]:
    low, high = found.span()
    return (
        low if options.x_min is None else options.x_min,
        high if options.x_max is None else options.x_max,
    )


def parts(name: str, array: Array, length: int | None = None) -> list[tuple[str, Array]]:
    """The real curves of a field: real and imaginary part, components of two dimensions."""
    if array.ndim > 1 and array.size == max(array.shape, default=0):
        array = array.reshape(-1)
    if array.ndim == 2:
        if length is not None and array.shape[0] != length and array.shape[1] == length:
            array = array.T
        if 0 < array.shape[1] <= MAX_COMPONENTS:
            columns = [(f"{name}[{k}]", array[:, k]) for k in range(array.shape[1])]
            return [part for title, column in columns for part in parts(title, column)]
    if array.ndim != 1:
        shape = " x ".join(str(side) for side in array.shape) or "no dimensions"
        raise Unfit(f"{name!r} has shape {shape}; one dimension was expected")
    if array.size == 0:
        raise Empty(f"{name!r} is empty")
    if array.dtype.kind == "c":
        return [(f"{name} (real)", array.real), (f"{name} (imaginary)", array.imag)]
    return [(name, array)]


def draw(name: str, values: Array, where: Window) -> tuple[dict[str, Any], Reduced]:
    """Reduce one curve, aligned with its window: its JSON, and what was found on the way."""
    found = reduce(source(values), where.axis, where.start, where.stop, where.columns)
    index = found.index
    if not where.axis.ordered and found.reduced:
        # A curve that turns back has extremes along x as well.
        sideways = reduce(
            source(where.axis.values), where.axis, where.start, where.stop, where.columns
        )
        index = distinct(np.concatenate([index, sideways.index]))
    drawn = {
        "name": name,
        "x": plain(where.axis.values[index]),
        "y": plain(values[index]),
        "reduced": found.reduced,
        "nonfinite": found.nonfinite,
    }
    return drawn, found


def plain(array: Array) -> Array:
    """An array that JSON can carry: contiguous, infinities missing like NaN."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    return array


def value_range(found: Sequence[Reduced], drawn: Sequence[dict[str, Any]]) -> list[Any] | None:
    """The lowest and highest finite value of several curves, None when there is none."""
    lows = [each.low for each in found if each.low is not None]
    highs = [each.high for each in found if each.high is not None]
    if lows and highs:
        return [min(lows), max(highs)]
    # A window between two samples: what is drawn are its neighbours.
    values = np.concatenate([np.asarray(each["y"], dtype=np.float64) for each in drawn])
    values = values[np.isfinite(values)]
    return [float(values.min()), float(values.max())] if len(values) else None


def _not_in_order(name: str) -> str:
    return f"{name!r} is not in order: points are joined as they were saved"
