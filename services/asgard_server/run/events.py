"""Changes of runs and results as messages of WatchRuns; each is encoded once, whoever watches.

A run that not everybody may read, and its results, are guarded: each watcher is told what it may
know (docs/protocols.md 11). Who comes to read a run, or does no more, hears so of the run alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.auth.principal import EVERYONE
from asgard_server.run import codec
from asgard_server.run.limits import EPOCH
from asgard_server.run.rights import readers_of
from asgard_server.run.store import Change, Key, Readers, ResultRow, RunRow
from asgard_server.watching.frames import Event, Guard

_Change = pb.WatchRunsResponse.Change
_TYPES = {"run": _Change.OBJECT_TYPE_RUN, "result": _Change.OBJECT_TYPE_RESULT}
_NOBODY: frozenset[str] = frozenset()
_ALL = frozenset((EVERYONE,))


def encode(
    changes: Iterable[Change],
    rows: Mapping[Key, RunRow | ResultRow],
    now: datetime,
    circles: Mapping[str, Readers],
) -> list[Event]:
    """Encode entries of the log with the rows as they are now. The scope of each is its run.

    What is gone by now is a delete, also where the entry was an update: the entry of
    its deletion is still to come, and deleting twice does no harm. `circles`: who may read the
    runs of the results among `rows`.
    """
    return [_event(change, rows.get(change.key), now, circles) for change in changes]


def present(row: RunRow | ResultRow, now: datetime, readers: Readers, *, told: bool) -> Event:
    """An object of a snapshot: no revision. `told`: the watcher hears who may read it."""
    if isinstance(row, RunRow):
        key, run_id = Key("run", row.run.id), row.run.id
    else:
        key, run_id = Key("result", row.id), row.run_id
    change = _change(key, run_id, row, now, 0)
    if told and readers is not None:
        change.guarded = True
        change.readers_after.extend(sorted(readers))
    return Event(0, run_id, change.SerializeToString())


def _event(
    change: Change,
    row: RunRow | ResultRow | None,
    now: datetime,
    circles: Mapping[str, Readers],
) -> Event:
    body = _change(change.key, change.run_id, row, now, change.revision).SerializeToString()
    guard = _guard_of_run(change, row) if change.key.kind == "run" else None
    if change.key.kind == "result":
        guard = _guard_of_result(change, row, circles)
    return Event(change.revision, change.run_id, body, guard)


def _guard_of_run(change: Change, row: RunRow | ResultRow | None) -> Guard | None:
    """What is told is as it is now: so only to those who may read it now, too."""
    now = readers_of(row.run) if isinstance(row, RunRow) else None
    if change.before is None and change.after is None and now is None:
        return None
    before, after = _keys(change.before), _keys(change.after)
    seen = _both(after, _keys(now)) if isinstance(row, RunRow) else _NOBODY
    return _guard(change, seen, before, after)


def _guard_of_result(
    change: Change, row: RunRow | ResultRow | None, circles: Mapping[str, Readers]
) -> Guard | None:
    """A result is told of to those who may read its run; one without a run to nobody."""
    if change.gone:
        if change.before is None:
            return None
        return _guard(change, _NOBODY, change.before, _NOBODY)
    if row is None:
        # Who could read it, the entry of its deletion says, which is still to come.
        return _guard(change, _NOBODY, _NOBODY, _NOBODY)
    readers = circles.get(change.run_id, _NOBODY)
    if readers is None:
        return None
    return _guard(change, readers, readers, readers)


def _guard(
    change: Change, seen: frozenset[str], before: frozenset[str], after: frozenset[str]
) -> Guard:
    gone = _change(change.key, change.run_id, None, EPOCH, change.revision)
    readers = _Change(
        guarded=True, readers_before=sorted(before), readers_after=sorted(after)
    ).SerializeToString()
    return Guard(seen, after, before, gone.SerializeToString(), readers)


def _both(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    """Those who are among both: everybody is whoever it may be."""
    if EVERYONE in other:
        return one
    return other if EVERYONE in one else one & other


def _keys(readers: Readers) -> frozenset[str]:
    return _ALL if readers is None else readers


def _change(
    key: Key, run_id: str, row: RunRow | ResultRow | None, now: datetime, revision: int
) -> pb.WatchRunsResponse.Change:
    return _Change(
        kind=_Change.KIND_DELETE if row is None else _Change.KIND_UPDATE,
        object_type=_TYPES[key.kind],
        object_id=key.id,
        run_id=run_id if key.kind == "result" else "",
        run=codec.run_message(row, now) if isinstance(row, RunRow) else None,
        result=codec.result_message(row) if isinstance(row, ResultRow) else None,
        revision=revision,
    )
