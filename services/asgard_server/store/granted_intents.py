"""An intent of RunService as JSON: what lies under `.asgard/granted/`, in a folder and in S3."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from gimle.asgard.core.arrays import ArrayRef, as_shape
from gimle.asgard.core.folder.layout import array_file, owned

from asgard_server.run.grants import Granted, Intent

FOLDER = ".asgard/granted"


def encoded(intent: Intent) -> bytes:
    """An intent as it is written."""
    return orjson.dumps(
        {
            "result": intent.result_id,
            "run": intent.run_id,
            "until": intent.until.timestamp(),
            "swept": intent.swept,
            "grows": intent.grows,
            "files": [
                {
                    "key": file.key,
                    "field": list(file.field),
                    "path": file.ref.path,
                    "dtype": file.ref.dtype,
                    "shape": list(file.ref.shape),
                    "transposed": file.ref.transposed,
                    "size": file.size_bytes,
                    "sha256": file.sha256,
                }
                for file in intent.files
            ],
        }
    )


def decoded(result_id: str, body: bytes) -> Intent | None:
    """An intent that was written for this result; None for what is none, which removes nothing."""
    try:
        said: dict[str, Any] = orjson.loads(body)
        files = tuple(map(_file, said["files"]))
        until = datetime.fromtimestamp(said["until"], UTC)
        grows = said.get("grows")
        intent = Intent(result_id, said["run"], files, until, said["swept"], grows)
        owners = (result_id,) if grows is None else (result_id, str(grows))
        mine = all(
            any(owned(owner, array_file(owner, file.ref.path)) for owner in owners)
            for file in files
        )
    except (ValueError, TypeError, KeyError):
        return None
    return intent if mine and said["result"] == result_id else None


def _file(said: dict[str, Any]) -> Granted:
    ref = ArrayRef(said["path"], said["dtype"], as_shape(said["shape"]), said["transposed"])
    return Granted(said["key"], tuple(said["field"]), ref, said["size"], said["sha256"])
