"""Objects that know their JSON, and the registry of the classes that may be made from it.

class MyResult(Serialisable):
    def __init__(self, values):
        super().__init__()
        self.values = values

    def to_json_impl(self):
        return {"values": self.values}

    @classmethod
    def from_json_impl(cls, data):
        return cls(values=data["values"])

text = MyResult([1, 2]).to_json()
Serialisable.from_json(text).values
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any, Self

from gimle.asgard.core import exact
from gimle.asgard.core.documents import format_time, parse_time
from gimle.asgard.core.errors import DocumentError, UnknownTypeError


class Serialisable(ABC):
    """Has `created_at` and `updated_at` (aware, UTC), and is registered by its class name.

    Subclasses call `super().__init__()` and write `to_json_impl` and `from_json_impl`.
    Values may be anything the storage keeps exactly: numbers, text, lists, dicts, arrays,
    complex numbers, datetimes.
    """

    created_at: datetime
    updated_at: datetime

    def __init__(self) -> None:
        self.created_at = self.updated_at = datetime.now(UTC)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        SerialisableRegistry.register(cls)

    @abstractmethod
    def to_json_impl(self) -> dict[str, Any]:
        """Answer the object's own fields."""

    @classmethod
    @abstractmethod
    def from_json_impl(cls, data: dict[str, Any]) -> Self:
        """Make an object from what `to_json_impl` answered."""

    def to_json(self) -> str:
        """Write the object as JSON: its class name, timestamps and own fields."""
        if not hasattr(self, "created_at"):
            Serialisable.__init__(self)
        body = {
            "type": type(self).__name__,
            "created_at": format_time(self.created_at),
            "updated_at": format_time(self.updated_at),
            "data": self.to_json_impl(),
        }
        return exact.dumps(body).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Make the object that `to_json` wrote, with its timestamps.

        Only registered classes are ever made; called on a subclass, only its own kind.
        Raises UnknownTypeError, which names the class, DocumentError for broken JSON.
        """
        name, created_at, updated_at, data = _parsed(text)
        registered = SerialisableRegistry.get(name)
        if not issubclass(registered, cls):
            raise DocumentError(name, f"it is a {name}, not a {cls.__name__}")
        made = registered.from_json_impl(data)
        made.created_at, made.updated_at = created_at, updated_at
        return made


class SerialisableRegistry:
    """The classes that may be made from JSON, by name.

    Subclasses of Serialisable register themselves; defining one again (a notebook cell run
    twice) replaces it.
    """

    _classes: dict[str, type[Serialisable]] = {}  # noqa: RUF012  # one registry for the process
    _lock = threading.Lock()

    @classmethod
    def register(cls, kind: type[Serialisable]) -> type[Serialisable]:
        """Register a class under its name; answers it, so that it can be a decorator."""
        if not (isinstance(kind, type) and issubclass(kind, Serialisable)):
            raise TypeError(f"{kind!r} is not a subclass of Serialisable")
        with cls._lock:
            cls._classes[kind.__name__] = kind
        return kind

    @classmethod
    def get(cls, name: str) -> type[Serialisable]:
        """Answer the class of that name. Raises UnknownTypeError, which names it."""
        with cls._lock:
            kind = cls._classes.get(name)
        if kind is None:
            raise UnknownTypeError(name)
        return kind

    @classmethod
    def names(cls) -> list[str]:
        """List the names of all registered classes, sorted."""
        with cls._lock:
            return sorted(cls._classes)


def _parsed(text: str | bytes) -> tuple[str, datetime, datetime, dict[str, Any]]:
    try:
        body = exact.loads(text)
        name, data = body["type"], body["data"]
        times = parse_time(body["created_at"]), parse_time(body["updated_at"])
    except KeyError as error:
        raise DocumentError("", f"it has no {error.args[0]}") from error
    except (ValueError, TypeError) as error:
        raise DocumentError("", f"it is not the JSON of a Serialisable ({error})") from error
    if not isinstance(name, str) or not isinstance(data, dict):
        raise DocumentError("", "its type is not text or its data is not an object")
    return name, *times, data
