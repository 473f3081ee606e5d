"""The names others import, and that nothing else has slipped out beside them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import asgard_server
import pytest
from gimle import asgard

DOORS: dict[str, set[str]] = {
    "gimle.asgard.core.data.file": {"FileStorage"},
    "gimle.asgard.core.data.local_cache": {"LocalCache"},
    "gimle.asgard.core.data.serialisable": {"Serialisable", "SerialisableRegistry"},
    "gimle.asgard.monitor.storage": {"AsgardStorage", "Result", "Run"},
    "gimle.asgard.equation.equation": {"Equation"},
    "gimle.asgard.circuit.circuit": {"Circuit"},
    "gimle.asgard.runtime.stream": {"Stream"},
    "gimle.asgard.runtime.stream_evaluator": {"RealCalculus", "StreamEvaluator"},
    "gimle.asgard.cli": {"main"},
    "asgard_server.commands": {"monitor", "serve"},
    "asgard_server.run.render": {"RenderOptions", "Rendered", "render"},
    "asgard_server.gateway.app": {"GatewayOptions", "create_app"},
}
METHODS = {
    "FileStorage": {"path", "list_objects", "save", "load", "delete"},
    "LocalCache": {"path", "list_objects", "save", "load", "delete", "refresh"},
    "AsgardStorage": {
        *("create_run", "load_run", "list_runs", "delete_run", "add_result", "load_result"),
        *("delete_result", "save_simulation_result", "get_run_with_results", "get_run"),
        *("append", "finish_run", "update_run"),
    },
}


def packages() -> list[str]:
    """Every package and module of ours, but the generated ones."""
    walks = (pkgutil.walk_packages(r.__path__, f"{r.__name__}.") for r in (asgard, asgard_server))
    names = (module.name for walk in walks for module in walk)
    return [name for name in names if ".v1" not in name and "__main__" not in name]


@pytest.mark.parametrize(("module", "names"), DOORS.items(), ids=list(DOORS))
def test_a_documented_name_is_where_the_documents_say(module: str, names: set[str]) -> None:
    there = importlib.import_module(module)
    assert {name for name in names if not hasattr(there, name)} == set()
    for name in names:
        assert inspect.getdoc(getattr(there, name)), f"{module}.{name} has no docstring"


@pytest.mark.parametrize(("name", "methods"), METHODS.items(), ids=list(METHODS))
def test_a_documented_class_has_its_documented_methods(name: str, methods: set[str]) -> None:
    module = next(m for m, names in DOORS.items() if name in names)
    kind = getattr(importlib.import_module(module), name)
    public = {n for n in dir(kind) if not n.startswith("_") and callable(getattr(kind, n))}
    assert methods - public == set()


@pytest.mark.parametrize("module", packages())
def test_what_a_module_promises_is_there_once(module: str) -> None:
    there = importlib.import_module(module)
    promised = getattr(there, "__all__", [])
    assert len(promised) == len(set(promised))
    assert [name for name in promised if not hasattr(there, name)] == []
