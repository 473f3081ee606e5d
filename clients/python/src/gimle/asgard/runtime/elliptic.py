"""Jacobi's elliptic functions by the arithmetic-geometric mean, for the exact pendulum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def agm(one: float, other: float) -> float:
    """The arithmetic-geometric mean of two positive numbers, to rounding."""
    while abs(one - other) > 1e-15 * abs(one):
        one, other = (one + other) / 2, float(np.sqrt(one * other))
    return one


def jacobi(u: Floats, m: float) -> tuple[Floats, Floats, Floats]:
    """sn, cn and dn of `u` for the parameter m = k², 0 <= m < 1, to about 1e-13.

    Descending Landen transformation (Abramowitz and Stegun 16.4).
    """
    a, c = [1.0], [float(np.sqrt(m))]
    b = float(np.sqrt(1.0 - m))
    while abs(c[-1]) > 1e-16 and len(a) < 60:
        a.append((a[-1] + b) / 2)
        c.append((a[-2] - b) / 2)
        b = float(np.sqrt(a[-2] * b))
    phase = 2.0 ** (len(a) - 1) * a[-1] * np.asarray(u, dtype=np.float64)
    for k in range(len(a) - 1, 0, -1):
        phase = (phase + np.arcsin(np.clip(c[k] / a[k] * np.sin(phase), -1.0, 1.0))) / 2
    sn, cn = np.sin(phase), np.cos(phase)
    return sn, cn, np.sqrt(1.0 - m * sn**2)
