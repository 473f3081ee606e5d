"""Pulls into one cache one after the other: pods may share a volume."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gimle.asgard.models.layout import folder_of
from gimle.asgard.transfer.partial import locked


@contextmanager
def alone(cache: Path, ids: Iterable[str]) -> Iterator[None]:
    """Have these models of a cache alone, as long as this process lives.

    The locks lie where huggingface_hub has its own. Raises BusyError while another process pulls
    one of them.
    """
    with ExitStack() as held:
        for id in sorted(ids):
            lock = cache / ".locks" / folder_of(id) / "asgard.lock"
            lock.parent.mkdir(parents=True, exist_ok=True)
            held.callback(os.close, locked(lock))
        yield
