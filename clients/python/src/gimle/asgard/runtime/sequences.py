"""Sequences: recurrences written as a formula, and Markov chains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from gimle.asgard.runtime.expression import Expression
from gimle.asgard.runtime.simulation import Product, Rows, Simulation, batches
from gimle.asgard.runtime.stream import RuntimeInputError

Floats = npt.NDArray[np.float64]


def recurrence(
    next_term: str,
    initial: Sequence[float],
    terms: int,
    *,
    expected: str | None = None,
    parameters: Mapping[str, float] | None = None,
    parts: int = 30,
) -> Simulation:
    """The sequence in which each term is a formula of `n` and of the terms before it.

    In `next_term`, `a` is the term before, `b` the one before that (with two initial values),
    and `n` the index of the term that is made, counted from 0. `expected` is a formula of `n`.
    """
    if not 1 <= len(initial) <= 2:
        raise RuntimeInputError("initial: give one value (a), or two (first b, then a)")
    constants = dict(parameters or {})
    before = ["a", "b"][: len(initial)]
    formula = Expression(next_term, ["n", *before, *constants])
    truth = Expression(expected, ["n", *constants]) if expected is not None else None
    slices = list(batches(len(initial), terms, parts))

    def data(n: Floats, values: Sequence[float]) -> dict[str, Floats]:
        row = {"n": n, "values": np.asarray(values, dtype=np.float64)}
        if truth is not None:
            row["expected"] = np.broadcast_to(truth.evaluate(n=n, **constants), n.shape).copy()
        return row

    def rows() -> Iterator[Mapping[str, Rows]]:
        last = list(reversed([float(value) for value in initial]))
        for part in slices:
            made = []
            for n in range(part.start, part.stop):
                scope = {"n": float(n), **dict(zip(before, last, strict=True)), **constants}
                value = float(formula.evaluate(**scope))
                made.append(value)
                last = [value, *last[:-1]]
            yield {"sequence": data(np.arange(part.start, part.stop, dtype=np.float64), made)}

    first = data(np.arange(len(initial), dtype=np.float64), list(initial))
    return Simulation((Product("sequence", "DiscreteSequence", first),), rows(), len(slices))


def markov_chain(
    matrix: Sequence[Sequence[float]],
    start: Sequence[float],
    steps: int,
    *,
    state: int = 0,
    walkers: int = 20_000,
    seed: int = 0,
    parts: int = 30,
) -> Simulation:
    """The share of `walkers` in `state` after each step, beside the exact probability.

    matrix: row i holds the probabilities of going from i to each state, and sums to 1.
    start: the distribution at step 0. Products: `frequency` (walkers against the exact value) and
    `probability` (the exact value alone).
    """
    chances = np.asarray(matrix, dtype=np.float64)
    share = np.asarray(start, dtype=np.float64)
    if chances.ndim != 2 or chances.shape != (share.size, share.size):
        raise RuntimeInputError("matrix must be square, with one row for each entry of start")
    if np.any(chances < 0) or not np.allclose(chances.sum(axis=1), 1.0):
        raise RuntimeInputError("matrix: every row must be probabilities that sum to 1")
    if np.any(share < 0) or not np.isclose(share.sum(), 1.0):
        raise RuntimeInputError("start must be probabilities that sum to 1")
    if not 0 <= state < share.size:
        raise RuntimeInputError(f"state must be from 0 to {share.size - 1}")
    reached = np.cumsum(chances, axis=1)
    random = np.random.default_rng(seed)
    places = np.searchsorted(np.cumsum(share)[:-1], random.random(walkers), side="right")
    slices = list(batches(1, steps + 1, parts))

    def row(n: Sequence[int], exact: Sequence[float], seen: Sequence[float]) -> dict[str, Rows]:
        index, truth = np.asarray(n, dtype=np.float64), np.asarray(exact)
        return {
            "frequency": {"n": index, "values": np.asarray(seen), "expected": truth},
            "probability": {"n": index, "values": truth},
        }

    def rows() -> Iterator[Mapping[str, Rows]]:
        now, where = share, places
        for part in slices:
            exact, seen = [], []
            for _ in range(part.start, part.stop):
                now = now @ chances
                draw = random.random(walkers)[:, np.newaxis]
                where = np.sum(reached[where, :-1] <= draw, axis=1)
                exact.append(float(now[state]))
                seen.append(float(np.mean(where == state)))
            yield row(range(part.start, part.stop), exact, seen)

    begin = row([0], [float(share[state])], [float(np.mean(places == state))])
    products = tuple(Product(name, "DiscreteSequence", dict(data)) for name, data in begin.items())
    return Simulation(products, rows(), len(slices))
