"""Running a circuit: every wire carries a stream, every node turns streams into streams.

Feedback is solved by going round: the fed-back wire starts at zero and the loop is run until
nothing changes any more. A loop that integrates settles one more coefficient exactly in each
round, so it is finished, bit for bit, after as many rounds as coefficients are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from gimle.asgard.circuit.nodes import (
    Atom,
    Compose,
    Composition,
    Monoidal,
    Node,
    Trace,
    brief,
    dimensions,
)
from gimle.asgard.core.errors import AsgardError
from gimle.asgard.runtime import stream as series
from gimle.asgard.runtime.stream import NotFiniteError, RuntimeInputError, Stream, StreamState

DEFAULT_ORDER = 32
"""Coefficients kept along a dimension for which nothing else is said."""

MAX_COEFFICIENTS = 1_000_000
"""Most coefficients in one stream."""


class UnsettledFeedbackError(AsgardError, ArithmeticError):
    """A feedback loop that never comes to rest: it must integrate on its way round."""


def execute(
    node: Node,
    inputs: Sequence[Stream],
    state: StreamState | None = None,
    *,
    order: Mapping[str, int] | None = None,
) -> tuple[list[Stream], StreamState]:
    """Run `node` on one stream for each input wire; see Circuit.execute."""
    if len(inputs) != node.inputs:
        raise RuntimeInputError(
            f"the circuit takes {node.inputs} input stream(s), {len(inputs)} given"
        )
    sizes = {one.chunk_size for one in inputs} or {1}
    if len(sizes) > 1:
        raise RuntimeInputError(f"the input streams differ in chunk_size: {sorted(sizes)}")
    kept = working_order(node, inputs, order)
    run = _Run(kept, sizes.pop())
    # A coefficient that overflows is refused by the stream that would hold it, in words.
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = run.node(node, [one.spread(kept) for one in inputs])
    before = state.rounds if state else ()
    return outputs, StreamState(rounds=(*before, *run.rounds))


def working_order(
    node: Node, inputs: Sequence[Stream], order: Mapping[str, int] | None = None
) -> dict[str, int]:
    """How many coefficients are kept along each dimension of the inputs and of the circuit."""
    kept: dict[str, int] = {}
    for one in inputs:
        for label, length in one.order.items():
            kept[label] = max(kept.get(label, 0), length)
    for label in dimensions(node):
        kept.setdefault(label, DEFAULT_ORDER)
    for label, length in (order or {}).items():
        if label not in kept:
            raise RuntimeInputError(
                f"order names {label!r}, which neither the inputs nor the circuit have; "
                f"known: {', '.join(kept) or 'none'}"
            )
        if not 1 <= length <= series.MAX_ORDER:
            raise RuntimeInputError(f"order of {label!r} must be from 1 to {series.MAX_ORDER}")
        kept[label] = length
    if int(np.prod(list(kept.values()), dtype=np.float64)) > MAX_COEFFICIENTS:
        raise RuntimeInputError(f"orders {kept} make more than {MAX_COEFFICIENTS} coefficients")
    return kept


class _Run:
    """One execution: the order kept, and how often each loop went round."""

    def __init__(self, order: Mapping[str, int], chunk_size: int) -> None:
        self.order = order
        self.chunk_size = chunk_size
        self.rounds: list[int] = []

    def node(self, node: Node, wires: list[Stream]) -> list[Stream]:
        match node:
            case Composition(first, second):
                return self.node(second, self.node(first, wires))
            case Monoidal(left, right):
                return [
                    *self.node(left, wires[: left.inputs]),
                    *self.node(right, wires[left.inputs :]),
                ]
            case Trace(body):
                return self.loop(body, wires)
            case Compose(outer, inner, label):
                given = [series.variable(label, self.order, self.chunk_size)][: outer.inputs]
                outside = self.node(outer, given)[0]
                return [series.substitute(outside, self.node(inner, wires)[0], label)]
            case Atom():
                return self.atom(node, wires)

    def loop(self, body: Node, wires: list[Stream]) -> list[Stream]:
        # One round settles one order along some dimension; two more see that nothing changes.
        most = sum(self.order.values()) + 2
        back = series.constant(0.0, self.order, self.chunk_size)
        for count in range(1, most + 1):
            try:
                *outputs, returned = self.node(body, [*wires, back])
            except NotFiniteError:
                break
            if np.array_equal(returned.data, back.data):
                self.rounds.append(count)
                return outputs
            back = returned
        raise UnsettledFeedbackError(
            f"the feedback of trace({brief(body)}) does not settle; each way round must integrate "
            "(register) at least once more than it differentiates, along one dimension"
        )

    def atom(self, atom: Atom, wires: list[Stream]) -> list[Stream]:
        argument = atom.argument
        match atom.kind, argument:
            case "id" | "var", _:
                return wires
            case "split", _:
                return [wires[0], wires[0]]
            case "swap", _:
                return [wires[1], wires[0]]
            case "add", _:
                return [series.add(wires[0], wires[1])]
            case "multiplication", _:
                return [series.multiply(wires[0], wires[1])]
            case "convolution", _:
                return [series.convolve(wires[0], wires[1])]
            case "register", str(label):
                return [series.integrate(wires[0], label)]
            case "deregister", str(label):
                return [series.differentiate(wires[0], label)]
            case "scalar", float() | int() as factor:
                return [series.scale(factor, wires[0])]
            case "const", float() | int() as value:
                return [series.constant(value, self.order, self.chunk_size)]
            case "exp", int(terms):
                return [series.exponential(wires[0], terms)]
        raise RuntimeInputError(f"{atom} is not an operation the runtime knows")
