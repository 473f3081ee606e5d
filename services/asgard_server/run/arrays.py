"""Arrays that come with a request: by key, put where the data names them.

In a call they are whole .npy files; those that came in pieces (uploads.py) are arrays already.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from gimle.asgard.core.arrays import ArrayRef, dtype_named
from gimle.asgard.core.errors import InvalidFieldError
from numpy.lib import format as npy
from numpy.typing import NDArray

from asgard_server.run.limits import ARRAYS_LIMIT

Array = NDArray[Any]


class Received(NamedTuple):
    """An array that came in pieces. `digest`: of the bytes of its elements."""

    array: Array
    digest: bytes


class Uploaded(NamedTuple):
    """An array that lies in the store: its file, which `field` of the data names.

    `sha256` is the file's. Without `ref` it is only known that the result is stored already.
    """

    sha256: str
    ref: ArrayRef | None = None
    field: tuple[str, ...] = ()

    @property
    def digest(self) -> bytes:
        """What tells it from another one."""
        return bytes.fromhex(self.sha256)


Arrays: TypeAlias = Mapping[str, bytes | Received | Uploaded]


def place(value: dict[str, Any], arrays: Arrays, at: str = "") -> dict[str, Any]:
    """Replace each `{"$array": key}` in parsed JSON by the array of that key.

    Raises `InvalidFieldError` for a reference to an array that was not sent, for an
    array that no reference names, and for one that is no .npy file or holds objects.
    """
    if len(arrays) > ARRAYS_LIMIT:
        raise InvalidFieldError(
            f"{at}arrays", f"are {len(arrays):,}", f"send at most {ARRAYS_LIMIT:,} at once"
        )
    placing = _Placing(
        {
            key: read_npy(sent, f"{at}arrays[{key!r}]") if isinstance(sent, bytes) else sent
            for key, sent in arrays.items()
        },
        at,
    )
    placed = {key: placing.placed(item, (key,)) for key, item in value.items()}
    placing.check_used()
    return placed


class _Placing:
    """The arrays of one request on their way into its data."""

    def __init__(self, arrays: Mapping[str, Array | Received | Uploaded], at: str) -> None:
        self._arrays = arrays
        self._used: set[str] = set()
        self._at = at

    def placed(self, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, list):
            return [self.placed(item, (*path, str(place))) for place, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        key = value.get("$array")
        if not isinstance(key, str):
            return {name: self.placed(item, (*path, name)) for name, item in value.items()}
        array = self._arrays.get(key)
        if array is None:
            raise InvalidFieldError(
                f"{self._at}data",
                f"names the array {key!r}, which was not sent",
                f"send it as arrays[{key!r}]",
            )
        if isinstance(array, Uploaded):
            return self._reference(array, key, value, path)
        self._used.add(key)
        if isinstance(array, Received):
            array = array.array
        return self._typed(array, key, value.get("dtype"))

    def _reference(
        self, uploaded: Uploaded, key: str, value: dict[str, Any], path: tuple[str, ...]
    ) -> ArrayRef | None:
        """The reference to a file, which is one field's alone: fields grow each for itself."""
        if key in self._used:
            raise InvalidFieldError(
                f"{self._at}data", f"names the array {key!r} twice", "give each its own key"
            )
        self._used.add(key)
        ref = uploaded.ref
        if ref is None:
            return None
        unescaped = tuple(step[1:] if step.startswith("$$") else step for step in path)
        said = (value.get("dtype"), value.get("shape"), unescaped)
        if said != (ref.dtype, list(ref.shape), uploaded.field):
            raise InvalidFieldError(
                f"{self._at}data",
                f"says of the array {key!r} what was not said when its upload was granted",
                "give the same dtype, shape and place",
            )
        return ref

    def _typed(self, array: Array, key: str, name: Any) -> Array:
        """Give an array the name of its numbers back, where .npy has lost it (bfloat16)."""
        if name is None or name == array.dtype.name:
            return array
        try:
            dtype = dtype_named(name)
        except (TypeError, ValueError):
            dtype = None
        if dtype is None or dtype.itemsize != array.dtype.itemsize:
            raise InvalidFieldError(
                f"{self._at}data",
                f"says the array {key!r} is {name}, but it is {array.dtype}",
                "leave the dtype out, or send the array as what it is",
            )
        return array.view(dtype)

    def check_used(self) -> None:
        unused = sorted(self._arrays.keys() - self._used)
        if unused:
            raise InvalidFieldError(
                f"{self._at}arrays[{unused[0]!r}]",
                "is not used",
                f'put {{"$array": "{unused[0]}"}} into data where it belongs',
            )


def read_npy(body: bytes, name: str) -> Array:
    """Read a whole .npy file (format 1.0 to 3.0) without copying its numbers."""
    problem = "is not a .npy file"
    mend = "send what numpy.save writes, with allow_pickle=False"
    stream = BytesIO(body)
    try:
        version = npy.read_magic(stream)
        if version == (3, 0):  # numpy has no public reader of this header alone
            stream.seek(0)
            return _numeric(npy.read_array(stream, allow_pickle=False), name)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if dtype.hasobject:
            return _numeric(np.empty(0, dtype), name)
        count = int(np.prod(shape, dtype=np.int64)) if shape else 1
        offset = stream.tell()
        if count * dtype.itemsize != len(body) - offset:
            problem = (
                f"has {len(body) - offset:,} bytes of numbers where its header says "
                f"{count * dtype.itemsize:,}"
            )
            raise ValueError(problem)
        flat = np.frombuffer(body, dtype, count, offset) if count else np.empty(0, dtype)
    except InvalidFieldError:
        raise
    except (ValueError, EOFError, OverflowError, MemoryError, TypeError):
        raise InvalidFieldError(name, problem, mend) from None
    return _numeric(flat.reshape(shape, order="F" if fortran else "C"), name)


def _numeric(array: Array, name: str) -> Array:
    if array.dtype.hasobject or array.dtype.names:
        raise InvalidFieldError(
            name, f"holds {array.dtype}", "send numbers, text, times or booleans, one array a field"
        )
    return array
