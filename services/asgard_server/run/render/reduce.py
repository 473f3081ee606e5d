"""Reducing a line to the pixels asked for without losing what it shows.

Each pixel column keeps its lowest and highest value (min-max, by tsdownsample), so a
spike of one sample survives any reduction. Missing values (NaN, infinities) stay gaps.
Arrays are read block by block: nothing of the size of the whole is ever allocated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from tsdownsample import MinMaxDownsampler

from asgard_server.run.render.axis import BLOCK, Axis
from asgard_server.run.render.fit import Array

# Values start to stop as a real array of a dtype that tsdownsample knows, contiguous.
Source = Callable[[int, int], Array]

_minmax = MinMaxDownsampler()


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
    whole = stop - start <= 2 * columns
    found = Reduced(np.arange(start, stop), reduced=not whole)
    spread = _columns_of(positions, start, stop, columns)
    for begin in range(start, stop, BLOCK):
        end = min(begin + BLOCK, stop)
        _look(found, values, begin, end, [] if whole else spread(begin, end), squares)
    edges = [start - 1] * (start > 0) + [stop] * (stop < len(positions.values))
    if whole:
        found.index = np.array(edges[: start > 0] + list(range(start, stop)) + edges[start > 0 :])
        found.index = found.index.astype(np.int64)
    else:
        ends = np.array([start, stop - 1, *edges])
        found.index = np.unique(np.concatenate([*found.pieces, ends]))
    found.pieces = []
    return found


def _columns_of(
    positions: Axis, start: int, stop: int, columns: int
) -> Callable[[int, int], list[tuple[int, int, int]]]:
    """How to cut a block: (begin, end, equal parts) in each of which two values are kept."""
    total = stop - start
    if not positions.ordered or total < 3 or _even(positions.values[start:stop]):

        def by_count(begin: int, end: int) -> list[tuple[int, int, int]]:
            return [(begin, end, max(1, round(columns * (end - begin) / total)))]

        return by_count
    # Uneven positions: a column is what falls into the pixel, however many values that is.
    inner = positions.values[start:stop]
    low, high = float(inner[0]), float(inner[-1])
    shares = np.arange(1, columns) / columns
    edges = low * (1 - shares) + high * shares
    cuts = np.unique(start + np.searchsorted(inner, edges))

    def by_position(begin: int, end: int) -> list[tuple[int, int, int]]:
        within = cuts[(cuts > begin) & (cuts < end)].tolist()
        return [(a, b, 1) for a, b in zip([begin, *within], [*within, end], strict=True)]

    return by_position


def _even(values: Array) -> bool:
    """Whether positions are evenly spaced, judged by a thousand of them spread over all."""
    picks = np.linspace(0, len(values) - 1, min(len(values), 1025)).astype(np.int64)
    seen = values[picks].astype(np.float64)
    low, high = seen[0], seen[-1]
    expected = low + (high - low) * (picks / picks[-1])
    return bool(np.abs(seen - expected).max() <= (high - low) / 4096)


def _look(
    found: Reduced,
    values: Source,
    begin: int,
    end: int,
    cuts: list[tuple[int, int, int]],
    squares: bool,
) -> None:
    block = values(begin, end)
    low, high = block.min(), block.max()
    bad: Array | None = None
    if block.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        bad = ~np.isfinite(block)
        nan = int(np.isnan(block).sum())
        found.nan += nan
        found.inf += int(bad.sum()) - nan
        good = block[~bad]
        if cuts:
            found.pieces.append(begin + _gaps(bad, sum(parts for _, _, parts in cuts)))
        if good.size == 0:
            return
        low, high = good.min(), good.max()
        block = np.where(bad, block.dtype.type(np.nan), block)
    found.low = low.item() if found.low is None else min(found.low, low.item())
    found.high = high.item() if found.high is None else max(found.high, high.item())
    found.finite += len(block) - (int(bad.sum()) if bad is not None else 0)
    if squares:
        clean = block if bad is None else block[~bad]
        found.sum_of_squares += float(np.dot(clean, clean))
    for first, last, parts in cuts:
        piece = np.ascontiguousarray(block[first - begin : last - begin])
        if len(piece) <= 2 * parts:
            kept = np.arange(len(piece))
        else:
            kept = _minmax.downsample(piece, n_out=2 * parts).astype(np.int64)
        found.pieces.append(first + kept)


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
