"""Solution1D: computed against expected, and the difference between the two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from asgard_server.run.render.axis import Axis
from asgard_server.run.render.fit import Array, Empty, Field, Unfit, find, is_time, numbers, vector
from asgard_server.run.render.options import RenderOptions
from asgard_server.run.render.reduce import Source, reduce
from asgard_server.run.render.series import (
    Window,
    draw,
    parts,
    plain,
    positions,
    value_range,
    window,
)

TYPE = "Solution1D"
MAX_TERMS = 10_000
LISTED_TERMS = 1_000


def line(
    data: Mapping[str, Any], display: Mapping[str, Any], options: RenderOptions
) -> dict[str, Any]:
    """The view of a Solution1D. Raises Unfit when data is something else."""
    notes: list[str] = []
    computed = find(data, TYPE, "computed")
    series_of_powers = find(data, TYPE, "coefficients")
    x = find(data, TYPE, "x")
    if computed is None and series_of_powers is not None:
        return _power_series(data, series_of_powers, display, options)
    if computed is None:
        raise Unfit("Solution1D needs 'computed' (or 'coefficients')")
    values = numbers(computed)
    length = _length(values, x, computed.name)
    axis, keep = positions(x, length, notes, options)
    expected = _expected(data, values, length, notes)
    view = _curves(values, expected, length, axis, keep, options)
    terms = None
    if series_of_powers is not None:
        terms = vector(series_of_powers)
    view["coefficients"] = _listed(terms, display) if terms is not None else None
    view["x_is_time"] = is_time(x)
    view["notes"] = notes
    return view


def _length(values: Array, x: Field | None, name: str) -> int:
    if values.ndim == 0 or values.size == 0:
        raise Empty(f"{name!r} is empty")
    if x is None:
        return int(max(values.shape))
    expected = len(vector(x))
    if expected not in values.shape and values.size != expected:
        count = f"{values.size:,} values" if values.ndim == 1 else f"shape {list(values.shape)}"
        raise Unfit(f"{x.name!r} has {expected:,} values, {name!r} has {count}")
    return expected


def _expected(
    data: Mapping[str, Any], computed: Array, length: int, notes: list[str]
) -> Array | None:
    field = find(data, TYPE, "expected")
    if field is None:
        return None
    try:
        expected = numbers(field)
        if expected.ndim == 0 or expected.size == 0:
            raise Empty(f"{field.name!r} is empty")
        if expected.shape != computed.shape:
            expected = vector(field, length, "computed")
    except Unfit as unfit:
        notes.append(f"not drawn: {unfit.reason}")
        return None
    return expected


def _curves(
    computed: Array,
    expected: Array | None,
    length: int,
    axis: Axis,
    keep: Array | None,
    options: RenderOptions,
) -> dict[str, Any]:
    where, picked = window(axis, options)

    def aligned(array: Array) -> Array:
        if keep is not None:
            array = array[keep]
        array = axis.align(array)
        return array if picked is None else array[picked]

    drawn, found = [], []
    named = {"computed": computed} | ({} if expected is None else {"expected": expected})
    for name, array in named.items():
        for title, part in parts(name, array, length):
            curve, extremes = draw(title, aligned(part), where)
            drawn.append(curve)
            found.append(extremes)
    residual = None
    if expected is not None and computed.ndim == 1 and expected.ndim == 1:
        residual = _residual(aligned(computed), aligned(expected), where)
    return {
        "kind": "line",
        "n": len(axis.values),
        "x_range": list(axis.span()),
        "window": list(where.bounds),
        "ordered": axis.ordered,
        "y_range": value_range(found, drawn),
        "series": drawn,
        "residual": residual,
    }


def difference(computed: Array, expected: Array) -> Source:
    """computed - expected block by block, as float64; of complex numbers the magnitude.

    A block is good until the next one is asked for.
    """
    scratch = np.empty(0)

    def block(start: int, stop: int) -> Array:
        nonlocal scratch
        one, other = computed[start:stop], expected[start:stop]
        if one.dtype.kind == "c" or other.dtype.kind == "c":
            return np.asarray(np.abs(one - other))
        if one.dtype.kind in "iu" and other.dtype.kind in "iu":
            return _exact_difference(one, other)
        if len(scratch) < len(one):
            scratch = np.empty(len(one))
        return np.subtract(one, other, out=scratch[: len(one)], dtype=np.float64)

    return block


def _exact_difference(one: Array, other: Array) -> Array:
    # Integers beyond 2^53 are subtracted as integers: as floats they would seem equal.
    if one.dtype.itemsize < 8 and other.dtype.itemsize < 8:
        return np.subtract(one, other, dtype=np.int64).astype(np.float64)
    low = min(int(one.min()), int(other.min()))
    high = max(int(one.max()), int(other.max()))
    if low >= -(2**62) and high < 2**62:
        return (one.astype(np.int64) - other.astype(np.int64)).astype(np.float64)
    return np.subtract(one, other, dtype=np.float64)


def _residual(computed: Array, expected: Array, where: Window) -> dict[str, Any]:
    block = difference(computed, expected)
    found = reduce(block, where.axis, where.start, where.stop, where.columns, squares=True)
    drawn = difference(computed[found.index], expected[found.index])(0, len(found.index))
    largest = None
    if found.low is not None and found.high is not None:
        largest = max(abs(found.low), abs(found.high))
    rms = math.sqrt(found.sum_of_squares / found.finite) if found.finite else None
    return {
        "x": plain(where.axis.values[found.index]),
        "y": plain(drawn),
        "max_abs": largest,
        "rms": rms,
        "reduced": found.reduced,
    }


def _convention(display: Mapping[str, Any]) -> str:
    convention = str(display.get("convention") or "ordinary").lower()
    if convention not in ("ordinary", "taylor"):
        raise Unfit(f"display.convention is {convention[:40]!r}, neither ordinary nor taylor")
    return convention


def _listed(terms: Array, display: Mapping[str, Any]) -> dict[str, Any]:
    values = terms[:LISTED_TERMS]
    if values.dtype.kind == "c":
        return {
            "values": plain(values.real),
            "imaginary": plain(values.imag),
            "convention": _convention(display),
            "more": max(0, len(terms) - LISTED_TERMS),
        }
    return {
        "values": plain(values),
        "convention": _convention(display),
        "more": max(0, len(terms) - LISTED_TERMS),
    }


def power_series(terms: Array, at: Array, convention: str) -> Array:
    """The sum of terms[k] x^k, for taylor of terms[k] x^k / k!, by Horner's rule."""
    total = np.zeros(len(at), dtype=np.result_type(terms.dtype, np.float64))
    for k in range(len(terms) - 1, -1, -1):
        # Dividing on the way keeps the factorials from overflowing.
        step = at / (k + 1) if convention == "taylor" else at
        total = terms[k] + total * step
    return total


def _domain(display: Mapping[str, Any], options: RenderOptions) -> tuple[float, float]:
    domain = display.get("domain")
    low, high = -1.0, 1.0
    if isinstance(domain, list | tuple) and len(domain) == 2:
        try:
            low, high = float(domain[0]), float(domain[1])
        except (TypeError, ValueError, OverflowError):
            raise Unfit("display.domain must be two numbers, low and high") from None
    elif domain is not None:
        raise Unfit("display.domain must be two numbers, low and high")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise Unfit("display.domain must be two finite numbers, the lower one first")
    return low, high


def _power_series(
    data: Mapping[str, Any],
    field: Field,
    display: Mapping[str, Any],
    options: RenderOptions,
) -> dict[str, Any]:
    terms = vector(field)
    convention = _convention(display)
    notes: list[str] = []
    if len(terms) > MAX_TERMS:
        notes.append(f"drawn from the first {MAX_TERMS:,} of {len(terms):,} coefficients")
    x = find(data, TYPE, "x")
    expected: Array | None = None
    if x is not None:
        at = vector(x)
        axis, keep = positions(x, len(at), notes, options)
        at = at if keep is None else at[keep]
        whole = (float(at.min()), float(at.max()))
        found = _expected(data, at, len(at), notes)
        expected = found if found is not None and found.ndim == 1 else None
    else:
        low, high = whole = _domain(display, options)
        low = low if options.x_min is None else options.x_min
        high = high if options.x_max is None else options.x_max
        at = np.linspace(low, high, 2 * (options.width or 1200))
        axis, keep = Axis(at, ordered=True), None
        notes.append(f"drawn as a power series ({convention}) over its domain")
    with np.errstate(all="ignore"):
        values = power_series(terms[:MAX_TERMS], at.astype(np.float64), convention)
    if keep is not None and expected is not None:
        expected = expected[keep]
    view = _curves(values, expected, len(values), axis, None, options)
    return view | {
        "x_range": list(whole),
        "coefficients": _listed(terms, display),
        "x_is_time": False,
        "notes": notes,
    }
