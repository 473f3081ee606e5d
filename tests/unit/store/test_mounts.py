"""Where an index belongs: with its folder, unless that lies across a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from asgard_server.store.mounts import index_path, is_network

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/export {root}/net nfs4 rw 0 0
/dev/sdb1 {root}/net/local xfs rw 0 0
user@host:/ {root}/my\\040files fuse.sshfs rw 0 0
//nas/share {root}/network cifs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("storage", False),
        ("net", True),
        ("net/deep/storage", True),
        ("net/local/storage", False),
        ("netsuke", False),
        ("my files/storage", True),
        ("network/storage", True),
    ],
)
def test_a_network_file_system_is_told_by_its_mount(
    tmp_path: Path, folder: str, expected: bool
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.format(root=tmp_path))
    assert is_network(tmp_path / folder, mounts) is expected


def test_without_a_table_of_mounts_a_folder_is_taken_for_local(tmp_path: Path) -> None:
    assert is_network(tmp_path, tmp_path / "nothing") is False


def test_an_index_lies_in_its_folder_or_in_the_cache_by_storage_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    beside = tmp_path / ".asgard" / "index.sqlite3"
    assert index_path(str(tmp_path), "abc", network=False) == beside
    cached = tmp_path / "cache" / "asgard" / "abc" / "index.sqlite3"
    assert index_path(tmp_path, "abc", network=True) == cached
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    home = Path(tmp_path / "home" / ".cache" / "asgard")
    assert index_path(tmp_path, "abc", network=True) == home / "abc" / "index.sqlite3"
    assert index_path(tmp_path, None, network=True).is_relative_to(home)
