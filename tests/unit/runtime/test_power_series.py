from __future__ import annotations

import math

import numpy as np
import pytest
from gimle.asgard.circuit import Circuit
from gimle.asgard.equation import Equation, compile_equation_to_circuit
from gimle.asgard.runtime import stream as series
from gimle.asgard.runtime.execute import UnsettledFeedbackError
from gimle.asgard.runtime.stream import RuntimeInputError, Stream
from gimle.asgard.runtime.stream_evaluator import DiscreteCalculus, RealCalculus, StreamEvaluator
from gimle.asgard.runtime.taylor import taylor
from hypothesis import given, settings
from hypothesis import strategies as st

small = st.floats(-3.0, 3.0)


def run(circuit: str, *inputs: Stream, **order: int) -> np.ndarray:
    outputs, _ = Circuit.from_string(circuit).execute(inputs, order=order)
    return np.asarray(outputs[0].data[0])


def test_coefficients_are_derivatives_so_2_3_1_at_one_is_5_and_a_half() -> None:
    stream = Stream(np.array([[2.0, 3.0, 1.0]]), ("x",), chunk_size=1)
    evaluator = StreamEvaluator(stream, {"x": RealCalculus(center=0.0)})
    assert evaluator.evaluate(x=np.array([0.0, 1.0])).tolist() == [2.0, 5.5]


def test_a_centre_moves_the_series() -> None:
    stream = Stream(np.array([0.0, 1.0]), ("x",))
    assert StreamEvaluator(stream, {"x": RealCalculus(2.0)}).evaluate(x=5.0).tolist() == [3.0]


def test_read_as_a_sequence_the_coefficients_are_the_terms() -> None:
    stream = Stream(np.array([5.0, 7.0, 9.0]), ("n",))
    evaluator = StreamEvaluator(stream, {"n": DiscreteCalculus()})
    assert evaluator.evaluate(n=[2, 0]).tolist() == [9.0, 5.0]
    with pytest.raises(RuntimeInputError, match="from 0 to 2"):
        evaluator.evaluate(n=[3])


def test_integration_and_differentiation_shift() -> None:
    one = Stream(np.array([1.0, 2.0, 3.0]), ("x",))
    assert run("register(x)", one).tolist() == [0.0, 1.0, 2.0]
    assert run("deregister(x)", one).tolist() == [2.0, 3.0, 0.0]


def test_each_chunk_is_computed_on_its_own() -> None:
    pair = Stream(np.array([[1.0, 0.0, 0.0], [2.0, 1.0, 0.0]]), ("x",), chunk_size=2)
    outputs, _ = Circuit.from_string("composition(split, multiplication)").execute([pair])
    assert outputs[0].data.tolist() == [[1.0, 0.0, 0.0], [4.0, 4.0, 2.0]]
    at_one = StreamEvaluator(outputs[0]).evaluate(x=1.0)
    assert at_one.tolist() == [[1.0], [9.0]]


def test_feedback_gives_the_exponential_exactly() -> None:
    circuit = "trace(composition(composition(add, split), monoidal(id, register(x))))"
    assert run(circuit, Stream([1.0, 0.0, 0.0, 0.0]), x=20).tolist() == [1.0] * 20


def test_feedback_that_never_settles_is_named() -> None:
    circuit = "trace(composition(composition(add, split), monoidal(id, scalar(0.5))))"
    with pytest.raises(UnsettledFeedbackError, match="register"):
        run(circuit, Stream([1.0, 0.0]))
    with pytest.raises(UnsettledFeedbackError, match="scalar"):
        run(circuit.replace("0.5", "1e200"), Stream([1.0, 0.0]))


def test_composing_series_substitutes() -> None:
    t = Stream([0.0, 1.0, 0.0, 0.0, 0.0], ("t",))
    assert run("compose(exp(8), scalar(2.0), t)", t).tolist() == [1.0, 2.0, 4.0, 8.0, 16.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(small, min_size=1, max_size=7), st.lists(small, min_size=1, max_size=7), small)
def test_a_product_of_series_is_the_product_of_the_functions(
    one: list[float], two: list[float], x: float
) -> None:
    order = {"x": len(one) + len(two)}
    left, right = (Stream(np.array(c), ("x",)).spread(order) for c in (one, two))
    at = [float(StreamEvaluator(s).evaluate(x=x)[0]) for s in (left, right)]
    product = float(StreamEvaluator(series.multiply(left, right)).evaluate(x=x)[0])
    assert product == pytest.approx(at[0] * at[1], rel=1e-9, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(small, min_size=3, max_size=3), min_size=2, max_size=2), small, small)
def test_products_in_two_dimensions_too(rows: list[list[float]], x: float, y: float) -> None:
    order = {"x": 6, "y": 6}
    one = Stream(np.array(rows), ("x", "y")).spread(order)
    value = float(StreamEvaluator(one).evaluate(x=x, y=y)[0, 0])
    square = series.multiply(one, one)
    assert float(StreamEvaluator(square).evaluate(x=x, y=y)[0, 0]) == pytest.approx(
        value**2, rel=1e-9, abs=1e-9
    )


def test_convolution_is_the_product_of_generating_functions() -> None:
    ones = Stream([1.0, 1.0, 1.0, 1.0], ("n",))
    assert run("convolution", ones, ones).tolist() == [1.0, 2.0, 3.0, 4.0]


def test_the_product_rule_holds_for_circuits() -> None:
    order = {"x": 12}
    f, g = taylor("sin(x) + 2", order), taylor("exp(-x / 2)", order)
    left = compile_equation_to_circuit(Equation.from_string("diff(f * g, x) = h"))
    right = compile_equation_to_circuit(Equation.from_string("diff(f, x) * g + f * diff(g, x) = h"))
    one, _ = left.execute([f, g])
    other, _ = right.execute([f, g])
    # The last coefficient of a derivative is not known.
    assert one[0].data[0, :-1] == pytest.approx(other[0].data[0, :-1], rel=1e-12)


@pytest.mark.parametrize(
    ("formula", "true"),
    [
        ("exp(2 * x)", lambda x: math.exp(2 * x)),
        ("sin(x)^2 + cos(x)^2", lambda x: 1.0),
        ("sqrt(1 + x)", lambda x: math.sqrt(1 + x)),
        ("log(2 + x)", lambda x: math.log(2 + x)),
        ("1 / (1 - x)", lambda x: 1 / (1 - x)),
        ("sinh(x) + cosh(x)", math.exp),
        ("(1 + x)^-2.5", lambda x: (1 + x) ** -2.5),
        ("exp(sin(x))", lambda x: math.exp(math.sin(x))),
    ],
)
def test_the_series_of_a_formula_is_its_taylor_series(formula: str, true: object) -> None:
    assert callable(true)
    stream = taylor(formula, {"x": 40})
    values = StreamEvaluator(stream).evaluate(x=[-0.3, 0.2, 0.35])
    assert values == pytest.approx([true(-0.3), true(0.2), true(0.35)], rel=1e-12)


@pytest.mark.parametrize(
    ("data", "labels", "words"),
    [
        ([[1.0, 2.0], [3.0, 4.0]], ("x",), "axes of coefficients"),
        ([1.0, math.nan], ("x",), "finite"),
        ([1.0, "a"], ("x",), "numbers"),
        ([], ("x",), "at least one"),
        ([[1.0]], ("x", "x"), "twice"),
    ],
)
def test_data_that_is_no_series_is_refused(data: list[object], labels: object, words: str) -> None:
    with pytest.raises(RuntimeInputError, match=words):
        Stream(data, labels)  # type: ignore[arg-type]  # wrong on purpose


def test_wrong_inputs_are_named() -> None:
    circuit = Circuit.from_string("add")
    one = Stream([1.0])
    with pytest.raises(RuntimeInputError, match="takes 2"):
        circuit.execute([one])
    with pytest.raises(RuntimeInputError, match="'q'"):
        circuit.execute([one, one], order={"q": 3})
    with pytest.raises(RuntimeInputError, match="give points for x"):
        StreamEvaluator(one).evaluate(y=1.0)
