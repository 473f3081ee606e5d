"""The large arrays of one call on their way to the store behind a service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gimle.asgard.client.array_bytes import ArrayBytes
from gimle.asgard.client.grants import grant_of
from gimle.asgard.client.outgoing import STREAMED_BYTES, Outgoing
from gimle.asgard.client.sending import Sending
from gimle.asgard.core import exact
from gimle.asgard.core.arrays import ArrayRef
from gimle.asgard.transfer import LARGE_BYTES, Grant
from gimle.asgard.v1 import granted_result_pb2 as granted_pb
from gimle.asgard.v1.new_result_pb2 import UploadedArray

if TYPE_CHECKING:
    from gimle.asgard.client.connection import Connection


@dataclass(frozen=True, slots=True)
class Large:
    """An array of a call that goes by itself: its key, where it stands, and its file."""

    result: int
    key: str
    path: tuple[str, ...]
    ref: ArrayRef
    file: ArrayBytes


class Upload:
    """The arrays of one call on their way to the store."""

    def __init__(
        self,
        connection: Connection,
        call: Outgoing,
        large: Sequence[Large],
        patience: float | None,
    ) -> None:
        self._connection = connection
        self._call = call
        self._large = large
        self._patience = patience

    def done(self) -> Mapping[tuple[int, str], UploadedArray] | None:
        """Send what has not arrived; answer the digests by result and key.

        None when a result is stored already, nobody knows how.
        """
        total = sum(each.file.nbytes for each in self._large)
        tell = self._connection.telling(
            "up", self._call.id, total, self._connection.attempts(self._patience)
        )
        sending = Sending(lambda gone: tell(min(gone, total)))
        sending.measure([each.file for each in self._large if each.file.size <= LARGE_BYTES])
        answer = self._ask()
        if any(each.stored for each in answer.results):
            return None
        ways = {
            (number, array.key): array
            for number, upload in zip(self._numbers(), answer.results, strict=True)
            for array in upload.arrays
        }
        for each in self._large:
            way = ways[each.result, each.key]
            if each.file.size <= LARGE_BYTES:
                sending.whole(each.file, way, self._again(each))
            else:
                sending.in_parts(each.file, way, self._sign(each))
        sending.run()
        tell(total)
        return {(each.result, each.key): sending.digests(each.file) for each in self._large}

    def _numbers(self) -> list[int]:
        return list(dict.fromkeys(each.result for each in self._large))

    def _ask(self) -> granted_pb.CreateResultUploadsResponse:
        request, method = self._call.request, self._call.method
        asked = granted_pb.CreateResultUploadsRequest(run_follows=method == "SaveRun")
        if method != "AppendResult":
            asked.run_id = request.run.run_id if method == "SaveRun" else request.run_id
        for number in self._numbers():
            new = _results(self._call)[number]
            upload = asked.results.add(result_id=_upload_id(self._call, new))
            if method == "AppendResult":
                upload.grows_result_id = new.result_id
            else:
                upload.result_type = new.result_type
            for each in self._large:
                if each.result == number:
                    upload.arrays.add(
                        key=each.key,
                        path=each.path,
                        dtype=exact.dumps(each.ref.dtype),
                        shape=each.ref.shape,
                        sha256=each.file.sha256 or "",
                    )
        answer: granted_pb.CreateResultUploadsResponse = self._connection.call(
            "CreateResultUploads", asked, patience=self._patience
        )
        return answer

    def _again(self, large: Large) -> Callable[[], Any]:
        """What asks for the grants anew."""

        def ask() -> Any:
            place = self._numbers().index(large.result)
            return next(a for a in self._ask().results[place].arrays if a.key == large.key)

        return ask

    def _sign(self, large: Large) -> Callable[[int, bytes], Grant]:
        result_id = _upload_id(self._call, _results(self._call)[large.result])

        def sign(number: int, sha256: bytes) -> Grant:
            request = granted_pb.SignResultPartsRequest(result_id=result_id, key=large.key)
            request.parts.add(number=number, sha256=sha256.hex())
            (grant,) = self._connection.call(
                "SignResultParts", request, patience=self._patience
            ).grants
            return grant_of(grant)

        return sign


def _results(call: Outgoing) -> Sequence[Any]:
    """What has data and uploaded arrays in a call: results, or an append itself."""
    if call.method == "AppendResult":
        return [call.request]
    return call.request.results if call.method == "SaveRun" else [call.request.result]


def _upload_id(call: Outgoing, new: Any) -> str:
    """The id under which arrays are uploaded, "" where a call has none."""
    id: str = new.upload_id if call.method == "AppendResult" else new.result_id
    return id


def large_arrays(
    call: Outgoing, second_axis: Callable[[Outgoing, Any, tuple[str, ...]], bool]
) -> list[Large]:
    """The arrays of a call that are large each by itself."""
    found = []
    for number, (new, arrays) in enumerate(zip(_results(call), call.arrays, strict=True)):
        keys = {key for key, array in arrays.items() if array.nbytes > STREAMED_BYTES}
        if not keys or not _upload_id(call, new):
            continue
        for path, ref in _places(exact.loads(new.data), ()):
            if ref.path in keys:
                second = len(ref.shape) > 1 and second_axis(call, new, path)
                file = ArrayBytes(arrays[ref.path], ref.dtype, exchanged=second)
                found.append(Large(number, ref.path, path, ref, file))
    return found


def _places(value: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], ArrayRef]]:
    """Every reference in data, and where it stands."""
    if isinstance(value, ArrayRef):
        return [(path, value)]
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = ((i, item) for i, item in enumerate(value) if type(item) in (dict, list, ArrayRef))
    return [found for key, item in items for found in _places(item, (*path, str(key)))]


def naming(
    call: Outgoing,
    large: Sequence[Large],
    uploaded: Mapping[tuple[int, str], UploadedArray],
) -> Outgoing:
    """The call with its large arrays named instead of brought along."""
    request = type(call.request)()
    request.CopyFrom(call.request)
    gone = {(each.result, each.key) for each in large}
    named = Outgoing(
        call.method,
        call.id,
        request,
        tuple(
            {key: array for key, array in arrays.items() if (number, key) not in gone}
            for number, arrays in enumerate(call.arrays)
        ),
    )
    for (number, key), digests in uploaded.items():
        _results(named)[number].uploaded[key].CopyFrom(digests)
    return named
