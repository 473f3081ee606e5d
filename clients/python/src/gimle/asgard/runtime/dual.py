"""Exact gradients of formulas, by arithmetic on (value, gradient) pairs."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gimle.asgard.runtime.expression import Expression, ExpressionError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Dual:
    """A value of shape S with its gradient of shape [parameter, *S]."""

    value: Floats
    gradient: Floats


def value_and_gradient(
    formula: Expression, at: Mapping[str, float], fixed: Mapping[str, npt.ArrayLike] | None = None
) -> tuple[Floats, Floats]:
    """The value of `formula` (shape S) and its derivatives ([parameter, *S]) by each of `at`.

    `fixed` gives the variables that are not differentiated by, arrays of shape S.
    """
    others = {name: np.asarray(one, dtype=np.float64) for name, one in (fixed or {}).items()}
    shape = np.broadcast_shapes(*(one.shape for one in others.values()), ())
    algebra = _DualAlgebra(len(at), shape)
    scope: dict[str, Dual] = {name: algebra.constant(one) for name, one in others.items()}
    for place, (name, value) in enumerate(at.items()):
        gradient = np.zeros((len(at), *shape))
        gradient[place] = 1.0
        scope[name] = Dual(np.full(shape, float(value)), gradient)
    with np.errstate(all="ignore"):
        result: Dual = formula.over(algebra, scope)
    return result.value, result.gradient


class _DualAlgebra:
    def __init__(self, parameters: int, shape: tuple[int, ...]) -> None:
        self.parameters = parameters
        self.shape = shape
        one = self._chain
        self.functions: Mapping[str, Callable[..., Any]] = {
            "sin": one(np.sin, np.cos),
            "cos": one(np.cos, lambda x: -np.sin(x)),
            "tan": one(np.tan, lambda x: 1.0 / np.cos(x) ** 2),
            "sinh": one(np.sinh, np.cosh),
            "cosh": one(np.cosh, np.sinh),
            "tanh": one(np.tanh, lambda x: 1.0 / np.cosh(x) ** 2),
            "atan": one(np.arctan, lambda x: 1.0 / (1.0 + x * x)),
            "exp": one(np.exp, np.exp),
            "log": one(np.log, lambda x: 1.0 / x),
            "sqrt": one(np.sqrt, lambda x: 0.5 / np.sqrt(x)),
            "abs": one(np.abs, np.sign),
        }

    def constant(self, value: Floats) -> Dual:
        full = np.broadcast_to(value, self.shape)
        return Dual(full, np.zeros((self.parameters, *self.shape)))

    def number(self, value: float) -> Dual:
        return self.constant(np.asarray(value))

    def negative(self, value: Dual) -> Dual:
        return Dual(-value.value, -value.gradient)

    def compare(self, operator: type[ast.cmpop], left: Dual, right: Dual) -> Dual:
        raise ExpressionError("a comparison has no gradient")

    def binary(self, operator: type[ast.operator], left: Dual, right: Dual) -> Dual:
        a, b, da, db = left.value, right.value, left.gradient, right.gradient
        if operator is ast.Add:
            return Dual(a + b, da + db)
        if operator is ast.Sub:
            return Dual(a - b, da - db)
        if operator is ast.Mult:
            return Dual(a * b, a * db + b * da)
        if operator is ast.Div:
            return Dual(a / b, (da - a / b * db) / b)
        if operator is ast.Pow:
            power = np.float_power(a, b)
            slope = b * np.float_power(a, b - 1.0) * da
            if np.any(db):
                slope = slope + power * np.log(a) * db
            return Dual(power, slope)
        raise ExpressionError("% has no gradient")

    @staticmethod
    def _chain(
        function: Callable[[Floats], Floats], slope: Callable[[Floats], Floats]
    ) -> Callable[[Dual], Dual]:
        return lambda x: Dual(function(x.value), slope(x.value) * x.gradient)
