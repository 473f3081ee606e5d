"""Fields on a square plate: heat, waves on a membrane, reaction and diffusion."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from gimle.asgard.runtime.simulation import Product, Rows, Simulation
from gimle.asgard.runtime.stream import RuntimeInputError

Floats = npt.NDArray[np.float64]


def heat_plate(
    modes: Sequence[Sequence[float]],
    *,
    diffusivity: float,
    size: int,
    times: Floats,
) -> Simulation:
    """Heat in a unit plate whose edges are held at 0, begun with a sum of standing modes.

    modes: rows (a, j, k) for a * sin(j pi x) * sin(k pi y). Explicit steps at 0.8 of the stable
    length; second order in space. Products: `plate` (the last field against the exact one),
    `field` (animation), `cooling` (mean temperature against the exact one).
    """
    grid = np.linspace(0.0, 1.0, size)
    spacing = grid[1] - grid[0]
    shapes = [(a, diffusivity * np.pi**2 * (j * j + k * k), _mode(grid, j, k)) for a, j, k in modes]

    def exact(t: float) -> Floats:
        return np.asarray(sum(a * np.exp(-rate * t) * shape for a, rate, shape in shapes))

    longest = 0.8 * spacing**2 / (4 * diffusivity)

    def rows() -> Iterator[Mapping[str, Rows]]:
        now = exact(times[0])
        for before, after in itertools.pairwise(times):
            count = max(1, int(np.ceil((after - before) / longest)))
            ratio = diffusivity * (after - before) / count / spacing**2
            for _ in range(count):
                now = now.copy()
                now[1:-1, 1:-1] += ratio * _laplace(now)
            yield {
                "field": {"t": [after], "frames": now[np.newaxis].astype(np.float32)},
                "cooling": _point(after, float(now.mean()), float(exact(after).mean())),
            }
        yield {"plate": {"y": grid, "computed": now, "expected": exact(times[-1])}}

    begun = exact(times[0])
    empty = np.empty((0, size))
    products = (
        Product(
            "plate",
            "Solution2D",
            {"x": grid, "y": np.empty(0), "computed": empty, "expected": empty},
        ),
        Product(
            "field",
            "PhysicsAnimation",
            {"t": times[:1], "frames": begun[np.newaxis].astype(np.float32)},
        ),
        Product(
            "cooling", "Solution1D", _point(times[0], float(begun.mean()), float(begun.mean()))
        ),
    )
    return Simulation(products, rows(), len(times))


def membrane(
    *, speed: float, size: int, times: Floats, centre: tuple[float, float], width: float
) -> Simulation:
    """Waves on a square membrane with fixed edges, from a bump at rest (leapfrog).

    centre and width are shares of the side. Products: `membrane` (animation) and `energy`
    (relative to the beginning; the exact one stays 1).
    """
    grid = np.linspace(0.0, 1.0, size)
    spacing = grid[1] - grid[0]
    x, y = np.meshgrid(grid, grid)
    bump = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * width**2))
    bump[[0, -1], :] = 0.0
    bump[:, [0, -1]] = 0.0
    longest = 0.5 * spacing / speed

    def energy(before: Floats, now: Floats, step: float) -> float:
        # The quantity leapfrog conserves to rounding: kinetic, plus the mixed potential.
        moving = np.sum((now - before) ** 2) / step**2
        across = np.sum((now[:, 1:] - now[:, :-1]) * (before[:, 1:] - before[:, :-1]))
        along = np.sum((now[1:] - now[:-1]) * (before[1:] - before[:-1]))
        return 0.5 * float(moving + speed**2 * (across + along) / spacing**2)

    gap = float(times[1] - times[0])
    if not np.allclose(np.diff(times), gap):
        raise RuntimeInputError("the times of a membrane must be evenly spaced")
    count = max(1, int(np.ceil(gap / longest)))
    step = gap / count
    ratio = (speed * step / spacing) ** 2
    push = np.zeros_like(bump)
    push[1:-1, 1:-1] = 0.5 * ratio * _laplace(bump)
    start = bump + push

    def rows() -> Iterator[Mapping[str, Rows]]:
        before, now = bump, start
        whole = energy(before, now, step)
        for t in times[1:]:
            shown = now
            for k in range(count):
                shown = now if k == count - 1 else shown
                after = 2 * now - before
                after[1:-1, 1:-1] += ratio * _laplace(now)
                after[[0, -1], :] = 0.0
                after[:, [0, -1]] = 0.0
                before, now = now, after
            share = energy(before, now, step) / whole
            yield {
                "membrane": {"t": [t], "frames": shown[np.newaxis].astype(np.float32)},
                "energy": _point(t, share, 1.0),
            }

    products = (
        Product(
            "membrane",
            "PhysicsAnimation",
            {"t": times[:1], "frames": bump[np.newaxis].astype(np.float32)},
        ),
        Product("energy", "Solution1D", _point(times[0], 1.0, 1.0)),
    )
    return Simulation(products, rows(), len(times) - 1)


def gray_scott(
    *, feed: float, kill: float, size: int, frames: int, steps_per_frame: int, seed: int
) -> Simulation:
    """Two substances that react (U + 2V -> 3V) and spread on a plate whose edges meet.

    Pearson's patterns; spreading rates 0.16 and 0.08, unit steps. Products: `pattern` (the
    animation of V) and `field` (the last V over the plate).
    """
    random = np.random.default_rng(seed)
    u = np.ones((size, size))
    v = np.zeros((size, size))
    for _ in range(max(4, size // 10)):
        row, column = random.integers(0, size - 6, 2)
        u[row : row + 6, column : column + 6] = 0.5
        v[row : row + 6, column : column + 6] = 0.25
    u += 0.02 * random.random((size, size))
    v += 0.02 * random.random((size, size))
    grid = np.arange(size, dtype=np.float64)
    first = v.astype(np.float32)[np.newaxis]

    def rows() -> Iterator[Mapping[str, Rows]]:
        a, b = u, v
        for frame in range(1, frames):
            for _ in range(steps_per_frame):
                reaction = a * b * b
                a = a + 0.16 * _round_laplace(a) - reaction + feed * (1.0 - a)
                b = b + 0.08 * _round_laplace(b) + reaction - (feed + kill) * b
            yield {
                "pattern": {
                    "t": [float(frame * steps_per_frame)],
                    "frames": b.astype(np.float32)[np.newaxis],
                }
            }
        yield {"field": {"y": grid, "computed": b}}

    products = (
        Product("pattern", "PhysicsAnimation", {"t": np.zeros(1), "frames": first}),
        Product(
            "field",
            "Solution2D",
            {"x": grid, "y": np.empty(0), "computed": np.empty((0, size))},
        ),
    )
    return Simulation(products, rows(), frames)


def _mode(grid: Floats, across: float, along: float) -> Floats:
    return np.outer(np.sin(along * np.pi * grid), np.sin(across * np.pi * grid))


def _laplace(field: Floats) -> Floats:
    """Second differences at the inner points."""
    inner = field[1:-1, 1:-1]
    return np.asarray(
        field[2:, 1:-1] + field[:-2, 1:-1] + field[1:-1, 2:] + field[1:-1, :-2] - 4 * inner
    )


def _round_laplace(field: Floats) -> Floats:
    total = -4 * field
    for axis in (0, 1):
        total += np.roll(field, 1, axis) + np.roll(field, -1, axis)
    return np.asarray(total)


def _point(x: float, computed: float, expected: float) -> dict[str, Floats]:
    return {
        "x": np.array([x]),
        "computed": np.array([computed]),
        "expected": np.array([expected]),
    }
