"""The kernel's bell: what it tells, and that it says so when it can no longer tell all."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from asgard_server.run.store import Key
from asgard_server.store.folder_bell import MOST_NAMED, FolderBell
from asgard_server.store.inotify import Inotify, OverflowedError

QUEUE = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def test_names_that_come_change_and_go_are_told_once_in_a_burst(tmp_path: Path) -> None:
    with Inotify([str(tmp_path)]) as notify:
        (tmp_path / "old.json").write_text("{}")
        (tmp_path / "old.json").rename(tmp_path / "new.json")
        (tmp_path / "new.json").unlink()
        told = notify.paths(1_000, 1, 50)
        assert told == {f"{tmp_path}/old.json", f"{tmp_path}/new.json"}
        assert notify.paths(10, 1, 50) == set(), "nothing more has happened"


def test_reading_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text("{}")
    with Inotify([str(tmp_path)]) as notify:
        (tmp_path / "one.json").read_text()
        assert notify.paths(50, 1, 50) == set()


def test_one_who_writes_without_pause_is_told_of_all_the_same(tmp_path: Path) -> None:
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            (tmp_path / "one.json").write_text("{}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with Inotify([str(tmp_path)]) as notify:
            began = time.monotonic()
            assert notify.paths(1_000, 5, 50) == {f"{tmp_path}/one.json"}
            assert time.monotonic() - began < 10  # he goes on writing: for ever, were it not so
    finally:
        done.set()
        writer.join()


def test_a_wait_can_be_ended(tmp_path: Path) -> None:
    with Inotify([str(tmp_path)]) as notify:
        began = time.monotonic()
        threading.Timer(0.05, notify.interrupt).start()
        assert notify.paths(60_000, 1, 50) == set()
        assert time.monotonic() - began < 30
    notify.interrupt()  # and harms nobody afterwards


def test_a_folder_that_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Inotify([str(tmp_path), str(tmp_path / "none")])


def overflow(folder: Path) -> None:
    """More events than the kernel keeps for one who does not read them."""
    one, other = folder / "one.json", folder / "other.json"
    one.touch()
    for _ in range(QUEUE // 4 + 1):
        one.rename(other)
        other.rename(one)


def test_a_queue_that_overflowed_is_said(tmp_path: Path) -> None:
    with Inotify([str(tmp_path)]) as notify:
        overflow(tmp_path)
        with pytest.raises(OverflowedError):
            notify.paths(1_000, 1, 10_000)


async def test_the_bell_names_nothing_after_an_overflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paths(*_: object) -> set[str]:
        if told:
            time.sleep(0.01)
            return set()
        told.append(True)
        raise OverflowedError

    told: list[bool] = []
    monkeypatch.setattr(Inotify, "paths", paths)
    bell = FolderBell({"run": str(tmp_path)})
    await bell.start()
    try:
        assert await asyncio.wait_for(anext(bell), 30) is None
        bell._hear({Key("run", str(n)) for n in range(MOST_NAMED)})
        named = await anext(bell)
        assert named is not None
        assert len(named) == MOST_NAMED, "afterwards it names them again"
    finally:
        await bell.stop()
