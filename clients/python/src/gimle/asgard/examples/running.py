"""Computing an example into a storage, row by row, so that a page can watch."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gimle.asgard.core.errors import AsgardError
from gimle.asgard.examples.document import Example, Output
from gimle.asgard.examples.equations import EquationWork, compute
from gimle.asgard.monitor.storage import AsgardStorage, Result, Run
from gimle.asgard.runtime.simulation import Product, Rows, Simulation, grown

Progress = Callable[[int, int], None]
"""Called with the steps done and the steps there are."""


class StoppedError(Exception):
    """The run was stopped on request; it is marked failed and holds what was computed."""


@dataclass(slots=True)
class Outcome:
    """What came of an example: its run, how many results, and how long it took in seconds."""

    run: Run
    results: int = 0
    seconds: float = 0.0
    largest_error: float | None = field(default=None)
    """The largest difference between computed and expected, over all results that have both."""


def run_example(
    example: Example,
    storage: AsgardStorage,
    *,
    pace: float = 0.0,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
    begun: Callable[[Run], None] | None = None,
) -> Outcome:
    """Compute `example` into a new run of `storage`, and finish the run whatever happens.

    pace: seconds to rest after each saved batch of rows, so that the growing result can be
    watched. begun: told the run as soon as it is there. stop: when set, the run ends at the next
    batch, is marked failed, and StoppedError is raised. Any error, KeyboardInterrupt too, marks
    the run failed and goes on to the caller.
    """
    stop = stop or threading.Event()
    began = time.perf_counter()
    circuit = example.work.circuit if isinstance(example.work, EquationWork) else None
    run = storage.create_run(
        name=example.name,
        equation=example.equation,
        circuit=circuit,
        metadata=example.metadata,
    )
    outcome = Outcome(run)
    try:
        if begun:
            begun(run)
        if isinstance(example.work, EquationWork):
            _equation(example, example.work, storage, outcome, progress)
        else:
            saver = _Saver(storage, run, example.outputs, example.work())
            saver.all(pace, stop, progress)
            outcome.results = len(saver.saved)
            outcome.largest_error = saver.largest_error
        storage.finish_run(run, status="succeeded")
    except BaseException as error:
        # A storage that is gone cannot be told; what went wrong first is what is raised.
        with contextlib.suppress(AsgardError):
            storage.update_run(run, note=_why(error))
            storage.finish_run(run, status="failed")
        raise
    outcome.seconds = time.perf_counter() - began
    return outcome


def _why(error: BaseException) -> str:
    if isinstance(error, StoppedError | KeyboardInterrupt):
        return "Stopped before it was done."
    return f"Failed: {error}"


def _equation(
    example: Example,
    work: EquationWork,
    storage: AsgardStorage,
    outcome: Outcome,
    progress: Progress | None,
) -> None:
    run, output = outcome.run, example.outputs[0]
    # What is drawn is computed from what was stored, and from nothing else.
    assert run.circuit is not None  # noqa: S101 - it was stored a moment ago
    stream = compute(run.circuit, run.metadata["input"])
    data = work.data(stream)
    storage.add_result(run, result_type=output.result_type, data=data, display=output.display)
    outcome.results = 1
    outcome.largest_error = _difference(data)
    if progress:
        progress(1, 1)


class _Saver:
    """Saves the products an example asks for, each once it has a first row, then as it grows."""

    def __init__(
        self, storage: AsgardStorage, run: Run, outputs: tuple[Output, ...], simulation: Simulation
    ) -> None:
        self.storage = storage
        self.run = run
        self.simulation = simulation
        self.outputs = {output.of: output for output in outputs}
        self.products = {one.name: one for one in simulation.products if one.name in self.outputs}
        self.saved: dict[str, Result] = {}
        self.largest_error: float | None = None

    def all(self, pace: float, stop: threading.Event, progress: Progress | None) -> None:
        for product in self.products.values():
            if _rows(product.first):
                self.save(product, product.first)
        for done, batch in enumerate(self.simulation.rows, start=1):
            for name, rows in batch.items():
                if name in self.products:
                    self.add(self.products[name], rows)
            if progress:
                progress(done, self.simulation.steps)
            if stop.wait(pace) if pace > 0 else stop.is_set():
                raise StoppedError

    def add(self, product: Product, rows: Rows) -> None:
        if product.name in self.saved:
            self.storage.append(self.saved[product.name], dict(rows))
            self.note(rows)
        else:
            self.save(product, grown(product.result_type, product.first, rows))

    def save(self, product: Product, data: Mapping[str, Any]) -> None:
        output = self.outputs[product.name]
        self.saved[product.name] = self.storage.add_result(
            self.run, result_type=output.result_type, data=dict(data), display=output.display
        )
        self.note(data)

    def note(self, data: Mapping[str, Any]) -> None:
        error = _difference(data)
        if error is not None:
            self.largest_error = max(error, self.largest_error or 0.0)


def _rows(data: Mapping[str, Any]) -> bool:
    """Whether the data of a product has anything in it yet."""
    return all(np.size(value) for value in data.values() if not isinstance(value, Mapping))


def _difference(data: Mapping[str, Any]) -> float | None:
    computed = data.get("computed", data.get("values"))
    expected = data.get("expected")
    if computed is None or expected is None:
        return None
    return float(np.max(np.abs(np.asarray(computed) - np.asarray(expected))))
