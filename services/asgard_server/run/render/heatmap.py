"""Solution2D: a field over two axes, averaged onto the pixels, extremes kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np
from gimle.asgard.core.errors import InvalidFieldError

from asgard_server.run.render.area import Averaged, Extreme, Rows, average, cut
from asgard_server.run.render.axis import axis
from asgard_server.run.render.fit import (
    Array,
    Empty,
    Field,
    Unfit,
    find,
    need,
    numbers,
    shape_of,
    vector,
)
from asgard_server.run.render.options import LAYERS, RenderOptions

TYPE = "Solution2D"
# A body stays below 4 MB, the default limit of a gRPC message.
MAX_CELLS = 1_000_000
SINGLE = np.finfo(np.float32)


@dataclass(frozen=True, slots=True)
class Side:
    """One axis of a field: the centres of its cells, rising, and the edges between them."""

    centres: Array
    edges: Array
    flipped: bool
    even: bool

    def window(self, low: float | None, high: float | None) -> tuple[int, int]:
        """The cells that a window touches, at least one."""
        last = len(self.centres) - 1
        start = 0 if low is None else int(np.searchsorted(self.edges, low, side="right")) - 1
        stop = last if high is None else int(np.searchsorted(self.edges, high, side="left")) - 1
        start, stop = min(max(start, 0), last), min(max(stop, 0), last)
        return start, max(start, stop) + 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A heatmap before it is written: what JSON and the binary form have in common."""

    field: Averaged
    x: Side
    y: Side
    columns: tuple[int, int]
    rows: tuple[int, int]
    layers: list[str]
    layer: str
    shape: tuple[int, int]
    averaged: bool
    notes: list[str]


def heatmap(
    data: Mapping[str, Any], display: Mapping[str, Any], options: RenderOptions, address: str
) -> dict[str, Any]:
    """The view of a Solution2D. Raises Unfit when data is something else."""
    picture = _picture(data, options)
    field, x, y = picture.field, picture.x, picture.y
    offset, scale = _scaling(field)
    asked = {
        "layer": picture.layer,
        "width": options.width or 1200,
        "height": options.height or 400,
    }
    for name in ("x_min", "x_max", "y_min", "y_max"):
        bound = getattr(options, name)
        if bound is not None:
            asked[name] = repr(bound)
    low, high = field.low, field.high
    return {
        "kind": "heatmap",
        "shape": list(picture.shape),
        "x_range": [x.edges[0], x.edges[-1]],
        "y_range": [y.edges[0], y.edges[-1]],
        "window": {
            "x": [x.edges[picture.columns[0]], x.edges[picture.columns[1]]],
            "y": [y.edges[picture.rows[0]], y.edges[picture.rows[1]]],
        },
        "layers": picture.layers,
        "layer": picture.layer,
        "value_range": [low.value, high.value] if low and high else None,
        "extremes": {"min": _place(low, x, y), "max": _place(high, x, y)},
        "mean": field.mean,
        "grid": {
            "rows": field.grid.shape[0],
            "cols": field.grid.shape[1],
            "x_edges": [x.edges[picture.columns[0]], x.edges[picture.columns[1]]],
            "y_edges": [y.edges[picture.rows[0]], y.edges[picture.rows[1]]],
            "averaged": picture.averaged,
            "offset": offset,
            "scale": scale,
            "href": f"{address}?{urlencode({'format': 'binary', **asked})}",
        },
        "notes": picture.notes,
    }


def cells(data: Mapping[str, Any], options: RenderOptions) -> bytes:
    """The averaged cells: float32, little-endian, lowest y first, NaN where missing."""
    field = _picture(data, options).field
    offset, scale = _scaling(field)
    grid = field.grid if (offset, scale) == (0.0, 1.0) else (field.grid - offset) / scale
    return grid.astype("<f4").tobytes()


def _place(found: Extreme | None, x: Side, y: Side) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "value": found.value,
        "x": float(x.centres[found.column]),
        "y": float(y.centres[found.row]),
    }


def _scaling(field: Averaged) -> tuple[float, float]:
    """Offset and scale of the cells sent; 0 and 1 unless float32 would lose the picture."""
    if field.low is None or field.high is None:
        return 0.0, 1.0
    low, high = field.low.value, field.high.value
    largest, spread = max(abs(low), abs(high)), high - low
    fits = float(SINGLE.tiny) <= largest <= float(SINGLE.max) or largest == 0
    if fits and (spread == 0 or spread >= largest * 1e-4):
        return 0.0, 1.0
    if not math.isfinite(spread):
        return 0.0, largest
    return low, spread or 1.0


def _picture(data: Mapping[str, Any], options: RenderOptions) -> Picture:
    notes: list[str] = []
    field = need(data, TYPE, "computed")
    computed = _field(field)
    x_field, y_field = find(data, TYPE, "x"), find(data, TYPE, "y")
    if y_field is not None and y_field.name == field.name:
        y_field = None
    computed = _oriented(computed, x_field, y_field, notes)
    ny, nx = computed.shape
    x, y = _side(x_field, nx, notes), _side(y_field, ny, notes)
    expected = _expected(find(data, TYPE, "expected"), computed.shape, notes)
    layers = ["computed"] if expected is None else list(LAYERS)
    layer = options.layer or "computed"
    if layer not in layers:
        raise InvalidFieldError(
            "layer", f"this result has no expected values, so no layer {layer!r}", "leave it out"
        )
    columns, rows = x.window(options.x_min, options.x_max), y.window(options.y_min, options.y_max)
    cols, lines = _targets(x, y, columns, rows, options)
    down, across = (
        cut(y.edges[rows[0] : rows[1] + 1], lines),
        cut(x.edges[columns[0] : columns[1] + 1], cols),
    )
    read = _reader(computed, expected, layer, x, y)

    def inner(start: int, stop: int) -> Array:
        return read(rows[0] + start, rows[0] + stop)[:, columns[0] : columns[1]]

    found = average(inner, down, across)
    return Picture(
        field=_shifted(found, rows[0], columns[0]),
        x=x,
        y=y,
        columns=columns,
        rows=rows,
        layers=layers,
        layer=layer,
        shape=(ny, nx),
        averaged=not (down.identity and across.identity),
        notes=notes,
    )


def _shifted(found: Averaged, row: int, column: int) -> Averaged:
    def moved(extreme: Extreme | None) -> Extreme | None:
        if extreme is None:
            return None
        return Extreme(extreme.value, extreme.row + row, extreme.column + column)

    return Averaged(found.grid, moved(found.low), moved(found.high), found.mean)


def _field(field: Field) -> Array:
    array = numbers(field)
    if array.ndim != 2:
        raise Unfit(f"{field.name!r} has shape {shape_of(array)}; [y, x] was expected")
    if array.size == 0:
        raise Empty(f"{field.name!r} is empty")
    return array


def _oriented(computed: Array, x: Field | None, y: Field | None, notes: list[str]) -> Array:
    nx = len(vector(x)) if x is not None and numbers(x).ndim == 1 else computed.shape[1]
    ny = len(vector(y)) if y is not None and numbers(y).ndim == 1 else computed.shape[0]
    if computed.shape == (ny, nx):
        return computed
    if computed.shape == (nx, ny):
        notes.append("values came as [x, y]; drawn with y upwards")
        return computed.T
    raise Unfit(f"values have shape {shape_of(computed)}; [y, x] would be {ny} x {nx}")


def _expected(field: Field | None, shape: tuple[int, ...], notes: list[str]) -> Array | None:
    if field is None:
        return None
    try:
        expected = _field(field)
        if expected.shape == shape[::-1] and expected.shape != shape:
            expected = expected.T
        if expected.shape != shape:
            raise Unfit(
                f"{field.name!r} has shape {shape_of(expected)}, not {shape[0]} x {shape[1]}"
            )
    except Unfit as unfit:
        notes.append(f"not drawn: {unfit.reason}")
        return None
    return expected


def _side(field: Field | None, length: int, notes: list[str]) -> Side:
    if field is None:
        return _edged(np.arange(length, dtype=np.float64), flipped=False)
    values = numbers(field)
    if values.ndim == 2:
        values = _of_mesh(values, length, field.name)
    found = axis(values.astype(np.float64)) if values.dtype.kind != "c" else None
    if found is None or not found.ordered or (np.diff(found.values) <= 0).any():
        notes.append(f"{field.name!r} does not rise or fall throughout: drawn by position")
        return _edged(np.arange(length, dtype=np.float64), flipped=False)
    return _edged(np.ascontiguousarray(found.values), flipped=found.flipped)


def _of_mesh(values: Array, length: int, name: str) -> Array:
    """One axis out of a field of coordinates as numpy.meshgrid makes it."""
    for row in (values[0], values[:, 0]):
        if len(row) == length and row[0] != row[-1]:
            return row
    raise Unfit(f"{name!r} has shape {shape_of(values)}; one dimension was expected")


def _edged(centres: Array, *, flipped: bool) -> Side:
    if len(centres) == 1:
        return Side(centres, np.array([centres[0] - 0.5, centres[0] + 0.5]), flipped, True)
    middle = centres[:-1] / 2 + centres[1:] / 2
    first = centres[0] - (middle[0] - centres[0])
    last = centres[-1] + (centres[-1] - middle[-1])
    edges = np.concatenate([[first], middle, [last]])
    lengths = np.diff(edges)
    even = bool(np.allclose(lengths, lengths.mean(), rtol=1e-3))
    return Side(centres, edges, flipped, even)


def _targets(
    x: Side, y: Side, columns: tuple[int, int], rows: tuple[int, int], options: RenderOptions
) -> tuple[int, int]:
    cols = _pixels(x, columns, options.width or 1200)
    lines = _pixels(y, rows, options.height or 400)
    while cols * lines > MAX_CELLS:
        shrink = math.sqrt(MAX_CELLS / (cols * lines)) * 0.999
        cols, lines = max(1, int(cols * shrink)), max(1, int(lines * shrink))
    return cols, lines


def _pixels(side: Side, span: tuple[int, int], pixels: int) -> int:
    """How many cells to send: all while they fit the pixels; of uneven ones, as fine as needed."""
    count = span[1] - span[0]
    if side.even or count == 1:
        return min(count, pixels)
    edges = side.edges[span[0] : span[1] + 1]
    finest = float(np.diff(edges).min())
    wanted = (edges[-1] - edges[0]) / finest if finest > 0 else math.inf
    return int(min(max(count, math.ceil(min(wanted, pixels))), pixels))


def _reader(computed: Array, expected: Array | None, layer: str, x: Side, y: Side) -> Rows:
    def real(array: Array) -> Array:
        if array.dtype.kind == "c":
            return np.abs(array)
        return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)

    def read(start: int, stop: int) -> Array:
        rows = slice(start, stop)
        if layer == "expected" and expected is not None:
            return real(_turned(expected, x, y)[rows])
        if layer == "error" and expected is not None:
            one, other = _turned(computed, x, y)[rows], _turned(expected, x, y)[rows]
            if one.dtype.kind == "c" or other.dtype.kind == "c":
                return np.asarray(np.abs(one - other))
            return np.subtract(one, other, dtype=np.float64)
        return real(_turned(computed, x, y)[rows])

    return read


def _turned(array: Array, x: Side, y: Side) -> Array:
    return array[:: -1 if y.flipped else 1, :: -1 if x.flipped else 1]
