"""StochasticEnsemble: mean, median, bands and histograms of all paths, and some of them.

Which times are drawn is chosen first: in each of a few hundred columns the time of the
lowest and of the highest value among all paths, so that a jump of one sample in one
path is among them. Only there the values of all paths are gathered and sorted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from asgard_server.run.render.axis import Axis, distinct
from asgard_server.run.render.fit import (
    Array,
    Empty,
    Unfit,
    find,
    is_time,
    need,
    numbers,
    optional_vector,
    shape_of,
    vector,
)
from asgard_server.run.render.options import RenderOptions
from asgard_server.run.render.series import plain, positions, window

TYPE = "StochasticEnsemble"
LEVELS = (0.5, 0.9)
MAX_SAMPLES = 20
HISTOGRAMS = 5
MAX_BINS = 60
# Values gathered and sorted in one go.
GATHERED = 1 << 21


def ensemble(
    data: Mapping[str, Any], display: Mapping[str, Any], options: RenderOptions
) -> dict[str, Any]:
    """The view of a StochasticEnsemble. Raises Unfit when data is something else."""
    notes: list[str] = []
    t_field = find(data, TYPE, "t")
    paths = _paths(data, None if t_field is None else len(vector(t_field)), notes)
    axis, keep = positions(t_field, paths.shape[1], notes, options)
    paths = paths[:, keep] if keep is not None else paths
    paths = paths[:, ::-1] if axis.flipped else paths
    where, picked = window(axis, options)
    inside = np.arange(where.start, where.stop) if picked is None else picked
    if len(inside) == 0:  # between two times: draw those
        inside = np.arange(max(0, where.start - 1), min(len(axis.values), where.start + 1))
    low, high = _envelope(paths, inside)
    drawn = inside[_choose(low, high, max(100, where.columns // 2))]
    band = _statistics(paths, drawn)
    members = distinct(np.linspace(0, len(paths) - 1, min(MAX_SAMPLES, len(paths))).astype(int))
    finite_low, finite_high = low[np.isfinite(low)], high[np.isfinite(high)]
    return {
        "kind": "ensemble",
        "n_paths": paths.shape[0],
        "n_times": paths.shape[1],
        "t_range": list(axis.span()),
        "window": list(where.bounds),
        "y_range": [finite_low.min(), finite_high.max()] if len(finite_low) else None,
        "t": plain(axis.values[drawn]),
        "mean": band["mean"],
        "median": band["median"],
        "bands": band["bands"],
        "given": _given(data, axis, keep, drawn, paths.shape[1], notes),
        "samples": [{"index": int(k), "y": plain(paths[k, drawn])} for k in members],
        "histograms": [_histogram(axis, paths, at) for at in _times(axis, inside, options)],
        "reduced": len(drawn) < len(inside),
        "x_is_time": is_time(t_field),
        "notes": notes,
    }


def _paths(data: Mapping[str, Any], times: int | None, notes: list[str]) -> Array:
    field = need(data, TYPE, "paths")
    paths = numbers(field)
    if paths.ndim == 1:
        paths = paths.reshape(1, -1)
    if paths.ndim != 2:
        raise Unfit(f"{field.name!r} has shape {shape_of(paths)}; [path, time] was expected")
    if paths.size == 0:
        raise Empty(f"{field.name!r} is empty")
    if times is not None and paths.shape[1] != times:
        if paths.shape[0] != times:
            raise Unfit(f"{field.name!r} has {paths.shape[1]:,} times, the time axis has {times:,}")
        notes.append("paths came as [time, path]")
        paths = paths.T
    if paths.dtype.kind == "c":
        notes.append("paths are complex: their real part is drawn")
        paths = paths.real
    if paths.dtype.kind == "b":
        paths = paths.view(np.uint8)
    return paths


def _envelope(paths: Array, inside: Array) -> tuple[Array, Array]:
    """The lowest and highest finite value at each time inside, NaN where there is none."""
    first, last = int(inside[0]), int(inside[-1]) + 1
    low = np.full(last - first, np.inf)
    high = np.full(last - first, -np.inf)
    step = max(1, GATHERED // (last - first))
    for begin in range(0, len(paths), step):
        block = paths[begin : begin + step, first:last]
        bottom, top = block.min(axis=0), block.max(axis=0)
        if block.dtype.kind == "f" and not (np.isfinite(bottom).all() and np.isfinite(top).all()):
            finite = np.isfinite(block)
            bottom = np.where(finite, block, np.inf).min(axis=0)
            top = np.where(finite, block, -np.inf).max(axis=0)
        np.minimum(low, bottom, out=low)
        np.maximum(high, top, out=high)
    nothing = low > high
    low[nothing] = high[nothing] = np.nan
    return low[inside - first], high[inside - first]


def _choose(low: Array, high: Array, most: int) -> Array:
    """At most about `most` positions: all, or in each column those of the two extremes."""
    count = len(low)
    if count <= most:
        return np.arange(count)
    cuts = np.linspace(0, count, most // 2 + 1).astype(np.int64)
    lowest, highest = np.nan_to_num(low, nan=np.inf), np.nan_to_num(high, nan=-np.inf)
    kept = [0, count - 1]
    for begin, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        kept.append(begin + int(lowest[begin:end].argmin()))
        kept.append(begin + int(highest[begin:end].argmax()))
    return distinct(np.array(kept))


def _gather(paths: Array, times: Array) -> Array:
    """The values of all paths at some times as [time, path], NaN for every missing one."""
    block = np.empty((len(times), len(paths)), dtype=np.result_type(paths.dtype, np.float32))
    step = 256
    for begin in range(0, len(paths), step):
        block[:, begin : begin + step] = paths[begin : begin + step, times].T
    return block


def _statistics(paths: Array, times: Array) -> dict[str, Any]:
    """Mean, median and bands at some times, of the finite values of all paths."""
    shares = [0.5]
    for level in LEVELS:
        shares += [(1 - level) / 2, (1 + level) / 2]
    quantiles = np.full((len(shares), len(times)), np.nan)
    mean = np.full(len(times), np.nan)
    step = max(1, GATHERED // len(paths))
    for begin in range(0, len(times), step):
        block = _gather(paths, times[begin : begin + step])
        counts = np.full(len(block), block.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):
            sums = block.sum(axis=1, dtype=np.float64)
        if not np.isfinite(sums).all():
            missing = ~np.isfinite(block)
            counts = block.shape[1] - missing.sum(axis=1)
            with np.errstate(over="ignore", invalid="ignore"):
                sums = np.where(missing, 0, block).sum(axis=1, dtype=np.float64)
            block[missing] = np.nan
        # Sorting whole rows is vectorised and was faster than selecting ten ranks.
        block.sort(axis=1)
        some = counts > 0
        mean[begin : begin + step][some] = sums[some] / counts[some]
        for row, share in enumerate(shares):
            quantiles[row, begin : begin + step][some] = _ranked(block[some], counts[some], share)
    return {
        "mean": mean,
        "median": quantiles[0],
        "bands": [
            {"level": level, "lower": quantiles[1 + 2 * k], "upper": quantiles[2 + 2 * k]}
            for k, level in enumerate(LEVELS)
        ],
    }


def _ranked(ordered: Array, counts: Array, share: float) -> Array:
    """The quantile of each sorted row, linear between ranks, of its first `counts` values."""
    rank = share * (counts - 1)
    below = np.floor(rank).astype(np.int64)
    above = np.minimum(below + 1, counts - 1)
    rows = np.arange(len(ordered))
    part = rank - below
    one, other = ordered[rows, below].astype(np.float64), ordered[rows, above].astype(np.float64)
    return np.asarray(one * (1 - part) + other * part)


def _given(
    data: Mapping[str, Any],
    axis: Axis,
    keep: Array | None,
    drawn: Array,
    length: int,
    notes: list[str],
) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for role in ("mean", "lower", "upper"):
        total = length if keep is None else int(keep[-1]) + 1
        values = optional_vector(find(data, TYPE, role), total, "the time axis", notes)
        if values is None or values.dtype.kind == "c":
            given[role] = None
            continue
        given[role] = plain(axis.align(values if keep is None else values[keep])[drawn])
    return given


def _times(axis: Axis, inside: Array, options: RenderOptions) -> list[int]:
    if not options.at:
        spread = np.linspace(0, len(inside) - 1, min(HISTOGRAMS + 1, len(inside)))
        picks = inside[distinct(spread.astype(np.int64))]
        # The first time is left out where there are others: all paths start alike there.
        return [int(k) for k in (picks[1:] if len(picks) > HISTOGRAMS else picks)]
    values = axis.values.astype(np.float64)
    return [int(np.abs(values - time).argmin()) for time in options.at]


def _histogram(axis: Axis, paths: Array, at: int) -> dict[str, Any]:
    values = np.asarray(paths[:, at], dtype=np.float64)
    values = values[np.isfinite(values)]
    edges, counts = histogram(values)
    return {"t": axis.values[at].item(), "edges": edges, "counts": counts}


def histogram(values: Array) -> tuple[Array, Array]:
    """Edges (n + 1) and counts (n) of finite values; every value is counted once."""
    if len(values) == 0:
        return np.empty(0), np.empty(0, dtype=np.int64)
    low, high = float(values.min()), float(values.max())
    bins = int(min(MAX_BINS, max(1, np.ceil(2 * np.cbrt(len(values))))))
    shares = np.arange(bins + 1) / bins
    edges = low * (1 - shares) + high * shares
    edges[-1] = high
    if not (np.diff(edges) > 0).all():  # all alike, or too close for bins between them
        pad = max(abs(low), abs(high), 1.0) * 0.5
        edges = np.array([low / 2 + (low / 2 - pad / 2), high / 2 + (high / 2 + pad / 2)])
        edges = np.clip(edges, -np.finfo(np.float64).max, np.finfo(np.float64).max)
        return edges, np.array([len(values)])
    places = np.searchsorted(edges, values, side="right") - 1
    counts = np.bincount(np.clip(places, 0, bins - 1), minlength=bins)
    return edges, counts
