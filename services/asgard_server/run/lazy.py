"""Arrays that are read as they are looked at: a window of one costs what the window holds.

A `LazyArray` stands for a numpy array that lies elsewhere. Slicing makes another one, or a plain
array where it is small; whatever numpy does with one as a whole reads all of it first, so that
nothing can be computed of bytes that are not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

Array = NDArray[Any]

# Slices up to here are read when they are made; of larger ones, what is looked at.
PLAIN_BYTES = 1 << 23


class ArrayMovedError(LookupError):
    """The files of an array have been replaced since its document was read: read that again."""


class Region(Protocol):
    """Mapped memory that is filled on demand: bytes of it are right once they were asked for."""

    @property
    def base(self) -> Array:
        """All of it, as bytes."""

    def read(self, spans: Sequence[tuple[int, int]]) -> None:
        """Fill these half-open ranges of bytes. Raises `ArrayMovedError`, and as stores do."""


class LazyArray:
    """An array over `region`; `view` is it in numpy's terms, and not to be read but by `plain`."""

    # Operators of arrays leave the work to __array_ufunc__ below.
    __slots__ = ("_region", "_view")

    def __init__(self, region: Region, view: Array) -> None:
        self._region = region
        self._view = view

    def plain(self) -> Array:
        """All of it, read."""
        self._region.read([self._span(self._view)])
        return self._view

    def _span(self, view: Array) -> tuple[int, int]:
        """The bytes of the region that a view lies in."""
        if view.size == 0:
            return 0, 0
        low, high = byte_bounds(view)
        start, _ = byte_bounds(self._region.base)
        return low - start, high - start

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, np.ndarray | list) or (
            isinstance(key, tuple) and any(isinstance(part, np.ndarray | list) for part in key)
        ):
            return self._picked(key)
        view = self._view[key]
        if not isinstance(view, np.ndarray):  # a single value: numpy has read it, too early
            where = self._view[_as_slices(key)]
            self._region.read([self._span(where)])
            return self._view[key]
        if view.nbytes <= PLAIN_BYTES:
            self._region.read([self._span(view)])
            return view
        return LazyArray(self._region, view)

    def _picked(self, key: Any) -> Array:
        """Elements by their positions; of one dimension no more is read than lies around them."""
        index = np.asarray(key) if not isinstance(key, tuple) else None
        if index is None or self._view.ndim != 1 or index.dtype.kind not in "iu":
            picked: Array = self.plain()[key]
            return picked
        if index.size:
            stride, size = self._view.strides[0], self._view.itemsize
            first, _ = self._span(self._view[:1])
            starts = first + np.where(index < 0, index + len(self._view), index) * stride
            self._region.read([(int(start), int(start) + size) for start in np.unique(starts)])
        found: Array = self._view[index]
        return found

    def __len__(self) -> int:
        return len(self._view)

    def __iter__(self) -> Any:
        return iter(self.plain())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.plain(), dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **named: Any) -> Any:
        return getattr(ufunc, method)(*map(_read, inputs), **named)

    def __array_function__(
        self, function: Any, types: Any, arguments: Any, named: dict[str, Any]
    ) -> Any:
        return function(*map(_read, arguments), **{key: _read(one) for key, one in named.items()})

    def __ge__(self, other: Any) -> Any:
        return self.plain() >= other

    def __le__(self, other: Any) -> Any:
        return self.plain() <= other

    def reshape(self, *shape: Any) -> Any:
        """As numpy's; without reading where the elements need not move."""
        return self._derived(self._view.reshape(*shape))

    def view(self, dtype: Any) -> Any:
        """As numpy's."""
        return self._derived(self._view.view(dtype))

    def _derived(self, view: Array) -> Any:
        if np.may_share_memory(view, self._view) or view.size == 0:
            return LazyArray(self._region, view)
        raise ValueError("the elements of a lazy array cannot be moved unread; take plain()")

    def __getattr__(self, name: str) -> Any:
        if name in ("dtype", "shape", "ndim", "size", "nbytes", "itemsize", "strides", "flags"):
            return getattr(self._view, name)
        if name in ("T", "real", "imag"):
            return LazyArray(self._region, getattr(self._view, name))
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.plain(), name)


def is_array(value: Any) -> bool:
    """Whether it is an array, wherever it lies."""
    return isinstance(value, np.ndarray | LazyArray)


def _read(value: Any) -> Any:
    """A value with every lazy array in it read."""
    if isinstance(value, LazyArray):
        return value.plain()
    if isinstance(value, list | tuple) and any(isinstance(one, LazyArray) for one in value):
        return type(value)(map(_read, value))
    return value


def _as_slices(key: Any) -> Any:
    """The same place as a view of one element in each direction."""
    parts = key if isinstance(key, tuple) else (key,)
    return tuple(
        slice(part, part + 1 or None) if isinstance(part, int | np.integer) else part
        for part in parts
    )
