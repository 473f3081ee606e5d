"""From equations to circuits.

A term becomes a tree of atoms whose leaves are the names it uses. Input wires are split for names
used more than once and crossed (`swap`) where the order of use differs from the order of the
wires. With more than one input each wire carries `var(name)`, so that a stored circuit says by
itself which stream belongs where.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gimle.asgard.circuit.circuit import Circuit
from gimle.asgard.circuit.nodes import Atom, Composition, Monoidal, Node, Trace
from gimle.asgard.equation.equation import Equation
from gimle.asgard.equation.reading import Reading, read
from gimle.asgard.equation.terms import EquationError, Term

DEFAULT_EXP_TERMS = 32
"""Terms of the exponential series when nothing is said."""


def compile_equation_to_circuit(
    equation: Equation,
    *,
    parameters: Mapping[str, float] | None = None,
    dimensions: Iterable[str] = (),
    exp_terms: int = DEFAULT_EXP_TERMS,
) -> Circuit:
    """The circuit that computes an equation; see `reading` for how an equation is read.

    parameters: values of `$name`. dimensions: variables that int and diff do not mention.
    exp_terms: how many terms `exp(...)` keeps (1 to 170). Raises EquationError.
    """
    reading = read(equation, dict(parameters or {}), dimensions)
    return Circuit(_Compiler(reading, exp_terms).circuit())


class _Compiler:
    def __init__(self, reading: Reading, exp_terms: int) -> None:
        self.reading = reading
        self.exp_terms = exp_terms

    def circuit(self) -> Node:
        reading = self.reading
        body, leaves = self.term(reading.term)
        if not reading.inputs:
            return body
        if reading.unknown is None:
            node = _then(_distribute(reading.inputs, leaves), body)
        else:
            node = self.loop(body, leaves)
        if len(reading.inputs) < 2:
            return node
        labels = _beside(*(Atom("var", name) for name in reading.inputs))
        return Composition(labels, node)

    def loop(self, body: Node, leaves: Sequence[str]) -> Node:
        """Wires [initial, others..., fed back] -> [value], [fed back] inside a trace."""
        others = self.reading.inputs[1:]
        step = _then(_distribute(self.reading.inputs, leaves), body)
        value = Composition(Atom("add"), Atom("split"))
        before = _distribute(("initial", *others, "back"), ("initial", "back", *others))
        values = _then(before, _beside(value, *(Atom("id") for _ in others)))
        return Trace(Composition(values, Monoidal(Atom("id"), step)))

    def term(self, term: Term) -> tuple[Node, list[str]]:
        """The circuit of a term, and the names of its input wires from first to last."""
        match term.kind:
            case "number":
                return Atom("const", term.value), []
            case "name" if term.name in self.reading.dimensions:
                # The variable itself is the integral of 1.
                return Composition(Atom("const", 1.0), Atom("register", term.name)), []
            case "name":
                return Atom("id"), [term.name]
            case "int":
                return self.after(term, Atom("register", term.name))
            case "diff":
                return self.after(term, Atom("deregister", term.name))
            case "scale":
                return self.after(term, Atom("scalar", term.value))
            case "exp":
                return self.after(term, Atom("exp", self.exp_terms))
            case "power":
                return self.after(term, _power(int(term.value)))
            case "add":
                return self.joined(term, Atom("add"))
            case "multiply":
                return self.joined(term, Atom("multiplication"))
            case "convolve":
                return self.joined(term, Atom("convolution"))
        raise EquationError(f"{term.kind} cannot be compiled to a circuit")

    def after(self, term: Term, operation: Node) -> tuple[Node, list[str]]:
        inside, leaves = self.term(term.parts[0])
        return _then(inside, operation), leaves

    def joined(self, term: Term, operation: Node) -> tuple[Node, list[str]]:
        left, left_leaves = self.term(term.parts[0])
        right, right_leaves = self.term(term.parts[1])
        return _then(_beside(left, right), operation), [*left_leaves, *right_leaves]


def _power(times: int) -> Node:
    square = Composition(Atom("split"), Atom("multiplication"))
    if times == 2:
        return square
    half = _power(times // 2) if times > 3 else None
    whole = square if half is None else Composition(half, square)
    if times % 2 == 0:
        return whole
    return Composition(
        Atom("split"), Composition(Monoidal(whole, Atom("id")), Atom("multiplication"))
    )


def _distribute(wires: Sequence[str], leaves: Sequence[str]) -> Node:
    """The circuit that turns the wires into the leaves: splits, then neighbours swapped."""
    unused = [name for name in wires if name not in leaves]
    if unused:
        raise EquationError(f"{', '.join(unused)} is an input but is not used in the equation")
    node: Node = _beside(*(_copies(leaves.count(name)) for name in wires))
    order = [name for name in wires for _ in range(leaves.count(name))]
    for place, wanted in enumerate(leaves):
        at = order.index(wanted, place)
        while at > place:
            layer = [Atom("id")] * (at - 1) + [Atom("swap")] + [Atom("id")] * (len(order) - at - 1)
            node = _then(node, _beside(*layer))
            order[at - 1], order[at] = order[at], order[at - 1]
            at -= 1
    return node


def _copies(count: int) -> Node:
    node: Node = Atom("id")
    for extra in range(1, count):
        split = _beside(*[Atom("id")] * (extra - 1), Atom("split"))
        node = _then(node, split)
    return node


def _then(first: Node, second: Node) -> Node:
    if _is_identity(first) and first.outputs == second.inputs:
        return second
    if _is_identity(second) and first.outputs == second.inputs:
        return first
    return Composition(first, second)


def _beside(*nodes: Node) -> Node:
    whole = nodes[0]
    for node in nodes[1:]:
        whole = Monoidal(whole, node)
    return whole


def _is_identity(node: Node) -> bool:
    match node:
        case Atom(kind):
            return kind == "id"
        case Monoidal(left, right):
            return _is_identity(left) and _is_identity(right)
    return False
