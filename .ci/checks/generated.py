"""Is the committed generated code what the protos say? Regenerates it elsewhere and compares.

python .ci/checks/generated.py [ROOT]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

GENERATED = ("*_pb2*.py", "*_pb2*.pyi", "*.binpb")
PACKAGE = Path("gimle/asgard/v1")


def differences(root: Path) -> list[str]:
    """The names of generated files that are missing, stale or left over."""
    committed = root / "clients" / "python" / "src" / PACKAGE
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(root / "protos" / "generate.py"), folder]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
        if answer.returncode != 0:
            sys.exit(f"protos/ cannot be generated:\n{answer.stderr}")
        fresh = contents(Path(folder) / PACKAGE)
    old = contents(committed)
    return sorted(name for name in fresh.keys() | old.keys() if fresh.get(name) != old.get(name))


def contents(folder: Path) -> dict[str, bytes]:
    """The generated files of a folder by name."""
    return {p.name: p.read_bytes() for pattern in GENERATED for p in folder.glob(pattern)}


def main(arguments: list[str]) -> int:
    """Print what is stale; answer the exit status."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent.parent
    stale = differences(root)
    for name in stale:
        print(f"{PACKAGE / name} is not what protos/ says; run `make gen` and commit it")
    if not stale:
        print("generated code: fresh")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
