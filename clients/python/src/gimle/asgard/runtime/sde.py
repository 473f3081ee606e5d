"""Stochastic differential equations: read from text, solved for many paths at once.

`sde(drift, diffusion, t) = X` is dX = drift dt + diffusion dW; several are separated by `;`.
Each state has a Brownian motion of its own; `correlation` ties them together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from gimle.asgard.runtime.expression import Expression
from gimle.asgard.runtime.simulation import Product, Rows, Simulation, batches
from gimle.asgard.runtime.stream import RuntimeInputError

Floats = npt.NDArray[np.float64]
Scheme = Literal["euler", "milstein"]

_EQUATION = re.compile(r"\s*sde\s*\((?P<inside>.*)\)\s*=\s*(?P<state>[A-Za-z]\w*)\s*", re.S | re.I)
_PARAMETER = re.compile(r"\$([A-Za-z]\w*)")


@dataclass(frozen=True, slots=True)
class StochasticSystem:
    """States, and for each the formulas of its drift and its diffusion."""

    states: tuple[str, ...]
    drift: tuple[Expression, ...]
    diffusion: tuple[Expression, ...]
    time: str
    parameters: Mapping[str, float]


def read_system(text: str, parameters: Mapping[str, float]) -> StochasticSystem:
    """Read `sde(drift, diffusion, t) = X; ...`; parameters are written `$name`.

    Raises RuntimeInputError for another shape, ExpressionError for a bad formula.
    """
    pieces = []
    for piece in filter(str.strip, text.split(";")):
        found = _EQUATION.fullmatch(piece)
        arguments = _split(found["inside"]) if found else []
        if found is None or len(arguments) != 3:
            raise RuntimeInputError(
                f"{piece.strip()!r} is not of the form sde(drift, diffusion, t) = X"
            )
        pieces.append((found["state"], *(one.strip() for one in arguments)))
    if not pieces:
        raise RuntimeInputError("the equation is empty; write sde(drift, diffusion, t) = X")
    states = tuple(piece[0] for piece in pieces)
    times = {piece[3] for piece in pieces}
    if len(times) != 1 or len(set(states)) != len(states):
        raise RuntimeInputError("the equations must share one time and name different states")
    time = times.pop()
    missing = {name for name in _PARAMETER.findall(text) if name not in parameters}
    if missing:
        raise RuntimeInputError(
            f"no value for {', '.join('$' + name for name in sorted(missing))}; "
            "add it to `parameters:`"
        )
    known = (*states, time, *parameters)

    def formula(source: str) -> Expression:
        return Expression(_PARAMETER.sub(r"\1", source), known)

    return StochasticSystem(
        states,
        tuple(formula(piece[1]) for piece in pieces),
        tuple(formula(piece[2]) for piece in pieces),
        time,
        dict(parameters),
    )


def ensemble(
    system: StochasticSystem,
    initial: Mapping[str, float],
    times: Floats,
    *,
    paths: int,
    seed: int,
    scheme: Scheme = "milstein",
    substeps: int = 1,
    correlation: Sequence[Sequence[float]] | None = None,
    parts: int = 30,
) -> Simulation:
    """Solve for `paths` paths on the grid `times`; one StochasticEnsemble for each state.

    euler: strong order 1/2. milstein: strong order 1 (each state's noise depends on that state
    alone). substeps: steps of the scheme between two times. correlation: matrix of the Brownian
    motions, symmetric and positive definite. The same seed gives the same paths.
    """
    mixing = _mixing(correlation, len(system.states))
    missing = [name for name in system.states if name not in initial]
    if missing:
        raise RuntimeInputError(f"no initial value for {', '.join(missing)}")
    state = np.array([[float(initial[name])] * paths for name in system.states])
    products = tuple(
        Product(name, "StochasticEnsemble", {"t": times[:1], "paths": state[i, :, np.newaxis]})
        for i, name in enumerate(system.states)
    )
    slices = list(batches(1, len(times), parts))

    def rows() -> Iterator[Mapping[str, Rows]]:
        random = np.random.default_rng(seed)
        now = state
        for part in slices:
            kept = np.empty((len(system.states), paths, part.stop - part.start))
            for k in range(part.start, part.stop):
                step = (times[k] - times[k - 1]) / substeps
                for j in range(substeps):
                    noise = mixing @ random.standard_normal(now.shape) * np.sqrt(step)
                    now = _step(system, scheme, times[k - 1] + j * step, now, step, noise)
                kept[:, :, k - part.start] = now
            yield {
                name: {"t": times[part], "paths": kept[i]} for i, name in enumerate(system.states)
            }

    return Simulation(products, rows(), len(slices))


def _step(
    system: StochasticSystem, scheme: Scheme, t: float, now: Floats, step: float, noise: Floats
) -> Floats:
    scope = {**system.parameters, system.time: t, **dict(zip(system.states, now, strict=True))}
    drift = np.stack([_over(one, scope, now.shape[1]) for one in system.drift])
    diffusion = np.stack([_over(one, scope, now.shape[1]) for one in system.diffusion])
    after = now + drift * step + diffusion * noise
    if scheme == "milstein":
        for i, name in enumerate(system.states):
            # b b' / 2 (dW² - dt), the derivative by a central difference.
            reach = 1e-6 * np.maximum(1.0, np.abs(now[i]))
            above = _over(system.diffusion[i], {**scope, name: now[i] + reach}, now.shape[1])
            below = _over(system.diffusion[i], {**scope, name: now[i] - reach}, now.shape[1])
            slope = (above - below) / (2 * reach)
            after[i] += 0.5 * diffusion[i] * slope * (noise[i] ** 2 - step)
    return np.asarray(after, dtype=np.float64)


def _over(formula: Expression, scope: Mapping[str, npt.ArrayLike], paths: int) -> Floats:
    return np.broadcast_to(formula.evaluate(**scope), (paths,))


def _mixing(correlation: Sequence[Sequence[float]] | None, size: int) -> Floats:
    if correlation is None:
        return np.eye(size)
    matrix = np.asarray(correlation, dtype=np.float64)
    if matrix.shape != (size, size) or not np.allclose(matrix, matrix.T):
        raise RuntimeInputError(f"correlation must be a symmetric {size} x {size} matrix")
    if not np.allclose(np.diag(matrix), 1.0):
        raise RuntimeInputError("correlation must have ones on its diagonal")
    try:
        return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:
        raise RuntimeInputError(
            "correlation is not positive definite; bring its values nearer to 0"
        ) from None


def _split(text: str) -> list[str]:
    """The text at its commas outside brackets."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]
