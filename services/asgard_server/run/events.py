"""Messages of WatchRuns as bytes. Each change is encoded once, whoever watches.

What differs between watchers is the token alone, and a protobuf message is the
concatenation of its fields: so the token is put behind the shared rest of a change,
and what waits for a watcher is one message, because each costs some 0.2 ms to send
and to receive however little is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from gimle.asgard.v1 import run_service_pb2 as pb
from google.protobuf.descriptor import FieldDescriptor

from asgard_server.run import codec
from asgard_server.run.store import Change, Key, ResultRow, RunRow

_Change = pb.WatchRunsResponse.Change
_TYPES = {"run": _Change.OBJECT_TYPE_RUN, "result": _Change.OBJECT_TYPE_RESULT}

RESET = pb.WatchRunsResponse(reset=pb.WatchRunsResponse.Reset()).SerializeToString()

# A message is closed when it holds so much. One change may be larger; it goes alone.
MESSAGE_BYTES = 262_144


def _tag(field: FieldDescriptor) -> bytes:
    return bytes((field.number << 3 | 2,))  # length-delimited; all our numbers are below 16


_CHANGES = _tag(pb.WatchRunsResponse.DESCRIPTOR.fields_by_name["changes"])
_TOKEN = _tag(_Change.DESCRIPTOR.fields_by_name["resume_token"])


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
            _change(
                change.key, change.run_id, rows.get(change.key), now, change.revision
            ).SerializeToString(),
        )
        for change in changes
    ]


def batches(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Cut events into what one message holds, in their order."""
    batch: list[Event] = []
    size = 0
    for event in events:
        if batch and size + len(event.body) > MESSAGE_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += len(event.body)
    if batch:
        yield batch


def message(batch: Sequence[Event], token: Callable[[int], str] | None) -> bytes:
    """One message of all of `batch`. `token` makes a revision's; None inside a snapshot."""
    parts: list[bytes] = []
    text = ""
    for event in batch:
        tail = b""
        if token is not None:
            text = token(event.revision)
            tail = b"%b%c%b" % (_TOKEN, len(text), text.encode())
        parts += (_CHANGES, _varint(len(event.body) + len(tail)), event.body, tail)
    end = pb.WatchRunsResponse(resume_token=text, revision=batch[-1].revision)
    parts.append(end.SerializeToString())
    return b"".join(parts)


def _varint(number: int) -> bytes:
    low = []
    while number > 0x7F:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*low, number))


def present(row: RunRow | ResultRow, now: datetime) -> Event:
    """An object of a snapshot: no revision."""
    if isinstance(row, RunRow):
        key, run_id = Key("run", row.run.id), row.run.id
    else:
        key, run_id = Key("result", row.id), row.run_id
    return Event(0, run_id, _change(key, run_id, row, now, 0).SerializeToString())


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
