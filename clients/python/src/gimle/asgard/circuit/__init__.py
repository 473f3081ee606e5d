"""Circuits: networks of streams, built from a handful of atoms and four combinators.

>>> from gimle.asgard.circuit.circuit import Circuit
>>> print(Circuit.from_string("composition(register(x), deregister(x))"))
composition(register(x), deregister(x)) [1->1]
"""

from __future__ import annotations

from gimle.asgard.circuit.circuit import Circuit
from gimle.asgard.circuit.nodes import CircuitError

__all__ = ["Circuit", "CircuitError"]
