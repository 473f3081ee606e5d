"""Serialisable objects in a folder, as `{base_path}/{obj_type}/{name}.json`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gimle.asgard.core.data.serialisable import Serialisable
from gimle.asgard.core.errors import InvalidFieldError, NotFoundError
from gimle.asgard.core.folder import Folder, files
from gimle.asgard.core.folder.layout import KINDS
from gimle.asgard.core.folder.reading import place_of
from gimle.asgard.core.folder.refusals import naming_the_place
from gimle.asgard.core.ids import check_name, is_id

_KEYS = {"base_path", "durability"}


class FileStorage:
    """Saves objects below a folder; atomic, and durable unless told otherwise.

    config: {"base_path": folder, "durability": "durable" (default) or "relaxed"}.
    Folders are made on save. For the types `run` and `result`, list, load and delete also
    look into `runs/` and `results/`, where AsgardStorage keeps its documents.
    Unusable folders raise StorageUnavailableError, full ones StorageFullError.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        if not isinstance(config, Mapping):
            kind = type(config).__name__
            raise InvalidFieldError(
                "config", f"is a {kind}, not a dict", 'give {"base_path": "./storage"}'
            )
        unknown = sorted(config.keys() - _KEYS)
        if unknown:
            raise InvalidFieldError(
                "config", f"the keys {unknown} are not known", f"use {sorted(_KEYS)}"
            )
        if not config.get("base_path"):
            raise InvalidFieldError("base_path", "is missing", 'give {"base_path": "./storage"}')
        durability = config.get("durability", "durable")
        if durability not in ("durable", "relaxed"):
            raise InvalidFieldError(
                "durability", f"{durability!r} is not known", 'use "durable" or "relaxed"'
            )
        self._given: str = os.fspath(config["base_path"])
        self._durability = durability
        self._place = place_of(self._given)
        self._files = _Files(self._place)

    def __repr__(self) -> str:
        return f"FileStorage({self._given!r})"

    def path(self) -> str:
        """Answer the base path, as it was given."""
        return self._given

    def list_objects(self, obj_type: str) -> list[str]:
        """List the names of all objects of a type, sorted."""
        names = set()
        for folder in self._folders(obj_type):
            names |= self._names(folder)
        return sorted(names)

    def save(self, obj: Serialisable, name: str, obj_type: str) -> None:
        """Save an object; its `updated_at` becomes now. Raises TypeError for anything else."""
        folder = self._own(obj_type)
        check_name(name, "name")
        if not isinstance(obj, Serialisable):
            raise TypeError(f"a {type(obj).__name__} is not a Serialisable; make it a subclass")
        before = getattr(obj, "updated_at", None)
        obj.updated_at = datetime.now(UTC)
        if before is None:
            obj.created_at = obj.updated_at
        body = obj.to_json().encode()
        self._files.write(folder, name, body, durable=self._durability == "durable")

    def load(self, name: str, obj_type: str) -> str:
        """Answer the raw JSON of an object. Raises NotFoundError (a FileNotFoundError)."""
        check_name(name, "name")
        for folder in self._folders(obj_type):
            body = self._files.read(folder, name)
            if body is not None:
                return body.decode()
        raise NotFoundError(obj_type, name)

    def delete(self, name: str, obj_type: str) -> None:
        """Delete an object, a run or result of AsgardStorage with all its own.

        Silent when there is none.
        """
        check_name(name, "name")
        self._files.remove(self._own(obj_type), name)
        if obj_type not in KINDS or not is_id(name):
            return
        if not os.path.lexists(f"{self._place}/{KINDS[obj_type]}/{name}.json"):
            return
        folder = Folder(self._place, durability=self._durability, create=False)
        try:
            if obj_type == "run":
                folder.delete_run(name)
            else:
                folder.delete_result(name)
        except NotFoundError:
            return
        finally:
            folder.close()

    def _own(self, obj_type: str) -> str:
        return f"{self._place}/{check_name(obj_type, 'obj_type')}"

    def _folders(self, obj_type: str) -> list[str]:
        own = self._own(obj_type)
        return [own, f"{self._place}/{KINDS[obj_type]}"] if obj_type in KINDS else [own]

    def _names(self, folder: str) -> set[str]:
        return {
            name[:-5]
            for name in self._files.names(folder)
            if name.endswith(".json") and not name.startswith(".")
        }


class _Files:
    """The folder's files, with errors that name the place."""

    def __init__(self, path: str) -> None:
        self.path = path

    @naming_the_place
    def write(self, folder: str, name: str, body: bytes, *, durable: bool) -> None:
        os.makedirs(folder, exist_ok=True)
        files.replace(folder, f"{name}.json", body, durable=durable)

    @naming_the_place
    def read(self, folder: str, name: str) -> bytes | None:
        return files.read(f"{folder}/{name}.json")

    @naming_the_place
    def remove(self, folder: str, name: str) -> bool:
        return files.remove(f"{folder}/{name}.json")

    @naming_the_place
    def names(self, folder: str) -> list[str]:
        try:
            return os.listdir(folder)
        except FileNotFoundError:
            return []
