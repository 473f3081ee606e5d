"""`Circuit`: what an equation is compiled to, what is stored with a run, and what computes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gimle.asgard.circuit.grammar import parse
from gimle.asgard.circuit.nodes import Atom, Node, dimensions, walk
from gimle.asgard.runtime.stream import Stream, StreamState


@dataclass(frozen=True, slots=True)
class Circuit:
    """A network of streams. Equal circuits have equal text.

    >>> circuit = Circuit.from_string("trace(composition(register(x), split))")
    >>> circuit.inputs, circuit.outputs
    (0, 1)
    """

    node: Node

    @classmethod
    def from_string(cls, circuit_str: str) -> Circuit:
        """Read a circuit; keywords in any case, `[in->out]` at the end optional but checked.

        Raises CircuitError (a ValueError) naming the place when it cannot be read.
        """
        return cls(parse(circuit_str))

    @property
    def inputs(self) -> int:
        """How many streams go in."""
        return self.node.inputs

    @property
    def outputs(self) -> int:
        """How many streams come out."""
        return self.node.outputs

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions the circuit works along, in the order they are first met."""
        return dimensions(self.node)

    @property
    def names(self) -> tuple[str, ...]:
        """The names `var(name)` gives to wires, in the order they are first met."""
        return tuple(
            dict.fromkeys(
                str(part.argument)
                for part in walk(self.node)
                if isinstance(part, Atom) and part.kind == "var"
            )
        )

    def execute(
        self,
        inputs: Sequence[Stream],
        state: StreamState | None = None,
        *,
        order: Mapping[str, int] | None = None,
    ) -> tuple[list[Stream], StreamState]:
        """Run the circuit on one stream for each input wire.

        `order` says how many coefficients are kept along each dimension; without it, as many as
        the inputs have, and 32 along a dimension they do not have. Returns the output streams
        and the state (how often each feedback loop went round). Raises RuntimeInputError when
        the inputs do not fit, and UnsettledFeedbackError when a loop never settles.
        """
        # The interpreter needs this class's parts, so it is loaded when it is first used.
        from gimle.asgard.runtime.execute import execute

        return execute(self.node, inputs, state, order=order)

    def __str__(self) -> str:
        return f"{self.node} [{self.inputs}->{self.outputs}]"
