"""The grammar of equations, and the terms built from a parse tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gimle.asgard.circuit.grammar import describe
from gimle.asgard.equation.terms import EquationError, Term, number
from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput, VisitError
from lark.visitors import Transformer_NonRecursive

MAX_TEXT = 10_000
"""Longest equation that is read, in characters."""

# A keyword is one only before its bracket, so `integral` or `exp2` stay ordinary names.
GRAMMAR = r"""
start: term ["=" term]

?term: sum
     | _LAMBDA IDENTIFIER "." term -> abstraction
     | IDENTIFIER "." term         -> abstraction
?sum: product
    | sum "+" product -> plus
    | sum "-" product -> minus
?product: unary
    | product "*" unary -> times
    | product "/" unary -> over
?unary: power
    | "-" unary -> negative
?power: atom
    | atom "^" unary -> power
?atom: NUMBER                                -> number
    | IDENTIFIER                             -> name
    | PARAMETER                              -> parameter
    | _INT "(" term "," IDENTIFIER ")"       -> integral
    | _DIFF "(" term "," IDENTIFIER ")"      -> derivative
    | _SCALAR "(" term "," term ")"          -> scalar
    | _APPLY "(" term "," term ")"           -> apply
    | _EXP "(" term ")"                      -> exp
    | _CONVOLUTION "(" term "," term ")"     -> convolution
    | "(" term ")"

_INT.2: /int(?=\s*\()/i
_DIFF.2: /diff(?=\s*\()/i
_SCALAR.2: /scalar(?=\s*\()/i
_APPLY.2: /apply(?=\s*\()/i
_EXP.2: /exp(?=\s*\()/i
_CONVOLUTION.2: /convolution(?=\s*\()/i
_LAMBDA.2: /(abstraction|lambda)(?=\s)/i
IDENTIFIER: /[a-zA-Z][a-zA-Z0-9_]*/
PARAMETER: /\$[a-zA-Z][a-zA-Z0-9_]*/
NUMBER: /([0-9]+(\.[0-9]+)?|\.[0-9]+)([eE][+-]?[0-9]+)?/
%ignore /\s+/
"""

_PARSER = Lark(GRAMMAR, parser="lalr", maybe_placeholders=False)


def parse(text: str) -> Tree[Token]:
    """The parse tree of an equation: `start` with one term, or two around the `=`.

    Raises EquationError naming line and column.
    """
    if len(text) > MAX_TEXT:
        raise EquationError(f"the equation is longer than {MAX_TEXT} characters; split it")
    if not text.strip():
        raise EquationError("the equation is empty; write for example `int(f, x) = g`")
    try:
        return _PARSER.parse(text)
    except UnexpectedInput as error:
        raise EquationError(describe(error, text, "equation")) from None


def build(tree: Tree[Token], parameters: Mapping[str, float]) -> Term:
    """The term of a parse tree, `$name` replaced by its value, constants folded."""
    try:
        term = _Terms(parameters).transform(tree)
    except VisitError as error:
        if isinstance(error.orig_exc, EquationError):
            raise error.orig_exc from None
        raise
    assert isinstance(term, Term)  # noqa: S101 - narrows the transformer's result
    return term


class _Terms(Transformer_NonRecursive[Token, Term]):
    """Builds terms bottom up. Non-recursive, so a long sum cannot exhaust the stack."""

    def __init__(self, parameters: Mapping[str, float]) -> None:
        super().__init__()
        self._parameters = parameters

    def number(self, items: list[Any]) -> Term:
        return number(float(items[0]))

    def name(self, items: list[Any]) -> Term:
        return Term("name", name=str(items[0]))

    def parameter(self, items: list[Any]) -> Term:
        name = str(items[0])[1:]
        if name not in self._parameters:
            known = ", ".join(f"${one}" for one in self._parameters) or "none are given"
            raise EquationError(f"no value for ${name}; add it to `parameters:` ({known})")
        return number(float(self._parameters[name]))

    def integral(self, items: list[Any]) -> Term:
        return Term("int", (items[0],), name=str(items[1]))

    def derivative(self, items: list[Any]) -> Term:
        return Term("diff", (items[0],), name=str(items[1]))

    def abstraction(self, items: list[Any]) -> Term:
        return Term("lambda", (items[1],), name=str(items[0]))

    def apply(self, items: list[Any]) -> Term:
        return Term("apply", (items[0], items[1]))

    def exp(self, items: list[Any]) -> Term:
        return Term("exp", (items[0],))

    def convolution(self, items: list[Any]) -> Term:
        return Term("convolve", (items[0], items[1]))

    def plus(self, items: list[Any]) -> Term:
        return Term("add", (items[0], items[1]))

    def minus(self, items: list[Any]) -> Term:
        return Term("add", (items[0], Term("scale", (number(-1.0), items[1]))))

    def negative(self, items: list[Any]) -> Term:
        return Term("scale", (number(-1.0), items[0]))

    def scalar(self, items: list[Any]) -> Term:
        return Term("scale", (items[0], items[1]))

    def times(self, items: list[Any]) -> Term:
        return Term("multiply", (items[0], items[1]))

    def over(self, items: list[Any]) -> Term:
        return Term("divide", (items[0], items[1]))

    def power(self, items: list[Any]) -> Term:
        return Term("power", (items[0], items[1]))
