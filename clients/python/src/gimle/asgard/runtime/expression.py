"""Formulas in text, evaluated without `eval`: `exp(-t) * sin(2 * pi * x)`.

The text is parsed by Python's own parser into a syntax tree, of which a short list of nodes is
let through; nothing is ever compiled or executed. Every number is a double, so no power can grow
without bound.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from gimle.asgard.core.errors import AsgardError

MAX_TEXT = 1_000
MAX_PARTS = 400
MAX_DEPTH = 60
MAX_EXPONENT = 1_000.0

Floats = npt.NDArray[np.float64]


class ExpressionError(AsgardError, ValueError):
    """A formula that cannot be read or evaluated; the message says where, and what is allowed."""


class Algebra(Protocol):
    """What a formula is computed over: arrays of numbers, or power series."""

    functions: Mapping[str, Callable[..., Any]]

    def number(self, value: float) -> Any:
        """A constant."""

    def binary(self, operator: type[ast.operator], left: Any, right: Any) -> Any:
        """left operator right, for + - * / ** and %."""

    def negative(self, value: Any) -> Any:
        """Minus a value."""

    def compare(self, operator: type[ast.cmpop], left: Any, right: Any) -> Any:
        """left operator right, for < <= > >= == !=."""


_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.Mod)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
CONSTANTS = {"pi": math.pi, "e": math.e}
ARGUMENTS = {"atan2": 2, "min": 2, "max": 2, "where": 3}
"""How many arguments a function takes, where it is not one."""


class NumberAlgebra:
    """Formulas over float64 arrays."""

    functions: Mapping[str, Callable[..., Any]] = {
        "sin": np.sin,
        "cos": np.cos,
        "tan": np.tan,
        "asin": np.arcsin,
        "acos": np.arccos,
        "atan": np.arctan,
        "atan2": np.arctan2,
        "sinh": np.sinh,
        "cosh": np.cosh,
        "tanh": np.tanh,
        "exp": np.exp,
        "log": np.log,
        "log10": np.log10,
        "sqrt": np.sqrt,
        "abs": np.abs,
        "sign": np.sign,
        "floor": np.floor,
        "ceil": np.ceil,
        "min": np.minimum,
        "max": np.maximum,
        "where": np.where,
        "erf": np.vectorize(math.erf, otypes=[np.float64]),
    }

    def number(self, value: float) -> Any:
        """A float64 scalar, so that arithmetic follows numpy, not Python's integers."""
        return np.float64(value)

    def binary(self, operator: type[ast.operator], left: Any, right: Any) -> Any:
        """Element by element."""
        return _BINARY[operator](left, right)

    def negative(self, value: Any) -> Any:
        """Element by element."""
        return np.negative(value)

    def compare(self, operator: type[ast.cmpop], left: Any, right: Any) -> Any:
        """Element by element, giving booleans for `where`."""
        return _COMPARE[operator](left, right)


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.float_power,
    ast.Mod: np.mod,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


class Expression:
    """A formula in some variables, checked when it is made.

    >>> float(Expression("x^2 + 1", ["x"]).evaluate(x=3.0))
    10.0
    """

    def __init__(self, text: str, variables: Iterable[str] = ()) -> None:
        self.text = text
        self.variables = tuple(variables)
        self._root = _parse(text)
        self._check(self._root)

    def evaluate(self, **values: npt.ArrayLike) -> Floats:
        """The value for the given variables, broadcast together; float64.

        Division by zero and the like give inf or NaN, as in numpy.
        """
        arrays = {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}
        with np.errstate(all="ignore"):
            return np.asarray(self.over(NumberAlgebra(), arrays), dtype=np.float64)

    def over(self, algebra: Algebra, values: Mapping[str, Any]) -> Any:
        """The value in any algebra; `values` gives its elements for the variables."""
        missing = [name for name in self.variables if name not in values]
        if missing:
            raise ExpressionError(f"{self.text!r}: no value for {', '.join(missing)}")
        return self._value(self._root, algebra, values)

    def _value(self, node: ast.expr, algebra: Algebra, values: Mapping[str, Any]) -> Any:
        match node:
            case ast.Constant(value=value):
                return algebra.number(float(value))  # type: ignore[arg-type]  # checked: a number
            case ast.Name(id=name):
                return values[name] if name in values else algebra.number(CONSTANTS[name])
            case ast.BinOp(left=left, op=operator, right=right):
                one = self._value(left, algebra, values)
                two = self._value(right, algebra, values)
                return algebra.binary(type(operator), one, two)
            case ast.UnaryOp(op=operator, operand=operand):
                inner = self._value(operand, algebra, values)
                return algebra.negative(inner) if isinstance(operator, ast.USub) else inner
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                one = self._value(left, algebra, values)
                two = self._value(right, algebra, values)
                return algebra.compare(type(operator), one, two)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                function = algebra.functions.get(name)
                if function is None:
                    raise ExpressionError(f"{self.text!r}: {name} cannot be used in this place")
                return function(*(self._value(one, algebra, values) for one in arguments))
        raise ExpressionError(f"{self.text!r}: {type(node).__name__} is not allowed")

    def _check(self, root: ast.expr) -> None:
        waiting: list[tuple[ast.expr, int]] = [(root, 1)]
        parts = 0
        while waiting:
            node, depth = waiting.pop()
            parts += 1
            if parts > MAX_PARTS or depth > MAX_DEPTH:
                raise ExpressionError(
                    f"the formula is too large: at most {MAX_PARTS} parts, {MAX_DEPTH} deep"
                )
            waiting.extend((inside, depth + 1) for inside in self._inside(node))

    def _inside(self, node: ast.expr) -> list[ast.expr]:
        """The parts of an allowed node. Raises ExpressionError for any other node."""
        match node:
            case ast.Constant(value=value) if type(value) in (int, float):
                if abs(float(value)) < math.inf:  # type: ignore[arg-type]  # an int or a float
                    return []
            case ast.Name(id=name):
                if name in self.variables or name in CONSTANTS:
                    return []
                known = ", ".join([*self.variables, *CONSTANTS])
                raise self._refuse(node, f"unknown name {name!r}; known: {known}")
            case ast.BinOp(left=left, op=operator, right=right) if isinstance(operator, _OPERATORS):
                if isinstance(operator, ast.Pow):
                    self._check_exponent(right)
                return [left, right]
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                return [operand]
            case ast.Compare(left=left, ops=[operator], comparators=[right]) if isinstance(
                operator, _COMPARISONS
            ):
                return [left, right]
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                if name not in NumberAlgebra.functions:
                    known = ", ".join(NumberAlgebra.functions)
                    raise self._refuse(node, f"unknown function {name!r}; known: {known}")
                wanted = ARGUMENTS.get(name, 1)
                if len(arguments) != wanted:
                    raise self._refuse(
                        node, f"{name} takes {wanted} argument(s), not {len(arguments)}"
                    )
                return list(arguments)
        raise self._refuse(
            node,
            f"{type(node).__name__} is not allowed; a formula has numbers, names, + - * / ^ % "
            "and functions",
        )

    def _check_exponent(self, exponent: ast.expr) -> None:
        plain = exponent.operand if isinstance(exponent, ast.UnaryOp) else exponent
        value = plain.value if isinstance(plain, ast.Constant) else None
        if isinstance(value, int | float) and abs(value) > MAX_EXPONENT:
            raise self._refuse(exponent, f"the exponent is larger than {MAX_EXPONENT:g}")

    def _refuse(self, node: ast.expr, problem: str) -> ExpressionError:
        return ExpressionError(f"{self.text!r}, column {node.col_offset + 1}: {problem}")


def _parse(text: str) -> ast.expr:
    if not isinstance(text, str) or not text.strip():
        raise ExpressionError("a formula is text such as `sin(x)`, and not empty")
    if len(text) > MAX_TEXT:
        raise ExpressionError(f"the formula is longer than {MAX_TEXT} characters")
    # Python's own parser is recursive: brackets and signs are counted before it sees them.
    if _deepest(text) > MAX_DEPTH:
        raise ExpressionError(f"the formula is nested more than {MAX_DEPTH} deep")
    source = " ".join(text.replace("^", "**").split())
    try:
        return ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        where = f" near column {error.offset}" if isinstance(error, SyntaxError) else ""
        raise ExpressionError(f"{text!r} is not a formula{where}") from None


def _deepest(text: str) -> int:
    depth = deepest = signs = 0
    for character in text:
        signs = signs + 1 if character in "+-~^*" else 0 if character.strip() else signs
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth, signs)
    return deepest
