"""A cache before any storage, for what is read again and again."""

from __future__ import annotations

import threading
from typing import Any

from gimle.asgard.core.data.serialisable import Serialisable
from gimle.asgard.core.data.storage import Storage


class LocalCache:
    """Answers lists and objects it has seen without asking the storage again.

    `save` and `delete` through the cache update it. What other processes change meanwhile
    is not seen until `refresh()`. Thread-safe.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._lists: dict[str, list[str]] = {}
        self._texts: dict[tuple[str, str], str] = {}

    def __repr__(self) -> str:
        return f"LocalCache({self._storage!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Begin empty before the same storage, in the process that this is sent to."""
        return LocalCache, (self._storage,)

    def path(self) -> str:
        """Answer the base path of the storage behind."""
        return self._storage.path()

    def list_objects(self, obj_type: str) -> list[str]:
        """List the names of all objects of a type, sorted."""
        with self._lock:
            names = self._lists.get(obj_type)
            if names is None:
                names = self._lists[obj_type] = sorted(self._storage.list_objects(obj_type))
            return list(names)

    def save(self, obj: Serialisable, name: str, obj_type: str) -> None:
        """Save an object in the storage, and remember it."""
        with self._lock:
            self._texts.pop((obj_type, name), None)
            self._storage.save(obj, name, obj_type)
            self._texts[obj_type, name] = obj.to_json()
            names = self._lists.get(obj_type)
            if names is not None and name not in names:
                self._lists[obj_type] = sorted((*names, name))

    def load(self, name: str, obj_type: str) -> str:
        """Answer the raw JSON of an object. Raises NotFoundError (a FileNotFoundError)."""
        with self._lock:
            text = self._texts.get((obj_type, name))
            if text is None:
                text = self._texts[obj_type, name] = self._storage.load(name, obj_type)
            return text

    def delete(self, name: str, obj_type: str) -> None:
        """Delete an object from the storage, and forget it. Silent when there is none."""
        with self._lock:
            self._texts.pop((obj_type, name), None)
            self._storage.delete(name, obj_type)
            names = self._lists.get(obj_type)
            if names is not None and name in names:
                names.remove(name)

    def refresh(self) -> None:
        """Forget everything, to see what others have changed."""
        with self._lock:
            self._lists.clear()
            self._texts.clear()
