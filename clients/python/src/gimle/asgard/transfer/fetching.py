"""Small objects: asked for by the hundred, and fetched by the handful over a connection each.

What comes in a row is compared in memory, and only then has a file; whatever was not right, or did
not come, is fetched again alone. So answers that a proxy has mixed up do no harm.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

from gimle.asgard.transfer.answer import Answer
from gimle.asgard.transfer.arriving import compare, copied, written
from gimle.asgard.transfer.bucket import refusal
from gimle.asgard.transfer.digests import Digest
from gimle.asgard.transfer.errors import RefusedError, WrongBytesError
from gimle.asgard.transfer.grants import Downloads, Grant, Remote
from gimle.asgard.transfer.lanes import Task, Work
from gimle.asgard.transfer.partial import appearing
from gimle.asgard.transfer.patience import patiently
from gimle.asgard.transfer.progress import Meter
from gimle.asgard.transfer.requesting import fresh, reading
from gimle.asgard.transfer.rows import CALL_FILES, ROW_BYTES, ROW_FILES, together
from gimle.asgard.transfer.wire import Request, Said, Wire

_FIRST_CALLS = 4
_ANY = Digest("sha256", b"")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object, and the file that it becomes."""

    remote: Remote
    target: Path


_Row = Sequence[tuple[Wanted, Grant]]


class SmallObjects:
    """All small objects of one download."""

    def __init__(
        self, wanted: Iterable[Wanted], source: Downloads, work: Work, meter: Meter
    ) -> None:
        self._source, self._work, self._meter = source, work, meter
        self._calls = together(wanted, lambda one: 0, CALL_FILES, 0)
        self._lock = threading.Lock()

    def tasks(self) -> Sequence[Task]:
        """What to begin with; each adds what comes of it."""
        return [self._ask] * _FIRST_CALLS

    def _ask(self, wire: Wire) -> None:
        """Ask for the next objects, add their rows, and behind them whoever asks for more."""
        with self._lock:
            asked = next(self._calls, None)
        if asked is None:
            return
        lent = zip(asked, self._source.grants([one.remote for one in asked]), strict=True)
        rows = together(lent, _row_bytes, ROW_FILES, ROW_BYTES)
        self._work.add([*(partial(self._fetch, row) for row in rows), self._ask])

    def _fetch(self, row: _Row, wire: Wire) -> None:
        """Fetch a row, and again alone what has not come so."""
        requests = [_request(one, self._fresh(one.remote, grant)) for one, grant in row]
        answers = wire.in_a_row(requests) if len(row) > 1 else []
        for (one, grant), said in zip_longest(row, answers):
            if said is None or not _taken(one, said):
                patiently(partial(self._alone, one, grant, wire), self._work.stop)
            self._meter.add(1, one.remote.size, one.remote.size)

    def _alone(self, one: Wanted, grant: Grant, wire: Wire) -> None:
        """Fetch an object in one request, into a file beside its target."""
        self._work.check()
        asked = _request(one, self._fresh(one.remote, grant))
        with wire.request(asked.method, asked.url, asked.headers) as answer:
            if answer.status != 200:
                raise refused(one.remote, answer)
            digest = _digest(one.remote, answer)
            hash = (digest or _ANY).hash()
            with appearing(one.target) as file:
                size = copied(answer, wire.buffer, file, hash, one.target)
                if size != one.remote.size:
                    raise WrongBytesError(one.remote.name, f"has {size} bytes, not those listed")
                if digest is not None:
                    compare(one.remote.name, digest.taken(hash), digest.value)

    def _fresh(self, remote: Remote, grant: Grant) -> Grant:
        return fresh(grant, lambda: self._source.grants([remote])[0])


def refused(remote: Remote, answer: Answer) -> RefusedError | WrongBytesError:
    """What an answer says that does not bring the bytes."""
    if answer.status == 412:
        return WrongBytesError(remote.name, "it changed after it was listed; ask again")
    return refusal(f"download of {remote.name}", answer.status, answer.read())


def _row_bytes(each: tuple[Wanted, Grant]) -> int:
    """What it takes of a row: all, where nothing would tell whose answer has come."""
    remote = each[0].remote
    return remote.size if remote.digest or remote.etag else ROW_BYTES + 1


def _request(one: Wanted, grant: Grant) -> Request:
    return Request(grant.method, grant.url, reading(grant, one.remote.etag), b"")


def _digest(remote: Remote, answer: Answer) -> Digest | None:
    return remote.digest or Digest.of_headers(answer.headers, remote.size, lambda: remote.size)


def _taken(one: Wanted, said: Said) -> bool:
    """Whether these are the bytes that were asked for; then they are a file."""
    remote, answer = one.remote, said.answer
    if answer.status != 200 or len(said.body) != remote.size:
        return False
    # The digest of an answer's own head says nothing of whose answer it is.
    if remote.digest is None and answer.headers.get("etag") != remote.etag:
        return False
    digest = _digest(remote, answer)
    if digest is not None:
        hash = digest.hash()
        hash.update(said.body)
        if digest.taken(hash) != digest.value:
            return False
    with appearing(one.target) as file:
        written(file, memoryview(said.body), 0, one.target)
    return True
