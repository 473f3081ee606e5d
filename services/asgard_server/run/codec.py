"""Between the messages of run_service.proto and the documents. Nothing else.

JSON fields travel as bytes in the exact encoding of stored documents. Requests
over 64 KiB are to be decoded off the loop: see `handlers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from gimle.asgard.core import exact
from gimle.asgard.core.documents import (
    ResultDocument,
    RunDocument,
    decode_result,
    decode_run,
    etag,
)
from gimle.asgard.core.errors import DocumentError, InvalidFieldError
from gimle.asgard.v1 import render_result_pb2 as render_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.new_result_pb2 import NewResult
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.timestamp_pb2 import Timestamp

from asgard_server.run import domain
from asgard_server.run.splice import members
from asgard_server.run.store import Found, Key, ResultRow, RunRow

if TYPE_CHECKING:  # loads numpy's and the renderer's weight: only when something needs them
    from asgard_server.run.arrays import Arrays
    from asgard_server.run.render.options import Rendered, RenderOptions

_EPOCH = domain.EPOCH
_STATUS_NAMES: Mapping[int, str] = {
    number: name.removeprefix("STATUS_").lower() for name, number in pb.Run.Status.items() if number
}
_STATUS_NUMBERS = {name: number for number, name in _STATUS_NAMES.items()}

# Above this a document is cut into its members instead of parsed: parsing holds the
# interpreter for as long as it takes, in whatever thread.
_SPLICE_BYTES = 1_048_576

# What a request with arrays counts as: enough to be decoded apart.
_ARRAYS_BYTES = 1_048_576

# How much of an array travels in one answer of ReadResult.
_PIECE_BYTES = 1_048_576


def timestamp(moment: datetime) -> Timestamp:
    """A moment as a protobuf timestamp, in microseconds."""
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def moment(message: Any, name: str, at: str = "") -> datetime | None:
    """The time in field `name` of a message, None when absent."""
    if not message.HasField(name):
        return None
    value = getattr(message, name)
    try:
        return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1_000)
    except OverflowError:
        raise InvalidFieldError(
            f"{at}{name}", f"is {value.seconds} s from 1970", "say a time from 1970 to 9998"
        ) from None


# Requests ---------------------------------------------------------------------------


def new_run(request: pb.CreateRunRequest, at: str = "") -> domain.NewRun:
    """A run to be created."""
    return domain.NewRun(
        id=request.run_id,
        name=request.name,
        created_at=moment(request, "create_time", at),
        equation=optional(request, "equation"),
        circuit=optional(request, "circuit"),
        metadata=json_object(request.metadata, f"{at}metadata", domain.METADATA_LIMIT_BYTES),
        tags=tuple(request.tags),
        note=optional(request, "note"),
        status=status_name(request.status, f"{at}status"),
    )


def new_result(message: NewResult, arrays: Arrays, at: str = "") -> domain.NewResult:
    """A result to be added, its arrays put where its data names them."""
    return domain.NewResult(
        id=message.result_id,
        result_type=message.result_type,
        data=data(message.data, arrays, at),
        display=json_object(message.display, f"{at}display", domain.METADATA_LIMIT_BYTES),
        created_at=moment(message, "create_time", at),
    )


def new_batch(
    request: pb.SaveRunRequest, arrays: Sequence[Arrays]
) -> tuple[domain.NewRun, list[domain.NewResult]]:
    """A run and its results, with the arrays of each."""
    return new_run(request.run, "run."), [
        new_result(message, its, f"results[{place}].")
        for place, (message, its) in enumerate(zip(request.results, arrays, strict=True))
    ]


def data(body: bytes, arrays: Arrays, at: str = "") -> dict[str, Any]:
    """The data of a result, with every `{"$array": key}` replaced by that array."""
    if not body:
        raise InvalidFieldError(f"{at}data", "is missing", "give a JSON object")
    if not arrays and b'"$array"' not in body:
        return json_object(body, f"{at}data", domain.DATA_LIMIT_BYTES)
    from asgard_server.run.arrays import place

    parsed = json_object(body, f"{at}data", domain.DATA_LIMIT_BYTES, orjson.loads)
    restored = _parsed(exact.restore, place(parsed, arrays, at), f"{at}data")
    if not isinstance(restored, dict):
        raise InvalidFieldError(f"{at}data", "is an array", "give an object that names its fields")
    return restored


def run_change(request: pb.UpdateRunRequest) -> dict[str, Any]:
    """The new values of the fields that the mask names, or of those that are set."""
    present: dict[str, Callable[[], Any]] = {
        "name": lambda: request.name,
        "equation": lambda: optional(request, "equation"),
        "circuit": lambda: optional(request, "circuit"),
        "metadata": lambda: json_object(request.metadata, "metadata", domain.METADATA_LIMIT_BYTES),
        "tags": lambda: tuple(request.tags),
        "note": lambda: optional(request, "note"),
    }
    paths = list(request.update_mask.paths) or [
        descriptor.name for descriptor, _ in request.ListFields() if descriptor.name in present
    ]
    return {path: present[path]() if path in present else None for path in paths}


def render_options(request: render_pb.RenderResultRequest) -> RenderOptions:
    """How a result is to be drawn. Zero stands for the default."""
    from asgard_server.run.render.options import RenderOptions

    if request.format not in render_pb.RenderResultRequest.Format.values():
        raise InvalidFieldError("format", f"is {request.format}", "say json or binary")
    return RenderOptions(
        width=request.width or 1_200,
        height=request.height or 400,
        x_min=optional(request, "x_min"),
        x_max=optional(request, "x_max"),
        y_min=optional(request, "y_min"),
        y_max=optional(request, "y_max"),
        layer=request.layer,
        frame_start=request.frame_start,
        frame_count=request.frame_count,
        at=tuple(request.at),
        binary=request.format == render_pb.RenderResultRequest.FORMAT_BINARY,
    )


def status_name(number: int, name: str = "status") -> str | None:
    """A status by its name in documents, None when unspecified."""
    if number and number not in _STATUS_NAMES:
        raise InvalidFieldError(name, f"is {number}", f"say one of {', '.join(_STATUS_NUMBERS)}")
    return _STATUS_NAMES.get(number)


def data_size(message: NewResult | pb.AppendResultRequest) -> int:
    """How much there is to parse, roughly; arrays always count as much."""
    return _ARRAYS_BYTES if message.arrays else len(message.data)


def result_size(message: NewResult) -> int:
    """How much there is to parse of a result, roughly."""
    return data_size(message) + len(message.display)


def batch_size(request: pb.SaveRunRequest) -> int:
    """How much there is to parse of a run and its results, roughly."""
    return len(request.run.metadata) + sum(map(result_size, request.results))


def run_digest(request: pb.CreateRunRequest) -> bytes:
    """What tells a repeat of this request from another one."""
    return domain.request_digest(b"run", request.SerializeToString(deterministic=True))


def result_digest(message: NewResult, run_id: str, arrays: Arrays) -> bytes:
    """What tells a repeat of this request from another one."""
    return domain.request_digest(b"result", run_id.encode(), *_result_parts(message, arrays))


def batch_digest(request: pb.SaveRunRequest, arrays: Sequence[Arrays]) -> bytes:
    """What tells a repeat of this request from another one."""
    parts = [request.run.SerializeToString(deterministic=True)]
    for message, its in zip(request.results, arrays, strict=True):
        parts += _result_parts(message, its)
    return domain.request_digest(b"batch", *parts)


def _result_parts(message: NewResult, arrays: Arrays) -> list[bytes]:
    when = message.create_time
    parts = [
        message.result_id.encode(),
        message.result_type.encode(),
        message.data,
        message.display,
        f"{when.seconds}.{when.nanos}".encode() if message.HasField("create_time") else b"",
    ]
    for key in sorted(arrays):
        sent = arrays[key]
        parts += [key.encode(), sent if isinstance(sent, bytes) else sent.digest]
    return parts


def json_object(
    body: bytes, name: str, limit: int, parse: Callable[[bytes], Any] = exact.loads
) -> dict[str, Any]:
    """Parse a JSON field. Empty bytes are an empty object."""
    if not body:
        return {}
    if len(body) > limit:
        raise InvalidFieldError(
            name,
            f"has {len(body):,} bytes",
            f"keep it to {limit:,} bytes; send numbers as arrays, not as JSON",
        )
    value = _parsed(parse, body, name)
    if not isinstance(value, dict):
        raise InvalidFieldError(name, "is not a JSON object", 'give an object, as in {"key": 1}')
    return value


def _parsed(parse: Callable[[Any], Any], body: Any, name: str) -> Any:
    try:
        return parse(body)
    except (ValueError, RecursionError) as error:
        raise InvalidFieldError(name, f"is not JSON: {error}", "give a JSON object") from None


def optional(message: Any, name: str) -> Any:
    """A field, None when absent."""
    return getattr(message, name) if message.HasField(name) else None


# Answers ----------------------------------------------------------------------------


def run_message(row: RunRow, now: datetime, result_ids: Sequence[str] = ()) -> pb.Run:
    """A run as the index knows it."""
    run = row.run
    return pb.Run(
        run_id=run.id,
        name=run.name,
        create_time=timestamp(run.created_at),
        update_time=timestamp(run.updated_at),
        equation=run.equation,
        circuit=run.circuit,
        metadata=exact.dumps(run.metadata) if run.metadata else b"{}",
        result_ids=result_ids,
        tags=run.tags,
        note=run.note,
        status=status_number(run.status),
        finish_time=timestamp(run.finished_at) if run.finished_at else None,
        result_count=row.result_count,
        etag=row.etag,
        live=domain.is_live(run.status, row.changed_at, now),
    )


def status_number(name: str | None) -> pb.Run.Status.ValueType:
    """A status by its number; unspecified for a word that run_service.proto does not know."""
    return pb.Run.Status.ValueType(_STATUS_NUMBERS.get(name or "", 0))


def result_message(row: ResultRow) -> pb.Result:
    """A result as the index knows it: without its data."""
    return pb.Result(
        result_id=row.id,
        run_id=row.run_id,
        create_time=timestamp(row.created_at),
        result_type=row.result_type,
        display=exact.dumps(row.display) if row.display else b"{}",
        etag=row.etag,
    )


def result_messages(rows: Mapping[Key, RunRow | ResultRow], ids: Sequence[str]) -> list[pb.Result]:
    """Results as the index knows them, in the order of `ids`."""
    found = (rows.get(Key("result", each)) for each in ids)
    return [result_message(row) for row in found if isinstance(row, ResultRow)]


def stored_result(result_id: str, found: Found) -> pb.Result:
    """A result's document with its data as it is stored, spliced in rather than understood."""
    parts = _members(result_id, found.body)
    # What is not the data is small, and read as every reader of documents reads it.
    head = (
        b"{"
        + b",".join(
            orjson.dumps(key) + b":" + value for key, value in parts.items() if key != "data"
        )
        + b"}"
    )
    result = decode_result(head, result_id, found.modified_at)
    return pb.Result(
        result_id=result_id,
        run_id=result.run_id,
        create_time=timestamp(result.created_at),
        result_type=result.result_type,
        data=parts.get("data", b"{}"),
        display=parts.get("display", b"{}"),
        etag=etag(found.body),
    )


def parts(result: ResultDocument) -> Iterator[bytes]:
    """A result and then its arrays, as the serialised answers of ReadResult."""
    from gimle.asgard.core.enclosing import apart, pieces

    data, arrays = apart(result.data)
    message = pb.Result(
        result_id=result.id,
        run_id=result.run_id,
        create_time=timestamp(result.created_at),
        result_type=result.result_type,
        data=data,
        display=exact.dumps(result.display),
    )
    yield pb.ReadResultResponse(result=message).SerializeToString()
    for key, array in arrays.items():
        for content in pieces(array, _PIECE_BYTES):
            piece = pb.ReadResultResponse.Piece(key=key, content=content)
            yield pb.ReadResultResponse(piece=piece).SerializeToString()


def _members(result_id: str, body: bytes) -> Mapping[str, bytes]:
    try:
        if len(body) > _SPLICE_BYTES:
            return members(body)
        return {key: orjson.dumps(value) for key, value in orjson.loads(body).items()}
    except (ValueError, AttributeError) as error:
        raise DocumentError(result_id, f"is not a JSON object: {error}") from None


def decoded_run(found: Found, run_id: str) -> tuple[RunDocument, str]:
    """A run's document and its etag."""
    return decode_run(found.body, run_id, found.modified_at), etag(found.body)


# Views ------------------------------------------------------------------------------


def drawn(result: ResultDocument, options: RenderOptions) -> Rendered:
    """Render; in the pool for it, where the first call also loads the renderer."""
    from asgard_server.run.render import render

    return render(result, options)


def view_message(rendered: Rendered, name: str) -> render_pb.RenderResultResponse:
    """A view as an HTTP body."""
    body = HttpBody(content_type=rendered.content_type, data=rendered.body)
    return render_pb.RenderResultResponse(body=body, etag=name)


def view_etag(document: str, request: render_pb.RenderResultRequest) -> str:
    """Names a view: by the document's state and by what was asked."""
    asked = request.SerializeToString(deterministic=True)
    return domain.request_digest(document.encode(), asked).hex()
