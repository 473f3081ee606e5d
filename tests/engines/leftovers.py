"""What tests leave in servers that outlive them, and how it goes when they have ended.

The suite would fill a disk by itself otherwise: what its tests put into S3 is some 10 GB in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_removers: list[Callable[[], object]] = []


def left(remove: Callable[[], object]) -> None:
    """Call `remove` at the end of the innermost block of `removed_at_the_end`, if there is one."""
    _removers.append(remove)


@contextmanager
def removed_at_the_end() -> Iterator[None]:
    """Remove what is left within the block when it ends, the last first."""
    before = len(_removers)
    try:
        yield
    finally:
        while len(_removers) > before:
            _removers.pop()()
