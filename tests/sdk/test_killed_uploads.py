"""Kill -9 at 70 % of an upload, counted on its way: what comes to the store a second time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from gimle.asgard.transfer import part_bytes

from tests.sdk.blob_places import Place, in_s3, kill, moved
from tests.sdk.puts import Puts

MIB = 1 << 20
# Of one upload; as much as is promised where there is time for it (make soak).
WHOLE = int(os.environ.get("TESTS_UPLOAD_MIB", "256")) * MIB
# A line of 32 MiB/s a connection: what could be sent waits for those before it, not for its digest.
SLOW_S = 0.002

pytestmark = pytest.mark.timeout(600)


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
    """An upload killed at 70 %, and the one that ends it; the bytes that went more than once."""
    assert place.relay is not None
    size = sum(path.stat().st_size for path in [sent, *sent.rglob("*")] if path.is_file())
    before = place.relay.up
    puts = Puts(place.relay, size * 7 // 10, SLOW_S)
    first = place.moving("upload", sent)
    assert place.relay.reached.wait(300)
    kill(first)
    place.relay.released.set()
    moved(place.moving("upload", sent))
    assert max(puts.begun.values()) <= 2
    again = place.relay.up - before - size
    print(f"sent again: {again / MIB:.1f} MiB, {sorted(puts.twice().values())}")
    return puts, again


def test_of_a_killed_tree_one_part_of_each_open_file_is_sent_again_at_most(
    place: Place, tmp_path: Path
) -> None:
    a_tree(tmp_path / "tree")
    puts, _ = killed_and_done(place, tmp_path / "tree")
    twice = puts.twice().values()
    assert 1 <= sum(parts != [0] for parts in twice) <= 3, "it was killed while files went in parts"
    assert all(len(parts) == 1 for parts in twice)
    assert len(twice) <= 16, "as many are open at once"
    assert len({key for key, _ in puts.begun}) == 3 + 8 + 64, "each has one place"


def test_of_a_killed_file_what_was_under_way_is_sent_again_and_no_more(
    place: Place, tmp_path: Path
) -> None:
    a_file(tmp_path / "one", WHOLE)
    puts, again = killed_and_done(place, tmp_path / "one")
    each = part_bytes(WHOLE)
    # Up to 1 GiB a file that is alone has two parts under way, each of half of what others have.
    assert sum(map(len, puts.twice().values())) <= 32 * MIB // each
    assert 0 <= again <= 32 * MIB + MIB, "with the heads of requests"
    assert len(puts.begun) == -(-WHOLE // each)
