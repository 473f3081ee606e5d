"""Stepping ordinary differential equations on a grid of times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def runge_kutta(
    slope: Callable[[float, Floats], Floats],
    state: Floats,
    start: float,
    stop: float,
    substeps: int,
) -> Floats:
    """The state at `stop`, from `state` at `start`, by the classical fourth order method.

    The error of a smooth problem falls with the fourth power of the substep.
    """
    step = (stop - start) / substeps
    for k in range(substeps):
        t = start + k * step
        a = slope(t, state)
        b = slope(t + step / 2, state + step / 2 * a)
        c = slope(t + step / 2, state + step / 2 * b)
        d = slope(t + step, state + step * c)
        state = state + step / 6 * (a + 2 * b + 2 * c + d)
    return state


# Yoshida's fourth order composition of leapfrog steps: positions and velocities in turn.
_CUBE_ROOT = 2.0 ** (1.0 / 3.0)
_OUTER, _INNER = 1.0 / (2.0 - _CUBE_ROOT), -_CUBE_ROOT / (2.0 - _CUBE_ROOT)
_DRIFTS = (_OUTER / 2, (_OUTER + _INNER) / 2, (_OUTER + _INNER) / 2, _OUTER / 2)
_KICKS = (_OUTER, _INNER, _OUTER)


def symplectic(
    force: Callable[[Floats], Floats],
    position: Floats,
    velocity: Floats,
    duration: float,
    substeps: int,
) -> tuple[Floats, Floats]:
    """Position and velocity after `duration` under acceleration force(position).

    Fourth order, and symplectic: the energy error stays bounded however long it runs.
    """
    step = duration / substeps
    for _ in range(substeps):
        for drift, kick in zip(_DRIFTS, _KICKS, strict=False):
            position = position + drift * step * velocity
            velocity = velocity + kick * step * force(position)
        position = position + _DRIFTS[-1] * step * velocity
    return position, velocity
