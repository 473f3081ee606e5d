"""What a solver hands over: results that begin with something and then grow, row by row.

A solver is a generator of rows. Nothing is computed before it is asked for, so a caller that
saves each batch of rows shows the computation as it happens.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Rows = Mapping[str, Any]
"""New values of the growing fields of one result; every field grows by the same number."""

SECOND_AXIS = frozenset({("StochasticEnsemble", "paths")})
"""(result type, field) that grows along its second axis; everything else along its first."""


@dataclass(frozen=True, slots=True)
class Product:
    """One result of a simulation: its name, its type, and its data before the first rows."""

    name: str
    result_type: str
    first: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Simulation:
    """Results that grow. `rows` yields {product name: new rows}; the first product is the main one.

    `steps` is how many times `rows` yields, for a progress bar.
    """

    products: tuple[Product, ...]
    rows: Iterator[Mapping[str, Rows]]
    steps: int


def collect(simulation: Simulation) -> dict[str, dict[str, Any]]:
    """Run a simulation to its end; the whole data of each product."""
    whole: dict[str, dict[str, Any]] = {one.name: dict(one.first) for one in simulation.products}
    types = {one.name: one.result_type for one in simulation.products}
    for batch in simulation.rows:
        for name, rows in batch.items():
            whole[name] = grown(types[name], whole[name], rows)
    return whole


def grown(result_type: str, data: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """`data` with `rows` added; nested mappings (parameters) grow field by field."""
    result = dict(data)
    for field, new in rows.items():
        if isinstance(new, Mapping):
            result[field] = grown(result_type, result[field], new)
        else:
            axis = 1 if (result_type, field) in SECOND_AXIS else 0
            result[field] = np.concatenate([np.asarray(result[field]), np.asarray(new)], axis=axis)
    return result


def batches(first: int, total: int, count: int) -> Iterator[slice]:
    """The places from `first` to `total` in at most `count` slices of nearly equal length."""
    count = max(1, min(count, total - first))
    edges = np.linspace(first, total, count + 1).round().astype(int)
    for start, stop in itertools.pairwise(edges):
        if stop > start:
            yield slice(int(start), int(stop))
