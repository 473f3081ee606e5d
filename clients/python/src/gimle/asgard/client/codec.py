"""Between documents and the messages of run_service.proto. Nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from gimle.asgard.client.outgoing import STREAMED_BYTES, Outgoing
from gimle.asgard.core import exact
from gimle.asgard.core.arrays import Array, ArrayRef, dtype_named
from gimle.asgard.core.documents import OWNED, ResultDocument, RunDocument
from gimle.asgard.core.enclosing import apart, together
from gimle.asgard.core.errors import DocumentError, InvalidFieldError
from gimle.asgard.core.growth import references
from gimle.asgard.core.ids import new_id
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest
from gimle.asgard.v1.new_result_pb2 import NewResult
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATUS = {name.removeprefix("STATUS_").lower(): n for name, n in pb.Run.Status.items() if n}
_STATUS_NAMES = {number: name for name, number in _STATUS.items()}

# What UpdateRun can change.
CHANGEABLE = ("name", "equation", "circuit", "metadata", "tags", "note")


def timestamp(moment: datetime) -> Timestamp:
    """A moment as a protobuf timestamp, in microseconds."""
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def _moment(value: Timestamp) -> datetime:
    return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1_000)


def create_call(run: RunDocument) -> Outgoing:
    """The call that creates a run."""
    return Outgoing("CreateRun", run.id, _create_request(run))


def _create_request(run: RunDocument) -> pb.CreateRunRequest:
    return pb.CreateRunRequest(
        run_id=run.id,
        name=run.name,
        equation=run.equation,
        circuit=run.circuit,
        metadata=_json("metadata", run.metadata),
        tags=run.tags,
        note=run.note,
        create_time=timestamp(run.created_at),
        status=status_number(run.status),
        owner=run.extra.get("owner"),
        organization_id=run.extra.get("organization_id"),
        visibility=run.extra.get("visibility"),
    )


def save_call(
    run: RunDocument, results: Iterable[ResultDocument]
) -> tuple[Outgoing, list[ResultDocument]]:
    """The call that creates a run with its results, and these as they will be listed."""
    made = [_new_result(result) for result in results]
    request = pb.SaveRunRequest(run=_create_request(run), results=[new for new, _, _ in made])
    call = Outgoing("SaveRun", run.id, request, tuple(arrays for _, arrays, _ in made))
    return call, [stored for _, _, stored in made]


def add_call(result: ResultDocument) -> tuple[Outgoing, ResultDocument]:
    """The call that adds a result, and the result as a reader of documents knows it."""
    message, arrays, stored = _new_result(result)
    request = pb.AddResultRequest(run_id=result.run_id, result=message)
    return Outgoing("AddResult", result.id, request, (arrays,)), stored


def _new_result(result: ResultDocument) -> tuple[NewResult, dict[str, Array], ResultDocument]:
    data, arrays = apart(result.data)
    message = NewResult(
        result_id=result.id,
        result_type=result.result_type,
        data=data,
        display=_json("display", result.display),
        create_time=timestamp(result.created_at),
    )
    # What the author goes on to change in his lists is not what has been saved.
    stored = replace(result, data=exact.loads(data), display=exact.loads(message.display))
    return message, arrays, stored


def append_call(result_id: str, data: Any, at: int) -> Outgoing:
    """The call that lets a result grow."""
    body, arrays = apart(data)
    request = AppendResultRequest(result_id=result_id, data=body, expected_length=at)
    if any(array.nbytes > STREAMED_BYTES for array in arrays.values()):
        request.upload_id = new_id(datetime.now(UTC))
    return Outgoing("AppendResult", result_id, request, (arrays,))


def update_request(old: RunDocument, new: RunDocument, etag: str) -> pb.UpdateRunRequest | None:
    """The request that makes `new` of `old`, None when no field it can change differs."""
    # Their bytes are compared, as `same_run` does.
    changed = [
        name
        for name in CHANGEABLE
        if exact.dumps([getattr(old, name)]) != exact.dumps([getattr(new, name)])
    ]
    changed += [name for name in OWNED if old.extra.get(name) != new.extra.get(name)]
    if not changed:
        return None
    request = pb.UpdateRunRequest(run_id=old.id, etag=etag)
    request.update_mask.paths.extend(changed)
    for name in changed:
        value = new.extra.get(name) if name in OWNED else getattr(new, name)
        if name == "metadata":
            request.metadata = _json("metadata", value)
        elif name == "tags":
            request.tags.extend(value)
        elif value is not None:
            setattr(request, name, value)
    return request


def finish_request(old: RunDocument, new: RunDocument) -> pb.FinishRunRequest | None:
    """The request that ends a run as `new` says, None when `old` says the same."""
    if (old.status, old.finished_at) == (new.status, new.finished_at):
        return None
    if new.status not in ("succeeded", "failed"):
        raise InvalidFieldError(
            "status",
            f"{new.status!r} cannot be said of a run that a service keeps",
            "say succeeded or failed, when it has ended",
        )
    return pb.FinishRunRequest(
        run_id=old.id,
        status=status_number(new.status),
        finish_time=timestamp(new.finished_at) if new.finished_at else None,
    )


def status_number(name: str | None) -> pb.Run.Status.ValueType:
    """How a run stands, by its number."""
    return pb.Run.Status.ValueType(_STATUS.get(name or "", 0))


def _json(field: str, value: Any) -> bytes:
    """An object as JSON; what cannot be stored is named with the field it is in."""
    return exact.dumps({field: value})[len(field) + 4 : -1]


def run(message: pb.Run) -> RunDocument:
    """A run as a service answers it."""
    return RunDocument(
        id=message.run_id,
        name=message.name,
        created_at=_moment(message.create_time),
        updated_at=_moment(message.update_time),
        equation=message.equation if message.HasField("equation") else None,
        circuit=message.circuit if message.HasField("circuit") else None,
        metadata=_loaded(message.run_id, message.metadata),
        results=tuple(message.result_ids),
        tags=tuple(message.tags),
        note=message.note if message.HasField("note") else None,
        status=_STATUS_NAMES.get(message.status),
        finished_at=_moment(message.finish_time) if message.HasField("finish_time") else None,
        extra={name: value for name in OWNED if (value := getattr(message, name))},
    )


def result(message: pb.Result) -> ResultDocument:
    """A result as a service answers it; its arrays are references."""
    return ResultDocument(
        message.result_id,
        message.run_id,
        message.result_type,
        _loaded(message.result_id, message.data),
        _moment(message.create_time),
        _loaded(message.result_id, message.display),
    )


def _loaded(id: str, body: bytes) -> Any:
    try:
        return exact.loads(body) if body else {}
    except ValueError as error:
        raise DocumentError(id, str(error)) from error


class Assembly:
    """Puts a result and its arrays together as they arrive.

    nbytes: of its arrays, known from the first answer on; done: those that have arrived.
    """

    def __init__(self) -> None:
        self.nbytes = self.done = 0
        self._result: ResultDocument | None = None
        self._bytes: dict[str, bytearray] = {}

    def take(self, part: pb.ReadResultResponse) -> bool:
        """Take the next answer of ReadResult; answer whether it was the result itself."""
        if part.WhichOneof("part") == "result":
            self._result = result(part.result)
            self.nbytes = sum(
                {ref.path: ref.nbytes for ref in references(self._result.data)}.values()
            )
            return True
        content = part.piece.content
        self._bytes.setdefault(part.piece.key, bytearray()).extend(content)
        self.done += len(content)
        return False

    def whole(self, result_id: str) -> ResultDocument:
        """The result with its arrays. Raises DocumentError when bytes are missing."""
        if self._result is None:
            raise DocumentError(result_id, "the service sent nothing of it")
        return replace(self._result, data=together(self._result.data, self._array))

    def _array(self, ref: ArrayRef) -> Array:
        content = self._bytes.pop(ref.path, bytearray())
        if len(content) != ref.nbytes:
            raise DocumentError(
                self._result.id if self._result else "",
                f"{len(content):,} of {ref.nbytes:,} bytes of {ref.path} arrived",
            )
        return np.frombuffer(content, dtype_named(ref.dtype)).reshape(ref.shape)
