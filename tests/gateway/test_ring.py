from __future__ import annotations

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


def test_a_token_leads_to_what_came_behind_it() -> None:
    ring = filled(Ring(), 1, 5)
    position = ring.position_of("t3")
    assert position is not None
    assert rest(ring, position) == b"4;5;"
    assert rest(ring, ring.end) == b""
    assert ring.position_of("t9") is None


def test_only_the_newest_are_kept_by_number_and_by_size() -> None:
    ring = filled(Ring(max_entries=3), 1, 10)
    assert len(ring) == 3
    assert rest(ring, 0) is None, "whoever stands before them has lost some"
    position = ring.position_of("t7")
    assert position is not None, "everything behind the last one that was dropped is here"
    assert rest(ring, position) == b"8;9;10;"
    assert ring.position_of("t6") is None
    assert len(filled(Ring(max_bytes=7), 1, 9)) == 3


def test_a_revision_leads_to_the_first_newer_event_if_none_is_missing() -> None:
    ring = Ring(max_entries=3)
    assert ring.position_behind(5) is None, "it does not know yet where it begins"
    ring.begin(5, "t5")
    assert ring.position_behind(4) is None
    assert ring.position_behind(5) == ring.end == ring.position_of("t5")
    filled(ring, 6, 10)
    assert ring.position_behind(6) is None
    position = ring.position_behind(7)
    assert position is not None
    assert rest(ring, position) == b"8;9;10;"
    assert rest(ring, ring.position_behind(9) or 0) == b"10;"


def test_who_is_ahead_of_the_ring_gets_nothing_twice_and_still_hears_of_a_reset() -> None:
    ring = Ring()
    ring.begin(5, "t5")
    ahead = ring.position_behind(8)
    assert ahead is not None
    filled(ring, 6, 7)
    further = ring.position_behind(9)
    assert further is not None
    assert rest(ring, ahead) == b""
    filled(ring, 8, 10)
    assert (rest(ring, ahead), rest(ring, further)) == (b"9;10;", b"10;")
    ahead = ring.position_behind(20)
    assert ahead is not None
    ring.restart(Entry(2, "n2", b"reset;"))
    filled(ring, 3, 4)
    assert rest(ring, ahead) == rest(ring, further) == b"reset;3;4;"


def test_a_reset_is_what_everybody_reads_next_whoever_was_behind() -> None:
    ring = filled(Ring(), 1, 5)
    slow, quick = 0, ring.end
    ring.restart(Entry(2, "n2", b"reset;"))
    filled(ring, 3, 4)
    assert rest(ring, slow) == rest(ring, quick) == b"reset;3;4;"
    assert ring.position_of("t5") is None, "a token of another epoch"
    assert ring.position_behind(1) is None
    assert rest(ring, ring.position_behind(2) or 0) == b"3;4;"


def test_a_long_way_is_read_in_pieces_and_whole() -> None:
    ring = Ring()
    for revision in range(1, 101):
        ring.append(Entry(revision, "", b"%06d" % revision * 2_000))
    read = ring.read(0)
    assert read is not None
    assert len(read[0]) < 300_000
    assert rest(ring, 0) == b"".join(b"%06d" % r * 2_000 for r in range(1, 101))
