"""Minimising a formula, and fitting one to data: losses and parameters step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gimle.asgard.runtime.dual import value_and_gradient
from gimle.asgard.runtime.expression import Expression
from gimle.asgard.runtime.simulation import Product, Rows, Simulation, batches
from gimle.asgard.runtime.stream import RuntimeInputError

Floats = npt.NDArray[np.float64]
Method = Literal["gradient_descent", "momentum", "adam"]
Rule = Callable[[Floats], Floats]


def minimise(
    loss: str,
    start: Mapping[str, float],
    steps: int,
    *,
    method: Method = "gradient_descent",
    rate: float = 0.01,
    momentum: float = 0.9,
    noise: float = 0.0,
    seed: int = 0,
    optimum: Mapping[str, float] | None = None,
    parameters: Mapping[str, float] | None = None,
    parts: int = 40,
) -> Simulation:
    """Minimise the formula `loss` of the names in `start`, with exact gradients.

    rate: step size. noise: standard deviation of what is added to each gradient, as a
    mini-batch would (seeded). optimum: where the minimum is known to be, kept with the result.
    Raises RuntimeInputError when the loss stops being finite: the rate is too large.
    """
    fixed = dict(parameters or {})
    formula = Expression(loss, [*start, *fixed])
    rule = _rule(method, rate, momentum)
    random = np.random.default_rng(seed)
    names = list(start)
    begin = np.array([float(value) for value in start.values()])
    slices = list(batches(1, steps + 1, parts))

    def look(at: Floats) -> tuple[float, Floats]:
        value, gradient = value_and_gradient(
            formula, dict(zip(names, at.tolist(), strict=True)), fixed
        )
        if not np.isfinite(value) or not np.all(np.isfinite(gradient)):
            raise RuntimeInputError("the loss is no longer finite; lower `rate`")
        return float(value), gradient

    def rows() -> Iterator[Mapping[str, Rows]]:
        at = begin
        _, slope = look(at)
        for part in slices:
            losses, places = [], []
            for _ in range(part.start, part.stop):
                at = at - rule(slope + noise * random.standard_normal(at.shape))
                value, slope = look(at)
                losses.append(value)
                places.append(at)
            yield {"descent": _row(names, losses, np.array(places))}

    first: dict[str, Any] = _row(names, [look(begin)[0]], begin[np.newaxis])
    if optimum is not None:
        first["optimum"] = {name: float(value) for name, value in optimum.items()}
    return Simulation((Product("descent", "OptimizationResult", first),), rows(), len(slices))


def fit(
    model: str,
    truth: Mapping[str, float],
    start: Mapping[str, float],
    x: Floats,
    *,
    noise: float,
    seed: int,
    steps: int = 60,
    variable: str = "t",
    parts: int = 40,
) -> Simulation:
    """Recover the parameters of a formula from noisy samples (Levenberg-Marquardt).

    The samples are the formula at `truth` plus normal noise of standard deviation `noise`.
    Products: `fit` (half the mean squared residual, and the parameters) and `curve` (the fitted
    function against the true one, saved at the end).
    """
    if set(truth) != set(start):
        raise RuntimeInputError("truth and start must name the same parameters")
    formula = Expression(model, [variable, *start])
    exact = formula.evaluate(**{variable: x}, **truth)
    samples = exact + noise * np.random.default_rng(seed).standard_normal(x.shape)
    names = list(start)
    begin = np.array([float(start[name]) for name in names])

    def look(at: Floats) -> tuple[float, Floats, Floats]:
        scope = dict(zip(names, at.tolist(), strict=True))
        value, slope = value_and_gradient(formula, scope, {variable: x})
        left = value - samples
        return 0.5 * float(np.mean(left**2)), left, slope

    def rows() -> Iterator[Mapping[str, Rows]]:
        at, damping = begin, 1.0
        value, left, slope = look(at)
        for part in batches(1, steps + 1, parts):
            losses, places = [], []
            for _ in range(part.start, part.stop):
                square = slope @ slope.T
                push = np.linalg.solve(square + damping * np.diag(np.diag(square)), slope @ left)
                trial = look(at - push)
                if np.isfinite(trial[0]) and trial[0] <= value:
                    at, damping = at - push, max(damping / 3.0, 1e-12)
                    value, left, slope = trial
                else:
                    damping = min(damping * 4.0, 1e12)
                losses.append(value)
                places.append(at)
            yield {"fit": _row(names, losses, np.array(places))}
        fitted = formula.evaluate(**{variable: x}, **dict(zip(names, at, strict=True)))
        yield {"curve": {"x": x, "computed": fitted, "expected": exact}}

    begun: dict[str, Any] = _row(names, [look(begin)[0]], begin[np.newaxis])
    begun["optimum"] = {name: float(truth[name]) for name in names}
    nothing = np.empty(0)
    curve = {"x": nothing, "computed": nothing, "expected": nothing}
    products = (Product("fit", "OptimizationResult", begun), Product("curve", "Solution1D", curve))
    return Simulation(products, rows(), len(list(batches(1, steps + 1, parts))) + 1)


def heat_source(
    amplitudes: Mapping[str, float],
    *,
    diffusivity: float,
    time: float,
    points: int,
    noise: float,
    seed: int,
    steps: int,
    rate: float,
    parts: int = 40,
) -> Simulation:
    """Find how a rod was heated at time 0 from noisy temperatures at `time`.

    The rod has length 1 and ends held at 0; the heating is a sum of amplitude * sin(k pi x) for
    the k in the names (`a1`, `a2`, ...). Every loss needs a run of the heat equation (implicit
    midpoint steps); its gradient, the adjoint run backwards. Products: `search`, and `heating`,
    the recovered initial temperature against the true one.
    """
    modes = np.array([_mode(name) for name in amplitudes], dtype=np.float64)
    x = np.linspace(0.0, 1.0, points)
    shapes = np.sin(np.pi * modes[:, np.newaxis] * x[np.newaxis, 1:-1])
    truth = np.array([float(value) for value in amplitudes.values()])
    step = _midpoint_step(points, diffusivity, time / 100)
    forward = np.linalg.matrix_power(step, 100)
    random = np.random.default_rng(seed)
    seen = forward @ (truth @ shapes) + noise * random.standard_normal(points - 2)
    names = list(amplitudes)

    def look(at: Floats) -> tuple[float, Floats]:
        left = at @ shapes
        for _ in range(100):
            left = step @ left
        left = left - seen
        back = left
        for _ in range(100):
            back = step.T @ back
        return 0.5 * float(np.mean(left**2)), shapes @ back / left.size

    slices = list(batches(1, steps + 1, parts))

    def rows() -> Iterator[Mapping[str, Rows]]:
        # Gradient steps with the curvature of each mode: a faint mode needs a longer step.
        faded = forward @ shapes.T
        curvature = np.linalg.inv(faded.T @ faded / (points - 2))
        at = np.zeros_like(truth)
        _, slope = look(at)
        for part in slices:
            losses, places = [], []
            for _ in range(part.start, part.stop):
                at = at - rate * curvature @ slope
                value, slope = look(at)
                losses.append(value)
                places.append(at)
            yield {"search": _row(names, losses, np.array(places))}
        ends = np.zeros(1)
        found, true = (np.concatenate([ends, a @ shapes, ends]) for a in (at, truth))
        yield {"heating": {"x": x, "computed": found, "expected": true}}

    zero = np.zeros_like(truth)
    begun: dict[str, Any] = _row(names, [look(zero)[0]], zero[np.newaxis])
    begun["optimum"] = {name: float(value) for name, value in amplitudes.items()}
    nothing = np.empty(0)
    heating = {"x": nothing, "computed": nothing, "expected": nothing}
    products = (
        Product("search", "OptimizationResult", begun),
        Product("heating", "Solution1D", heating),
    )
    return Simulation(products, rows(), len(slices) + 1)


def _mode(name: str) -> int:
    if name[:1] != "a" or not name[1:].isdigit() or int(name[1:]) < 1:
        raise RuntimeInputError(f"amplitude {name!r} must be a1, a2, ...: the number of half waves")
    return int(name[1:])


def _midpoint_step(points: int, diffusivity: float, duration: float) -> Floats:
    inner = points - 2
    ratio = diffusivity * duration * (points - 1) ** 2
    second = np.diag(np.full(inner, -2.0))
    second += np.diag(np.ones(inner - 1), 1) + np.diag(np.ones(inner - 1), -1)
    half = ratio / 2 * second
    return np.asarray(np.linalg.solve(np.eye(inner) - half, np.eye(inner) + half))


def _row(names: list[str], losses: list[float], places: Floats) -> dict[str, Any]:
    return {
        "loss": np.array(losses),
        "parameters": {name: places[:, i].copy() for i, name in enumerate(names)},
    }


def _rule(method: Method, rate: float, momentum: float) -> Rule:
    """What is taken from the parameters for a gradient."""
    if method == "gradient_descent":
        return lambda slope: rate * slope
    if method == "momentum":
        return _Momentum(rate, momentum)
    return _Adam(rate)


class _Momentum:
    def __init__(self, rate: float, momentum: float) -> None:
        self.rate, self.momentum = rate, momentum
        self.speed: Floats | float = 0.0

    def __call__(self, slope: Floats) -> Floats:
        self.speed = self.momentum * self.speed + self.rate * slope
        return np.asarray(self.speed)


class _Adam:
    """Kingma and Ba's rule, with their constants."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.mean: Floats | float = 0.0
        self.square: Floats | float = 0.0
        self.count = 0

    def __call__(self, slope: Floats) -> Floats:
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * slope
        self.square = 0.999 * self.square + 0.001 * slope**2
        mean = self.mean / (1.0 - 0.9**self.count)
        square = self.square / (1.0 - 0.999**self.count)
        return np.asarray(self.rate * mean / (np.sqrt(square) + 1e-8))
