from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def checked(folder: Path, name: str, text: str) -> tuple[int, str]:
    """Exit status and words of the check on a repository that tracks one file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "add", "-f", "."], check=True)
    command = [sys.executable, str(ROOT / ".ci/checks/hygiene.py"), str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.returncode, answer.stdout


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("requirements.txt", "numpy @ https" + "://example.org/numpy.whl\n", "an address"),
        ("requirements-dev.txt", "--index" + "-url simple\n", "an index setting"),
        ("some.lock", 'source = "git' + '+ssh"\n', "an address"),
        ("package-lock.json", '{"url": "https' + '://example.org/fund"}\n', "an address"),
        ("a/package-lock.json", '{"resolved"' + ': "x"}\n', "resolved"),
        ("pyproject.toml", "[[tool.uv." + "index]]\n", "an index setting"),
        ("Makefile", "export PIP_INDEX" + "_URL = here\n", "an index setting"),
        ("deploy/Dockerfile", "npm_config_" + "registry=here\n", "an index setting"),
        ("config", "regis" + "try = https" + "://example.org\n", "an index setting"),
        ("clients/.npmrc", "", "remove it from git"),
        ("uv.lock", "", "remove it from git"),
        ("docs/a.md", "see /home" + "/ann/asgard\n", "home path"),
        ("a.py", "P = '/root" + "/x'\n", "home path"),
        ("a.ts", "let x = 1;\n" * 501, "501 lines"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, name: str, text: str, fault: str) -> None:
    status, words = checked(tmp_path, name, text)
    assert status == 1
    assert words.startswith(f"{name}:")
    assert fault in words


def test_two_tests_of_one_name_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "test_x.py").write_text("")
    status, words = checked(tmp_path, "b/test_x.py", "")
    assert status == 1
    assert words.startswith("b/test_x.py:1: is called as a/test_x.py is")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "x = 1\n" * 500),
        ("requirements.txt", "numpy==2.0 \\\n    --hash=sha256:00\n" * 400),
        ("docs/a.md", "https://www.rfc-editor.org/rfc/rfc9457 and {storage}/home/x and */root/x\n"),
        ("a.py", "index = 1\nregistry=registry,\n"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / ".gitattributes").write_text("requirements*.txt linguist-generated\n")
    assert checked(tmp_path, name, text) == (0, "hygiene: no faults\n")


def test_a_file_that_git_ignores_is_not_looked_at(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".npmrc").write_text("x")
    command = [sys.executable, str(ROOT / ".ci/checks/hygiene.py"), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_this_repository_is_clean() -> None:
    command = [sys.executable, str(ROOT / ".ci/checks/hygiene.py"), str(ROOT)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.stdout == "hygiene: no faults\n"
