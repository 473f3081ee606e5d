"""Arrays that were downloaded: once, whole or not at all, and no more of them than agreed."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgard_server.store.array_cache import ArrayCache
from asgard_server.store.s3_objects import Objects

from tests.unit.store.s3_replicas import a_result, a_run, cluster


class Source:
    """Something to download, which counts how often it is."""

    def __init__(self, size: int = 1_000) -> None:
        self.asked = 0
        self._size = size

    def __call__(self, handle: int) -> bool:
        self.asked += 1
        os.write(handle, b"x" * self._size)
        return True


def test_what_was_downloaded_is_there_also_for_a_later_process(tmp_path: Path) -> None:
    source = Source()
    cache = ArrayCache(tmp_path / "cache", 10_000)
    path = cache.path("a etag", source)
    assert path is not None
    assert cache.path("a etag", source) == path
    assert ArrayCache(tmp_path / "cache", 10_000).path("a etag", source) == path
    assert source.asked == 1
    assert cache.path("a another etag", source) != path
    assert source.asked == 2


def test_many_who_want_the_same_download_it_once(tmp_path: Path) -> None:
    cache, gate, asked = ArrayCache(tmp_path, 10_000), threading.Event(), []

    def slow(handle: int) -> bool:
        asked.append(handle)
        gate.wait(5)
        os.write(handle, b"x")
        return True

    found: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.path("a", slow))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert len(set(found)) == 1


def test_the_longest_unused_go_first_and_the_newest_never(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, 3_500)
    sources = {name: Source() for name in "abcd"}
    for name in "abc":
        cache.path(name, sources[name])
    cache.path("a", sources["a"])  # used again
    cache.path("d", sources["d"])
    assert sum(entry.stat().st_size for entry in os.scandir(tmp_path)) <= 3_500
    for name, asked in {"a": 1, "b": 2}.items():
        cache.path(name, sources[name])
        assert sources[name].asked == asked
    huge = cache.path("huge", Source(10_000))
    assert huge is not None
    assert os.path.exists(huge)
    assert len(os.listdir(tmp_path)) == 1


def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, 10_000)

    def broken(handle: int) -> bool:
        os.write(handle, b"half")
        raise OSError("the store went away")

    with pytest.raises(OSError, match="went away"):
        cache.path("a", broken)
    assert cache.path("a", lambda handle: False) is None
    assert os.listdir(tmp_path) == []
    assert cache.path("a", Source()) is not None


async def test_a_second_window_of_a_result_downloads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    download, part = Objects.download, Objects.part_now

    def counted(self: Objects, path: str, handle: int) -> bool:
        asked.append(path)
        return download(self, path, handle)

    def counted_part(self: Objects, path: str, *span: Any) -> bytes | None:
        asked.append(path)
        return part(self, path, *span)

    monkeypatch.setattr(Objects, "download", counted)
    monkeypatch.setattr(Objects, "part_now", counted_part)
    async with cluster("versitygw", tmp_path) as house:
        replica = await house.replica()
        run = a_run()
        await replica.create(run)
        values = np.random.default_rng(7).normal(size=(300, 1_000))
        result = a_result(run.id, field=values, small=np.arange(2_000))
        await replica.add(result)
        first = await replica.documents.open_result(result.id)
        again = await replica.documents.open_result(result.id)
        assert isinstance(again.data["field"], np.memmap)
        for opened in (first, again):
            np.testing.assert_array_equal(opened.data["field"], values)
            np.testing.assert_array_equal(opened.data["small"], np.arange(2_000))
        assert len(asked) == 2
        await replica.documents.append(result.id, {"field": np.ones((2, 1_000))}, None)
        grown = await replica.documents.open_result(result.id)
        np.testing.assert_array_equal(grown.data["field"][-2:], np.ones((2, 1_000)))
        np.testing.assert_array_equal(grown.data["field"][:-2], values)
        assert len(asked) == 3  # the chunk alone
