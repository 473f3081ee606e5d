"""Reducing a line to the pixels asked for without losing what it shows.

Each pixel column keeps its lowest and highest value (min-max, by tsdownsample), so a
spike of one sample survives any reduction. Missing values (NaN, infinities) stay gaps.
Arrays are read block by block: nothing of the size of the whole is ever allocated.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tsdownsample import MinMaxDownsampler, NaNMinMaxDownsampler

from asgard_server.run.render.axis import BLOCK, Axis, distinct
from asgard_server.run.render.fit import Array

# Values start to stop as a real array of a dtype that tsdownsample knows, contiguous.
Source = Callable[[int, int], Array]

# Two ways to see a missing value: as the extreme of its column, or not at all.
_nan_minmax: Any = NaNMinMaxDownsampler()  # type: ignore[no-untyped-call]  # not annotated there
_minmax: Any = MinMaxDownsampler()  # type: ignore[no-untyped-call]  # not annotated there


@dataclass(slots=True)
class Reduced:
    """A line made drawable: `index` are the positions kept, in order.

    `low` and `high` are the finite extremes of all values looked at, None without any.
    """

    index: Array
    reduced: bool
    low: float | int | None = None
    high: float | int | None = None
    nan: int = 0
    inf: int = 0
    sum_of_squares: float = 0.0
    finite: int = 0
    pieces: list[Array] = field(default_factory=list)

    @property
    def nonfinite(self) -> dict[str, int]:
        """How many values were missing, by kind."""
        return {"nan": self.nan, "inf": self.inf}


def real_part(array: Array) -> Array:
    """A real array whose blocks may go to the reducer; complex ones must be split before."""
    return array.view(np.uint8) if array.dtype.kind == "b" else array


def source(array: Array) -> Source:
    """Blocks of an array as it is."""
    array = real_part(array)
    return lambda start, stop: np.ascontiguousarray(array[start:stop])


def reduce(
    values: Source, positions: Axis, start: int, stop: int, columns: int, *, squares: bool = False
) -> Reduced:
    """Choose which of the values start to stop to draw in `columns` pixel columns.

    All are kept while there are at most two for each column. One neighbour on either
    side is kept besides, so that the line reaches the window's edges; it does not count
    in the extremes. With `squares` the sum of squares is made on the way.
    """
    total = stop - start
    found = Reduced(np.empty(0, dtype=np.int64), reduced=total > 2 * columns)
    cuts = _cuts(positions, start, stop, columns) if found.reduced else None
    # Blocks end where columns end, so that there are no more of these than asked for.
    column = max(1, -(-total // columns))
    length = column * max(1, BLOCK // column)
    for begin in range(start, stop, length):
        end = min(begin + length, stop)
        if cuts is None:
            within = [begin, end] if found.reduced else None
            parts = -(-(end - begin) // column)
        else:
            within = [begin, *cuts[(cuts > begin) & (cuts < end)].tolist(), end]
            parts = 1
        _look(found, values(begin, end), begin, within, parts, squares)
    ends = []
    if len(positions.values):
        ends = [max(start - 1, 0), min(stop, len(positions.values) - 1)]
    if total:
        ends += [start, stop - 1]
    found.index = distinct(np.concatenate([*found.pieces, np.array(ends, dtype=np.int64)]))
    found.pieces = []
    return found


def _cuts(positions: Axis, start: int, stop: int, columns: int) -> Array | None:
    """Where pixel columns begin. None when equal numbers of values do as well.

    In a column is what falls into the pixel, however many values that is.
    """
    inner = positions.values[start:stop]
    if not positions.ordered or _even(inner):
        return None
    low, high = float(inner[0]), float(inner[-1])
    shares = np.arange(1, columns) / columns
    return distinct(start + np.searchsorted(inner, low * (1 - shares) + high * shares))


def _even(values: Array) -> bool:
    """Whether positions are evenly spaced, judged by a thousand of them spread over all."""
    picks = np.linspace(0, len(values) - 1, min(len(values), 1025)).astype(np.int64)
    seen = values[picks].astype(np.float64)
    low, high = seen[0], seen[-1]
    expected = low + (high - low) * (picks / picks[-1])
    return bool(np.abs(seen - expected).max() <= (high - low) / 4096)


def _look(
    found: Reduced,
    block: Array,
    begin: int,
    within: list[int] | None,
    parts: int,
    squares: bool,
) -> None:
    """Take a block in: cut at `within`, two values are kept in each of `parts` equal parts.

    One pass tells whether values are missing: the first of them would be kept.
    """
    count = len(block)
    if within is None:
        kept = np.arange(count)
    else:
        kept = _kept(block, [cut - begin for cut in within], parts, _nan_minmax)
    seen = block[kept]
    missing = 0
    if block.dtype.kind == "f" and not np.isfinite(seen).all():
        bad = ~np.isfinite(block)
        nan = int(np.isnan(block).sum())
        missing = int(bad.sum())
        found.nan += nan
        found.inf += missing - nan
        if within is not None:
            found.pieces.append(begin + _gaps(bad, parts * (len(within) - 1)))
            block = np.where(bad, block.dtype.type(np.nan), block)
            kept = _kept(block, [cut - begin for cut in within], parts, _minmax)
            seen = block[kept]
        seen = seen[np.isfinite(seen)]
    found.pieces.append(begin + kept)
    if missing == count:
        return
    low, high = seen.min().item(), seen.max().item()
    found.low = low if found.low is None else min(found.low, low)
    found.high = high if found.high is None else max(found.high, high)
    found.finite += count - missing
    if squares:
        clean = block[np.isfinite(block)] if missing else block
        # Neither a temporary array, nor BLAS, whose threads would fight those that serve.
        found.sum_of_squares += float(np.einsum("i,i", clean, clean))


def _kept(block: Array, cuts: list[int], parts: int, minmax: Any) -> Array:
    chosen = []
    for first, last in itertools.pairwise(cuts):
        if last - first <= 2 * parts:
            chosen.append(np.arange(first, last))
        else:
            piece = np.ascontiguousarray(block[first:last])
            chosen.append(first + minmax.downsample(piece, n_out=2 * parts).astype(np.int64))
    return chosen[0] if len(chosen) == 1 else np.concatenate(chosen)


def _gaps(bad: Array, parts: int) -> Array:
    """Positions to keep so that runs of missing values stay gaps in the drawn line.

    Kept are the first of each run, which is drawn as missing, and its neighbours. When
    runs are more than the columns, only those at least one column wide can be seen.
    """
    steps = np.diff(bad.astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    if len(starts) > 2 * parts:
        wide = stops - starts >= len(bad) / parts
        starts, stops = starts[wide], stops[wide]
    kept = np.concatenate([starts - 1, starts, stops])
    return kept[(kept >= 0) & (kept < len(bad))]
