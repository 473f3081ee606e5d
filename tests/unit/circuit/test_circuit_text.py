from __future__ import annotations

import pytest
from gimle.asgard.circuit import Circuit, CircuitError
from gimle.asgard.circuit.nodes import Atom, Compose, Composition, Monoidal, Node, Trace
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        ("register(x)", (1, 1)),
        ("composition(register(x), deregister(x))", (1, 1)),
        ("monoidal(scalar(2.0), scalar(3.0))", (2, 2)),
        ("composition(composition(add, scalar(2.0)), register(t))", (2, 1)),
        ("trace(composition(register(x), split))", (0, 1)),
        ("trace(composition(composition(add, split), monoidal(id, register(X))))", (1, 1)),
        ("compose(exp(8), scalar(2.0), t)", (1, 1)),
        ("const(-1.5e-3)", (0, 1)),
        ("monoidal(convolution, swap)", (4, 3)),
        ("composition(var(f), split)", (1, 2)),
    ],
)
def test_the_documented_circuits_have_their_degrees(text: str, degrees: tuple[int, int]) -> None:
    circuit = Circuit.from_string(text)
    assert (circuit.inputs, circuit.outputs) == degrees
    assert str(circuit).endswith(f" [{degrees[0]}->{degrees[1]}]")


def test_keywords_may_be_written_in_any_case_but_names_may_not() -> None:
    loud = Circuit.from_string("Composition(REGISTER(X), DeRegister(x))")
    assert str(loud) == "composition(register(X), deregister(x)) [1->1]"


def test_a_name_may_look_like_a_keyword() -> None:
    assert str(Circuit.from_string("register(id)")) == "register(id) [1->1]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("composition(add, split, id)", ["line 1, column 23", "','"]),
        ("composition(split, register(x))", ["gives 2 wires", "takes 1 wire"]),
        ("trace(const(1))", ["trace", "[0->1]"]),
        ("compose(add, id, x)", ["compose", "[2->1]"]),
        ("register(2x)", ["column 10"]),
        ("frobnicate", ["column 1"]),
        ("register(x", ["ends too early"]),
        ("", ["ends too early"]),
        ("exp(0)", ["whole number from 1"]),
        ("exp(2.5)", ["whole number from 1"]),
        ("scalar(1e999)", ["too large"]),
        ("register(x) [2->1]", ["[2->1]", "[1->1]"]),
    ],
)
def test_a_bad_circuit_is_refused_when_it_is_read(text: str, words: list[str]) -> None:
    with pytest.raises(CircuitError) as caught:
        Circuit.from_string(text)
    for word in words:
        assert word in str(caught.value)


def test_a_circuit_nested_without_end_is_refused_in_words() -> None:
    text = "id"
    for _ in range(2000):
        text = f"trace(composition(swap, monoidal({text}, id)))"
    with pytest.raises(CircuitError, match="deep"):
        Circuit.from_string(text)


names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,5}", fullmatch=True)
numbers = st.floats(allow_nan=False, allow_infinity=False)
atoms = st.one_of(
    st.sampled_from(["add", "multiplication", "convolution", "split", "swap", "id"]).map(Atom),
    st.builds(Atom, st.sampled_from(["register", "deregister", "var"]), names),
    st.builds(Atom, st.sampled_from(["scalar", "const"]), numbers),
    st.builds(Atom, st.just("exp"), st.integers(1, 170)),
)


def larger(inside: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    def fit(first: Node, second: Node) -> Node:
        # Wires that do not match are put side by side, so that every draw is a circuit.
        if first.outputs == second.inputs:
            return Composition(first, second)
        return Monoidal(first, second)

    def loop(body: Node) -> Node:
        return Trace(body) if body.inputs and body.outputs else body

    def put(outer: Node, inner: Node, name: str) -> Node:
        fits = outer.outputs == 1 and outer.inputs < 2 and inner.outputs == 1
        return Compose(outer, inner, name) if fits else inner

    return st.one_of(
        st.builds(fit, inside, inside),
        st.builds(loop, inside),
        st.builds(put, inside, inside, names),
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(atoms, larger, max_leaves=20))
def test_what_a_circuit_prints_reads_back_as_the_same_circuit(node: Node) -> None:
    circuit = Circuit(node)
    assert Circuit.from_string(str(circuit)) == circuit
