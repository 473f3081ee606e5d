"""A result as its author sees it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gimle.asgard.core.arrays import ArrayRef, dtype_name
from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.core.growth import committed_length
from gimle.asgard.monitor.home import Home

_SHOWN_FIELDS = 6


class Result:
    """One output of a run.

    id, run_id, result_type, display and created_at (aware, UTC) are as stored. `data` is
    read when it is first looked at: arrays come back as numpy arrays, those above 1 MiB
    memory-mapped (changing them never changes the file).
    """

    def __init__(self, home: Home, document: ResultDocument, *, whole: bool) -> None:
        self._home = home
        self._document = document
        self._whole = whole
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock, which is of this process."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.RLock()

    @property
    def id(self) -> str:
        """The id, a UUID."""
        return self._document.id

    @property
    def uuid(self) -> str:
        """The id, under its other name."""
        return self._document.id

    @property
    def run_id(self) -> str:
        """The run it belongs to."""
        return self._document.run_id

    @property
    def result_type(self) -> str:
        """Solution1D, Solution2D, StochasticEnsemble, ... or any other name."""
        return self._document.result_type

    @property
    def display(self) -> dict[str, Any]:
        """Hints for drawing: title, labels."""
        return self._document.display

    @property
    def created_at(self) -> datetime:
        """When it was computed (aware, UTC)."""
        return self._document.created_at

    @property
    def data(self) -> dict[str, Any]:
        """The values, exactly as they were given; arrays as numpy arrays."""
        with self._lock:
            if not self._whole:
                self._document = self._home.read_result(self._document.id)
                self._whole = True
            return self._document.data

    def append(self, data: Mapping[str, Any], at: int | None) -> None:
        """Grow, at the length this object knows unless `at` says another."""
        with self._lock:
            if at is None:
                at = committed_length(self._document, data)
            self._document = self._home.append(self._document.id, data, at)
            self._whole = False

    def __repr__(self) -> str:
        title = self.display.get("title")
        fields = [
            f"{key}: {_kind(value)}"
            for key, value in list(self._document.data.items())[:_SHOWN_FIELDS]
        ]
        if len(self._document.data) > _SHOWN_FIELDS:
            fields.append("...")
        name = f" {title!r}" if isinstance(title, str) else ""
        return f"<Result {self.result_type}{name} {self.id} {{{', '.join(fields)}}}>"


def _kind(value: Any) -> str:
    """What a field holds, in a word."""
    if isinstance(value, ArrayRef):
        name = value.dtype if isinstance(value.dtype, str) else "struct"
        return f"{name}{list(value.shape)}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        name = dtype_name(value.dtype)
        return f"{name if isinstance(name, str) else 'struct'}{list(value.shape)}"
    if isinstance(value, list | tuple):
        return f"list[{len(value)}]"
    if isinstance(value, Mapping):
        return f"dict[{len(value)}]"
    return type(value).__name__
