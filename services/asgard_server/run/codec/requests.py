"""What a request asks to be saved, and what tells it from another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gimle.asgard.core import exact
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest
from gimle.asgard.v1.new_result_pb2 import NewResult

from asgard_server.rpc.fields import optional
from asgard_server.run import domain, limits, repeats, rights
from asgard_server.run.codec.fields import json_object, moment, parsed, status_name

if TYPE_CHECKING:  # numpy's weight: only when there is an array
    from asgard_server.run.arrays import Arrays

# What a request with arrays counts as: enough to be decoded apart.
_ARRAYS_BYTES = 1_048_576

_UPLOADED = b"u"


def new_run(request: pb.CreateRunRequest, at: str = "") -> domain.NewRun:
    """A run to be created."""
    return domain.NewRun(
        id=request.run_id,
        name=request.name,
        created_at=moment(request, "create_time", at),
        equation=optional(request, "equation"),
        circuit=optional(request, "circuit"),
        metadata=json_object(request.metadata, f"{at}metadata", limits.METADATA_LIMIT_BYTES),
        tags=tuple(request.tags),
        note=optional(request, "note"),
        status=status_name(request.status, f"{at}status"),
        belongs=belongs(request),
    )


def belongs(request: pb.CreateRunRequest | pb.UpdateRunRequest) -> domain.Belongs | None:
    """Whose the run is, where that is said."""
    if not request.HasField("belongs"):
        return None
    told = request.belongs
    return domain.Belongs(
        told.owner,
        told.organization_id,
        told.visibility,
        tuple(sorted(set(told.readers))),
        tuple(sorted(set(told.writers))),
    )


def whose(request: pb.CreateRunRequest | pb.UpdateRunRequest) -> rights.Whose:
    """What is asked of whose the run is; what a mask names and does not give is taken away."""
    masked = request.update_mask.paths if isinstance(request, pb.UpdateRunRequest) else ()

    def asked(name: str) -> Any:
        if masked and name not in masked:
            return None
        found = optional(request, name)
        return "" if found is None and masked else found

    return rights.Whose(*map(asked, rights.OWNED))


def new_result(message: NewResult, arrays: Arrays, at: str = "") -> domain.NewResult:
    """A result to be added, its arrays put where its data names them."""
    return domain.NewResult(
        id=message.result_id,
        result_type=message.result_type,
        data=data(message.data, arrays, at),
        display=json_object(message.display, f"{at}display", limits.METADATA_LIMIT_BYTES),
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
        return json_object(body, f"{at}data", limits.DATA_LIMIT_BYTES)
    from asgard_server.run.arrays import place

    found = json_object(body, f"{at}data", limits.DATA_LIMIT_BYTES, exact.parse)
    restored = parsed(exact.restore, place(found, arrays, at), f"{at}data")
    if not isinstance(restored, dict):
        raise InvalidFieldError(f"{at}data", "is an array", "give an object that names its fields")
    return restored


def run_change(request: pb.UpdateRunRequest) -> dict[str, Any]:
    """The new values of the fields that the mask names, or of those that are set."""
    present: dict[str, Callable[[], Any]] = {
        "name": lambda: request.name,
        "equation": lambda: optional(request, "equation"),
        "circuit": lambda: optional(request, "circuit"),
        "metadata": lambda: json_object(request.metadata, "metadata", limits.METADATA_LIMIT_BYTES),
        "tags": lambda: tuple(request.tags),
        "note": lambda: optional(request, "note"),
    }
    paths = list(request.update_mask.paths) or [
        descriptor.name for descriptor, _ in request.ListFields() if descriptor.name in present
    ]
    return {
        path: present[path]() if path in present else None
        for path in paths
        if path not in rights.OWNED
    }


def data_size(message: NewResult | AppendResultRequest) -> int:
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
    return repeats.request_digest(b"run", request.SerializeToString(deterministic=True))


def result_digest(message: NewResult, run_id: str, arrays: Arrays) -> bytes:
    """What tells a repeat of this request from another one."""
    digest = repeats.request_digest(b"result", run_id.encode(), *_result_parts(message, arrays))
    # Arrays in the store are known by other digests: such requests are told apart by their length.
    return digest + _UPLOADED if message.uploaded else digest


def batch_digest(request: pb.SaveRunRequest, arrays: Sequence[Arrays]) -> bytes:
    """What tells a repeat of this request from another one."""
    parts = [request.run.SerializeToString(deterministic=True)]
    for message, its in zip(request.results, arrays, strict=True):
        parts += _result_parts(message, its)
    digest = repeats.request_digest(b"batch", *parts)
    return digest + _UPLOADED if any(each.uploaded for each in request.results) else digest


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
