"""PhysicsAnimation: pages of frames, quantised, or of the positions of bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import numpy as np
from gimle.asgard.core.errors import InvalidFieldError

from asgard_server.run.render.area import Cut, Rows, average, cut
from asgard_server.run.render.fit import (
    Array,
    Empty,
    Field,
    Unfit,
    find,
    is_time,
    need,
    numbers,
    optional_vector,
    shape_of,
)
from asgard_server.run.render.options import RenderOptions
from asgard_server.run.render.series import plain
from asgard_server.run.render.tree import clean

TYPE = "PhysicsAnimation"
MAX_SIDE = 512
MAX_PAGE = 64
# A page wanted, and the most that one answer carries (the default limit of a gRPC message).
PAGE_BYTES = 1 << 20
BODY_BYTES = 4_000_000
LEVELS = 254
BLOCK_BYTES = 1 << 23


def animation(
    data: Mapping[str, Any], display: Mapping[str, Any], options: RenderOptions, address: str
) -> dict[str, Any]:
    """The view of a PhysicsAnimation. Raises Unfit when data is something else."""
    notes: list[str] = []
    pictures = find(data, TYPE, "frames")
    if pictures is not None:
        array = _frames(pictures, notes)
        view = _of_frames(array, options, address)
    else:
        array = _positions(need(data, TYPE, "positions"), notes)
        view = _of_positions(array, data, display, address)
    t_field = find(data, TYPE, "t")
    times = optional_vector(t_field, len(array), "the animation", notes)
    if times is not None and times.dtype.kind == "c":
        times = None
    return {
        "kind": "animation",
        "n_frames": len(array),
        "times": plain(times if times is not None else np.arange(len(array))),
        "x_is_time": is_time(t_field) and times is not None,
        **view,
        "notes": notes,
    }


def page(data: Mapping[str, Any], options: RenderOptions) -> bytes:
    """Some frames, as the view says: uint8 [count, row, col] or float32 [count, body, axis].

    Fewer than asked for where the animation ends, or where 4 MB are full.
    """
    pictures = find(data, TYPE, "frames")
    if pictures is not None:
        array = _frames(pictures, [])
        rows, cols = _size(array)
        start, stop = _span(len(array), rows * cols, options)
        low, high = _range(array, options) or (0.0, 0.0)
        return _quantised(array, start, stop, low, high).tobytes()
    array = _positions(need(data, TYPE, "positions"), [])
    start, stop = _span(len(array), array.shape[1] * array.shape[2] * 4, options)
    largest = float(np.finfo(np.float32).max)
    return np.clip(array[start:stop].astype(np.float64), -largest, largest).astype("<f4").tobytes()


def _span(total: int, frame_bytes: int, options: RenderOptions) -> tuple[int, int]:
    if options.frame_start >= total:
        raise InvalidFieldError(
            "frame_start", f"there are {total} frames", f"give 0 to {total - 1}"
        )
    most = max(1, BODY_BYTES // max(1, frame_bytes))
    count = min(options.frame_count or _page_length(frame_bytes), most)
    return options.frame_start, min(total, options.frame_start + count)


def _page_length(frame_bytes: int) -> int:
    return max(1, min(MAX_PAGE, PAGE_BYTES // max(1, frame_bytes)))


def _paged(address: str, frame_bytes: int, dtype: str, **extra: str) -> dict[str, Any]:
    query = urlencode({"format": "binary", **extra})
    return {
        "dtype": dtype,
        "page": _page_length(frame_bytes),
        "href": f"{address}?{query}&frame_start={{start}}&frame_count={{count}}",
    }


def _frames(field: Field, notes: list[str]) -> Array:
    array = numbers(field)
    if array.ndim == 2:
        notes.append("frames came as [frame, col]: drawn as one row each")
        array = array[:, np.newaxis, :]
    if array.ndim != 3:
        raise Unfit(f"{field.name!r} has shape {shape_of(array)}; [frame, row, col] was expected")
    if array.size == 0:
        raise Empty(f"{field.name!r} is empty")
    if array.dtype.kind == "c":
        notes.append("frames are complex: magnitudes are drawn")
    return array


def _real(block: Array) -> Array:
    if block.dtype.kind == "c":
        return np.abs(block)
    return block if block.dtype in (np.float32, np.float64) else block.astype(np.float64)


def _of_frames(array: Array, options: RenderOptions, address: str) -> dict[str, Any]:
    rows, cols = _size(array)
    found = _range(array, options)
    fixed = {} if found is None else {"y_min": repr(found[0]), "y_max": repr(found[1])}
    return {
        "mode": "frames",
        "shape": list(array.shape[1:]),
        "rows": rows,
        "cols": cols,
        "value_range": None if found is None else list(found),
        "frames": _paged(address, rows * cols, "uint8", **fixed),
    }


def _size(array: Array) -> tuple[int, int]:
    rows, cols = array.shape[1:]
    shrink = min(1.0, MAX_SIDE / rows, MAX_SIDE / cols)
    return max(1, round(rows * shrink)), max(1, round(cols * shrink))


def _range(array: Array, options: RenderOptions) -> tuple[float, float] | None:
    """The finite extremes over all frames, or those fixed by the caller."""
    low, high = options.y_min, options.y_max
    if low is not None and high is not None:
        return low, high
    found = _extremes(array)
    if found is None:
        return None
    low = found[0] if low is None else low
    high = found[1] if high is None else high
    return low, max(low, high)


def _extremes(array: Array) -> tuple[float, float] | None:
    low, high = np.inf, -np.inf
    step = max(1, BLOCK_BYTES // max(1, array[0].nbytes))
    for begin in range(0, len(array), step):
        block = array[begin : begin + step]
        if block.dtype.kind == "c":
            block = np.abs(block)
        bottom, top = float(block.min()), float(block.max())
        if not (np.isfinite(bottom) and np.isfinite(top)):
            good = block[np.isfinite(block)]
            if good.size == 0:
                continue
            bottom, top = float(good.min()), float(good.max())
        low, high = min(low, bottom), max(high, top)
    return (low, high) if low <= high else None


def _quantised(array: Array, start: int, stop: int, low: float, high: float) -> Array:
    """Frames as levels: 1 stands for `low`, 255 for `high`, 0 for a missing value."""
    rows, cols = _size(array)
    down, across = _cut(array.shape[1], rows), _cut(array.shape[2], cols)
    reduced = (rows, cols) != array.shape[1:]
    levels = np.empty((stop - start, rows, cols), dtype=np.uint8)
    for k in range(start, stop):
        frame = _real(array[k])
        if reduced:
            frame = average(_rows_of(frame), down, across).grid
        levels[k - start] = _levels(frame, low, high)
    return levels


def _rows_of(frame: Array) -> Rows:
    return lambda start, stop: frame[start:stop]


def _levels(frame: Array, low: float, high: float) -> Array:
    finite = np.isfinite(frame)
    spread = high / 2 - low / 2  # halved: the whole may be beyond the largest float
    with np.errstate(invalid="ignore", over="ignore"):
        share = (frame / 2 - low / 2) / spread if spread > 0 else np.full(frame.shape, 0.5)
        level = np.rint(np.clip(share, 0.0, 1.0) * LEVELS) + 1
    return np.where(finite, np.nan_to_num(level), 0).astype(np.uint8)


def _cut(sources: int, targets: int) -> Cut:
    return cut(np.arange(sources + 1, dtype=np.float64), targets)


def _positions(field: Field, notes: list[str]) -> Array:
    array = numbers(field)
    if array.ndim == 2 and array.shape[1] in (2, 3):
        notes.append("positions came as [frame, axis]: one body")
        array = array[:, np.newaxis, :]
    if array.ndim != 3 or array.shape[2] not in (2, 3):
        raise Unfit(
            f"{field.name!r} has shape {shape_of(array)}; [frame, body, 2 or 3] was expected"
        )
    if array.size == 0:
        raise Empty(f"{field.name!r} is empty")
    if array.dtype.kind == "c":
        raise Unfit(f"{field.name!r} is complex; positions are real numbers")
    return array


def _of_positions(
    array: Array, data: Mapping[str, Any], display: Mapping[str, Any], address: str
) -> dict[str, Any]:
    bounds = []
    for axis in range(array.shape[2]):
        found = _extremes(array[:, :, axis : axis + 1])
        bounds.append(list(found) if found else [0.0, 0.0])
    view: dict[str, Any] = {
        "mode": "positions",
        "bodies": array.shape[1],
        "dimensions": array.shape[2],
        "bounds": bounds,
        "frames": _paged(address, array.shape[1] * array.shape[2] * 4, "float32"),
    }
    names = data.get("names", data.get("bodies", display.get("names")))
    if isinstance(names, list | tuple) and len(names) == array.shape[1]:
        view["names"] = [clean(str(name))[:100] for name in names]
    return view
