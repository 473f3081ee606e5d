"""Bytes on their way into a folder: held fast they stay what they are, and nothing stays behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from asgard_server.store.folder_incoming import held_fast, remove_abandoned


@pytest.fixture
def taking(tmp_path: Path) -> Path:
    return tmp_path / "incoming"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"first")
    return path


def test_bytes_held_fast_are_these_whatever_comes_in_their_place(
    taking: Path, source: Path
) -> None:
    with held_fast(taking, source) as one, held_fast(taking, source) as other:
        source.with_name("next").write_bytes(b"second")
        os.replace(source.with_name("next"), source)
        remove_abandoned(taking)
        assert one.read_bytes() == other.read_bytes() == b"first"
    assert list(taking.iterdir()) == []
    assert source.read_bytes() == b"second"


def test_what_a_death_leaves_of_them_goes_and_they_stay(taking: Path, source: Path) -> None:
    taking.mkdir()
    os.link(source, taking / "of-a-process-that-died")
    remove_abandoned(taking)
    assert list(taking.iterdir()) == []
    assert source.read_bytes() == b"first"


def test_of_nothing_nothing_is_held(taking: Path, source: Path) -> None:
    source.unlink()
    with pytest.raises(FileNotFoundError), held_fast(taking, source):
        pass
    assert list(taking.iterdir()) == []
