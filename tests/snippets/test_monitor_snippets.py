"""The Python of the monitor's documentation and of our own documents, run as written."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from tests.snippets.snippets import python_blocks, run_python

STORAGE_IN_PYTHON = """
from gimle.asgard.monitor.storage import AsgardStorage

# Open or create storage
storage = AsgardStorage("./my-results")

# Create a run
run = storage.create_run(name="My Simulation", equation="int(f, x) = g")

# Add a result
storage.add_result(
    run_id=run.id,
    result_type="Solution1D",
    data={"x": x_values, "computed": y_values},
    display={"title": "My Plot", "labels": {"x": "x", "y": "f(x)"}}
)

# List runs
runs = storage.list_runs()

# Load a run with results
run = storage.get_run(run_id)
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def monitor_snippet(x: object, y: object) -> dict[str, object]:
    """The snippet, its last line given the id that the lines before it made."""
    text, last = STORAGE_IN_PYTHON.rsplit("run = ", 1)
    names = run_python(text, x_values=x, y_values=y)
    names["run_id"] = names["run"].id
    return run_python(f"run = {last}", **names)


@pytest.mark.parametrize("library", [np, jnp], ids=["numpy", "jax"])
def test_large_arrays_lie_beside_the_document_and_come_back(library: object) -> None:
    arange = getattr(library, "arange")  # noqa: B009 - numpy and jax share no type
    x = arange(5_000) / 100
    names = monitor_snippet(x, x * x)

    run: object = names["run"]
    (result,) = getattr(run, "results")  # noqa: B009 - the snippet's names have no types
    for name, value in (("x", x), ("computed", x * x)):
        back = result.data[name]
        assert isinstance(back, np.ndarray)
        assert back.dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(back, np.asarray(value))
    files = sorted(p.name for p in Path("my-results/files").iterdir())
    assert files == [f"{result.id}_computed.npy", f"{result.id}_x.npy"]
    assert Path("my-results/.asgard_metadata.json").exists()
    assert (Path("my-results/results") / f"{result.id}.json").stat().st_size < 2_000


def test_small_lists_stay_in_the_document() -> None:
    monitor_snippet([0, 1, 2], [0.0, 0.5, 2.0])
    assert list(Path("my-results/files").glob("*")) == []


SAVING = ["README.md", "docs/getting-started.md", "docs/storage.md", "clients/python/README.md"]


@pytest.mark.parametrize("document", [*SAVING, "docs/runtime-concepts.md"])
def test_the_python_of_our_documents_runs(document: str) -> None:
    # What a reader has at hand and the documents do not spell out.
    names = run_python(python_blocks(document), x=[0, 1], y=[1.0, 2.7], loss=0.5, w=2.0)
    if document in SAVING:
        assert len(names["AsgardStorage"]("./storage").list_runs()) >= 1
