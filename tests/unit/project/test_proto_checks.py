"""The checks over the protos find what is planted, in a copy with a release behind it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = "clients/python/src/gimle/asgard/v1"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The protos and their generated code in a repository of their own, tagged v0.1.0."""
    ignored = shutil.ignore_patterns("node_modules", "__pycache__")
    shutil.copytree(ROOT / "protos", tmp_path / "protos", ignore=ignored)
    shutil.copytree(ROOT / PACKAGE, tmp_path / PACKAGE, ignore=ignored)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    subprocess.run([*git, "tag", "v0.1.0"], check=True)
    return tmp_path


def check(name: str, root: Path) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / ".ci/checks" / f"{name}.py"), str(root)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.returncode, answer.stdout + answer.stderr


def change(root: Path, old: str, new: str) -> None:
    path = root / "protos/gimle/asgard/v1/run_service.proto"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def generate(root: Path) -> None:
    command = [sys.executable, str(root / "protos/generate.py")]
    subprocess.run(command, check=True, capture_output=True)


def test_an_untouched_copy_passes(copy: Path) -> None:
    status, words = check("protos", copy)
    assert (status, words.count(": good")) == (0, 3), words
    assert check("generated", copy) == (0, "generated code: fresh\n")


def test_stale_generated_code_is_named(copy: Path) -> None:
    change(copy, "string next_page_token = 2;", "string next_page_token = 9;")
    status, words = check("generated", copy)
    assert status == 1
    assert "gimle/asgard/v1/run_service_pb2.py is not what protos/ says" in words


def test_protos_that_do_not_compile_are_said_in_protoc_s_words(copy: Path) -> None:
    change(copy, "string next_page_token = 2;", "strin next_page_token = 2;")
    status, words = check("generated", copy)
    assert status == 1
    assert "protos/ cannot be generated" in words
    assert '"strin" is not defined' in words


def test_a_left_over_generated_file_is_named(copy: Path) -> None:
    (copy / PACKAGE / "gone_service_pb2.py").write_text("")
    status, words = check("generated", copy)
    assert (status, "gone_service_pb2.py" in words) == (1, True)


def test_a_badly_named_field_is_named(copy: Path) -> None:
    change(copy, "string next_page_token = 2;", "string nextPageToken = 2;")
    generate(copy)
    status, words = check("protos", copy)
    assert (status, "should be lower_snake_case" in words) == (1, True)


def test_a_badly_formatted_proto_is_shown(copy: Path) -> None:
    change(copy, "  string next_page_token = 2;", "string   next_page_token = 2;")
    status, words = check("protos", copy)
    assert (status, "buf format: see above" in words) == (1, True)


def test_a_field_that_moved_since_the_release_is_named(copy: Path) -> None:
    change(copy, "string next_page_token = 2;", "string next_page_token = 9;")
    generate(copy)
    status, words = check("protos", copy)
    assert status == 1
    assert "buf breaking v0.1.0: see above" in words
