"""Programs of the system, or unpacked from Debian's packages into .cache/engines."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def program(name: str) -> str:
    """The path of `nginx` or `promtool`; the test fails where it cannot be brought."""
    found = _found(name)
    if found is None:
        command = [str(ROOT / ".ci" / "setup-unpacked"), name]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        found = _found(name)
        if found is None:
            pytest.fail(f"{said.stdout}{said.stderr}")
    return found


def _found(name: str) -> str | None:
    unpacked = ROOT / ".cache" / "engines" / name / "usr"
    path = [os.environ["PATH"], "/usr/sbin", str(unpacked / "sbin"), str(unpacked / "bin")]
    return shutil.which(name, path=os.pathsep.join(path))
