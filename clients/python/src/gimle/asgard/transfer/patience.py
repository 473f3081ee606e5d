"""Trying again what may be tried again."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

from gimle.asgard.transfer.errors import RefusedError, TransferStoppedError, WireError

Done = TypeVar("Done")

ATTEMPTS = 6
_LONGEST_PAUSE_S = 8.0


def patiently(
    work: Callable[[], Done], stop: threading.Event | None = None, attempts: int = ATTEMPTS
) -> Done:
    """Do `work`, again after a pause when the store was busy or the connection broke.

    The pauses double from half a second, at random, some 20 seconds in all.
    Raises what the last attempt raised, TransferStoppedError when `stop` is set meanwhile.
    """
    stop = stop or threading.Event()
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except RefusedError as error:
            if not error.passing or attempt == attempts:
                raise
        except WireError:
            if attempt == attempts:
                raise
        pause = min(_LONGEST_PAUSE_S, 0.5 * 2 ** (attempt - 1)) * random.uniform(0.5, 1)  # noqa: S311 - not for secrets
        if stop.wait(pause):
            raise TransferStoppedError
    raise AssertionError  # the last attempt returns or raises
