"""Attempts at something, with growing pauses of random length, for as long as patience lasts."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import grpc
from gimle.asgard.client.errors import PASSING, raised_by
from gimle.asgard.core.errors import AsgardError

Passing = tuple[type[AsgardError], ...]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0


class Attempts:
    """Attempts until one of them neither raises nor fails in passing.

    patience: for how many seconds it is tried, counted from the last time that it came
    further than ever before. passing: the errors that may pass.
    """

    def __init__(self, place: str, patience: float, passing: Passing = PASSING) -> None:
        self.place = place
        self.passing = passing
        self._patience = patience
        self._end = time.monotonic() + patience
        self._furthest = 0

    def __iter__(self) -> Iterator[Attempt]:
        number = 0
        while True:
            attempt = Attempt(self, number)
            yield attempt
            if not attempt.failed:
                return
            number += 1
            time.sleep(attempt.pause)

    def came(self, far: int) -> None:
        """Note how far an attempt has come."""
        if far > self._furthest:
            self._furthest = far
            self._end = time.monotonic() + self._patience

    def over(self, pause: float) -> bool:
        """Whether patience ends within a pause."""
        return time.monotonic() + pause > self._end


class Attempt:
    """One attempt: swallows what may pass unless it is the last, translates the rest."""

    def __init__(self, attempts: Attempts, number: int) -> None:
        self.number = number
        self.failed = False
        self.pause = pause_before(number + 1)
        self._attempts = attempts

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            return False
        raised: BaseException = error
        if isinstance(error, grpc.RpcError):
            raised = raised_by(error, self._attempts.place)
        elif not isinstance(error, AsgardError):
            return False
        if isinstance(raised, self._attempts.passing) and not self._attempts.over(self.pause):
            self.failed = True
            return True
        raise raised from (error if raised is not error else error.__cause__)


def pause_before(number: int) -> float:
    """How long to wait before the attempt with this number, from 1."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(number, 10))
    return random.uniform(longest / 2, longest)  # noqa: S311  # spreads clients, hides nothing
