"""Arrays out of files that were fetched: mapped, so that the files need no name any more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
from gimle.asgard.core.arrays import Array, ArrayRef, dtype_named
from gimle.asgard.core.folder import npy

_COPIED_BYTES = 1 << 24


def loaded(ref: ArrayRef, targets: Mapping[str, Path], folder: Path, result_id: str) -> Array:
    """The array of a reference, out of its files in `targets`; above 1 MiB it is a map.

    Raises DocumentError when they do not hold what the reference says.
    """
    if not ref.chunks:
        return npy.read(str(targets[ref.path]), ref, result_id)
    stored = ref.stored_shape
    dtype = dtype_named(ref.dtype)
    whole: Any = np.memmap(folder / token_hex(8), np.uint8, "w+", shape=(max(1, ref.nbytes),))
    array: Array = whole[: ref.nbytes].view(np.ndarray).view(dtype).reshape(stored)
    at = 0
    for path, rows in ref.files:
        part = ArrayRef(path, ref.dtype, (rows, *stored[1:]))
        chunk = npy.read(str(targets[path]), part, result_id)
        step = max(1, _COPIED_BYTES // max(1, chunk[:1].nbytes))
        for start in range(0, rows, step):
            array[at + start : at + min(start + step, rows)] = chunk[start : start + step]
        at += rows
    return array.swapaxes(0, 1) if ref.transposed else array
