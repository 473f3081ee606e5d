"""Small things that go together: so many in a call, so many in a row over a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Thing = TypeVar("Thing")

CALL_FILES = 128
ROW_FILES, ROW_BYTES = 16, 1 << 16


def together(
    things: Iterable[Thing], size: Callable[[Thing], int], most: int, most_bytes: int
) -> Iterator[Sequence[Thing]]:
    """Neighbours that go together; one that has more bytes than that goes alone."""
    some: list[Thing] = []
    left = most_bytes
    for each in things:
        left -= size(each)
        if some and (left < 0 or len(some) == most):
            yield some
            some, left = [], most_bytes - size(each)
        some.append(each)
    if some:
        yield some
