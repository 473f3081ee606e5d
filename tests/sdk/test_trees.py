"""The files of a folder that is to be sent: all of them, or an error."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from gimle.asgard.transfer import TransferError, tree


def made(folder: Path) -> Path:
    for name in ("a/b", "a.x", "a/c/d", "z", ".hidden", "é/ü"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    (folder / "empty").mkdir()
    return folder


def names(folder: Path, prefix: str) -> list[str]:
    return [each.name for each in tree(folder, prefix)]


def test_files_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    folder = made(tmp_path / "f")
    inside = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))]
    files = [name for name in inside if (folder / name).is_file()]
    assert names(folder, "p/q") == [f"p/q/{name}" for name in files]
    assert [each.path for each in tree(folder, "")] == [folder / name for name in files]


@pytest.mark.parametrize("given", [".", "./", "../f", "a/.."])
def test_names_do_not_tell_from_where_a_folder_was_named(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "f")
    monkeypatch.chdir(folder)
    assert names(Path(given), "") == [each.removeprefix("/") for each in names(folder, "")]
    assert "a/c/d" in names(Path(given), "")


def test_links_to_files_are_files_and_links_to_folders_are_left_out(tmp_path: Path) -> None:
    folder = made(tmp_path / "f")
    (folder / "link").symlink_to("a.x")
    (folder / "loop").symlink_to(folder)
    assert {"x/link"} == {*names(folder, "x")} - {*names(made(tmp_path / "g"), "x")}


def _link(path: Path) -> None:
    path.symlink_to("nowhere")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("make", [_link, os.mkfifo, _socket])
def test_what_is_no_file_is_named(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "f")
    monkeypatch.chdir(folder / "a")  # the name of a socket is short
    make(Path("odd"))
    with pytest.raises(TransferError, match=r"/a/odd is neither a file nor a folder: remove it"):
        names(folder, "x")


def test_a_folder_that_may_not_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "f")
    opened = os.scandir

    def refusing(path: str | Path) -> object:  # root reads everything
        if str(path).endswith("/c"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionError, match="/a/c"):
        names(folder, "x")
