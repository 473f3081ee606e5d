"""Messages of a watch as bytes. Each change is encoded once, whoever watches.

What differs between watchers is the token alone, and a protobuf message is the
concatenation of its fields: so the token is put behind the shared rest of a change,
and what waits for a watcher is one message, because each costs some 0.2 ms to send
and to receive however little is in it.

All messages of watches have the same frame: `changes` with a `resume_token` each, or one of the
events `reset`, `snapshot_end` and `checkpoint`, and behind them `resume_token` and `revision`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

# A message is closed when it holds so much. One change may be larger; it goes alone.
MESSAGE_BYTES = 262_144


class Guard(NamedTuple):
    """Whom a change is for, as the keys of principals, and what the others are told.

    `seen` are told of it, `lost` that it is gone, unless they are among `kept`, who could read it
    by then and are told by a later change what has become of it. `readers` are the fields by which
    services are told who could and can read it.
    """

    seen: frozenset[str]
    kept: frozenset[str]
    lost: frozenset[str]
    gone: bytes
    readers: bytes


class Event(NamedTuple):
    """A change, encoded without its token. `scope` is what filters look at."""

    revision: int
    scope: str
    body: bytes
    guard: Guard | None = None


class Frames:
    """What makes the messages of one response type, `WatchXxxResponse`."""

    def __init__(self, response: Any) -> None:
        self._response = response
        fields = response.DESCRIPTOR.fields_by_name
        self._changes = _tag(fields["changes"])
        self._token = _tag(fields["changes"].message_type.fields_by_name["resume_token"])
        self.reset: bytes = response(reset=response.Reset()).SerializeToString()

    def message(self, batch: Sequence[Event], token: Callable[[int], str] | None) -> bytes:
        """One message of all of `batch`. `token` makes a revision's; None inside a snapshot."""
        parts: list[bytes] = []
        text = ""
        for event in batch:
            tail = b""
            if token is not None:
                text = token(event.revision)
                tail = b"%b%c%b" % (self._token, len(text), text.encode())
            parts += (self._changes, _varint(len(event.body) + len(tail)), event.body, tail)
        end = self._response(resume_token=text, revision=batch[-1].revision)
        parts.append(end.SerializeToString())
        return b"".join(parts)

    def snapshot_end(self, token: str, revision: int) -> bytes:
        """The end of a snapshot: from here on changes follow."""
        return self._event(snapshot_end=self._response.SnapshotEnd(), at=(token, revision))

    def checkpoint(self, token: str, revision: int) -> bytes:
        """Nothing happened; the token has moved on."""
        return self._event(checkpoint=self._response.Checkpoint(), at=(token, revision))

    def _event(self, at: tuple[str, int], **event: Any) -> bytes:
        said: bytes = self._response(
            **event, resume_token=at[0], revision=at[1]
        ).SerializeToString()
        return said


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


def _tag(field: FieldDescriptor) -> bytes:
    return bytes((field.number << 3 | 2,))  # length-delimited; all our numbers are below 16


def _varint(number: int) -> bytes:
    low = []
    while number > 0x7F:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*low, number))
