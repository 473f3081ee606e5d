"""Watching a place for changes: what a watch says, and a watch by looking again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.errors import DocumentError, NotFoundError

ObjectType = Literal["run", "result"]

# A folder's mtime is as coarse as a clock tick or, on network file systems, a second: look
# into it for this long after it moved.
_SETTLED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Event:
    """What a watch says.

    kind: "reset" (forget everything: a snapshot follows), "update" or "delete" of a run or
    result, or "snapshot_end" (what was held before the reset and not seen since is gone).
    run_id: of a result, the run it belongs to; None where its deletion is all that is known.
    token: where another watch may go on; of a folder, empty.
    """

    kind: Literal["reset", "update", "delete", "snapshot_end"]
    object_type: ObjectType | None = None
    object_id: str | None = None
    run_id: str | None = None
    token: str = ""


class Place(Protocol):
    """What a watch by looking asks of a place."""

    def check(self) -> None:
        """Raise StorageUnavailableError when the place is gone, or is another one."""
        ...

    def entries(self, kind: str) -> Iterator[tuple[str, str]]:
        """List (id, stamp); raise StorageUnavailableError when the listing is not whole."""
        ...

    def read_bytes(self, kind: str, id: str) -> bytes | None:
        """Read a document, None when there is none."""
        ...

    def read_result_document(self, result_id: str) -> ResultDocument:
        """Read a result."""
        ...


def watch_by_looking(
    place: Place,
    *,
    snapshot: bool,
    seconds: float,
    pulse: Callable[[], Hashable] | None = None,
) -> Iterator[Event]:
    """Look at `place` every `seconds`, and say what has changed since.

    snapshot: begin with everything there is; else what changes from this call on is told, however
    late the first event is asked for. pulse: what moves with every change and is
    cheap to ask; while it rests, the place is not listed. Changes that follow one another
    faster than one looks are one. Raises StorageUnavailableError when the place goes away;
    nothing is believed deleted then.
    """
    looker = _Looker(place)
    felt = pulse() if pulse is not None else None
    if not snapshot:
        looker.begin()
    return _looking(looker, snapshot, seconds, pulse, felt)


def _looking(
    looker: _Looker,
    snapshot: bool,
    seconds: float,
    pulse: Callable[[], Hashable] | None,
    felt: Hashable,
) -> Iterator[Event]:
    moved_at = time.monotonic()
    if snapshot:
        yield Event("reset")
        yield from looker.changes()
        yield Event("snapshot_end")
    while True:
        time.sleep(seconds)
        if pulse is not None:
            now = pulse()
            if now != felt:
                felt, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > _SETTLED_SECONDS:
                continue
        yield from looker.changes()


def folder_pulse(path: str) -> Callable[[], Hashable]:
    """The pulse of a storage folder: every create, rename and unlink of a document moves it."""

    def pulse() -> Hashable:
        felt = []
        for kind in ("runs", "results"):
            try:
                seen = os.stat(f"{path}/{kind}")
            except OSError:
                return time.monotonic()  # what is wrong there, looking will say
            felt.append((seen.st_ino, seen.st_mtime_ns))
        return tuple(felt)

    return pulse


class _Looker:
    """What a place looked like when it was last looked at."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._stamps: dict[ObjectType, dict[str, str]] = {"run": {}, "result": {}}
        self._run_ids: dict[str, str] = {}

    def begin(self) -> None:
        """Take the place as it is, and say nothing."""
        for kind in self._stamps:
            self._stamps[kind] = dict(self._place.entries(kind))

    def changes(self) -> Iterator[Event]:
        """What has changed since the last time."""
        self._place.check()
        seen = {kind: dict(self._place.entries(kind)) for kind in self._stamps}
        # A place that went away meanwhile may have looked empty instead of failing.
        self._place.check()
        for kind, stamps in seen.items():
            known = self._stamps[kind]
            for id in sorted(id for id, stamp in stamps.items() if known.get(id) != stamp):
                known[id] = stamps[id]
                if kind == "run":
                    yield Event("update", "run", id, id)
                elif self._learn(id):
                    yield Event("update", "result", id, self._run_ids[id])
        for kind in ("result", "run"):
            known = self._stamps[kind]
            for id in sorted(known.keys() - seen[kind].keys()):
                if self._place.read_bytes(kind, id) is not None:
                    continue
                del known[id]
                run_id = id if kind == "run" else self._run_ids.pop(id, None)
                yield Event("delete", kind, id, run_id)

    def _learn(self, result_id: str) -> bool:
        """Note whose result it is; False when it is gone again or cannot be read."""
        if result_id not in self._run_ids:
            try:
                self._run_ids[result_id] = self._place.read_result_document(result_id).run_id
            except (NotFoundError, DocumentError):
                return False
        return True
