"""Kill -9 at 70 % of an upload, counted on its way: what comes to the store a second time."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from gimle.asgard.transfer import part_bytes

from tests.sdk.blob_places import Place, in_s3, kill, moved
from tests.sdk.relay import Relay

MIB = 1 << 20
# Of one upload; as much as is promised where there is time for it (make soak).
WHOLE = int(os.environ.get("TESTS_UPLOAD_MIB", "256")) * MIB
PUT = re.compile(rb"PUT (/[^ ?]+)\S*?(?:[?&]partNumber=(\d+)\S*)? HTTP/1\.1\r\n")


class Puts:
    """What has been put through a relay: how often each part of each key, 0 for a whole file.

    From `mark` bytes on nothing passes until `released`, so that a kill comes just then.
    """

    def __init__(self, relay: Relay, mark: int) -> None:
        self.begun: Counter[tuple[bytes, int]] = Counter()
        self._relay, self._lock = relay, threading.Lock()
        relay.released.clear()
        relay.reached.clear()
        relay.mark = relay.up + relay.down + mark
        relay.holds = self._told

    def _told(self, data: bytes) -> bool:
        # A client waits for its answer before the next request: so its head begins what comes.
        if put := PUT.match(data):
            with self._lock:
                self.begun[put[1], int(put[2] or 0)] += 1
        if self._relay.reached.is_set():
            return True
        # A slow line: what could be sent waits for those before it, and not for its digest.
        self._relay.released.wait(0.002)
        return False

    def twice(self) -> dict[bytes, list[int]]:
        """The parts of each key that came a second time."""
        found: dict[bytes, list[int]] = {}
        for (key, part), count in sorted(self.begun.items()):
            assert count <= 2, (key, part)
            if count == 2:
                found.setdefault(key, []).append(part)
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with in_s3(tmp_path) as place:
        yield place


def a_file(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while left := size - file.tell():
            file.write(os.urandom(min(left, MIB)))


def a_tree(folder: Path) -> None:
    """Four fifths in three files that go in parts, the rest in smaller ones.

    At 70 % two of the three at least are under way still: were they done, more would have gone.
    """
    for number in range(3):
        a_file(folder / f"large/{number}", WHOLE * 4 // 15)
    for number in range(8):
        a_file(folder / f"mid/{number}", WHOLE // 48)
    for number in range(64):
        a_file(folder / f"small/{number}", WHOLE // 2_048)


def killed_and_done(place: Place, sent: Path) -> tuple[Puts, int]:
    """An upload that is killed at 70 %, and the one that ends it; how much both sent too much."""
    assert place.relay is not None
    size = sum(path.stat().st_size for path in [sent, *sent.rglob("*")] if path.is_file())
    before = place.relay.up
    puts = Puts(place.relay, size * 7 // 10)
    first = place.moving("upload", sent)
    assert place.relay.reached.wait(300)
    kill(first)
    place.relay.released.set()
    moved(place.moving("upload", sent))
    return puts, place.relay.up - before - size


def test_of_a_killed_tree_one_part_of_each_open_file_is_sent_again_at_most(
    place: Place, tmp_path: Path
) -> None:
    a_tree(tmp_path / "tree")
    puts, again = killed_and_done(place, tmp_path / "tree")
    twice = puts.twice()
    print(f"sent again: {again / MIB:.1f} MiB, {sorted(twice.values())}")
    in_parts = [parts for parts in twice.values() if parts != [0]]
    assert 1 <= len(in_parts) <= 3, "the kill came while files went in parts"
    assert all(len(parts) == 1 for parts in twice.values())
    assert len({key for key, _ in puts.begun}) == 3 + 8 + 64
    assert sum(puts.begun.values()) - sum(map(len, twice.values())) == len(puts.begun)


def test_of_a_killed_file_what_was_under_way_is_sent_again_and_no_more(
    place: Place, tmp_path: Path
) -> None:
    a_file(tmp_path / "one", WHOLE)
    puts, again = killed_and_done(place, tmp_path / "one")
    (parts,) = puts.twice().values() or [[]]
    print(f"sent again: {again / MIB:.1f} MiB, {parts}")
    # Up to 1 GiB a file that is alone has two parts under way, each half as large as above.
    assert len(parts) <= (32 * MIB) // part_bytes(WHOLE)
    assert 0 <= again <= 32 * MIB + MIB, "with the heads of requests"
    assert len({number for _, number in puts.begun}) == -(-WHOLE // part_bytes(WHOLE))
