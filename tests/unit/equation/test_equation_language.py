from __future__ import annotations

import contextlib

import pytest
from gimle.asgard.equation import Equation, EquationError, compile_equation_to_circuit
from gimle.asgard.equation.terms import MAX_DEPTH
from hypothesis import given, settings
from hypothesis import strategies as st


def circuit_of(text: str, **options: object) -> str:
    return str(compile_equation_to_circuit(Equation.from_string(text), **options))  # type: ignore[arg-type]  # passed on as given


@pytest.mark.parametrize(
    ("equation", "circuit"),
    [
        ("int(f, x) = g", "register(x) [1->1]"),
        ("g = int(f, x)", "register(x) [1->1]"),
        ("diff(f, x) = g", "deregister(x) [1->1]"),
        ("INT(f, x) = g", "register(x) [1->1]"),
        ("diff(int(f, x), x) = f", "composition(register(x), deregister(x)) [1->1]"),
        (
            "int(f, x) = f",
            "trace(composition(composition(add, split), monoidal(id, register(x)))) [1->1]",
        ),
        (
            "diff(y, t) = scalar(-0.1, y)",
            "trace(composition(composition(add, split), monoidal(id, "
            "composition(scalar(-0.1), register(t))))) [1->1]",
        ),
        ("f / 4 = g", "scalar(0.25) [1->1]"),
        ("f^2 = g", "composition(split, multiplication) [1->1]"),
        ("apply(abstraction x. x * x, f) = g", "composition(split, multiplication) [1->1]"),
        ("apply(x. x + x, f) = g", "composition(split, add) [1->1]"),
        ("f * g = h", "composition(monoidal(var(f), var(g)), multiplication) [2->1]"),
        ("diff(diff(u, x), y) = 0", "id [1->1]"),
        ("2 * 3 = g", "const(6.0) [0->1]"),
        ("exp(f) = g", "exp(32) [1->1]"),
    ],
)
def test_an_equation_compiles_to_its_circuit(equation: str, circuit: str) -> None:
    assert circuit_of(equation) == circuit


def test_a_derivative_anywhere_in_a_sum_is_integrated() -> None:
    one = circuit_of("diff(diff(y, t), t) + 4 * y = 0")
    other = circuit_of("diff(diff(y, t), t) = scalar(-4, y)")
    assert one == other


def test_the_highest_derivative_is_the_one_that_is_integrated() -> None:
    # Integrating y' instead would leave y'' inside the loop, which then never settles.
    text = circuit_of("diff(y, t) + diff(diff(y, t), t) = 0")
    assert text.count("register(t)") - text.count("deregister(t)") == 2


def test_the_heat_equation_is_solved_forward_in_time() -> None:
    text = circuit_of("diff(u, t) = scalar(0.1, diff(diff(u, x), x))")
    assert "composition(scalar" not in text.split("register(t)")[1]
    assert text.count("deregister(x)") == 2
    assert text.count("deregister(t)") == 0


def test_inputs_are_named_where_there_are_several() -> None:
    equation = Equation.from_string("diff(u, t) = g * u + h * u")
    circuit = compile_equation_to_circuit(equation)
    assert circuit.names == ("u", "g", "h")
    assert (circuit.inputs, circuit.outputs) == (3, 1)


def test_parameters_become_numbers_of_the_circuit() -> None:
    assert circuit_of("$a * f = g", parameters={"a": 2.5}) == "scalar(2.5) [1->1]"


def test_a_variable_may_be_used_as_a_function() -> None:
    text = circuit_of("x * f = g", dimensions=["x"])
    assert "composition(const(1.0), register(x))" in text


def test_an_equation_shows_itself_and_both_sides() -> None:
    equation = Equation.from_string("diff(y, t)  =\n scalar(-0.1, y)")
    assert str(equation) == "diff(y, t) = scalar(-0.1, y)"
    assert equation.lhs.data == "derivative"
    assert equation.rhs is not None
    assert equation.rhs.data == "scalar"


@pytest.mark.parametrize(
    ("equation", "words"),
    [
        ("", ["empty", "int(f, x) = g"]),
        ("int(f, x", ["ends too early"]),
        ("int(f, x) = ", ["ends too early"]),
        ("int(f x) = g", ["line 1, column 7", "'x'"]),
        ("f + * g = h", ["column 5"]),
        ("f\n= @", ["line 2, column 3", "'@'"]),
        ("foo(x) = g", ["column 4", "'('"]),
        ("$a * f = g", ["$a", "parameters:"]),
        ("f / g = h", ["division", "constants"]),
        ("f / 0 = g", ["zero"]),
        ("f ^ 0.5 = g", ["exponent", "whole number"]),
        ("f ^ 1000 = g", ["exponent", "64"]),
        ("f ^ g = h", ["exponent"]),
        ("scalar(f, g) = h", ["scalar(c, y)", "constant"]),
        ("apply(f, g) = h", ["apply", "lambda"]),
        ("abstraction x. x", ["lambda", "never applied"]),
        ("apply(x. apply(x, x), x. apply(x, x)) = g", ["does not come to an end"]),
        ("apply(x. int(x, x), f) = g", ["rename"]),
        ("int(f, x) = g + h", ["does not say what to compute", "term = name"]),
        ("f * f = g + h", ["does not say what to compute"]),
        ("9^9^9 = g", ["exponent"]),
        ("1e308 * 10 = g", ["finite"]),
    ],
)
def test_a_bad_equation_names_the_place_and_the_mend(equation: str, words: list[str]) -> None:
    with pytest.raises(EquationError) as caught:
        circuit_of(equation)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "equation",
    [
        "+".join(["f"] * 3000) + " = g",
        "-" * 3000 + "f = g",
        "int(" * 1500 + "f" + ", x)" * 1500 + " = g",
        "x. " * 2500 + "f = g",
    ],
)
def test_a_monstrous_equation_is_refused_in_words(equation: str) -> None:
    with pytest.raises(EquationError, match=f"more than {MAX_DEPTH} deep|longer than"):
        circuit_of(equation)


def test_brackets_alone_add_no_depth() -> None:
    assert circuit_of("(" * 3000 + "f" + ")" * 3000 + " = g") == "id [1->1]"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="fgxt0123.+-*/^()=,$ intdfsclarpyexo\n", max_size=60))
def test_any_text_is_compiled_or_refused_in_words(text: str) -> None:
    # Nothing else may come out: no recursion, no overflow, no parser's own exception.
    with contextlib.suppress(EquationError):
        circuit_of(text)
