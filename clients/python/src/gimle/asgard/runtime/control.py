"""Controlled systems: a PID loop round a mass on a spring, and a balanced cart and pole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from gimle.asgard.runtime.integrate import runge_kutta
from gimle.asgard.runtime.simulation import Product, Rows, Simulation, batches
from gimle.asgard.runtime.stream import RuntimeInputError

Floats = npt.NDArray[np.float64]


def pid_loop(
    *,
    mass: float,
    damping: float,
    stiffness: float,
    gains: tuple[float, float, float],
    target: float,
    times: Floats,
    substeps: int = 20,
) -> Simulation:
    """A mass on a spring driven to `target` by a PID controller (metres, newtons, seconds).

    The derivative acts on the measured position, so a step of the target gives no kick.
    Products: `position` against the exact answer of the closed loop (matrix exponential), and
    `force`.
    """
    p, i, d = gains
    # State: position, speed, integral of the error.
    matrix = np.array(
        [
            [0.0, 1.0, 0.0],
            [-(stiffness + p) / mass, -(damping + d) / mass, i / mass],
            [-1.0, 0.0, 0.0],
        ]
    )
    push = np.array([0.0, p * target / mass, target])
    values, vectors = np.linalg.eig(matrix)
    if np.max(values.real) >= 0.0:
        raise RuntimeInputError("these gains make the loop unstable; lower i or raise d")
    rest = np.linalg.solve(matrix, -push)
    shares = np.linalg.solve(vectors, -rest.astype(complex))

    def exact(t: Floats) -> Floats:
        motion = vectors @ (shares[:, np.newaxis] * np.exp(np.outer(values, t)))
        return np.asarray(rest[0] + motion[0].real)

    def slope(_: float, state: Floats) -> Floats:
        return np.asarray(matrix @ state + push)

    def force(states: Floats) -> Floats:
        x, v, total = states.T
        return np.asarray(p * (target - x) + i * total - d * v)

    def row(t: Floats, states: Floats) -> dict[str, Rows]:
        return {
            "position": {"x": t, "computed": states[:, 0].copy(), "expected": exact(t - times[0])},
            "force": {"x": t, "computed": force(states)},
        }

    slices = list(batches(1, len(times), 40))

    def rows() -> Iterator[Mapping[str, Rows]]:
        state = np.zeros(3)
        for part in slices:
            states = []
            for k in range(part.start, part.stop):
                state = runge_kutta(slope, state, times[k - 1], times[k], substeps)
                states.append(state)
            yield row(times[part], np.array(states))

    first = row(times[:1], np.zeros((1, 3)))
    products = tuple(Product(name, "Solution1D", dict(data)) for name, data in first.items())
    return Simulation(products, rows(), len(slices))


def lqr_gain(a: Floats, b: Floats, q: Floats, r: Floats) -> Floats:
    """The gain K of the control u = -K x that minimises the integral of x'Qx + u'Ru.

    Solves the algebraic Riccati equation through the stable half of its Hamiltonian.
    """
    size = a.shape[0]
    weighted = b @ np.linalg.solve(r, b.T)
    values, vectors = np.linalg.eig(np.block([[a, -weighted], [-q, -a.T]]))
    stable = vectors[:, values.real < 0]
    if stable.shape[1] != size:
        raise RuntimeInputError("the system cannot be stabilised with this input")
    riccati = np.real(stable[size:] @ np.linalg.inv(stable[:size]))
    return np.asarray(np.linalg.solve(r, b.T @ riccati))


def cart_pole(
    *,
    cart: float,
    pole: float,
    length: float,
    gravity: float,
    angle: float,
    effort: float,
    times: Floats,
    substeps: int = 10,
) -> Simulation:
    """A pole on a cart, held upright by LQR (kilograms, metres, radians from upright).

    The gain comes from the linearised system, the motion from the full equations. effort: the
    weight of the force against the state. Products: `cart` (cart and tip of the pole) and
    `angle`.
    """
    total = cart + pole
    a = np.zeros((4, 4))
    a[0, 1] = a[2, 3] = 1.0
    a[1, 2] = -pole * gravity / cart
    a[3, 2] = total * gravity / (cart * length)
    b = np.array([[0.0], [1.0 / cart], [0.0], [-1.0 / (cart * length)]])
    gain = lqr_gain(a, b, np.diag([1.0, 0.1, 10.0, 0.1]), np.array([[effort]]))

    def slope(_: float, state: Floats) -> Floats:
        _, speed, theta, turn = state
        push = -float(gain[0] @ state)
        sin, cos = np.sin(theta), np.cos(theta)
        inertia = cart + pole * sin**2
        rush = (push + pole * sin * (length * turn**2 - gravity * cos)) / inertia
        swing = (gravity * sin - rush * cos) / length
        return np.array([speed, rush, turn, swing])

    def place(states: Floats) -> Floats:
        x, theta = states[:, 0], states[:, 2]
        floor = np.stack([x, np.zeros_like(x)], axis=-1)
        tip = floor + length * np.stack([np.sin(theta), np.cos(theta)], axis=-1)
        return np.stack([floor, tip], axis=1)

    def row(t: Floats, states: Floats) -> dict[str, Rows]:
        return {
            "cart": {"t": t, "positions": place(states)},
            "angle": {"x": t, "computed": states[:, 2].copy()},
        }

    begun = np.array([0.0, 0.0, angle, 0.0])
    slices = list(batches(1, len(times), 40))

    def rows() -> Iterator[Mapping[str, Rows]]:
        state = begun
        for part in slices:
            states = []
            for k in range(part.start, part.stop):
                state = runge_kutta(slope, state, times[k - 1], times[k], substeps)
                states.append(state)
            yield row(times[part], np.array(states))

    first = row(times[:1], begun[np.newaxis])
    products = (
        Product("cart", "PhysicsAnimation", {**first["cart"], "names": ["cart", "tip"]}),
        Product("angle", "Solution1D", dict(first["angle"])),
    )
    return Simulation(products, rows(), len(slices))
