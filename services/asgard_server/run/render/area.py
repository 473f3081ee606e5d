"""Averaging a field over the area of each pixel, with its true extremes kept beside.

A target cell is the average of the source cells that it covers, each weighted by the
area covered; missing values (NaN, infinities) weigh nothing, and where everything is
missing the average is NaN. Rows are read slab by slab, once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from asgard_server.run.render.fit import Array

# Rows start to stop of a field, whole in the other direction: float32 or float64.
Rows = Callable[[int, int], Array]


@dataclass(frozen=True, slots=True)
class Extreme:
    """A value and the source cell in which it stands."""

    value: float
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Averaged:
    """A field averaged onto fewer cells: `grid` is float64 [row, column], NaN where missing.

    `low`, `high` and `mean` are of all finite source cells, None when there is none.
    """

    grid: Array
    low: Extreme | None
    high: Extreme | None
    mean: float | None


@dataclass(frozen=True, slots=True)
class Cut:
    """How source cells along one side fall into target cells.

    `first` and `last` are, for each target, the half-open range of sources it touches;
    `weights` hold how much of each source's length lies inside, for each target.
    """

    first: Array
    last: Array
    weights: tuple[Array, ...]

    @property
    def identity(self) -> bool:
        """Whether each target is one source, whole."""
        return bool((self.last - self.first == 1).all()) and len(self.first) == int(
            self.last[-1] - self.first[0]
        )


def cut(edges: Array, targets: int) -> Cut:
    """Cut sources with these rising edges (n + 1 of them) into equal targets."""
    count = len(edges) - 1
    low, high = float(edges[0]), float(edges[-1])
    shares = np.linspace(0.0, 1.0, targets + 1)
    goals = low * (1 - shares) + high * shares
    goals[0], goals[-1] = low, high
    if targets == count and np.allclose(goals, edges, rtol=0, atol=(high - low) / count * 1e-6):
        each = np.arange(count)
        return Cut(each, each + 1, tuple(np.ones(1) for _ in range(count)))
    first = np.clip(np.searchsorted(edges, goals[:-1], side="right") - 1, 0, count - 1)
    last = np.clip(np.searchsorted(edges, goals[1:], side="left"), first + 1, count)
    weights = []
    for k in range(targets):
        begin, end = int(first[k]), int(last[k])
        covered = np.minimum(edges[begin + 1 : end + 1], goals[k + 1]) - np.maximum(
            edges[begin:end], goals[k]
        )
        covered = np.maximum(covered, 0.0)
        if covered.sum() <= 0:
            covered = np.ones(end - begin)
        weights.append(covered / covered.sum())
    return Cut(first, last, tuple(weights))


def average(rows: Rows, down: Cut, across: Cut) -> Averaged:
    """Average a field onto the targets of two cuts, looking at every source cell.

    The extremes are those of the source cells between the cuts' ends.
    """
    left, right = int(across.first[0]), int(across.last[-1])
    tracker = _Tracker(left)
    width = right - left
    targets = len(down.first)
    sums = np.empty((targets, width))
    shares: Array | None = None
    seen = 0
    for k in range(targets):
        begin, end = int(down.first[k]), int(down.last[k])
        slab = rows(begin, end)[:, left:right]
        good = tracker.look(slab, begin, max(seen, begin))
        seen = end
        weights = down.weights[k]
        if good is None:
            sums[k] = slab[0] if end - begin == 1 else weights @ slab
            if shares is not None:
                shares[k] = 1.0
        else:
            if shares is None:
                shares = np.ones((targets, width))
            sums[k] = weights @ np.where(good, slab, 0.0)
            shares[k] = weights @ good
    grid = _across(sums, shares, across, left)
    return Averaged(grid, tracker.low, tracker.high, tracker.mean)


def _across(sums: Array, shares: Array | None, across: Cut, left: int) -> Array:
    if across.identity:
        if shares is None:
            return sums
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(shares > 0, sums / shares, np.nan)
    grid = np.empty((len(sums), len(across.first)))
    for k, weights in enumerate(across.weights):
        span = slice(int(across.first[k]) - left, int(across.last[k]) - left)
        if shares is None:
            grid[:, k] = sums[:, span] @ weights
        else:
            with np.errstate(invalid="ignore", divide="ignore"):
                weight = shares[:, span] @ weights
                grid[:, k] = np.where(weight > 0, (sums[:, span] @ weights) / weight, np.nan)
    return grid


class _Tracker:
    """Keeps extremes and sum of the finite cells while slabs go by, each cell once."""

    def __init__(self, left: int) -> None:
        self.low: Extreme | None = None
        self.high: Extreme | None = None
        self._left = left
        self._sum = 0.0
        self._count = 0

    @property
    def mean(self) -> float | None:
        return self._sum / self._count if self._count else None

    def look(self, slab: Array, begin: int, new: int) -> Array | None:
        """Look at a slab whose first row is `begin`; rows before `new` were seen already.

        Answers which cells are finite, None when all are.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            low, high = slab.min(), slab.max()
        good: Array | None = None
        if not (np.isfinite(low) and np.isfinite(high)):
            good = np.isfinite(slab)
            if not good.any():
                return good
            low = np.where(good, slab, np.inf).min()
            high = np.where(good, slab, -np.inf).max()
        if self.low is None or low < self.low.value:
            self.low = self._place(slab, low, begin)
        if self.high is None or high > self.high.value:
            self.high = self._place(slab, high, begin)
        fresh = slab[new - begin :]
        if fresh.size:
            fine = fresh[good[new - begin :]] if good is not None else fresh
            with np.errstate(over="ignore", invalid="ignore"):
                self._sum += float(fine.sum(dtype=np.float64))
            self._count += fine.size
        return good

    def _place(self, slab: Array, value: float, begin: int) -> Extreme:
        row, column = divmod(int(np.argmax(slab == value)), slab.shape[1])
        return Extreme(float(value), begin + row, self._left + column)
