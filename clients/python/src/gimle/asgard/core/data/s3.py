"""Serialisable objects in S3, as `{base_path}/{obj_type}/{name}.json` in a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gimle.asgard.core.data.serialisable import Serialisable
from gimle.asgard.core.errors import InvalidFieldError, NotFoundError
from gimle.asgard.core.folder.layout import KINDS
from gimle.asgard.core.ids import check_name, is_id
from gimle.asgard.core.s3.bucket import Bucket
from gimle.asgard.core.s3.objects import Objects
from gimle.asgard.core.s3.place import checked_place

_CREDENTIALS = (
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "region_name",
)
_KEYS = {"bucket_name", "base_path", "endpoint_url", *_CREDENTIALS}


class S3Storage:
    """Saves objects below a prefix of a bucket, which must be there.

    config: {"bucket_name": bucket, "base_path": prefix (optional)}, and what is otherwise read
    from the environment: aws_access_key_id, aws_secret_access_key, aws_session_token,
    region_name (AWS_*), endpoint_url (ASGARD_S3_ENDPOINT, then AWS_ENDPOINT_URL; Amazon's
    without them).

    For the types `run` and `result`, list, load and delete also look into `runs/` and
    `results/`, where AsgardStorage keeps its documents. A store out of reach, a missing bucket
    and refused credentials raise StorageUnavailableError at the first use.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        if not isinstance(config, Mapping):
            kind = type(config).__name__
            raise InvalidFieldError(
                "config", f"is a {kind}, not a dict", 'give {"bucket_name": "my-bucket"}'
            )
        unknown = sorted(config.keys() - _KEYS)
        if unknown:
            raise InvalidFieldError(
                "config", f"the keys {unknown} are not known", f"use {sorted(_KEYS)}"
            )
        if not config.get("bucket_name"):
            raise InvalidFieldError(
                "bucket_name", "is missing", 'give {"bucket_name": "my-bucket"}'
            )
        self._config = dict(config)
        self._given = config.get("base_path") or ""
        self._place = checked_place(
            config["bucket_name"],
            self._given,
            "bucket_name",
            "base_path",
            config.get("endpoint_url"),
            {key: config[key] for key in _CREDENTIALS if config.get(key)},
        )
        self._objects = Objects(self._place)

    def __repr__(self) -> str:
        return f"S3Storage({str(self._place)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the same place in the process that this is sent to."""
        return S3Storage, (self._config,)

    def path(self) -> str:
        """Answer the base path, as it was given."""
        return str(self._given)

    def list_objects(self, obj_type: str) -> list[str]:
        """List the names of all objects of a type, sorted."""
        names = set()
        for folder in self._folders(obj_type):
            for entry in self._objects.list(folder):
                name = entry.path.rpartition("/")[2]
                if name.endswith(".json") and not name.startswith(".") and entry.size:
                    names.add(name[:-5])
        return sorted(names)

    def save(self, obj: Serialisable, name: str, obj_type: str) -> None:
        """Save an object; its `updated_at` becomes now. Raises TypeError for anything else."""
        folder = check_name(obj_type, "obj_type")
        check_name(name, "name")
        if not isinstance(obj, Serialisable):
            raise TypeError(f"a {type(obj).__name__} is not a Serialisable; make it a subclass")
        before = getattr(obj, "updated_at", None)
        obj.updated_at = datetime.now(UTC)
        if before is None:
            obj.created_at = obj.updated_at
        self._objects.put(f"{folder}/{name}.json", obj.to_json().encode())

    def load(self, name: str, obj_type: str) -> str:
        """Answer the raw JSON of an object. Raises NotFoundError (a FileNotFoundError)."""
        check_name(name, "name")
        for folder in self._folders(obj_type):
            found = self._objects.get(f"{folder}/{name}.json")
            if found is not None and found.body:
                return found.body.decode()
        raise NotFoundError(obj_type, name)

    def delete(self, name: str, obj_type: str) -> None:
        """Delete an object, a run or result of AsgardStorage with all its own.

        Silent when there is none.
        """
        check_name(name, "name")
        self._objects.delete([f"{check_name(obj_type, 'obj_type')}/{name}.json"])
        if obj_type not in KINDS or not is_id(name):
            return
        if self._objects.get(f"{KINDS[obj_type]}/{name}.json") is None:
            return
        bucket = Bucket(self._place)
        try:
            if obj_type == "run":
                bucket.delete_run(name)
            else:
                bucket.delete_result(name)
        except NotFoundError:
            return

    def _folders(self, obj_type: str) -> list[str]:
        own = check_name(obj_type, "obj_type")
        return [own, KINDS[obj_type]] if obj_type in KINDS else [own]
