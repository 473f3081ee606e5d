"""Reading many documents: one by one where they are near, some at once where each is a trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# For each that reads: the slowest of a portion holds up the next one.
_PORTION = 4


def read_all(
    read: Callable[[Item], Answer | None],
    items: Iterable[Item],
    *,
    at_once: int,
    limit: int | None = None,
) -> list[Answer]:
    """What `read` answers of `items`, in their order; None is left out.

    At most `limit` answers, and no more items are read than it takes. `at_once` are read side
    by side.
    """
    if at_once == 1 or limit == 1:
        return _read(lambda some: map(read, some), iter(items), 1, limit)
    with ThreadPoolExecutor(at_once, "asgard-read") as pool:
        return _read(lambda some: pool.map(read, some), iter(items), at_once, limit)


def _read(
    each: Callable[[list[Item]], Iterator[Answer | None]],
    items: Iterator[Item],
    at_once: int,
    limit: int | None,
) -> list[Answer]:
    answers: list[Answer] = []
    while limit is None or len(answers) < limit:
        portion = _PORTION * at_once
        some = list(islice(items, portion if limit is None else min(portion, limit - len(answers))))
        if not some:
            break
        answers += [answer for answer in each(some) if answer is not None]
    return answers
