"""The parts of a circuit: atoms and combinators, each knowing how many wires go in and out.

A node is immutable and checked when it is made, so a `Node` that exists has matching wires
everywhere. Degrees are written `[in->out]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from gimle.asgard.core.errors import AsgardError

MAX_DEPTH = 300
"""Deepest nesting of a circuit or an equation; keeps every recursion far from Python's limit."""

MAX_NODES = 20_000
"""Largest number of parts in one circuit."""


class CircuitError(AsgardError, ValueError):
    """A circuit that cannot be read or whose wires do not fit; the message says where and why."""


WIRES: dict[str, tuple[int, int]] = {
    "register": (1, 1),
    "deregister": (1, 1),
    "scalar": (1, 1),
    "id": (1, 1),
    "var": (1, 1),
    "exp": (1, 1),
    "add": (2, 1),
    "multiplication": (2, 1),
    "convolution": (2, 1),
    "split": (1, 2),
    "swap": (2, 2),
    "const": (0, 1),
}
"""Wires in and out of every atom."""


@dataclass(frozen=True, slots=True)
class Atom:
    """One operation. `argument` is a dimension or name (str), a number, or None."""

    kind: str
    argument: str | float | int | None = None
    inputs: int = field(init=False)
    outputs: int = field(init=False)
    depth: int = field(init=False, default=1)
    size: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        inputs, outputs = WIRES[self.kind]
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "outputs", outputs)

    def __str__(self) -> str:
        return self.kind if self.argument is None else f"{self.kind}({self.argument!s})"


@dataclass(frozen=True, slots=True)
class Composition:
    """`composition(f, g)`: f: A->B, then g: B->C, gives A->C."""

    first: Node
    second: Node
    inputs: int = field(init=False)
    outputs: int = field(init=False)
    depth: int = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        if self.first.outputs != self.second.inputs:
            raise CircuitError(
                f"composition: {brief(self.first)} gives {_wires(self.first.outputs)}, but "
                f"{brief(self.second)} takes {_wires(self.second.inputs)}; the two must match"
            )
        _measure(self, self.first.inputs, self.second.outputs, self.first, self.second)

    def __str__(self) -> str:
        return f"composition({self.first}, {self.second})"


@dataclass(frozen=True, slots=True)
class Monoidal:
    """`monoidal(f, g)`: f: A->B beside g: C->D gives A+C->B+D."""

    left: Node
    right: Node
    inputs: int = field(init=False)
    outputs: int = field(init=False)
    depth: int = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        _measure(
            self,
            self.left.inputs + self.right.inputs,
            self.left.outputs + self.right.outputs,
            self.left,
            self.right,
        )

    def __str__(self) -> str:
        return f"monoidal({self.left}, {self.right})"


@dataclass(frozen=True, slots=True)
class Trace:
    """`trace(f)`: the last output of f: A+1->B+1 is fed back into its last input; gives A->B."""

    body: Node
    inputs: int = field(init=False)
    outputs: int = field(init=False)
    depth: int = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        if self.body.inputs < 1 or self.body.outputs < 1:
            raise CircuitError(
                f"trace: {brief(self.body)} is [{self.body.inputs}->{self.body.outputs}]; feedback "
                "needs at least one input and one output"
            )
        _measure(self, self.body.inputs - 1, self.body.outputs - 1, self.body)

    def __str__(self) -> str:
        return f"trace({self.body})"


@dataclass(frozen=True, slots=True)
class Compose:
    """`compose(f, g, d)`: the series f(d), with g put in the place of the variable d.

    f is [0->1] (a series) or [1->1] (applied to the variable d); g: A->1; the whole is A->1.
    """

    outer: Node
    inner: Node
    dimension: str
    inputs: int = field(init=False)
    outputs: int = field(init=False)
    depth: int = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        if self.outer.outputs != 1 or self.outer.inputs > 1 or self.inner.outputs != 1:
            raise CircuitError(
                f"compose: needs one series inside another, that is [0->1] or [1->1] for the first "
                f"and [n->1] for the second; here [{self.outer.inputs}->{self.outer.outputs}] "
                f"and [{self.inner.inputs}->{self.inner.outputs}]"
            )
        _measure(self, self.inner.inputs, 1, self.outer, self.inner)

    def __str__(self) -> str:
        return f"compose({self.outer}, {self.inner}, {self.dimension})"


Node: TypeAlias = Atom | Composition | Monoidal | Trace | Compose


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly inside `node`, in the order they are written."""
    match node:
        case Atom():
            return ()
        case Composition(first, second):
            return (first, second)
        case Monoidal(left, right):
            return (left, right)
        case Trace(body):
            return (body,)
        case Compose(outer, inner, _):
            return (outer, inner)


def walk(node: Node) -> Iterator[Node]:
    """`node` and everything inside it, in the order it is written."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        yield here
        waiting.extend(reversed(children(here)))


def dimensions(node: Node) -> tuple[str, ...]:
    """The dimensions a circuit integrates, differentiates or composes along, as first met."""
    seen: dict[str, None] = {}
    for part in walk(node):
        if isinstance(part, Compose):
            seen.setdefault(part.dimension)
        elif isinstance(part, Atom) and part.kind in ("register", "deregister"):
            seen.setdefault(str(part.argument))
    return tuple(seen)


def brief(node: Node, limit: int = 60) -> str:
    """The text of a node, shortened for a message."""
    text = str(node)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _wires(count: int) -> str:
    return "1 wire" if count == 1 else f"{count} wires"


def _measure(
    node: Composition | Monoidal | Trace | Compose, inputs: int, outputs: int, *parts: Node
) -> None:
    depth = 1 + max(part.depth for part in parts)
    size = 1 + sum(part.size for part in parts)
    if depth > MAX_DEPTH:
        raise CircuitError(f"the circuit is nested more than {MAX_DEPTH} deep; write it flatter")
    if size > MAX_NODES:
        raise CircuitError(f"the circuit has more than {MAX_NODES} parts; split the equation")
    # Frozen dataclasses are filled once, here, through object.__setattr__.
    for name, value in (("inputs", inputs), ("outputs", outputs), ("depth", depth), ("size", size)):
        object.__setattr__(node, name, value)
