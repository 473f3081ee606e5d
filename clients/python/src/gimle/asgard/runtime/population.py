"""Populations: hunters and hunted, and births and deaths one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from gimle.asgard.runtime.integrate import runge_kutta
from gimle.asgard.runtime.simulation import Product, Rows, Simulation, batches

Floats = npt.NDArray[np.float64]


def lotka_volterra(
    *,
    birth: float,
    hunt: float,
    feed: float,
    death: float,
    start: tuple[float, float],
    times: Floats,
    substeps: int = 10,
) -> Simulation:
    """Prey x' = birth x - hunt x y and predators y' = feed x y - death y.

    Products: `prey` and `predators` over time; `orbit`, both as one point in their plane; and
    `invariant`, feed x - death ln x + hunt y - birth ln y, which the exact solution keeps.
    """

    def slope(_: float, state: Floats) -> Floats:
        x, y = state
        return np.array([birth * x - hunt * x * y, feed * x * y - death * y])

    def invariant(states: Floats) -> Floats:
        x, y = states[:, 0], states[:, 1]
        return np.asarray(feed * x - death * np.log(x) + hunt * y - birth * np.log(y))

    begun = np.array([start])
    kept = invariant(begun)
    slices = list(batches(1, len(times), 40))

    def row(t: Floats, states: Floats) -> dict[str, Rows]:
        return {
            "prey": {"x": t, "computed": states[:, 0].copy()},
            "predators": {"x": t, "computed": states[:, 1].copy()},
            "orbit": {"t": t, "positions": states[:, np.newaxis, :].copy()},
            "invariant": {
                "x": t,
                "computed": invariant(states),
                "expected": np.repeat(kept, len(t)),
            },
        }

    def rows() -> Iterator[Mapping[str, Rows]]:
        state = begun[0]
        for part in slices:
            states = []
            for k in range(part.start, part.stop):
                state = runge_kutta(slope, state, times[k - 1], times[k], substeps)
                states.append(state)
            yield row(times[part], np.array(states))

    first = row(times[:1], begun)
    products = tuple(
        Product(name, "PhysicsAnimation" if name == "orbit" else "Solution1D", dict(data))
        for name, data in first.items()
    )
    return Simulation(products, rows(), len(slices))


def births_and_deaths(
    *, birth: float, death: float, start: int, times: Floats, paths: int, seed: int
) -> Simulation:
    """Each of a population gives birth at rate `birth` and dies at rate `death`, exactly.

    Gillespie's method, event by event, for all paths at once. Mean start * e^((birth - death) t).
    Product: `population`.
    """
    slices = list(batches(1, len(times), 30))
    begun = np.full(paths, float(start))

    def rows() -> Iterator[Mapping[str, Rows]]:
        random = np.random.default_rng(seed)
        alive = begun.copy()
        clock = np.full(paths, times[0])
        clock += _wait(random, (birth + death) * alive)
        for part in slices:
            kept = np.empty((paths, part.stop - part.start))
            for k in range(part.start, part.stop):
                due = np.flatnonzero(clock <= times[k])
                while due.size:
                    born = random.random(due.size) < birth / (birth + death)
                    alive[due] += np.where(born, 1.0, -1.0)
                    clock[due] += _wait(random, (birth + death) * alive[due])
                    due = due[clock[due] <= times[k]]
                kept[:, k - part.start] = alive
            yield {"population": {"t": times[part], "paths": kept}}

    first = {"t": times[:1], "paths": begun[:, np.newaxis]}
    return Simulation((Product("population", "StochasticEnsemble", first),), rows(), len(slices))


def _wait(random: np.random.Generator, rate: Floats) -> Floats:
    """The time to the next event; for ever when nobody is left."""
    with np.errstate(divide="ignore"):
        return np.asarray(random.standard_exponential(rate.shape) / rate)
