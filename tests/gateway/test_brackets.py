from __future__ import annotations

import json
import random

import pytest
from asgard_server.gateway import brackets
from hypothesis import given, settings
from hypothesis import strategies as st


def naive(body: bytes, at: int, depth: int) -> int:
    """Say the same, one byte after another."""
    in_string = escaped = False
    for place in range(at, len(body)):
        byte = body[place : place + 1]
        if in_string:
            if escaped:
                escaped = False
            elif byte == b"\\":
                escaped = True
            elif byte == b'"':
                in_string = False
        elif byte == b'"':
            in_string = True
        elif byte in (b"{", b"["):
            depth += 1
        elif byte in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return place + 1
    return -1


# In JSON a backslash stands inside strings only.
_PIECES = st.lists(
    st.sampled_from([b"[", b"]", b"{", b"}", b"1,", b'"a]"', b'"\\""', b'"\\\\"', b'"{\\\\\\"["'])
)


@settings(max_examples=400, deadline=None)
@given(pieces=_PIECES, window=st.integers(1, 9), depth=st.integers(1, 3))
def test_windows_of_any_size_find_the_same_end(
    pieces: list[bytes], window: int, depth: int
) -> None:
    body = b"".join(pieces) + b"]}]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brackets, "_WINDOW", window)
        assert brackets.closing(body, 0, depth) == naive(body, 0, depth)


def test_a_string_without_end_hides_every_bracket_behind_it() -> None:
    assert brackets.closing(b'1, "]]', 0, 1) == -1
    assert brackets.closing(b"", 0, 1) == -1


def test_a_large_document_ends_where_it_ends() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    value = [
        {"k\\" * chance.randrange(3): ['"]' * chance.randrange(4), [n, "\\" * chance.randrange(5)]]}
        for n in range(60_000)
    ]
    body = json.dumps(value).encode()
    assert len(body) > 1_000_000
    assert brackets.closing(body + b", {}]", 1, 1) == len(body)
