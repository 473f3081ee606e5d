"""What running an example leaves in a storage, when it ends well and when it does not."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest
from gimle.asgard.circuit import Circuit
from gimle.asgard.core.folder import Folder
from gimle.asgard.examples import ExampleError, catalogue, find, load, run_example
from gimle.asgard.examples.catalogue import name_of
from gimle.asgard.examples.equations import EquationWork, compute
from gimle.asgard.examples.running import StoppedError
from gimle.asgard.monitor.storage import AsgardStorage
from gimle.asgard.runtime.stream import RuntimeInputError
from gimle.asgard.runtime.stream_evaluator import StreamEvaluator

ROOT = Path(__file__).resolve().parents[2]
EQUATIONS = [name_of(path) for path in catalogue() if isinstance(load(path).work, EquationWork)]


@pytest.fixture
def storage(storage_dir: Path) -> AsgardStorage:
    return AsgardStorage(storage_dir, durability="relaxed")


def test_every_example_says_its_equation_and_only_compiled_ones_have_a_circuit(
    storage: AsgardStorage,
) -> None:
    assert [name_of(path) for path in catalogue() if not load(path).equation] == []
    run = run_example(load(find("discrete/04_logistic_map")), storage).run
    assert (run.equation, run.circuit) == ("a[n+1] = r a[n] (1 - a[n])", None)


@pytest.mark.parametrize("name", EQUATIONS)
def test_what_is_drawn_comes_from_the_stored_circuit_and_input_alone(
    name: str, storage: AsgardStorage, storage_dir: Path
) -> None:
    run_example(load(find(name)), storage)
    # Read back by nothing but what lies in the folder.
    folder = Folder(storage_dir, create=False)
    (run_id,) = folder.run_ids_newest_first()
    run = folder.read_run(run_id)
    assert run.circuit is not None
    assert str(Circuit.from_string(run.circuit)) == run.circuit
    data = folder.read_result(run.results[0]).data
    given = run.metadata["input"]

    def drawn() -> np.ndarray:
        stream = compute(run.circuit or "", given)
        if "values" in data:
            return np.asarray(stream.data[0][np.asarray(data["n"]).astype(int)])
        axes = {"x": np.asarray(data["x"])} | ({"y": np.asarray(data["y"])} if "y" in data else {})
        grid = dict(zip(stream.dim_labels, axes.values(), strict=True))
        return StreamEvaluator(stream).evaluate(**grid).T

    stored = np.asarray(data["computed"] if "computed" in data else data["values"])
    assert np.array_equal(drawn(), stored)
    (name_of_input, coefficients), *_ = given["coefficients"].items()
    changed = np.array(coefficients)
    # Far enough along that two derivatives do not lose it.
    changed[tuple(min(2, length - 1) for length in changed.shape)] += 0.5
    given["coefficients"][name_of_input] = changed.tolist()
    assert np.max(np.abs(drawn() - stored)) > 0.01


def test_a_long_run_appears_at_once_and_grows(storage: AsgardStorage) -> None:
    lengths: list[int] = []

    def look(done: int, of: int) -> None:
        (run,) = storage.list_runs()
        assert run.status is None, "nobody has finished it yet"
        lengths.append(len(storage.get_run(run.id).results[0].data["t"]))

    outcome = run_example(load(find("stochastic/01_brownian_motion")), storage, progress=look)
    assert len(lengths) == 30
    assert lengths == sorted(set(lengths)), "every batch is seen"
    assert lengths[-1] == 501
    assert storage.load_run(outcome.run.id).status == "succeeded"


def test_the_same_seed_gives_the_same_numbers(storage: AsgardStorage) -> None:
    example = load(find("stochastic/02_ornstein_uhlenbeck"))
    one, two = (run_example(example, storage).run for _ in range(2))
    assert np.array_equal(one.results[0].data["paths"], two.results[0].data["paths"])


def test_a_stopped_run_is_marked_failed_and_keeps_what_it_had(
    storage: AsgardStorage, storage_dir: Path
) -> None:
    stop = threading.Event()

    def after_three(done: int, of: int) -> None:
        if done == 3:
            stop.set()

    with pytest.raises(StoppedError):
        run_example(load(find("engineering/06_pendulum")), storage, stop=stop, progress=after_three)
    (run,) = storage.list_runs()
    assert (run.status, run.note) == ("failed", "Stopped before it was done.")
    assert [len(one.data["t" if "t" in one.data else "x"]) for one in run.results] == [46, 46]
    assert Folder(storage_dir, create=False).fsck().findings == []


def test_a_run_that_fails_is_marked_failed_with_its_reason(
    storage: AsgardStorage, tmp_path: Path
) -> None:
    text = find("optimization/01_gradient_descent").read_text().replace("0.045", "50.0")
    path = tmp_path / "too-fast.yaml"
    path.write_text(text)
    with pytest.raises(RuntimeInputError, match="lower `rate`"):
        run_example(load(path), storage)
    (run,) = storage.list_runs()
    assert run.status == "failed"
    assert run.note is not None
    assert "lower `rate`" in run.note


def test_an_answer_further_off_than_its_tolerance_fails(
    storage: AsgardStorage, tmp_path: Path
) -> None:
    text = find("basic/04_exponential").read_text().replace("exp(x)\n", "exp(x) + 0.001\n")
    path = tmp_path / "off.yaml"
    path.write_text(text)
    with pytest.raises(RuntimeInputError, match=r"differ by 0\.001"):
        run_example(load(path), storage)
    assert storage.list_runs()[0].status == "failed"


def test_an_equation_with_several_inputs_and_a_slice_of_two_dimensions(
    storage: AsgardStorage, tmp_path: Path
) -> None:
    path = tmp_path / "driven.yaml"
    path.write_text(
        """
name: Driven
equation: diff(u, t) = g - u
input:
  dims: [t]
  expression: {u: "2", g: "sin(t)"}
  order: 40
evaluate:
  t: {range: [0, 4], points: 50}
expected:
  expression: (sin(t) - cos(t)) / 2 + 2.5 * exp(-t)
  tolerance: 1.0e-9
output: {type: Solution1D, title: Driven, labels: {x: t, y: u}}
"""
    )
    run_example(load(path), storage)
    sliced = find("advanced/03_heat_equation").read_text()
    sliced = sliced.replace("range: [0, 1]\n    points: 121", "at: 0.5").replace("2D", "1D")
    path.write_text(sliced)
    outcome = run_example(load(path), storage)
    data = outcome.run.results[0].data
    assert np.asarray(data["computed"]).shape == (161,)
    assert outcome.largest_error is not None
    assert outcome.largest_error < 1e-9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("name: Exp", "nam: Exp"), ["line 1", "`name` is missing", "`nam`?"]),
        (("points: 251", "points: many"), ["line 14, evaluate.x.points", "whole number", "'many'"]),
        (("points: 251", "points: 1"), ["evaluate.x.points", "from 2"]),
        (("range: [-2, 3]", "range: [3, -2]"), ["line 13, evaluate.x.range", "smaller"]),
        (("range: [-2, 3]", "range: [a, b]"), ["evaluate.x.range[0]", "number"]),
        (("input:", "inputs:"), ["`input` is missing; did you mean it by `inputs`?"]),
        (("output:", "outptu:"), ["`output` is missing; did you mean it by `outptu`?"]),
        (("title:", "titel:"), ["output.titel", "did you mean `title`?"]),
        (("type: Solution1D", "type: Solution1d"), ["output.type", "did you mean Solution1D?"]),
        (("type: Solution1D", "type: Solution2D"), ["2 dimension(s)"]),
        (("int(f, x) = f", "int(f x) = f"), ["line 5, equation", "column 7"]),
        (("expression: exp(x)", "expression: exp(q)"), ["expected.expression", "'q'"]),
        (("expression: exp(x)", "expression: open('f')"), ["expected.expression", "open"]),
        (("coefficients: [1.0, 0.0, 0.0, 0.0]", "coefficients: [[1.0]]"), ["input.coefficients"]),
        (("coefficients: [1.0, 0.0, 0.0, 0.0]", "coefficients: []"), ["input.coefficients"]),
        (("coefficients: [1.0, 0.0, 0.0, 0.0]", "order: 3"), ["line 7, input", "`coefficients`"]),
        (("dims: [x]", "dims: [x, x]"), ["input.dims", "different"]),
        (("  x:\n    range", "  y:\n    range"), ["evaluate", "must say where"]),
        (("output:", "simulate: {model: pendulun}\noutput:"), ["simulate.model", "pendulum?"]),
        (("name: Exp", "name: [Exp"), ["not valid YAML"]),
        (("name: Exp", "name: A\nname: Exp"), ["line 2, name", "twice"]),
        (("tolerance: 1.0e-9", "tolerance: -1"), ["expected.tolerance", "at least 0"]),
    ],
)
def test_a_mistake_is_told_with_its_place_and_its_mend(
    change: tuple[str, str], words: list[str], tmp_path: Path
) -> None:
    text = find("basic/04_exponential").read_text()
    assert change[0] in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(*change))
    with pytest.raises(ExampleError) as caught:
        load(path)
    for word in ["mine.yaml", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("stochastic/02_ornstein_uhlenbeck", ("$sigma", "$sigmo"), ["equation", "$sigmo"]),
        ("stochastic/02_ornstein_uhlenbeck", ("paths: 600", "paths: 0"), ["stochastic.paths"]),
        ("stochastic/02_ornstein_uhlenbeck", ("seed: 11", "sed: 11"), ["mean `seed`?"]),
        ("stochastic/02_ornstein_uhlenbeck", ("{X: 2.0}", "{Y: 2.0}"), ["initial", "X"]),
        ("stochastic/04_heston", ("-0.7], [-0.7", "-2], [-2"), ["positive definite"]),
        ("discrete/02_markov_chain", ("0.9, 0.1", "0.9, 0.2"), ["sum to 1"]),
        ("engineering/04_pid_control", ("20.0, 6.0", "2000.0, 6.0"), ["unstable"]),
        ("engineering/06_pendulum", ("of: swing", "of: swong"), ["output[0].of", "swing"]),
        ("engineering/06_pendulum", ("length: 1.0", "length: -1"), ["simulate.length"]),
    ],
)
def test_a_mistake_in_a_simulation_too(
    name: str, change: tuple[str, str], words: list[str], tmp_path: Path
) -> None:
    text = find(name).read_text()
    assert change[0] in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(*change))
    with pytest.raises(ExampleError) as caught:
        load(path)
    for word in ["mine.yaml, line", *words]:
        assert word in str(caught.value)


def test_a_bomb_of_anchors_is_refused_in_words(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(ExampleError, match="more than"):
        load(path)


def test_the_users_own_file_comes_before_a_packaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("basic/01_integration.yaml").is_absolute()
    (tmp_path / "basic").mkdir()
    (tmp_path / "basic/01_integration.yaml").write_text("name: mine")
    assert find("basic/01_integration.yaml").read_text() == "name: mine"
    with pytest.raises(ExampleError, match=re.escape("basic/01_integration.yaml")):
        find("basic/01_integratoin.yaml")


def test_the_documented_yaml_loads(tmp_path: Path) -> None:
    document = (ROOT / "docs/yaml-examples.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        path = tmp_path / "documented.yaml"
        path.write_text(block)
        load(path)


def test_the_documented_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    document = (ROOT / "docs/runtime-concepts.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile("\n".join(blocks), "runtime-concepts.md", "exec"), names)
    said = capsys.readouterr().out
    assert "trace(composition(composition(add, split), monoidal(id, register(x)))) [1->1]" in said
    assert "[2.71828183]" in said
    assert np.asarray(names["values"]).tolist() == [2.0, 5.5, 10.0]
