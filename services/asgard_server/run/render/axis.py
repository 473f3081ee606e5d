"""The axis along which values are drawn: its order, and the window on it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np

from asgard_server.run.lazy import LazyArray
from asgard_server.run.render.fit import Array

# Elements looked at in one go: they stay in the cache, and what each block costs beside
# them does not show (measured: 40 ms for three times 80 MB, 100 ms with an eighth of it).
BLOCK = 1 << 17

# Values of an axis that are looked at to learn which way it runs, where all would cost much.
_GLANCES = 32
_GOLDEN = 0.6180339887498949
_LARGE_SHARE = 4


@dataclass(frozen=True, slots=True)
class Axis:
    """Positions to draw at: `values` rise (or stay) when `ordered`, else are as they came.

    They may be a LazyArray. `flipped` says that the caller's arrays run the other way: they must
    be reversed to go with `values`. Reversing makes a view, nothing is copied.
    """

    values: Any
    ordered: bool
    flipped: bool = False

    def align(self, array: Array) -> Array:
        """Bring an array that belongs to the axis into its direction (a view)."""
        return array[::-1] if self.flipped else array

    def inside(self, low: float | None, high: float | None) -> tuple[int, int]:
        """The half-open range of positions from `low` to `high`, of an ordered axis."""
        values = self.values
        start = 0 if low is None else bisect_left(values, low)
        stop = len(values) if high is None else bisect_right(values, high)
        return start, max(start, stop)

    def span(self) -> tuple[float, float]:
        """The lowest and highest position."""
        if self.ordered:
            return float(self.values[0]), float(self.values[-1])
        return float(self.values.min()), float(self.values.max())


def axis(values: Array) -> Axis:
    """Look at positions once, block by block, to learn which way they run."""
    if _rises(values):
        return Axis(values, ordered=True)
    if _rises(values[::-1]):
        return Axis(values[::-1], ordered=True, flipped=True)
    return Axis(values, ordered=False)


def glanced(values: Array | LazyArray, low: float | None, high: float | None) -> Axis | None:
    """An axis that lies elsewhere, of which a window is wanted, without reading all of it.

    It runs one way if values all over it do, and all in the window. None where a look at all
    of it must tell, and where the window is a large part of it.
    """
    if not isinstance(values, LazyArray) or (low is None and high is None):
        return None
    seen = values[_scattered(len(values))]
    if not np.isfinite(seen).all():
        return None
    flipped = bool(seen[0] > seen[-1])
    found = Axis(values[::-1] if flipped else values, ordered=True, flipped=flipped)
    steps = np.diff(seen.astype(np.float64))
    if not ((steps < 0).all() if flipped else (steps > 0).all()):
        return None
    start, stop = found.inside(low, high)
    if stop - start > len(values) // _LARGE_SHARE:
        return None
    inner = found.values[max(0, start - 1) : stop + 1]
    return found if _rises(np.asarray(inner)) else None


def _scattered(length: int) -> Array:
    """Positions all over an axis, its ends among them, at distances that nothing repeats."""
    inner = (np.arange(1, _GLANCES) * _GOLDEN % 1.0) * (length - 1)
    return distinct(np.concatenate([[0, length - 1], inner]).astype(np.int64))


def counted(length: int) -> Axis:
    """The axis 0, 1, 2, ... of values that came without positions."""
    return Axis(np.arange(length), ordered=True)


def distinct(index: Array) -> Array:
    """Positions in order, each once (numpy.unique loads half of numpy at its first call)."""
    index = np.sort(index)
    kept: Array = index[np.diff(index, prepend=-1) != 0]
    return kept


def _rises(values: Array) -> bool:
    if values.dtype.kind == "f" and not (np.isfinite(values[0]) and np.isfinite(values[-1])):
        return False
    last = len(values) - 1
    for start in range(0, last, BLOCK):
        stop = min(start + BLOCK, last)
        if not (values[start + 1 : stop + 1] >= values[start:stop]).all():
            return False
    return True
