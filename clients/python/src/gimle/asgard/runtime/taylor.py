"""The Taylor coefficients of a formula, by arithmetic on power series."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from gimle.asgard.runtime import stream as series
from gimle.asgard.runtime.expression import Expression, ExpressionError
from gimle.asgard.runtime.stream import Stream


def taylor(text: str, order: Mapping[str, int], parameters: Mapping[str, float] = {}) -> Stream:
    """The series of a formula around 0, with `order` coefficients along each of its variables.

    Raises ExpressionError when the formula is not analytic there (`log(x)`, `1 / x`).
    """
    algebra = _SeriesAlgebra(order)
    values: dict[str, Stream] = {label: series.variable(label, order) for label in order}
    values |= {name: algebra.number(value) for name, value in parameters.items()}
    with np.errstate(all="ignore"):
        result: Stream = Expression(text, values).over(algebra, values)
    return result


class _SeriesAlgebra:
    """Formulas over power series; an analytic function is its own series, put round the centre."""

    def __init__(self, order: Mapping[str, int]) -> None:
        self.order = dict(order)
        self.functions: Mapping[str, Callable[..., Any]] = {
            "exp": lambda s: self.analytic(s, _repeat(math.exp)),
            "sin": lambda s: self.analytic(s, _cycle(math.sin, math.cos, -1)),
            "cos": lambda s: self.analytic(s, _cycle(math.cos, lambda c: -math.sin(c), -1)),
            "sinh": lambda s: self.analytic(s, _cycle(math.sinh, math.cosh, 1)),
            "cosh": lambda s: self.analytic(s, _cycle(math.cosh, math.sinh, 1)),
            "sqrt": lambda s: self.power(s, 0.5),
            "log": lambda s: self.analytic(s, _logarithm),
        }

    def number(self, value: float) -> Stream:
        """The constant series."""
        return series.constant(value, self.order)

    def binary(self, operator: type[ast.operator], left: Stream, right: Stream) -> Stream:
        """+ - * / and powers with a constant exponent."""
        if operator is ast.Add:
            return series.add(left, right)
        if operator is ast.Sub:
            return series.add(left, self.negative(right))
        if operator is ast.Mult:
            return series.multiply(left, right)
        if operator is ast.Div:
            return series.multiply(left, self.power(right, -1.0))
        if operator is ast.Pow and np.count_nonzero(right.data.flat[1:]) == 0:
            return self.power(left, self.centre(right))
        raise ExpressionError("a power series has no % and no exponent that varies")

    def negative(self, value: Stream) -> Stream:
        """Minus a series."""
        return series.scale(-1.0, value)

    def compare(self, operator: type[ast.cmpop], left: Stream, right: Stream) -> Stream:
        """Nothing that jumps has a power series: always raises ExpressionError."""
        raise ExpressionError("a comparison has no power series")

    def centre(self, value: Stream) -> float:
        """The constant term."""
        return float(value.data.flat[0])

    def power(self, base: Stream, exponent: float) -> Stream:
        """A series to any constant power; a whole one needs no value at the centre."""
        if exponent == int(exponent) and 0 <= exponent <= 64:
            total = self.number(1.0)
            for _ in range(int(exponent)):
                total = series.multiply(total, base)
            return total
        if self.centre(base) == 0.0 or (self.centre(base) < 0.0 and exponent != int(exponent)):
            raise ExpressionError(
                f"the base of the power {exponent:g} is {self.centre(base):g} at 0: no power series"
            )
        return self.analytic(base, lambda at: _powers(at, exponent))

    def analytic(self, value: Stream, derivatives: Callable[[float], Iterator[float]]) -> Stream:
        """F(series), from the derivatives F, F', F'', ... at the constant term."""
        at = self.centre(value)
        small = Stream(value.data.copy(), value.dim_labels)
        small.data.flat[0] = 0.0
        terms = sum(self.order.values()) - len(self.order) + 1
        total, power = self.number(0.0), self.number(1.0)
        for k, derivative in enumerate(islice(derivatives(at), terms)):
            if k:
                power = series.scale(1.0 / k, series.multiply(power, small))
            total = series.add(total, series.scale(derivative, power))
        return total


def _repeat(function: Callable[[float], float]) -> Callable[[float], Iterator[float]]:
    def derivatives(at: float) -> Iterator[float]:
        value = function(at)
        while True:
            yield value

    return derivatives


def _cycle(
    even: Callable[[float], float], odd: Callable[[float], float], sign: int
) -> Callable[[float], Iterator[float]]:
    """Derivatives that return, times `sign`, after two steps: sin, cos, sinh, cosh."""

    def derivatives(at: float) -> Iterator[float]:
        values = (even(at), odd(at))
        factor = 1.0
        while True:
            yield factor * values[0]
            yield factor * values[1]
            factor *= sign

    return derivatives


def _logarithm(at: float) -> Iterator[float]:
    if at <= 0.0:
        raise ExpressionError(f"the argument of log is {at:g} at 0: no power series there")
    yield math.log(at)
    yield from _powers(at, -1.0)


def _powers(at: float, exponent: float) -> Iterator[float]:
    factor = 1.0
    k = 0
    while True:
        yield factor * at ** (exponent - k)
        factor *= exponent - k
        k += 1
