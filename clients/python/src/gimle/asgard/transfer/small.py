"""Small files: asked for by the hundred, and sent by the handful over a connection each.

A call costs its service and its store as much as 20 files do, and whoever waits for the answer to
each file waits longer than it is sent. So many are asked for in one call, and go in rows that any
lane takes, without waiting for answers between (`Wire.in_a_row`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from gimle.asgard.transfer.grants import Grant, Measured, Outgoing, Uploads
from gimle.asgard.transfer.lanes import Task, Work
from gimle.asgard.transfer.progress import Meter
from gimle.asgard.transfer.requesting import send_whole
from gimle.asgard.transfer.rows import CALL_FILES, ROW_BYTES, ROW_FILES, together
from gimle.asgard.transfer.wire import Request, Wire

SMALL_BYTES = 1 << 20
"""Files up to this are read into memory."""

_CALL_BYTES = 1 << 22
# Calls whose files are in memory: rows for all lanes, and the next call under way.
_FIRST_CALLS, _OPEN_CALLS = 4, 16

_NOT_SENT = 0


class _Small(NamedTuple):
    """A file that goes in one request, and is in memory until it has gone."""

    file: Measured
    grant: Grant
    body: bytes

    @property
    def request(self) -> Request:
        return Request(self.grant.method, self.grant.url, self.grant.headers, self.body)


class _Call:
    """The files of one call that are not there yet, until the last row of them has been sent."""

    def __init__(self, files: Sequence[_Small]) -> None:
        self.files = files
        self.rows = list(together(files, lambda each: each.file.size, ROW_FILES, ROW_BYTES))
        self._left = len(self.rows)
        self._lock = threading.Lock()

    def sent(self) -> bool:
        """A row has been sent; whether that was the last."""
        with self._lock:
            self._left -= 1
            return self._left == 0


class SmallFiles:
    """All small files of one upload, with their sizes in bytes."""

    def __init__(
        self, sized: Sequence[tuple[Outgoing, int]], to: Uploads, work: Work, meter: Meter
    ) -> None:
        self._to, self._work, self._meter = to, work, meter
        self._calls = together(sized, lambda each: each[1], CALL_FILES, _CALL_BYTES)
        self._open = 0
        self._lock = threading.Lock()

    def tasks(self) -> Sequence[Task]:
        """What to begin with; each adds what comes of it."""
        return [self._ask] * _FIRST_CALLS

    def _ask(self, wire: Wire) -> None:
        """Ask for the next files, add their rows, and whoever asks for those after them."""
        files = self._next()
        if not files:
            return
        call = _Call(self._granted(files))
        if call.rows:
            self._work.add([partial(self._send, call, row) for row in call.rows])
        else:
            self._end()
        self._work.add([self._ask])

    def _next(self) -> Sequence[Outgoing]:
        with self._lock:
            if self._open == _OPEN_CALLS:
                return ()  # whoever ends a call asks again
            files = [file for file, _ in next(self._calls, ())]
            self._open += bool(files)
            return files

    def _end(self) -> None:
        with self._lock:
            self._open -= 1

    def _granted(self, files: Sequence[Outgoing]) -> Sequence[_Small]:
        self._work.check()
        bodies = [_read(file.path) for file in files]
        measured = [
            Measured(file, len(body), sha256(body).digest())
            for file, body in zip(files, bodies, strict=True)
        ]
        lacking: list[_Small] = []
        for one, body, grant in zip(measured, bodies, self._to.whole(measured), strict=True):
            if grant is None:
                self._meter.add(1, one.size)
            else:
                lacking.append(_Small(one, grant, body))
        return lacking

    def _send(self, call: _Call, row: Sequence[_Small], wire: Wire) -> None:
        """Send a row, and again what was not taken so. After the last of a call tell of it."""
        self._work.check()
        said = wire.in_a_row([each.request for each in row]) if len(row) > 1 else []
        statuses = [each and each.answer.status for each in said]
        not_sent = [_NOT_SENT] * (len(row) - len(statuses))
        for each, status in zip(row, [*statuses, *not_sent], strict=True):
            # Written once: by somebody with the same bytes; whoever completes it looks which.
            if status is None or not (200 <= status < 300 or status == 412):
                send_whole(wire, self._work, self._to, *each, doubtful=status is None)
            self._meter.add(1, each.file.size, each.file.size)
        if call.sent():
            self._to.arrived([each.file for each in call.files])
            self._end()
            self._work.add([self._ask])


def _read(path: Path) -> bytes:
    with FileIO(path) as file:
        return file.readall()
