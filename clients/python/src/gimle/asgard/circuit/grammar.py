"""Reading circuits: the grammar, and the tree of nodes built while it is read."""

from __future__ import annotations

import math
import re

from gimle.asgard.circuit.nodes import (
    Atom,
    CircuitError,
    Compose,
    Composition,
    Monoidal,
    Node,
    Trace,
)
from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

MAX_TEXT = 200_000
"""Longest circuit text that is read, in characters."""

MAX_EXP_TERMS = 170
"""Most terms of `exp(n)`: 170! is the last factorial a double can hold."""

GRAMMAR = r"""
start: _term
_term: composition | monoidal | trace | compose
     | register | deregister | scalar | const | var | exp
     | add | multiplication | convolution | split | swap | id

composition:   "composition"i "(" _term "," _term ")"
monoidal:      "monoidal"i "(" _term "," _term ")"
trace:         "trace"i "(" _term ")"
compose:       "compose"i "(" _term "," _term "," IDENTIFIER ")"
register:      "register"i "(" IDENTIFIER ")"
deregister:    "deregister"i "(" IDENTIFIER ")"
var:           "var"i "(" IDENTIFIER ")"
scalar:        "scalar"i "(" NUMBER ")"
const:         "const"i "(" NUMBER ")"
exp:           "exp"i "(" NUMBER ")"
add:           "add"i
multiplication: "multiplication"i
convolution:   "convolution"i
split:         "split"i
swap:          "swap"i
id:            "id"i

IDENTIFIER: /[a-zA-Z][a-zA-Z0-9_]*/
NUMBER: /[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?/
%ignore /\s+/
"""

_DEGREES = re.compile(r"\[\s*(\d+)\s*->\s*(\d+)\s*\]\s*$")


class _Build(Transformer[Token, Node]):
    """Turns each rule into its node as soon as it is read, so no recursion is needed."""

    def start(self, items: list[Node]) -> Node:
        return items[0]

    def composition(self, items: list[Node]) -> Node:
        return Composition(items[0], items[1])

    def monoidal(self, items: list[Node]) -> Node:
        return Monoidal(items[0], items[1])

    def trace(self, items: list[Node]) -> Node:
        return Trace(items[0])

    def compose(self, items: list[Node | Token]) -> Node:
        outer, inner, dimension = items
        assert not isinstance(outer, Token), "the grammar puts a term first"  # noqa: S101 - narrows
        assert not isinstance(inner, Token), "and a term second"  # noqa: S101 - narrows
        return Compose(outer, inner, str(dimension))

    def register(self, items: list[Token]) -> Node:
        return Atom("register", str(items[0]))

    def deregister(self, items: list[Token]) -> Node:
        return Atom("deregister", str(items[0]))

    def var(self, items: list[Token]) -> Node:
        return Atom("var", str(items[0]))

    def scalar(self, items: list[Token]) -> Node:
        return Atom("scalar", _number(items[0]))

    def const(self, items: list[Token]) -> Node:
        return Atom("const", _number(items[0]))

    def exp(self, items: list[Token]) -> Node:
        terms = _number(items[0])
        if terms != int(terms) or not 1 <= terms <= MAX_EXP_TERMS:
            raise CircuitError(
                f"exp({items[0]}): the number of terms is a whole number from 1 to {MAX_EXP_TERMS}"
            )
        return Atom("exp", int(terms))

    def add(self, items: list[Token]) -> Node:
        return Atom("add")

    def multiplication(self, items: list[Token]) -> Node:
        return Atom("multiplication")

    def convolution(self, items: list[Token]) -> Node:
        return Atom("convolution")

    def split(self, items: list[Token]) -> Node:
        return Atom("split")

    def swap(self, items: list[Token]) -> Node:
        return Atom("swap")

    def id(self, items: list[Token]) -> Node:
        return Atom("id")


_PARSER = Lark(GRAMMAR, parser="lalr", transformer=_Build(), maybe_placeholders=False)


def parse(text: str) -> Node:
    """The circuit written in `text`, with or without its `[in->out]` at the end.

    Raises CircuitError naming the place when the text does not follow the grammar, when wires
    do not match, or when the degrees written at the end are not the true ones.
    """
    if len(text) > MAX_TEXT:
        raise CircuitError(f"the circuit is longer than {MAX_TEXT} characters")
    stated = _DEGREES.search(text)
    source = text[: stated.start()] if stated else text
    try:
        node = _PARSER.parse(source)
    except VisitError as error:
        if isinstance(error.orig_exc, CircuitError):
            raise error.orig_exc from None
        raise
    except UnexpectedInput as error:
        raise CircuitError(describe(error, source, "circuit")) from None
    assert isinstance(node, Atom | Composition | Monoidal | Trace | Compose)  # noqa: S101 - narrows
    if stated and (node.inputs, node.outputs) != (int(stated[1]), int(stated[2])):
        raise CircuitError(
            f"the circuit says {stated[0].strip()} but its wires are "
            f"[{node.inputs}->{node.outputs}]; correct the degrees or leave them out"
        )
    return node


def describe(error: UnexpectedInput, text: str, what: str) -> str:
    """One sentence for a syntax error: where, what was found, and the text with a caret."""
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        return f"the {what} ends too early, after {text.strip()[-30:]!r}; something is missing"
    line, column = max(error.line, 1), max(error.column, 1)
    found = (
        repr(error.char)
        if isinstance(error, UnexpectedCharacters)
        else _token_text(error) or "this"
    )
    lines = text.splitlines() or [""]
    shown = lines[min(line, len(lines)) - 1]
    start = max(0, column - 40)
    caret = " " * (column - 1 - start) + "^"
    return (
        f"the {what} cannot be read at line {line}, column {column}: {found} is not expected "
        f"here\n    {shown[start : start + 80]}\n    {caret}"
    )


def _token_text(error: UnexpectedInput) -> str:
    return repr(str(error.token)) if isinstance(error, UnexpectedToken) else ""


def _number(token: Token) -> float:
    value = float(token)
    if not math.isfinite(value):
        raise CircuitError(f"{token}: too large for a number; use one below 1.8e308")
    return value
