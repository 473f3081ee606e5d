"""Run a documented snippet as it is written, in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_python(text: str, **names: Any) -> dict[str, Any]:
    """Execute a snippet; answer the names it leaves behind, with those it began with."""
    namespace = {"__name__": "snippet", **names}
    exec(compile(text, "<snippet>", "exec"), namespace)
    return namespace


def python_blocks(document: str) -> str:
    """All Python of a document of this repository, one block after the other."""
    return "\n".join(PYTHON_BLOCK.findall((ROOT / document).read_text()))


def environment(**more: str) -> dict[str, str]:
    """An environment in which `uv run` uses this clone's .venv from any folder, asking no index."""
    # uv warns of another environment that the shell of the tests is in.
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith("ASGARD_") and k != "VIRTUAL_ENV"
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    uv = {"UV_PROJECT": str(ROOT), "UV_NO_SYNC": "1", "UV_OFFLINE": "1"}
    return {**clean, "PATH": path, **uv, **more}


def run_command(command: str, folder: Path, **more: str) -> str:
    """Run a documented command in a folder; answer what it printed, fail with it otherwise."""
    answer = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, f"{command} answered {answer.returncode}:\n{answer.stdout}"
    return answer.stdout
