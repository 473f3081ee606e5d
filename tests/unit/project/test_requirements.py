"""What the projects ask for is what the hashed requirements bring."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
PROJECTS = ("pyproject.toml", "clients/python/pyproject.toml", "services/pyproject.toml")
OURS = {"gimle-asgard", "asgard-server"}
PIN = re.compile(r"^([\w.-]+)==([\w.+!]+)", re.MULTILINE)


def asked(project: str) -> list[Requirement]:
    document = tomllib.loads((ROOT / project).read_text())
    table = document["project"]
    extras = table.get("optional-dependencies", {}).values()
    groups = document.get("dependency-groups", {}).values()
    return [
        Requirement(line) for lines in (table["dependencies"], *extras, *groups) for line in lines
    ]


def test_every_dependency_is_pinned_within_its_range() -> None:
    pins = {
        canonicalize_name(n): v for n, v in PIN.findall((ROOT / "requirements.txt").read_text())
    }
    wanted = [need for project in PROJECTS for need in asked(project) if need.name not in OURS]
    assert wanted
    missing = [
        str(need)
        for need in wanted
        if (pin := pins.get(canonicalize_name(need.name))) is None
        or not need.specifier.contains(pin, prereleases=True)
    ]
    assert missing == [], "run `make lock`"


def test_every_pin_has_a_hash() -> None:
    for name in ("requirements.txt", ".ci/requirements-node.txt"):
        blocks = re.split(r"\n(?=\w)", (ROOT / name).read_text())
        pins = [block for block in blocks if PIN.match(block)]
        assert pins
        assert [b.split("==")[0] for b in pins if "--hash=sha256:" not in b] == []


@pytest.mark.parametrize("folder", ["clients/dashboard", "protos"])
def test_npm_s_lock_is_that_of_its_package_and_hashed(folder: str) -> None:
    package = json.loads((ROOT / folder / "package.json").read_text())
    packages = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    root = packages.pop("")
    for kind in ("dependencies", "devDependencies", "optionalDependencies"):
        assert root.get(kind, {}) == package.get(kind, {}), "run `make lock`"
        for name, version in package.get(kind, {}).items():
            assert packages[f"node_modules/{name}"]["version"] == version
    assert [name for name, entry in packages.items() if "integrity" not in entry] == []
