"""Changes of runs and results as messages of WatchRuns; each is encoded once, whoever watches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.run import codec
from asgard_server.run.store import Change, Key, ResultRow, RunRow
from asgard_server.watching.frames import Event

_Change = pb.WatchRunsResponse.Change
_TYPES = {"run": _Change.OBJECT_TYPE_RUN, "result": _Change.OBJECT_TYPE_RESULT}


def encode(
    changes: Iterable[Change], rows: Mapping[Key, RunRow | ResultRow], now: datetime
) -> list[Event]:
    """Encode entries of the log with the rows as they are now. The scope of each is its run.

    What is gone by now is a delete, also where the entry was an update: the entry of
    its deletion is still to come, and deleting twice does no harm.
    """
    return [
        Event(
            change.revision,
            change.run_id,
            _change(
                change.key, change.run_id, rows.get(change.key), now, change.revision
            ).SerializeToString(),
        )
        for change in changes
    ]


def present(row: RunRow | ResultRow, now: datetime) -> Event:
    """An object of a snapshot: no revision."""
    if isinstance(row, RunRow):
        key, run_id = Key("run", row.run.id), row.run.id
    else:
        key, run_id = Key("result", row.id), row.run_id
    return Event(0, run_id, _change(key, run_id, row, now, 0).SerializeToString())


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
