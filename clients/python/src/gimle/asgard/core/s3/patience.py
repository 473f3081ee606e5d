"""Trying again where many write one document: S3 has conditions, but no locks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from random import Random
from zlib import crc32

from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.s3.place import Place

_GIVES_UP_AFTER_S = 60.0
_LONGEST_PAUSE_S = 0.5
_FIRST_PAUSE_S = 0.02

_random = Random()  # noqa: S311  # not for secrets
os.register_at_fork(after_in_child=_random.seed)

# Threads of one process wait for each other rather than fail on each other's etags.
_stripes = [threading.Lock() for _ in range(64)]


def _unlocked() -> None:
    _stripes[:] = [threading.Lock() for _ in _stripes]


os.register_at_fork(after_in_child=_unlocked)


def turn(id: str) -> threading.Lock:
    """The lock that this process's writers of a document take."""
    return _stripes[crc32(id.encode()) % len(_stripes)]


def attempts(place: Place) -> Iterator[int]:
    """Count attempts, with pauses at random that grow; the caller stops when one succeeds.

    Raises StorageUnavailableError when a minute has passed.
    """
    end = time.monotonic() + _GIVES_UP_AFTER_S
    number = 0
    while True:
        yield number
        if time.monotonic() > end:
            raise StorageUnavailableError(
                str(place), "too many write one document at once; use fewer writers or more runs"
            )
        time.sleep(_random.uniform(0, min(_FIRST_PAUSE_S * 2**number, _LONGEST_PAUSE_S)))
        number += 1
