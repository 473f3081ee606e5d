"""Things that move: a pendulum, two of them, and bodies that attract each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gimle.asgard.runtime.elliptic import agm, jacobi
from gimle.asgard.runtime.integrate import runge_kutta, symplectic
from gimle.asgard.runtime.simulation import Product, Rows, Simulation, batches

Floats = npt.NDArray[np.float64]


def pendulum(
    *, length: float, gravity: float, angle: float, times: Floats, substeps: int = 8
) -> Simulation:
    """A pendulum let go at `angle` (radians from hanging), with no small-angle assumption.

    Products: `swing` (pivot and bob in the plane, metres) and `angle` (radians) against the exact
    solution in Jacobi's elliptic functions.
    """
    modulus = np.sin(angle / 2)
    pace = np.sqrt(gravity / length)

    def exact(t: Floats) -> Floats:
        sn, cn, dn = jacobi(pace * t, modulus**2)
        # sn a quarter period later, so that the swing begins at its turning point.
        return np.asarray(2 * np.arcsin(modulus * cn / dn) if modulus else 0.0 * sn)

    def force(at: Floats) -> Floats:
        return np.asarray(-(pace**2) * np.sin(at))

    def place(angles: Floats) -> Floats:
        bob = np.stack([length * np.sin(angles), -length * np.cos(angles)], axis=-1)
        return np.stack([np.zeros_like(bob), bob], axis=1)

    slices = list(batches(1, len(times), 40))

    def rows() -> Iterator[Mapping[str, Rows]]:
        at, speed = np.array([angle]), np.array([0.0])
        for part in slices:
            angles = []
            for k in range(part.start, part.stop):
                at, speed = symplectic(force, at, speed, times[k] - times[k - 1], substeps)
                angles.append(at[0])
            made = np.array(angles)
            yield {
                "swing": {"t": times[part], "positions": place(made)},
                "angle": {"x": times[part], "computed": made, "expected": exact(times[part])},
            }

    begun = np.array([angle])
    products = (
        Product(
            "swing",
            "PhysicsAnimation",
            {"t": times[:1], "positions": place(begun), "names": ["pivot", "bob"]},
        ),
        Product("angle", "Solution1D", {"x": times[:1], "computed": begun, "expected": begun}),
    )
    return Simulation(products, rows(), len(slices))


def pendulum_period(length: float, gravity: float, angle: float) -> float:
    """The exact period of a pendulum let go at `angle`: 2 pi sqrt(l/g) / agm(1, cos(angle/2))."""
    return float(2 * np.pi * np.sqrt(length / gravity) / agm(1.0, np.cos(angle / 2)))


def double_pendulum(
    *, angles: tuple[float, float], gravity: float, times: Floats, substeps: int = 20
) -> Simulation:
    """Two rods of length 1 with unit masses, one hanging from the other: chaos in the plane.

    Products: `swing` (pivot and both bobs, metres) and `energy` (change relative to the
    beginning, of the energy above the lowest position; the exact one is 0).
    """

    def slope(_: float, state: Floats) -> Floats:
        a, b, va, vb = state
        gap = a - b
        weight = 3.0 - np.cos(2 * gap)
        down_a = (
            -3 * gravity * np.sin(a)
            - gravity * np.sin(a - 2 * b)
            - 2 * np.sin(gap) * (vb**2 + va**2 * np.cos(gap))
        ) / weight
        down_b = (
            2 * np.sin(gap) * (2 * va**2 + 2 * gravity * np.cos(a) + vb**2 * np.cos(gap))
        ) / weight
        return np.array([va, vb, down_a, down_b])

    def energy(state: Floats) -> float:
        a, b, va, vb = state
        moving = va**2 + 0.5 * vb**2 + va * vb * np.cos(a - b)
        return float(moving + gravity * (3.0 - 2 * np.cos(a) - np.cos(b)))

    def place(states: Floats) -> Floats:
        a, b = states[:, 0], states[:, 1]
        first = np.stack([np.sin(a), -np.cos(a)], axis=-1)
        second = first + np.stack([np.sin(b), -np.cos(b)], axis=-1)
        return np.stack([np.zeros_like(first), first, second], axis=1)

    begun = np.array([*angles, 0.0, 0.0])
    whole = energy(begun)
    slices = list(batches(1, len(times), 40))

    def rows() -> Iterator[Mapping[str, Rows]]:
        state = begun
        for part in slices:
            states = []
            for k in range(part.start, part.stop):
                state = runge_kutta(slope, state, times[k - 1], times[k], substeps)
                states.append(state)
            drift = np.array([energy(one) / whole - 1.0 for one in states])
            yield {
                "swing": {"t": times[part], "positions": place(np.array(states))},
                "energy": {"x": times[part], "computed": drift, "expected": np.zeros_like(drift)},
            }

    nothing = np.zeros(1)
    products = (
        Product(
            "swing",
            "PhysicsAnimation",
            {
                "t": times[:1],
                "positions": place(begun[np.newaxis]),
                "names": ["pivot", "first bob", "second bob"],
            },
        ),
        Product("energy", "Solution1D", {"x": times[:1], "computed": nothing, "expected": nothing}),
    )
    return Simulation(products, rows(), len(slices))


Bodies = Literal["figure_eight", "disc"]


def n_body(
    bodies: Bodies,
    *,
    times: Floats,
    count: int = 200,
    seed: int = 0,
    softening: float = 0.0,
    substeps: int = 4,
) -> Simulation:
    """Bodies under their own gravity (G = 1), by a fourth order symplectic method.

    figure_eight: three equal masses chasing each other along one closed curve (Chenciner and
    Montgomery). disc: `count` light stars round a heavy centre. Products: `orbits` (positions in
    the plane) and `energy` (change relative to the beginning; the exact one is 0).
    """
    masses, position, velocity = _figure_eight() if bodies == "figure_eight" else _disc(count, seed)

    def force(at: Floats) -> Floats:
        apart = at[np.newaxis] - at[:, np.newaxis]
        square = np.sum(apart**2, axis=-1) + softening**2
        np.fill_diagonal(square, 1.0)
        return np.asarray(np.einsum("ijd,ij->id", apart, masses / square**1.5))

    def energy(at: Floats, speed: Floats) -> float:
        apart = at[np.newaxis] - at[:, np.newaxis]
        distance = np.sqrt(np.sum(apart**2, axis=-1) + softening**2)
        np.fill_diagonal(distance, np.inf)
        bound = 0.5 * np.sum(np.outer(masses, masses) / distance)
        return float(0.5 * np.sum(masses * np.sum(speed**2, axis=1)) - bound)

    whole = energy(position, velocity)
    slices = list(batches(1, len(times), 40))

    def rows() -> Iterator[Mapping[str, Rows]]:
        at, speed = position, velocity
        for part in slices:
            places, drift = [], []
            for k in range(part.start, part.stop):
                at, speed = symplectic(force, at, speed, times[k] - times[k - 1], substeps)
                places.append(at)
                drift.append(energy(at, speed) / whole - 1.0)
            changed = np.array(drift)
            yield {
                "orbits": {"t": times[part], "positions": np.array(places)},
                "energy": {
                    "x": times[part],
                    "computed": changed,
                    "expected": np.zeros_like(changed),
                },
            }

    nothing = np.zeros(1)
    first: dict[str, Any] = {"t": times[:1], "positions": position[np.newaxis]}
    products = (
        Product("orbits", "PhysicsAnimation", first),
        Product("energy", "Solution1D", {"x": times[:1], "computed": nothing, "expected": nothing}),
    )
    return Simulation(products, rows(), len(slices))


FIGURE_EIGHT_PERIOD = 6.32591398
"""After this time the three bodies of the figure eight are where they began."""


def _figure_eight() -> tuple[Floats, Floats, Floats]:
    place = np.array([0.97000436, -0.24308753])
    speed = np.array([-0.93240737, -0.86473146])
    position = np.array([place, -place, [0.0, 0.0]])
    velocity = np.array([-speed / 2, -speed / 2, speed])
    return np.ones(3), position, velocity


def _disc(count: int, seed: int) -> tuple[Floats, Floats, Floats]:
    random = np.random.default_rng(seed)
    radius = np.sqrt(random.uniform(0.15, 1.0, count))
    around = random.uniform(0.0, 2 * np.pi, count)
    masses = np.concatenate([[1.0], np.full(count, 0.1 / count)])
    place = radius[:, np.newaxis] * np.stack([np.cos(around), np.sin(around)], axis=-1)
    pace = np.sqrt((1.0 + 0.1 * radius**2) / radius)[:, np.newaxis]
    speed = pace * np.stack([-np.sin(around), np.cos(around)], axis=-1)
    centre = np.zeros((1, 2))
    return masses, np.concatenate([centre, place]), np.concatenate([centre, speed])
