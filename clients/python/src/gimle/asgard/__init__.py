"""Asgard: keep what simulations produce, and watch it while it is being produced.

    from gimle.asgard import AsgardStorage

    storage = AsgardStorage("./storage")
    run = storage.create_run(name="Exponential ODE")
    storage.add_result(run, result_type="Solution1D", data={"x": x, "computed": y})

Names are loaded when they are first used, so that importing a part loads no more than it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gimle.asgard.core.errors import AsgardError
    from gimle.asgard.monitor.result import Result
    from gimle.asgard.monitor.run import Run
    from gimle.asgard.monitor.storage import AsgardStorage

__all__ = ["AsgardError", "AsgardStorage", "Result", "Run", "__version__"]

_HOMES = {
    "AsgardError": "gimle.asgard.core.errors",
    "AsgardStorage": "gimle.asgard.monitor.storage",
    "Result": "gimle.asgard.monitor.result",
    "Run": "gimle.asgard.monitor.run",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("gimle-asgard")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
