from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from checks.imports import faults, forbidden, modules_below

ROOT = Path(__file__).resolve().parents[3]
MODULES = modules_below(ROOT / "clients/python/src", ROOT / "services")


def test_every_module_imports_only_what_its_layer_may() -> None:
    assert faults(ROOT) == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("asgard_server.run.handlers", "import asgard_server.store.sqlite", "store.sqlite"),
        ("asgard_server.run.handlers", "from asgard_server.feed import memory", "feed"),
        ("asgard_server.run.domain", "from gimle.asgard.v1 import run_service_pb2", "v1"),
        ("asgard_server.run.domain", "def f():\n    import grpc", "a technology"),
        ("asgard_server.gateway.app", "from ..run import domain", "asgard_server.run"),
        ("asgard_server.run.watch", "from asgard_server.gateway.app import create_app", "gateway"),
        ("asgard_server.rpc.server", "from gimle.asgard.cli import main", "gimle.asgard.cli"),
        ("gimle.asgard.core.ids", "from gimle.asgard.monitor import storage", "monitor"),
        ("gimle.asgard.core.ids", "if True:\n    import asgard_server", "asgard_server"),
        ("gimle.asgard.cli", "import asgard_server.commands", "asgard_server.commands"),
        ("gimle.asgard.attic.old", "", "no row"),
    ],
)
def test_an_import_against_the_layers_is_found(module: str, source: str, fault: str) -> None:
    found = list(forbidden(module, source, set(MODULES)))
    assert len(found) == 1
    assert fault in found[0]


def test_an_import_along_the_layers_is_fine() -> None:
    source = "from . import domain\nfrom gimle.asgard.core import errors\nimport numpy"
    assert list(forbidden("asgard_server.run.handlers", source, set(MODULES))) == []


def test_the_generated_code_is_a_light_import() -> None:
    program = "import sys, gimle.asgard.v1.run_service_pb2 as p; print(*sorted(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    heavy = {"numpy", "httpx", "typer", "rich", "orjson", "yaml", "jax", "starlette", "grpc"}
    assert heavy & set(answer.stdout.decode().split()) == set()
