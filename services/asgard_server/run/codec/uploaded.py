"""Arrays that a client moves itself, to and from the store: their messages. Nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from gimle.asgard.core.arrays import dtype_named
from gimle.asgard.core.documents import decode_result
from gimle.asgard.core.errors import DocumentError, InvalidFieldError
from gimle.asgard.core.folder.layout import array_file
from gimle.asgard.core.growth import references
from gimle.asgard.core.ids import check_id
from gimle.asgard.v1 import blob_service_pb2 as blob_pb
from gimle.asgard.v1 import granted_result_pb2 as granted_pb
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest
from gimle.asgard.v1.new_result_pb2 import NewResult

from asgard_server.rpc.fields import timestamp
from asgard_server.run import limits
from asgard_server.run.arrays import Uploaded
from asgard_server.run.arriving import Sent
from asgard_server.run.granting import Array, Begun, NewUpload
from asgard_server.run.grants import Grant, Granted, Held, Upload
from asgard_server.run.store import Found

_MOST_BYTES = 5 << 40  # what a store takes as one object
_MOST_AXES = 32


def asked(request: granted_pb.CreateResultUploadsRequest) -> list[NewUpload]:
    """The uploads that are asked for. Raises `InvalidFieldError`."""
    count = sum(len(each.arrays) for each in request.results)
    if not 1 <= count <= limits.ARRAYS_LIMIT:
        raise InvalidFieldError(
            "results.arrays", f"are {count:,}", f"send 1 to {limits.ARRAYS_LIMIT:,} at once"
        )
    return [_new(each, f"results[{place}].") for place, each in enumerate(request.results)]


def _new(message: granted_pb.CreateResultUploadsRequest.NewUpload, at: str) -> NewUpload:
    arrays = tuple(
        _array(each, f"{at}arrays[{place}].") for place, each in enumerate(message.arrays)
    )
    for what, given in (("key", [a.key for a in arrays]), ("path", [a.field for a in arrays])):
        if len(set(given)) < len(given):
            raise InvalidFieldError(
                f"{at}arrays.{what}", "names two arrays", "give each array its own"
            )
    grows = message.grows_result_id
    return NewUpload(
        check_id(message.result_id, f"{at}result_id"),
        message.result_type,
        arrays,
        check_id(grows, f"{at}grows_result_id") if grows else None,
    )


def _array(message: granted_pb.CreateResultUploadsRequest.Array, at: str) -> Array:
    if not message.path:
        raise InvalidFieldError(f"{at}path", "is empty", "say where in data the array stands")
    try:
        name = orjson.loads(message.dtype)
        dtype = dtype_named(name)
        count = 1
        for side in message.shape:
            count *= side
        if min(message.shape, default=0) < 0 or len(message.shape) > _MOST_AXES:
            raise ValueError(f"{list(message.shape)} is not a shape")
        if not 0 < count * dtype.itemsize <= _MOST_BYTES:
            raise ValueError(f"{list(message.shape)} of {name} is nothing to upload")
    except (ValueError, TypeError) as error:
        raise InvalidFieldError(
            f"{at}shape", str(error), "say dtype and shape as a reference does"
        ) from None
    sha256 = _digest(message.sha256, f"{at}sha256") if message.sha256 else None
    return Array(message.key, tuple(message.path), name, tuple(message.shape), sha256)


def _digest(text: str, field: str) -> str:
    if len(text) == 64 and all(digit in "0123456789abcdef" for digit in text):
        return text
    raise InvalidFieldError(field, "is not a SHA-256", "give 64 hexadecimal digits in lower case")


def sent(message: NewResult, at: str) -> dict[str, Sent]:
    """What a client says that it has uploaded, by key."""
    if not message.result_id:
        raise InvalidFieldError(
            f"{at}result_id", "is missing", "give the one whose uploads were granted"
        )
    return _sent(message, at)


def sent_rows(request: AppendResultRequest) -> dict[str, Sent]:
    """What a client says that it has uploaded of an append, by key."""
    check_id(request.upload_id, "upload_id")
    return _sent(request, "")


def _sent(message: NewResult | AppendResultRequest, at: str) -> dict[str, Sent]:
    found = {}
    for key, each in message.uploaded.items():
        name = f"{at}uploaded[{key!r}]"
        if key in message.arrays:
            raise InvalidFieldError(name, "is in arrays, too", "send it one way")
        parts = _digest(each.sha256_parts, name) if each.sha256_parts else None
        found[key] = Sent(_digest(each.sha256, name), parts)
    return found


def placed(files: Mapping[str, Granted]) -> dict[str, Uploaded]:
    """Arrays whose files are there, to be put where the data names them."""
    return {key: Uploaded(file.sha256 or "", file.ref, file.field) for key, file in files.items()}


def repeated(sent: Mapping[str, Sent]) -> dict[str, Uploaded]:
    """Arrays of a result that is stored already."""
    return {key: Uploaded(each.sha256) for key, each in sent.items()}


def begun_message(begun: Begun) -> granted_pb.CreateResultUploadsResponse.Upload:
    """The uploads of a result's arrays as their message."""
    if begun.uploads is None:
        return granted_pb.CreateResultUploadsResponse.Upload(stored=True)
    return granted_pb.CreateResultUploadsResponse.Upload(
        arrays=[_upload(key, upload) for key, upload in begun.uploads.items()]
    )


def _upload(key: str, upload: Upload) -> granted_pb.CreateResultUploadsResponse.Array:
    if upload.held is not None:
        return granted_pb.CreateResultUploadsResponse.Array(key=key)
    if upload.put is not None:
        return granted_pb.CreateResultUploadsResponse.Array(key=key, put=grant_message(upload.put))
    return granted_pb.CreateResultUploadsResponse.Array(
        key=key,
        parts=blob_pb.PartsPlan(part_size_bytes=upload.part_bytes, part_count=upload.part_count),
        arrived=[
            blob_pb.ListPartsResponse.Part(
                number=part.number, size_bytes=part.size_bytes, sha256=part.sha256
            )
            for part in upload.arrived
        ],
    )


def grant_message(grant: Grant) -> blob_pb.Grant:
    """A grant as its message."""
    return blob_pb.Grant(
        url=grant.url,
        method=grant.method,
        headers=grant.headers,
        expire_time=timestamp(grant.expires_at),
    )


def array_paths(result_id: str, found: Found) -> list[str]:
    """The files of a result's arrays, each once. Raises `DocumentError`."""
    result = decode_result(found.body, result_id, found.modified_at)
    paths = dict.fromkeys(path for ref in references(result.data) for path, _ in ref.files)
    for path in paths:
        array_file(result_id, path)
    return list(paths)


def downloads(
    result_id: str, paths: Sequence[str], lent: Sequence[tuple[Grant, Held] | None]
) -> Iterator[Any]:
    """The grants of files as their messages. Raises `DocumentError` for one that is lost."""
    for path, one in zip(paths, lent, strict=True):
        if one is None:
            raise DocumentError(result_id, f"its array file {path} is missing")
        grant, held = one
        yield granted_pb.CreateResultDownloadsResponse.Download(
            path=path,
            grant=grant_message(grant),
            size_bytes=held.size_bytes,
            etag=held.etag,
            sha256=held.sha256 or "",
            sha256_parts=held.sha256_parts or "",
            part_size_bytes=held.part_bytes,
        )
