"""Arrays that come in pieces: kept in a file without a name until all of them are there.

What is stored afterwards is read from that file by maps: however large the arrays are, no
more than a piece of them lies in memory, and a client that dies leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias

import numpy as np
import orjson
from gimle.asgard.core.arrays import as_shape, dtype_named
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.folder.files import write_all
from gimle.asgard.core.folder.refusals import unavailable
from gimle.asgard.v1 import run_service_pb2 as pb

from asgard_server.run import limits
from asgard_server.run.arrays import Array, Arrays, Received
from asgard_server.run.codec import json_object

# The next piece comes within this time, or the upload is over.
IDLE_SECONDS = 60.0

# Twice what a client of ours sends at once.
PIECE_LIMIT_BYTES = 2 * 1_048_576

_ALIGNED = 64
_MOST_BYTES = 1 << 62
_MOST_AXES = 32

Kind: TypeAlias = Literal["add", "append", "save"]


class Wanted(NamedTuple):
    """An array that is to come: what its reference says. `at` is put before names of fields."""

    at: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose arrays are there: of each of its results those by key."""

    kind: Kind
    request: Any
    arrays: tuple[Arrays, ...]


class Uploads:
    """Receives what WriteResult is sent.

    folder: a folder on a disk with room for what is sent at once; that of temporary files when
    None, which may lie in memory.
    """

    idle_seconds = IDLE_SECONDS

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder or tempfile.gettempdir()

    async def receive(
        self,
        requests: AsyncIterator[pb.WriteResultRequest],
        check: Callable[[Kind, Any], Awaitable[None]],
    ) -> Call:
        """Take a call and all its pieces. `check` may refuse the call before these have come.

        Raises `InvalidFieldError` for pieces that are not what the call says,
        `StorageFullError` where there is no room for them, `TimeoutError` when none comes.
        """
        stream = aiter(requests)
        first = await self._next(stream)
        kind = None if first is None else first.WhichOneof("part")
        if first is None or kind is None or kind == "piece":
            raise InvalidFieldError(
                "part", "does not begin with a call", "send add, append or save first"
            )
        request = getattr(first, kind)
        await check(kind, request)
        messages = _messages(kind, request)
        wanted = [await asyncio.to_thread(_wanted, message, at) for message, at in messages]
        with self._file() as file:
            spooled = Spooled(wanted, file)
            while (part := await self._next(stream)) is not None:
                if part.WhichOneof("part") != "piece":
                    raise InvalidFieldError("part", "is a second call", "send pieces behind one")
                await asyncio.to_thread(self._take, spooled, part.piece)
            arrays = await asyncio.to_thread(spooled.arrays)
        return Call(
            kind,
            request,
            tuple(
                {**message.arrays, **received} if received else message.arrays
                for (message, _), received in zip(messages, arrays, strict=True)
            ),
        )

    async def _next(self, stream: AsyncIterator[Any]) -> Any:
        try:
            async with asyncio.timeout(self.idle_seconds):
                return await anext(stream, None)
        except TimeoutError:
            raise TimeoutError(f"no piece came for {self.idle_seconds:.0f} s") from None

    def _file(self) -> BinaryIO:
        try:
            # Without a name from the beginning: whoever dies leaves nothing behind.
            return tempfile.TemporaryFile(dir=self.folder, buffering=0)
        except OSError as error:
            raise unavailable(self.folder, error) from error

    def _take(self, spooled: Spooled, piece: pb.WriteResultRequest.Piece) -> None:
        try:
            spooled.take(piece.result, piece.key, piece.content)
        except OSError as error:
            raise unavailable(self.folder, error) from error


class Spooled:
    """The arrays of one call on their way into `file`, one after the other."""

    def __init__(self, wanted: Sequence[Mapping[str, Wanted]], file: BinaryIO) -> None:
        self._wanted = wanted
        self._file = file
        self._end = 0
        self._present: tuple[int, str] | None = None
        self._left = 0
        self._hash = blake2b(digest_size=16)
        self._places: dict[tuple[int, str], tuple[int, bytes]] = {}

    def take(self, result: int, key: str, content: bytes) -> None:
        """Take the next piece. Raises InvalidFieldError, OSError."""
        if (result, key) != self._present:
            self._begin(result, key)
        wanted = self._wanted[result][key]
        name = f"{wanted.at}arrays[{key!r}]"
        if len(content) > PIECE_LIMIT_BYTES:
            raise InvalidFieldError(
                name,
                f"comes in a piece of {len(content):,} bytes",
                f"send at most {PIECE_LIMIT_BYTES:,} at once",
            )
        if len(content) > self._left:
            raise InvalidFieldError(
                name,
                f"has more than the {wanted.nbytes:,} bytes of its dtype and shape",
                "send the bytes of its elements, and nothing else",
            )
        write_all(self._file.fileno(), content)
        self._hash.update(content)
        self._end += len(content)
        self._left -= len(content)
        if not self._left:
            offset = self._end - wanted.nbytes
            self._places[result, key] = (offset, self._hash.digest())

    def _begin(self, result: int, key: str) -> None:
        if not 0 <= result < len(self._wanted) or key not in self._wanted[result]:
            raise InvalidFieldError(
                "piece.key",
                f"{key!r} of result {result} is no array that the call names and did not bring",
                'put {"$array": key, "dtype": ..., "shape": ...} into its data',
            )
        if (result, key) in self._places:
            raise InvalidFieldError("piece.key", f"{key!r} was whole already", "send it once")
        if self._left and self._present is not None:
            raise self._short(*self._present)
        self._present = (result, key)
        self._left = self._wanted[result][key].nbytes
        self._hash = blake2b(digest_size=16)
        self._end = os.lseek(self._file.fileno(), -(-self._end // _ALIGNED) * _ALIGNED, os.SEEK_SET)

    def _short(self, result: int, key: str) -> InvalidFieldError:
        wanted = self._wanted[result][key]
        came = wanted.nbytes - self._left if (result, key) == self._present else 0
        return InvalidFieldError(
            f"{wanted.at}arrays[{key!r}]",
            f"ended after {came:,} of {wanted.nbytes:,} bytes",
            "send each array whole, and then the next",
        )

    def arrays(self) -> list[dict[str, Received]]:
        """The arrays of each result, mapped. Raises InvalidFieldError when one is not whole."""
        for result, wanted in enumerate(self._wanted):
            for key, one in wanted.items():
                if one.nbytes and (result, key) not in self._places:
                    raise self._short(result, key)
        mapped: Any = b""
        if self._end:
            mapped = mmap.mmap(self._file.fileno(), self._end, access=mmap.ACCESS_READ)
        return [
            {key: self._array(mapped, result, key, one) for key, one in wanted.items()}
            for result, wanted in enumerate(self._wanted)
        ]

    def _array(self, mapped: Any, result: int, key: str, wanted: Wanted) -> Received:
        if not wanted.nbytes:
            return Received(np.empty(wanted.shape, wanted.dtype), b"")
        offset, digest = self._places[result, key]
        count = wanted.nbytes // wanted.dtype.itemsize
        array: Array = np.frombuffer(mapped, wanted.dtype, count, offset)
        return Received(array.reshape(wanted.shape), digest)


def _messages(kind: str, request: Any) -> list[tuple[Any, str]]:
    """The messages of a call that have data and arrays, with what is put before their fields."""
    if kind == "add":
        return [(request.result, "result.")]
    if kind == "append":
        return [(request, "")]
    return [(result, f"results[{place}].") for place, result in enumerate(request.results)]


def _wanted(message: Any, at: str) -> dict[str, Wanted]:
    """The arrays that a message names and does not bring along."""
    if b'"$array"' not in message.data:
        return {}
    data = json_object(message.data, f"{at}data", limits.DATA_LIMIT_BYTES, orjson.loads)
    brought = {*message.arrays, *getattr(message, "uploaded", ())}
    wanted: dict[str, Wanted] = {}
    for reference in _references(list(data.values())):
        key = reference["$array"]
        if key in brought:
            continue
        one = _described(reference, at)
        if wanted.setdefault(key, one) != one:
            raise InvalidFieldError(
                f"{at}data", f"names two arrays {key!r}", "give each array a key of its own"
            )
    if len(wanted) > limits.ARRAYS_LIMIT:
        raise InvalidFieldError(
            f"{at}data",
            f"names {len(wanted):,} arrays",
            f"send at most {limits.ARRAYS_LIMIT:,} at once",
        )
    return wanted


def _references(value: Any) -> Iterator[dict[str, Any]]:
    """Every `{"$array": key}` in parsed JSON, however deep."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            if isinstance(value.get("$array"), str):
                yield value
            else:
                waiting += value.values()


def _described(reference: Mapping[str, Any], at: str) -> Wanted:
    """What a reference says of its array. Raises InvalidFieldError."""
    key, name = reference["$array"], reference.get("dtype")
    mend = "say dtype and shape of an array that comes in pieces, or bring it along in arrays"
    try:
        dtype = dtype_named(name)
        shape = as_shape(reference.get("shape"))
        if dtype.hasobject:
            raise ValueError(f"{name!r} is not a dtype that can be stored")
        nbytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if nbytes > _MOST_BYTES or len(shape) > _MOST_AXES:
            raise ValueError(f"{list(shape)} is too large a shape")
        if not nbytes:
            np.empty(shape, dtype)  # an empty one may still be of a shape that numpy has not
    except (TypeError, ValueError, MemoryError) as error:
        raise InvalidFieldError(
            f"{at}data", f"names the array {key!r}, but {error}", mend
        ) from None
    return Wanted(at, dtype, shape, nbytes)
