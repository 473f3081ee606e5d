"""Examples with an `equation`: compiled to a circuit, and computed from that circuit alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gimle.asgard.circuit.circuit import Circuit
from gimle.asgard.equation import Equation, compile_equation_to_circuit
from gimle.asgard.examples.fields import Field
from gimle.asgard.runtime.execute import DEFAULT_ORDER, working_order
from gimle.asgard.runtime.expression import Expression
from gimle.asgard.runtime.stream import MAX_ORDER, RuntimeInputError, Stream
from gimle.asgard.runtime.stream_evaluator import DiscreteCalculus, RealCalculus, StreamEvaluator
from gimle.asgard.runtime.taylor import taylor

Floats = npt.NDArray[np.float64]

MAX_POINTS = 1_000_000
EQUATION_TYPES = ("Solution1D", "Solution2D", "DiscreteSequence")
"""Result types an equation can give."""

ONLY = "input"
"""What the one input is called where the circuit gives it no name."""


@dataclass(frozen=True, slots=True)
class EquationWork:
    """All an equation needs: what is stored with the run, and how its stream is read.

    circuit: the text that is stored. given: the input as it is stored in the run's metadata.
    grid: for each dimension its points (an array of one where it is held `at` a value).
    """

    circuit: str
    given: dict[str, Any]
    result_type: str
    grid: dict[str, Floats]
    expected: Expression | None
    tolerance: float | None
    parameters: dict[str, float]

    def data(self, stream: Stream) -> dict[str, Any]:
        """The data of the result that `stream` is read into."""
        calculus = DiscreteCalculus() if self.result_type == "DiscreteSequence" else RealCalculus()
        evaluator = StreamEvaluator(stream, dict.fromkeys(stream.dim_labels, calculus))
        values = evaluator.evaluate(**self.grid)
        # From the order of the stream to the order of `evaluate`.
        values = np.transpose(values, [stream.dim_labels.index(label) for label in self.grid])
        open_grid = np.meshgrid(*self.grid.values(), indexing="ij", sparse=True)
        scope = dict(zip(self.grid, open_grid, strict=True)) | self.parameters
        exact = None
        if self.expected is not None:
            exact = np.broadcast_to(self.expected.evaluate(**scope), values.shape)
            self.compare(values, exact)
        shown = [label for label, points in self.grid.items() if points.size > 1]
        axes = [self.grid[label] for label in shown] or [next(iter(self.grid.values()))]
        values = values.reshape([points.size for points in axes])
        exact = None if exact is None else exact.reshape(values.shape)
        if self.result_type == "Solution2D":
            data: dict[str, Any] = {"x": axes[0], "y": axes[1], "computed": values.T.copy()}
            if exact is not None:
                data["expected"] = exact.T.copy()
            return data
        names = ("n", "values") if self.result_type == "DiscreteSequence" else ("x", "computed")
        data = dict(zip(names, (axes[0], values), strict=True))
        if exact is not None:
            data["expected"] = exact.copy()
        if self.result_type == "Solution1D" and len(self.grid) == 1:
            data["coefficients"] = stream.data[0].copy()
        return data

    def compare(self, values: Floats, exact: Floats) -> None:
        """Raise RuntimeInputError when the result is further from `expected` than it may be."""
        if self.tolerance is None:
            return
        worst = float(np.max(np.abs(values - exact)))
        if not worst <= self.tolerance:
            raise RuntimeInputError(
                f"computed and expected differ by {worst:.3g}, more than the tolerance "
                f"{self.tolerance:g}; keep more coefficients (input.order), narrow the range, or "
                "correct the formula"
            )


def compute(circuit: str, given: Mapping[str, Any]) -> Stream:
    """The output stream of a stored circuit for the input stored beside it.

    circuit and given are `run.circuit` and `run.metadata["input"]`; nothing else is used.
    """
    network = Circuit.from_string(circuit)
    streams = _streams(network, given)
    outputs, _ = network.execute(streams, order=given["order"])
    return outputs[0]


def read_equation(root: Field, result_type: str, parameters: dict[str, float]) -> EquationWork:
    """Check the fields of an equation's example, and compile it.

    Raises ExampleError naming the field.
    """
    field = root.need("equation")
    equation = field.checked(lambda: Equation.from_string(field.text()))
    given = root.get("input")
    dims = _dims(given)
    order = _orders(given, dims)
    terms = min(MAX_ORDER, max([*order.values(), DEFAULT_ORDER]) + 1)
    circuit = field.checked(
        lambda: compile_equation_to_circuit(
            equation, parameters=parameters, dimensions=dims, exp_terms=terms
        )
    )
    if circuit.outputs != 1:
        field.fail(f"gives {circuit.outputs} streams; an example shows one")
    if given is None and circuit.inputs:
        root.need("input", "give dims and coefficients of the input")
    stored = {"dims": list(dims), "coefficients": _coefficients(given, circuit, dims, order)}
    # An input given by a few coefficients is followed by zeros, not by the end of the series.
    known = field.checked(lambda: working_order(circuit.node, _streams(circuit, stored), order))
    order = {name: max(length, DEFAULT_ORDER) for name, length in known.items()} | order
    kept = field.checked(lambda: working_order(circuit.node, _streams(circuit, stored), order))
    stored["order"] = kept
    if given is not None:
        given.finish()
    expected, tolerance = _expected(root, kept, parameters)
    return EquationWork(
        circuit=str(circuit),
        given=stored,
        result_type=result_type,
        grid=_grid(root, result_type, kept),
        expected=expected,
        tolerance=tolerance,
        parameters=parameters,
    )


def _streams(circuit: Circuit, given: Mapping[str, Any]) -> list[Stream]:
    dims = tuple(given["dims"])
    coefficients = given["coefficients"]
    names = circuit.names or ((ONLY,) * circuit.inputs)
    return [Stream(np.asarray(coefficients[name], dtype=np.float64), dims) for name in names]


def _dims(given: Field | None) -> tuple[str, ...]:
    field = given.get("dims") if given else None
    if given is None or field is None:
        return ("x",) if given else ()
    names = [one.text() for one in field.elements()]
    bad = [name for name in names if not (name.isidentifier() and name.isascii())]
    if not names or bad or len(set(names)) != len(names):
        field.fail("must be a list of different names such as [x] or [x, t]")
    return tuple(names)


def _orders(given: Field | None, dims: tuple[str, ...]) -> dict[str, int]:
    field = given.get("order") if given else None
    if field is None:
        return {}
    if isinstance(field.value, dict):
        return {name: one.whole(1, MAX_ORDER) for name, one in field.items()}
    return {name: field.whole(1, MAX_ORDER) for name in dims}


def _coefficients(
    given: Field | None, circuit: Circuit, dims: tuple[str, ...], order: dict[str, int]
) -> dict[str, Any]:
    """{input name: nested lists} from `coefficients`, or from the series of `expression`."""
    names = circuit.names or ((ONLY,) * circuit.inputs)
    if given is None or not names:
        return {}
    values, formula = given.get("coefficients"), given.get("expression")
    source = values or formula
    if source is None or (values and formula):
        given.fail("give the input once: as `coefficients`, or as an `expression` of its dims")
    if isinstance(source.value, dict):
        fields = dict(source.items())
    elif len(names) > 1:
        source.fail(f"the equation has the inputs {', '.join(names)}; give one entry for each")
    else:
        fields = {names[0]: source}
    # The first input of a feedback loop is its initial values, which may be left at zero.
    if set(fields) - set(names) or set(names[1:]) - set(fields):
        source.fail(f"must have entries for {', '.join(names)}, not for {', '.join(fields)}")
    return {
        name: _one(fields[name], dims, order, formula is not None)
        if name in fields
        else _zero(dims)
        for name in names
    }


def _zero(dims: tuple[str, ...]) -> Any:
    return np.zeros((1,) * len(dims)).tolist()


def _one(field: Field, dims: tuple[str, ...], order: dict[str, int], formula: bool) -> Any:
    if formula:
        lengths = {name: order.get(name, DEFAULT_ORDER) for name in dims}
        return field.checked(lambda: taylor(field.text(), lengths)).data[0].tolist()
    values = field.array()
    if values.ndim != len(dims):
        field.fail(
            f"has {values.ndim} level(s) of lists for {len(dims)} dimension(s) "
            f"({', '.join(dims)}); nest one list for each, the first dimension outermost"
        )
    return values.tolist()


def _expected(
    root: Field, kept: dict[str, int], parameters: dict[str, float]
) -> tuple[Expression | None, float | None]:
    field = root.get("expected")
    if field is None:
        return None, None
    formula = field.need("expression")
    known = [*kept, *parameters]
    expression = formula.checked(lambda: Expression(formula.text(), known))
    bound = field.get("tolerance")
    tolerance = None if bound is None else bound.number(0.0)
    field.finish()
    return expression, tolerance


def _grid(root: Field, result_type: str, kept: dict[str, int]) -> dict[str, Floats]:
    """The points of each dimension, in the order of `evaluate`: x axis first, then y."""
    field = root.get("evaluate")
    wanted = 2 if result_type == "Solution2D" else 1
    if field is None:
        if result_type == "DiscreteSequence" and len(kept) == 1:
            return {name: np.arange(length, dtype=np.float64) for name, length in kept.items()}
        field = root.need("evaluate", "give `range` and `points` for each dimension")
    grid = {name: points(one) for name, one in field.items()}
    if set(grid) != set(kept):
        field.fail(f"must say where to evaluate {', '.join(kept)}; it has {', '.join(grid)}")
    shown = sum(one.size > 1 for one in grid.values())
    if shown != wanted:
        field.fail(f"{result_type} is drawn over {wanted} dimension(s); here {shown} have a range")
    return grid


def points(field: Field) -> Floats:
    """The points of a `range` and a number of `points`, or the one point of `at`."""
    at = field.get("at")
    if at is not None:
        field.finish()
        return np.array([at.number()])
    limits = field.need("range", "for example range: [0, 3]")
    low, high = limits.numbers(2, 2)
    if not low < high:
        limits.fail("the first number must be smaller than the second")
    count = field.need("points", "for example points: 100").whole(2, MAX_POINTS)
    field.finish()
    return np.linspace(low, high, count)
