"""What an equation determines: which name comes out, which go in, and by which term.

Four ways of reading, tried in this order:

- `int(f, x) = g`: a name alone on one side, and not on the other, is computed from the other.
- `int(f, x) = f`: a name that comes back in a term which integrates it is a feedback loop,
  f = int(f, x) + (its initial values, the input).
- `diff(y, t) = scalar(-0.1, y)`: a derivative of a name is integrated,
  y = int(scalar(-0.1, y), t) + (its initial values, the input). The derivative may stand
  anywhere in a sum: `diff(diff(y, t), t) + 4 * y = 0`.
- `diff(int(f, x), x) = f`: what is left is an identity; its left side is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gimle.asgard.equation.equation import Equation
from gimle.asgard.equation.terms import EquationError, Term, dimensions_of, gain, names, number


@dataclass(frozen=True, slots=True)
class Reading:
    """How an equation is computed.

    term: what is computed. inputs: the names of the input streams, in wire order. unknown: the
    name that is fed back, whose initial values are the first input; None without feedback.
    output: the name of what comes out, or None.
    """

    term: Term
    inputs: tuple[str, ...]
    unknown: str | None
    output: str | None
    dimensions: frozenset[str]


def read(
    equation: Equation,
    parameters: dict[str, float] | None = None,
    dimensions: Iterable[str] = (),
) -> Reading:
    """Read an equation; `dimensions` names variables that int and diff do not mention.

    Raises EquationError when nothing is determined.
    """
    left, right = equation.sides(parameters)
    known = frozenset(dimensions) | frozenset(dimensions_of(left))
    known |= frozenset(dimensions_of(right)) if right is not None else frozenset()
    if right is None:
        return Reading(left, names(left, known), None, None, known)
    return (
        _alone(left, right, known)
        or _fed_back(left, right, known)
        or _integrated(left, right, known)
        or _identity(left, right, known)
    )


def _alone(left: Term, right: Term, known: frozenset[str]) -> Reading | None:
    for side, other in ((right, left), (left, right)):
        if _is_name(side, known) and side.name not in names(other, known):
            return Reading(other, names(other, known), None, side.name, known)
    return None


def _fed_back(left: Term, right: Term, known: frozenset[str]) -> Reading | None:
    for side, other in ((right, left), (left, right)):
        if _is_name(side, known) and _settles(other, side.name, known):
            return _loop(side.name, other, known)
    return None


def _integrated(left: Term, right: Term, known: frozenset[str]) -> Reading | None:
    summands = [*_summands(left), *(_times(-1.0, part) for part in _summands(right))]
    for place, candidate in enumerate(summands):
        found = _derivative_of_a_name(candidate, known)
        if found is None:
            continue
        unknown, factor, along = found
        rest = _sum([_times(-1.0 / factor, p) for p in summands[:place] + summands[place + 1 :]])
        term = rest
        for dimension in along:
            term = Term("int", (term,), name=dimension)
        if _settles(term, unknown, known):
            return _loop(unknown, term, known)
        if unknown not in names(term, known):
            initial = Term("name", name=unknown)
            whole = initial if _is_zero(rest) else Term("add", (initial, term))
            return Reading(whole, names(whole, known), None, unknown, known)
    return None


def _identity(left: Term, right: Term, known: frozenset[str]) -> Reading:
    if not set(names(right, known)) <= set(names(left, known)):
        raise EquationError(
            "the equation does not say what to compute: write `term = name`, or a derivative of a "
            "name in terms of lower ones, as in `diff(y, t) = scalar(-0.1, y)`"
        )
    return Reading(left, names(left, known), None, None, known)


def _loop(unknown: str, term: Term, known: frozenset[str]) -> Reading:
    others = tuple(name for name in names(term, known) if name != unknown)
    return Reading(term, (unknown, *others), unknown, unknown, known)


def _settles(term: Term, unknown: str, known: frozenset[str]) -> bool:
    if unknown not in names(term, known):
        return False
    return any(gain(term, unknown, along, known) >= 1 for along in known)


def _is_name(term: Term, known: frozenset[str]) -> bool:
    return term.kind == "name" and term.name not in known


def _is_zero(term: Term) -> bool:
    return term.kind == "number" and term.value == 0.0


def _summands(term: Term) -> Iterator[Term]:
    if term.kind == "add":
        for part in term.parts:
            yield from _summands(part)
    elif term.kind == "scale" and term.parts[0].kind == "add":
        for part in _summands(term.parts[0]):
            yield _times(term.value, part)
    elif not _is_zero(term):
        yield term


def _times(factor: float, term: Term) -> Term:
    if term.kind == "number":
        return number(factor * term.value)
    if term.kind == "scale":
        return _times(factor * term.value, term.parts[0])
    return term if factor == 1.0 else Term("scale", (term,), value=factor)


def _sum(terms: list[Term]) -> Term:
    if not terms:
        return number(0.0)
    total = terms[0]
    for term in terms[1:]:
        total = Term("add", (total, term))
    return total


def _derivative_of_a_name(
    term: Term, known: frozenset[str]
) -> tuple[str, float, tuple[str, ...]] | None:
    """(name, factor, dimensions from the innermost) of factor * diff(... diff(name, a) ..., z)."""
    factor, along = 1.0, list[str]()
    while term.kind in ("diff", "scale"):
        if term.kind == "diff":
            along.append(term.name)
        else:
            factor *= term.value
        term = term.parts[0]
    if not along or not _is_name(term, known) or factor == 0.0:
        return None
    return term.name, factor, tuple(reversed(along))
