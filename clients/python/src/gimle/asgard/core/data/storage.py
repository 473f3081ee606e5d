"""What every home of Serialisable objects can do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from gimle.asgard.core.data.serialisable import Serialisable


@runtime_checkable
class Storage(Protocol):
    """Objects as JSON under `{obj_type}/{name}.json`.

    Types and names are one step of a path; anything else raises InvalidNameError (a
    ValueError) before anything is touched.
    """

    def path(self) -> str:
        """Answer the base path."""
        ...

    def list_objects(self, obj_type: str) -> list[str]:
        """List the names of all objects of a type, sorted; empty when there are none."""
        ...

    def save(self, obj: Serialisable, name: str, obj_type: str) -> None:
        """Save an object, in the place of one of that name; its `updated_at` becomes now."""
        ...

    def load(self, name: str, obj_type: str) -> str:
        """Answer the raw JSON of an object. Raises NotFoundError (a FileNotFoundError)."""
        ...

    def delete(self, name: str, obj_type: str) -> None:
        """Delete an object. Silent when there is none."""
        ...
