"""What is installed from the two wheels is all that a machine without the clone has."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def names_in_the_wheel(project: str, folder: Path) -> set[str]:
    """Build the wheel of a project; answer the names of the files in it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT / project, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize(
    ("project", "source", "patterns"),
    [
        ("clients/python", "src/gimle", ("**/*.py", "**/*.yaml", "**/*.binpb", "**/py.typed")),
        ("services", "asgard_server", ("**/*.py", "gateway/static/**/*", "py.typed")),
    ],
)
def test_a_wheel_carries_code_and_data(
    project: str, source: str, patterns: tuple[str, ...], tmp_path: Path
) -> None:
    inside = names_in_the_wheel(project, tmp_path)
    root = ROOT / project / source
    for pattern in patterns:
        wanted = {str(p.relative_to(root.parent)) for p in root.glob(pattern) if p.is_file()}
        assert wanted, pattern
        assert wanted - inside == set(), pattern


def test_the_server_s_wheel_carries_the_built_page(tmp_path: Path) -> None:
    inside = names_in_the_wheel("services", tmp_path)
    assert "asgard_server/gateway/static/index.html" in inside
    assert any(name.endswith(".js") for name in inside)
