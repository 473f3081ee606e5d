"""`Equation`: what a run is said to solve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gimle.asgard.equation import grammar
from gimle.asgard.equation.terms import Term, number, simplify
from lark import Token, Tree


@dataclass(frozen=True)
class Equation:
    """An equation `lhs = rhs`, or a single term to be computed.

    >>> equation = Equation.from_string("diff(y, t) = scalar(-0.1, y)")
    >>> str(equation)
    'diff(y, t) = scalar(-0.1, y)'
    """

    text: str
    parse_tree: Tree[Token]

    @classmethod
    def from_string(cls, equation_str: str) -> Equation:
        """Read an equation. Raises EquationError (a ValueError) naming line and column."""
        return cls(" ".join(equation_str.split()), grammar.parse(equation_str))

    @property
    def lhs(self) -> Tree[Token]:
        """The parse tree left of the `=`, or of the single term."""
        side = self.parse_tree.children[0]
        assert isinstance(side, Tree)  # noqa: S101 - the grammar names every alternative
        return side

    @property
    def rhs(self) -> Tree[Token] | None:
        """The parse tree right of the `=`; None for a single term."""
        if len(self.parse_tree.children) < 2:
            return None
        side = self.parse_tree.children[1]
        assert isinstance(side, Tree)  # noqa: S101 - the grammar names every alternative
        return side

    def sides(self, parameters: Mapping[str, float] | None = None) -> tuple[Term, Term | None]:
        """Both sides as terms: `$name` replaced, lambdas applied, constants folded."""
        values = {name: number(value).value for name, value in (parameters or {}).items()}
        left = simplify(grammar.build(self.lhs, values))
        right = None if self.rhs is None else simplify(grammar.build(self.rhs, values))
        return left, right

    def __str__(self) -> str:
        return self.text
