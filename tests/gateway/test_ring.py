from __future__ import annotations

import pytest
from asgard_server.gateway.ring import Entry, Ring


def filled(ring: Ring, first: int, last: int) -> Ring:
    for revision in range(first, last + 1):
        ring.append(Entry(revision, f"t{revision}", b"%d;" % revision))
    return ring


def rest(ring: Ring, position: int) -> bytes | None:
    """Read from a position to the end, as a client does."""
    texts: list[bytes] = []
    while True:
        read = ring.read(position)
        if read is None:
            return None
        text, position = read
        if not text:
            return b"".join(texts)
        texts.append(text)


def behind(ring: Ring, token: str) -> int | None:
    """The position of who has seen the event that carried a token."""
    revision = ring.revision_of(token)
    return None if revision is None else ring.position_behind({0: revision})


def test_a_token_leads_to_what_came_behind_it() -> None:
    ring = filled(Ring(), 1, 5)
    position = behind(ring, "t3")
    assert position is not None
    assert rest(ring, position) == b"4;5;"
    assert rest(ring, ring.end) == b""
    assert behind(ring, "t9") is None


def test_only_the_newest_are_kept_by_number_and_by_size() -> None:
    ring = filled(Ring(max_entries=3), 1, 10)
    assert len(ring) == 3
    assert rest(ring, 0) is None, "whoever stands before them has lost some"
    position = behind(ring, "t7")
    assert position is not None, "everything behind the last one that was dropped is here"
    assert rest(ring, position) == b"8;9;10;"
    assert behind(ring, "t6") is None
    assert len(filled(Ring(max_bytes=7), 1, 9)) == 3


def test_a_revision_leads_to_the_first_newer_event_if_none_is_missing() -> None:
    ring = Ring(max_entries=3)
    assert ring.position_behind({0: 5}) is None, "it does not know yet where it begins"
    ring.begin(5, "t5")
    assert ring.position_behind({0: 4}) is None
    assert ring.position_behind({0: 5}) == ring.end == behind(ring, "t5")
    filled(ring, 6, 10)
    assert ring.position_behind({0: 6}) is None
    position = ring.position_behind({0: 7})
    assert position is not None
    assert rest(ring, position) == b"8;9;10;"
    assert rest(ring, ring.position_behind({0: 9}) or 0) == b"10;"


def read_on(ring: Ring, position: int, seen: dict[int, int]) -> tuple[bytes, int]:
    """Read what somebody has not seen, to the end."""
    read = ring.unseen(position, seen)
    assert read is not None
    return read


def test_who_is_ahead_of_the_ring_gets_nothing_twice() -> None:
    ring = Ring()
    ring.begin(5, "t5")
    seen = {0: 8}
    ahead = ring.position_behind(seen)
    assert ahead is not None
    filled(ring, 6, 7)
    text, ahead = read_on(ring, ahead, seen)
    assert (text, ring.holds_all_of(seen)) == (b"", False)
    filled(ring, 8, 10)
    assert (read_on(ring, ahead, seen)[0], ring.holds_all_of(seen)) == (b"9;10;", True)


def test_a_reset_voids_what_somebody_has_seen() -> None:
    ring = filled(Ring(), 1, 5)
    restarts = ring.restarts
    ring.restart(Entry(2, "n2", b"reset;"))
    filled(ring, 3, 4)
    assert ring.restarts == restarts + 1
    assert rest(ring, 5) == b"reset;3;4;"


def test_a_reset_is_what_everybody_reads_next_whoever_was_behind() -> None:
    ring = filled(Ring(), 1, 5)
    slow, quick = 0, ring.end
    ring.restart(Entry(2, "n2", b"reset;"))
    filled(ring, 3, 4)
    assert rest(ring, slow) == rest(ring, quick) == b"reset;3;4;"
    assert behind(ring, "t5") is None, "a token of another epoch"
    assert ring.position_behind({0: 1}) is None
    assert rest(ring, ring.position_behind({0: 2}) or 0) == b"3;4;"


def two_logs() -> Ring:
    """Events of a log from revision 1 on, between those of another from 101 on."""
    ring = Ring()
    ring.begin(0, "a0", 0)
    ring.begin(100, "b100", 1)
    for revision in range(1, 4):
        ring.append(Entry(revision, f"a{revision}", b"a%d;" % revision, 0))
        ring.append(Entry(100 + revision, f"b{100 + revision}", b"b%d;" % revision, 1))
    return ring


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        ({0: 3, 1: 103}, b""),
        ({0: 2, 1: 102}, b"a3;b3;"),
        ({0: 3, 1: 102}, b"b3;"),
        ({0: 0, 1: 102}, b"a1;a2;a3;b3;"),
        ({0: 3, 1: 100}, b"b1;b2;b3;"),
        ({0: 1}, b"a2;b2;a3;b3;"),
    ],
)
def test_of_two_logs_each_event_comes_once_wherever_one_stands(
    seen: dict[int, int], text: bytes
) -> None:
    ring = two_logs()
    position = ring.position_behind(seen)
    assert position is not None
    assert read_on(ring, position, seen) == (text, ring.end)


def test_a_reset_of_one_log_leaves_the_other_where_it_is() -> None:
    ring = two_logs()
    ring.restart(Entry(7, "n7", b"reset;", 1))
    ring.append(Entry(4, "a4", b"a4;", 0))
    ring.append(Entry(8, "n8", b"n8;", 1))
    assert ring.position_behind({0: 2, 1: 7}) is None
    position = ring.position_behind({0: 3, 1: 7})
    assert position is not None
    assert read_on(ring, position, {0: 3, 1: 7})[0] == b"a4;n8;"


def test_what_one_log_pushes_out_is_missed_by_who_stands_before_it_in_the_other() -> None:
    ring = Ring(max_entries=3)
    ring.begin(100, "b100", 1)
    ring.append(Entry(101, "b101", b"b;", 1))
    filled(ring, 1, 3)
    assert ring.revision_of("b100", 1) is None
    assert ring.revision_of("b101", 1) == 101
    assert ring.position_behind({0: 3, 1: 100}) is None
    assert ring.position_behind({0: 3, 1: 101}) == ring.end


def test_a_long_way_is_read_in_pieces_and_whole() -> None:
    ring = Ring()
    for revision in range(1, 101):
        ring.append(Entry(revision, "", b"%06d" % revision * 2_000))
    read = ring.read(0)
    assert read is not None
    assert len(read[0]) < 300_000
    assert rest(ring, 0) == b"".join(b"%06d" % r * 2_000 for r in range(1, 101))
