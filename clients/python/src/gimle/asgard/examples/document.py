"""Reading an example: every field checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gimle.asgard.examples.catalogue import CATEGORIES, name_of
from gimle.asgard.examples.equations import EQUATION_TYPES, EquationWork, read_equation
from gimle.asgard.examples.fields import ExampleError, Field, read_yaml
from gimle.asgard.examples.models import build_simulation, build_stochastic
from gimle.asgard.runtime.simulation import Simulation

__all__ = ["Example", "ExampleError", "Output", "load", "title_of"]

RESULT_TYPES = (
    "Solution1D",
    "Solution2D",
    "StochasticEnsemble",
    "DiscreteSequence",
    "OptimizationResult",
    "PhysicsAnimation",
)

Work = EquationWork | Callable[[], Simulation]
"""An equation, or what makes a simulation afresh for each run."""


@dataclass(frozen=True, slots=True)
class Output:
    """One result to be saved. `of` names the product of a simulation; None for an equation."""

    result_type: str
    of: str | None
    display: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """A checked example. `metadata` is what its run keeps of where it came from."""

    name: str
    description: str
    equation: str | None
    work: Work
    outputs: tuple[Output, ...]
    metadata: dict[str, Any]


def load(path: Path) -> Example:
    """Read and check an example. Raises ExampleError naming file, line, field and mend."""
    source = name_of(path)
    root = read_yaml(_text(path), source)
    name = root.need("name", "what the run is called").text()
    description = root.get("description")
    values = root.get("parameters")
    parameters = {} if values is None else values.table()
    stochastic, simulate = root.get("stochastic"), root.get("simulate")
    if stochastic and simulate:
        simulate.fail("an example has `stochastic` or `simulate`, not both")
    equation = root.get("equation")
    output = root.need("output", "give type, title and labels")
    entries = output.elements() if isinstance(output.value, list) else [output]
    if not entries:
        output.fail("must have at least one result")
    work: Work
    if stochastic or simulate:
        work = _simulation(root, stochastic, simulate, parameters)
        outputs = tuple(_of_a_simulation(entry, work()) for entry in entries)
    elif equation:
        if len(entries) != 1:
            output.fail("an equation gives one result; use one group of type, title and labels")
        kind = entries[0].need("type").choice(EQUATION_TYPES)
        work = read_equation(root, kind, parameters)
        display = _display(entries[0])
        if kind == "Solution1D":
            display["convention"] = "taylor"
        outputs = (Output(kind, None, display),)
    else:
        root.fail("says nothing to compute; give `equation`, `stochastic` or `simulate`")
    for entry in entries:
        entry.finish()
    root.finish()
    folder = Path(source).parent.name
    metadata: dict[str, Any] = {"example": source}
    if folder in CATEGORIES:
        metadata["category"] = folder
    if description is not None:
        metadata["description"] = description.text().strip()
    if parameters:
        metadata["parameters"] = parameters
    if isinstance(work, EquationWork):
        metadata["input"] = work.given
    for part in (stochastic, simulate):
        if part is not None:
            metadata[part.path] = part.value
    return Example(
        name=name,
        description=metadata.get("description", ""),
        equation=equation.text().strip() if equation else None,
        work=work,
        outputs=outputs,
        metadata=metadata,
    )


def title_of(path: Path) -> tuple[str, str]:
    """(name, first sentence of the description) of an example, for a list."""
    root = read_yaml(_text(path), name_of(path))
    described = root.get("description")
    text = " ".join(described.text().split()) if described else ""
    return root.need("name").text(), text.split(". ")[0].rstrip(".")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ExampleError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise ExampleError(f"{path} cannot be read: {error.strerror}") from None


def _simulation(
    root: Field, stochastic: Field | None, simulate: Field | None, parameters: dict[str, float]
) -> Callable[[], Simulation]:
    expected = root.get("expected")
    formula = None if expected is None else expected.need("expression")

    def make() -> Simulation:
        if stochastic is not None:
            return build_stochastic(root, stochastic, parameters)
        assert simulate is not None  # noqa: S101 - one of the two is there
        return build_simulation(simulate, parameters, formula.text() if formula else None)

    make()
    part = stochastic or simulate
    assert part is not None  # noqa: S101 - one of the two is there
    part.finish()
    if expected is not None:
        if simulate is None or simulate.need("model").value != "recurrence":
            expected.fail("a formula can be given for equations and recurrences only")
        expected.finish()
    return make


def _of_a_simulation(entry: Field, simulation: Simulation) -> Output:
    kind = entry.need("type").choice(RESULT_TYPES)
    fitting = [one.name for one in simulation.products if one.result_type == kind]
    gives = ", ".join(f"{one.name} ({one.result_type})" for one in simulation.products)
    if not fitting:
        entry.need("type").fail(f"this simulation gives no {kind}; it gives {gives}")
    chosen = entry.get("of")
    if chosen is not None and chosen.value not in fitting:
        chosen.fail(f"no {kind} of that name; the simulation gives {gives}")
    return Output(kind, fitting[0] if chosen is None else chosen.text(), _display(entry))


def _display(entry: Field) -> dict[str, Any]:
    display: dict[str, Any] = {}
    title = entry.get("title")
    if title is not None:
        display["title"] = title.text()
    labels = entry.get("labels")
    if labels is not None:
        found = {axis: labels.get(axis) for axis in ("x", "y")}
        display["labels"] = {axis: one.text() for axis, one in found.items() if one is not None}
        labels.finish()
    return display
