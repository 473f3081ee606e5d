"""Reading a stream at points: as a function (RealCalculus) or as a sequence (DiscreteCalculus)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from gimle.asgard.runtime.stream import RuntimeInputError, Stream

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RealCalculus:
    """Coefficients are derivatives at `center`: f(x) is the sum of c_k (x - center)^k / k!."""

    center: float = 0.0

    def weights(self, points: Floats, length: int) -> Floats:
        """Array [point, k] of what each coefficient counts for at each point."""
        away = points[:, np.newaxis] - self.center
        weights = np.ones((points.size, length))
        for k in range(1, length):
            # Step by step, so that neither the power nor the factorial overflows alone.
            weights[:, k : k + 1] = weights[:, k - 1 : k] * away / k
        return weights


@dataclass(frozen=True, slots=True)
class DiscreteCalculus:
    """Coefficients are the terms of a sequence; points are whole numbers from 0."""

    def weights(self, points: Floats, length: int) -> Floats:
        """Array [point, k], one where the point is k. Raises RuntimeInputError off the terms."""
        places = np.rint(points)
        if np.any(places != points) or np.any(places < 0) or np.any(places >= length):
            raise RuntimeInputError(
                f"a sequence of {length} terms is read at whole numbers from 0 to {length - 1}"
            )
        return np.asarray(np.eye(length)[places.astype(int)])


Calculus: TypeAlias = RealCalculus | DiscreteCalculus


class StreamEvaluator:
    """Evaluates a stream on a grid, one calculus for each dimension (RealCalculus by default).

    >>> stream = Stream(np.array([[2.0, 3.0, 1.0]]), ("x",))
    >>> float(StreamEvaluator(stream, {"x": RealCalculus()}).evaluate(x=np.array([1.0]))[0])
    5.5
    """

    def __init__(self, stream: Stream, calculi: Mapping[str, Calculus] | None = None) -> None:
        unknown = set(calculi or {}) - set(stream.dim_labels)
        if unknown:
            raise RuntimeInputError(
                f"calculus given for {', '.join(sorted(unknown))}, but the stream has "
                f"{', '.join(stream.dim_labels)}"
            )
        self._stream = stream
        self._calculi = {
            label: (calculi or {}).get(label, RealCalculus()) for label in stream.order
        }

    def evaluate(self, **points: npt.ArrayLike) -> Floats:
        """Values on the grid of the points given for each dimension.

        One array of float64 with one axis for each dimension, in the order of dim_labels; with
        chunk_size above 1, a leading axis for the chunks. A single number is a grid of one.
        """
        missing = set(self._stream.dim_labels) ^ set(points)
        if missing:
            raise RuntimeInputError(
                f"give points for {', '.join(self._stream.dim_labels)}; "
                f"wrong or missing: {', '.join(sorted(missing))}"
            )
        values = self._stream.data
        for axis, (label, calculus) in enumerate(self._calculi.items(), start=1):
            grid = np.atleast_1d(np.asarray(points[label], dtype=np.float64))
            weights = calculus.weights(grid, values.shape[axis])
            values = np.moveaxis(np.tensordot(values, weights, axes=(axis, 1)), -1, axis)
        return values[0] if self._stream.chunk_size == 1 else values

    def remainder(self, **points: npt.ArrayLike) -> float:
        """The largest contribution of the last two coefficients kept, along any dimension.

        A rough measure of what cutting the series off costs on this grid.
        """
        worst = 0.0
        for axis, label in enumerate(self._stream.dim_labels, start=1):
            length = self._stream.data.shape[axis]
            if not isinstance(self._calculi[label], RealCalculus) or length < 3:
                continue
            tail = self._stream.data.copy()
            tail[tuple(slice(0, -2) if a == axis else slice(None) for a in range(tail.ndim))] = 0.0
            part = StreamEvaluator(
                Stream(tail, self._stream.dim_labels, self._stream.chunk_size), self._calculi
            )
            worst = max(worst, float(np.max(np.abs(part.evaluate(**points)))))
        return worst if math.isfinite(worst) else math.inf
