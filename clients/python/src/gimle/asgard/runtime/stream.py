"""Streams: functions held by their Taylor coefficients, along any number of dimensions.

The coefficients are the exponential ones: `[2, 3, 1]` along x is 2 + 3x + x²/2!, so each is the
value of a derivative at the centre. Integration and differentiation are then a shift, with no
arithmetic and no rounding. Read as a sequence (DiscreteCalculus) the same coefficients are the
terms themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gimle.asgard.core.errors import AsgardError

Coefficients = npt.NDArray[np.float64]

MAX_ORDER = 170
"""Most coefficients along one dimension whose factorials a double can hold."""


class RuntimeInputError(AsgardError, ValueError):
    """Input that does not fit the circuit or the grid; the message names it and the mend."""


class NotFiniteError(RuntimeInputError):
    """Coefficients that are NaN or infinite, given or by overflow."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """What an execution leaves behind: the rounds each feedback loop took, in order of finish."""

    rounds: tuple[int, ...] = ()


class Stream:
    """A power series in the dimensions `dim_labels`. Not changed once it is made.

    data: float64 array of shape [chunk_size, n_1, ..., n_k], one axis of coefficients for each
    dimension label; an array without the leading chunk axis is taken as one chunk.
    shape: the lengths n_1, ..., n_k.
    Raises RuntimeInputError when the shape does not fit the labels.
    """

    __slots__ = ("chunk_size", "data", "dim_labels", "shape")

    def __init__(
        self, data: npt.ArrayLike, dim_labels: Sequence[str] = ("x",), chunk_size: int = 1
    ) -> None:
        values = _as_floats(data)
        labels = tuple(dim_labels)
        if len(set(labels)) != len(labels):
            raise RuntimeInputError(f"dim_labels {labels!r} name a dimension twice")
        if values.ndim == len(labels):
            values = values[np.newaxis]
        if values.ndim != len(labels) + 1 or values.shape[0] != chunk_size:
            raise RuntimeInputError(
                f"data of shape {np.shape(data)} does not fit dim_labels {labels!r} with "
                f"chunk_size {chunk_size}; give {len(labels)} axes of coefficients after "
                "the chunk axis"
            )
        if 0 in values.shape:
            raise RuntimeInputError("a stream needs at least one coefficient along each dimension")
        self.data: Coefficients = values
        self.dim_labels = labels
        self.chunk_size = chunk_size
        self.shape: tuple[int, ...] = values.shape[1:]

    def __repr__(self) -> str:
        order = ", ".join(f"{label}: {length}" for label, length in self.order.items())
        return f"<Stream {{{order}}}, chunk_size {self.chunk_size}>"

    @property
    def order(self) -> dict[str, int]:
        """How many coefficients are held along each dimension."""
        return dict(zip(self.dim_labels, self.shape, strict=True))

    def spread(self, order: Mapping[str, int]) -> Stream:
        """The same series with exactly the dimensions and lengths of `order`.

        Missing coefficients are zero, surplus ones are cut off. A dimension the series has and
        `order` lacks is an error unless the series does not vary along it.
        """
        data = self.data
        for axis, label in reversed(list(enumerate(self.dim_labels, start=1))):
            if label not in order:
                if np.any(np.delete(data, 0, axis=axis)):
                    raise RuntimeInputError(f"the series varies along {label!r}, which is left out")
                data = np.take(data, 0, axis=axis)
        kept = [label for label in self.dim_labels if label in order]
        for label in order:
            if label not in kept:
                data = data[..., np.newaxis]
                kept.append(label)
        data = np.transpose(data, (0, *(1 + kept.index(label) for label in order)))
        grown = np.zeros((self.chunk_size, *order.values()))
        common = tuple(slice(0, min(a, b)) for a, b in zip(data.shape, grown.shape, strict=True))
        grown[common] = data[common]
        return Stream(grown, tuple(order), self.chunk_size)


def constant(value: float, order: Mapping[str, int], chunk_size: int = 1) -> Stream:
    """The constant series `value`."""
    data = np.zeros((chunk_size, *order.values()))
    data[_first(len(order))] = value
    return Stream(data, tuple(order), chunk_size)


def variable(label: str, order: Mapping[str, int], chunk_size: int = 1) -> Stream:
    """The series of the variable `label` itself: coefficient 1 in first place."""
    return integrate(constant(1.0, order, chunk_size), label)


def integrate(stream: Stream, label: str) -> Stream:
    """The integral along `label` that is zero at the centre: every coefficient moves up one."""
    axis = _axis(stream, label)
    data = np.zeros_like(stream.data)
    data[_cut(stream, axis, slice(1, None))] = stream.data[_cut(stream, axis, slice(0, -1))]
    return Stream(data, stream.dim_labels, stream.chunk_size)


def differentiate(stream: Stream, label: str) -> Stream:
    """The derivative along `label`: every coefficient moves down one, the first is dropped."""
    axis = _axis(stream, label)
    data = np.zeros_like(stream.data)
    data[_cut(stream, axis, slice(0, -1))] = stream.data[_cut(stream, axis, slice(1, None))]
    return Stream(data, stream.dim_labels, stream.chunk_size)


def add(left: Stream, right: Stream) -> Stream:
    """The sum of two series of the same shape."""
    return Stream(left.data + right.data, left.dim_labels, left.chunk_size)


def scale(factor: float, stream: Stream) -> Stream:
    """`factor` times a series."""
    return Stream(factor * stream.data, stream.dim_labels, stream.chunk_size)


def multiply(left: Stream, right: Stream) -> Stream:
    """The product of the two functions, cut off at the order held."""
    weights = _factorials(left.shape)
    product = _cauchy(left.data / weights, right.data / weights)
    return Stream(product * weights, left.dim_labels, left.chunk_size)


def convolve(left: Stream, right: Stream) -> Stream:
    """The Cauchy product of the coefficients as sequences.

    For sequences: the coefficients of the product of the generating functions. For functions:
    the derivative of the convolution integral of f(s) g(x - s) from 0 to x.
    """
    return Stream(_cauchy(left.data, right.data), left.dim_labels, left.chunk_size)


def exponential(stream: Stream, terms: int) -> Stream:
    """exp of a series: e^(constant term) times the first `terms` terms in the rest."""
    first = _first(len(stream.shape))
    centre = np.exp(stream.data[first])
    rest = stream.data.copy()
    rest[first] = 0.0
    small = Stream(rest, stream.dim_labels, stream.chunk_size)
    total = power = constant(1.0, stream.order, stream.chunk_size)
    for k in range(1, terms):
        power = scale(1.0 / k, multiply(power, small))
        total = add(total, power)
    shaped = centre.reshape(-1, *(1,) * len(stream.shape))
    return Stream(total.data * shaped, stream.dim_labels, stream.chunk_size)


def substitute(outer: Stream, inner: Stream, label: str) -> Stream:
    """`outer` with the variable `label` replaced by the series `inner` (Horner's scheme)."""
    axis = _axis(outer, label)
    total = constant(0.0, outer.order, outer.chunk_size)
    for k in reversed(range(outer.data.shape[axis])):
        layer = np.zeros_like(outer.data)
        layer[_cut(outer, axis, 0)] = outer.data[_cut(outer, axis, k)] / math.factorial(k)
        total = add(multiply(total, inner), Stream(layer, outer.dim_labels, outer.chunk_size))
    return total


def _cauchy(left: Coefficients, right: Coefficients) -> Coefficients:
    """Truncated product of polynomials, coefficient by coefficient, for every chunk."""
    axes = tuple(range(1, left.ndim))
    if np.count_nonzero(left) > np.count_nonzero(right):
        left, right = right, left
    total = np.zeros_like(left)
    for index in np.argwhere(np.any(left != 0.0, axis=0)):
        to = tuple(slice(int(i), None) for i in index)
        lengths = (left.shape[a] - int(i) for a, i in zip(axes, index, strict=True))
        source = tuple(slice(0, n) for n in lengths)
        weight = left[(slice(None), *index)].reshape(-1, *(1,) * len(axes))
        total[(slice(None), *to)] += weight * right[(slice(None), *source)]
    return total


def _factorials(shape: Sequence[int]) -> Coefficients:
    weights = np.ones((1, *shape))
    for axis, length in enumerate(shape, start=1):
        if length > MAX_ORDER:
            raise RuntimeInputError(
                f"{length} coefficients along one dimension: products hold at most {MAX_ORDER}; "
                "lower the order"
            )
        values = np.array([float(math.factorial(k)) for k in range(length)])
        weights = weights * values.reshape([-1 if a == axis else 1 for a in range(len(shape) + 1)])
    return weights


def _first(dimensions: int) -> tuple[Any, ...]:
    """The index of the constant term of every chunk."""
    return (slice(None), *(0,) * dimensions)


def _axis(stream: Stream, label: str) -> int:
    try:
        return 1 + stream.dim_labels.index(label)
    except ValueError:
        raise RuntimeInputError(
            f"the stream has no dimension {label!r}, only {', '.join(stream.dim_labels) or 'none'}"
        ) from None


def _cut(stream: Stream, axis: int, part: slice | int) -> tuple[Any, ...]:
    return tuple(part if a == axis else slice(None) for a in range(stream.data.ndim))


def _as_floats(data: object) -> Coefficients:
    try:
        values = np.array(data, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RuntimeInputError(f"coefficients must be numbers in even rows: {error}") from None
    if not np.all(np.isfinite(values)):
        raise NotFiniteError("coefficients must be finite; one is NaN or infinite")
    return values
