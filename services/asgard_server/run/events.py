"""Events of WatchRuns as bytes. Each is encoded once, whoever watches.

What differs between watchers is the token alone, and a protobuf message is the
concatenation of its fields: so the token is put behind the shared rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.run import codec
from asgard_server.run.store import Change, Key, ResultRow, RunRow

_Change = pb.WatchRunsResponse.Change
_TYPES = {"run": _Change.OBJECT_TYPE_RUN, "result": _Change.OBJECT_TYPE_RESULT}

RESET = pb.WatchRunsResponse(reset=pb.WatchRunsResponse.Reset()).SerializeToString()


class Event(NamedTuple):
    """A change, encoded without its token. `run_id` is what filters look at."""

    revision: int
    run_id: str
    body: bytes


def encode(
    changes: Iterable[Change], rows: Mapping[Key, RunRow | ResultRow], now: datetime
) -> list[Event]:
    """Encode entries of the log with the rows as they are now.

    What is gone by now is a delete, also where the entry was an update: the entry of
    its deletion is still to come, and deleting twice does no harm.
    """
    return [
        Event(
            change.revision,
            change.run_id,
            pb.WatchRunsResponse(
                change=_change(change.key, change.run_id, rows.get(change.key), now),
                revision=change.revision,
            ).SerializeToString(),
        )
        for change in changes
    ]


def present(row: RunRow | ResultRow, now: datetime) -> bytes:
    """An object of a snapshot: no token, no revision."""
    if isinstance(row, RunRow):
        key, run_id = Key("run", row.run.id), row.run.id
    else:
        key, run_id = Key("result", row.id), row.run_id
    return pb.WatchRunsResponse(change=_change(key, run_id, row, now)).SerializeToString()


def snapshot_end(token: str, revision: int) -> bytes:
    """The end of a snapshot: from here on changes follow."""
    return pb.WatchRunsResponse(
        snapshot_end=pb.WatchRunsResponse.SnapshotEnd(), resume_token=token, revision=revision
    ).SerializeToString()


def checkpoint(token: str, revision: int) -> bytes:
    """Nothing happened; the token has moved on."""
    return pb.WatchRunsResponse(
        checkpoint=pb.WatchRunsResponse.Checkpoint(), resume_token=token, revision=revision
    ).SerializeToString()


def _change(
    key: Key, run_id: str, row: RunRow | ResultRow | None, now: datetime
) -> pb.WatchRunsResponse.Change:
    return _Change(
        kind=_Change.KIND_DELETE if row is None else _Change.KIND_UPDATE,
        object_type=_TYPES[key.kind],
        object_id=key.id,
        run_id=run_id if key.kind == "result" else "",
        run=codec.run_message(row, now) if isinstance(row, RunRow) else None,
        result=codec.result_message(row) if isinstance(row, ResultRow) else None,
    )
