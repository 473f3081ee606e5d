"""The little language of equations, and their compilation to circuits.

>>> from gimle.asgard.equation import Equation, compile_equation_to_circuit
>>> print(compile_equation_to_circuit(Equation.from_string("int(f, x) = g")))
register(x) [1->1]
"""

from __future__ import annotations

from gimle.asgard.equation.compiler import compile_equation_to_circuit
from gimle.asgard.equation.equation import Equation
from gimle.asgard.equation.terms import EquationError

__all__ = ["Equation", "EquationError", "compile_equation_to_circuit"]
