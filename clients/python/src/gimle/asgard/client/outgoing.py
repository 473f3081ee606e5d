"""A call that saves something, and how it travels: whole, or its arrays in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gimle.asgard.client.errors import LIMIT_BYTES
from gimle.asgard.core.arrays import Array
from gimle.asgard.core.enclosing import npy_bytes, pieces
from gimle.asgard.core.errors import RequestTooLargeError
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest

# With more bytes in its arrays a call is streamed, so many at a time.
STREAMED_BYTES = PIECE_BYTES = 1 << 20

# Small arrays go with the call, for each piece costs both sides some time: so many bytes of them.
_SMALL_BYTES = 1 << 16
_SMALL_IN_ALL_BYTES = 1 << 22

# What each of these is called in WriteResultRequest and its response.
_PARTS = {"AddResult": "add", "AppendResult": "append", "SaveRun": "save"}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A call of RunService.

    id: the run or result it is about. request: without its arrays, which are beside it: of
    each result of the call those by key.
    """

    method: str
    id: str
    request: Any
    arrays: tuple[Mapping[str, Array], ...] = ()

    def __post_init__(self) -> None:
        """Raise RequestTooLargeError for what is too large even without its arrays."""
        if self.request.ByteSize() > LIMIT_BYTES:
            raise RequestTooLargeError(LIMIT_BYTES)

    @property
    def nbytes(self) -> int:
        """The bytes of its arrays."""
        return sum(array.nbytes for arrays in self.arrays for array in arrays.values())

    @property
    def streamed(self) -> bool:
        """Whether its arrays go in pieces."""
        size = self.nbytes
        return size > STREAMED_BYTES or size + self.request.ByteSize() > LIMIT_BYTES - PIECE_BYTES

    def whole(self) -> Any:
        """The request with its arrays."""
        if not any(self.arrays):
            return self.request
        whole = type(self.request)()
        whole.CopyFrom(self.request)
        for into, arrays in zip(array_maps(whole), self.arrays, strict=True):
            for key, array in arrays.items():
                into[key] = npy_bytes(array)
        return whole

    def parts(self, sent: Callable[[int], None] | None = None) -> Iterator[pb.WriteResultRequest]:
        """The requests of WriteResult. `sent` is told how many bytes of arrays have gone.

        The same arrays always go in the same way: a repeat is known by its bytes.
        """
        head = type(self.request)()
        head.CopyFrom(self.request)
        later: list[tuple[int, str, Array]] = []
        room = min(_SMALL_IN_ALL_BYTES, LIMIT_BYTES - PIECE_BYTES - head.ByteSize())
        gone = 0
        for place, (into, arrays) in enumerate(zip(array_maps(head), self.arrays, strict=True)):
            for key, array in arrays.items():
                if array.nbytes <= min(_SMALL_BYTES, room - gone):
                    into[key] = npy_bytes(array)
                    gone += array.nbytes
                else:
                    later.append((place, key, array))
        yield pb.WriteResultRequest(**{_PARTS[self.method]: head})
        if gone and sent is not None:
            sent(gone)
        for place, key, array in later:
            for content in pieces(array, PIECE_BYTES):
                piece = pb.WriteResultRequest.Piece(key=key, content=content, result=place)
                yield pb.WriteResultRequest(piece=piece)
                gone += len(content)
                if sent is not None:
                    sent(gone)


def array_maps(request: Any) -> list[Any]:
    """The maps of arrays in a request, one for each of its results."""
    if isinstance(request, pb.AddResultRequest):
        return [request.result.arrays]
    if isinstance(request, AppendResultRequest):
        return [request.arrays]
    if isinstance(request, pb.SaveRunRequest):
        return [result.arrays for result in request.results]
    return []
