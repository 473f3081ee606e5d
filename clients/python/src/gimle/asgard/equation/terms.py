"""Terms of equations, and what can be known of one without computing it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gimle.asgard.core.errors import AsgardError

MAX_DEPTH = 150
"""Deepest nesting of an equation (a compiled circuit is about twice as deep)."""

MAX_EXPONENT = 64
"""Largest power an equation may raise to."""

MAX_STEPS = 10_000
"""Most parts visited while lambdas are applied."""

Kind = Literal[
    "number",
    "name",
    "int",
    "diff",
    "add",
    "multiply",
    "divide",
    "convolve",
    "scale",
    "exp",
    "power",
    "lambda",
    "apply",
]


class EquationError(AsgardError, ValueError):
    """An equation that cannot be read or compiled; the message says where, and the mend."""


@dataclass(frozen=True, slots=True)
class Term:
    """One term. `name` is the name itself, or the variable of int, diff or lambda."""

    kind: Kind
    parts: tuple[Term, ...] = ()
    name: str = ""
    value: float = 0.0
    depth: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        depth = 1 + max((part.depth for part in self.parts), default=0)
        if depth > MAX_DEPTH:
            raise EquationError(f"the equation is nested more than {MAX_DEPTH} deep; split it")
        object.__setattr__(self, "depth", depth)


def number(value: float) -> Term:
    """A constant. Raises EquationError when it is not finite."""
    if not math.isfinite(value):
        raise EquationError("a constant of the equation is not a finite number")
    return Term("number", value=value)


def walk(term: Term) -> Iterator[Term]:
    """`term` and everything inside, as written."""
    waiting = [term]
    while waiting:
        here = waiting.pop()
        yield here
        waiting.extend(reversed(here.parts))


def names(term: Term, dimensions: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The names in a lambda-free term that are not dimensions, as first met."""
    found = (part.name for part in walk(term) if part.kind == "name")
    return tuple(dict.fromkeys(name for name in found if name not in dimensions))


def dimensions_of(term: Term) -> tuple[str, ...]:
    """The variables a term integrates or differentiates along."""
    return tuple(dict.fromkeys(p.name for p in walk(term) if p.kind in ("int", "diff")))


@dataclass(frozen=True, slots=True)
class _Closure:
    variable: str
    body: Term
    scope: Mapping[str, Term | _Closure]


def simplify(term: Term) -> Term:
    """The term with lambdas applied, constants folded, and `*`, `/`, `^` by a number made plain.

    Raises EquationError for a lambda that is left over, a division by something that is not a
    constant, and an exponent that is not a small whole number.
    """
    return _Simplifier().term(term, {})


class _Simplifier:
    def __init__(self) -> None:
        self.steps = 0
        self.depth = 0

    def term(self, term: Term, scope: Mapping[str, Term | _Closure]) -> Term:
        result = self.visit(term, scope)
        if isinstance(result, _Closure):
            raise EquationError(
                f"the lambda over {result.variable!r} is never applied; "
                f"write apply({result.variable}. ..., argument)"
            )
        return result

    def visit(self, term: Term, scope: Mapping[str, Term | _Closure]) -> Term | _Closure:
        self.steps += 1
        self.depth += 1
        if self.steps > MAX_STEPS or self.depth > MAX_DEPTH:
            raise EquationError("applying the lambdas of the equation does not come to an end")
        try:
            return self.reduce(term, scope)
        finally:
            self.depth -= 1

    def reduce(self, term: Term, scope: Mapping[str, Term | _Closure]) -> Term | _Closure:
        match term.kind:
            case "number":
                return term
            case "name":
                return scope.get(term.name, term)
            case "lambda":
                return _Closure(term.name, term.parts[0], scope)
            case "apply":
                function = self.visit(term.parts[0], scope)
                if not isinstance(function, _Closure):
                    raise EquationError(
                        "apply needs a lambda first: apply(x. x * x, f), with the variable, a dot "
                        "and the body"
                    )
                argument = self.visit(term.parts[1], scope)
                return self.visit(function.body, {**function.scope, function.variable: argument})
        parts = tuple(self.term(part, scope) for part in term.parts)
        if term.kind in ("int", "diff") and term.name in scope:
            raise EquationError(
                f"{term.name!r} is the variable of a lambda and of {term.kind}; rename one of them"
            )
        return _fold(Term(term.kind, parts, term.name, term.value))


def _fold(term: Term) -> Term:
    kind, parts = term.kind, term.parts
    constants = [part.value for part in parts if part.kind == "number"]
    match kind:
        case "add":
            if len(constants) == 2:
                return number(constants[0] + constants[1])
            # A zero adds nothing: `diff(f, x) = 0` should compile to no constant.
            for part, other in (parts, parts[::-1]):
                if part.kind == "number" and part.value == 0.0:
                    return other
        case "scale" | "multiply":
            left, right = parts
            if left.kind == "number":
                return _scaled(left.value, right)
            if kind == "scale":
                raise EquationError(
                    "scalar(c, y): c must be a constant; for a product of two functions write *"
                )
            if right.kind == "number":
                return _scaled(right.value, left)
        case "divide":
            left, right = parts
            if right.kind != "number":
                raise EquationError(
                    "division is by constants only; give the reciprocal as an input of its own "
                    "and multiply by it"
                )
            if right.value == 0.0:
                raise EquationError("division by zero in the equation")
            return _scaled(1.0 / right.value, left)
        case "power":
            return _power(parts[0], parts[1])
    return term


def _scaled(factor: float, term: Term) -> Term:
    if term.kind == "number":
        return number(factor * term.value)
    if term.kind == "scale":
        return _scaled(factor * term.value, term.parts[0])
    return term if factor == 1.0 else Term("scale", (term,), value=number(factor).value)


def _power(base: Term, exponent: Term) -> Term:
    whole = exponent.kind == "number" and exponent.value == int(exponent.value)
    if not whole or not 0 <= exponent.value <= MAX_EXPONENT:
        raise EquationError(f"the exponent after ^ must be a whole number from 0 to {MAX_EXPONENT}")
    times = int(exponent.value)
    if base.kind == "number":
        try:
            return number(base.value**times)
        except OverflowError:
            raise EquationError("a constant of the equation is not a finite number") from None
    if times == 0:
        return number(1.0)
    return base if times == 1 else Term("power", (base,), value=float(times))


def valuation(term: Term, along: str, dimensions: frozenset[str]) -> float:
    """A lower bound of the order at which the series of `term` begins along `along`."""
    inside = [valuation(part, along, dimensions) for part in term.parts]
    match term.kind:
        case "name":
            return 1.0 if term.name == along and along in dimensions else 0.0
        case "int":
            return inside[0] + (term.name == along)
        case "diff":
            return max(0.0, inside[0] - (term.name == along))
        case "add":
            return min(inside)
        case "multiply" | "convolve":
            return sum(inside)
        case "scale":
            return inside[0]
        case "power":
            return inside[0] * term.value
    return 0.0


def gain(term: Term, unknown: str, along: str, dimensions: frozenset[str]) -> float:
    """How many orders along `along` the term at least adds to `unknown`; inf if it has none.

    A loop through a term with gain 1 or more settles one coefficient in each round.
    """
    inside = [gain(part, unknown, along, dimensions) for part in term.parts]
    match term.kind:
        case "name":
            return 0.0 if term.name == unknown else math.inf
        case "int":
            return inside[0] + (term.name == along)
        case "diff":
            return inside[0] - (term.name == along)
        case "multiply" | "convolve":
            begins = [valuation(part, along, dimensions) for part in term.parts]
            return min(inside[0] + begins[1], inside[1] + begins[0])
        case "power":
            begins_at = valuation(term.parts[0], along, dimensions)
            return inside[0] + (term.value - 1.0) * begins_at
    return min(inside, default=math.inf)
