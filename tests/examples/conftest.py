"""All packaged examples, computed once into one storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gimle.asgard.examples import catalogue, load, run_example
from gimle.asgard.examples.catalogue import name_of
from gimle.asgard.monitor.storage import AsgardStorage, Result, Run

Computed = Callable[[str], Run]


@pytest.fixture(scope="session")
def computed_storage(tmp_path_factory: pytest.TempPathFactory) -> AsgardStorage:
    """An empty storage for all examples of this session."""
    folder: Path = tmp_path_factory.mktemp("examples") / "storage"
    return AsgardStorage(folder, durability="relaxed")


@pytest.fixture(scope="session")
def computed(computed_storage: AsgardStorage) -> Computed:
    """`computed("basic/01_integration.yaml")`: its finished run, read back from the storage."""
    paths = {name_of(path): path for path in catalogue()}
    made: dict[str, str] = {}

    def run_of(name: str) -> Run:
        if name not in made:
            made[name] = run_example(load(paths[name]), computed_storage).run.id
        return computed_storage.get_run(made[name])

    return run_of


@pytest.fixture(scope="session")
def result(computed: Computed) -> Callable[..., Result]:
    """`result(name, place=0)`: one result of an example, in the order of its `output`."""

    def result_of(name: str, place: int = 0) -> Result:
        return computed(name).results[place]

    return result_of
