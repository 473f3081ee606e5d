"""Names of models, their files and where these lie: in the bucket, and in a cache on disk.

models/hf-cache/models--ORG--NAME/snapshots/HASH/FILE      the bytes
models/hf-cache/models--ORG--NAME/refs/main                which HASH is the newest
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gimle.asgard.core.errors import InvalidNameError
from gimle.asgard.transfer import Stored

PREFIX = "models/hf-cache/"
BLOB = "hf-blob"
"""What a file's object says beside it: the name of its blob in a cache of huggingface_hub."""

UNFINISHED = ".asgard-link"
"""How the names of links end that a pull has not given their own names yet."""

REFERENCE_BYTES = 1 << 10

_FOLDER = "models--"
_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?", re.ASCII)
_HASH = re.compile(r"[0-9A-Za-z]{1,64}")
_BLOB = re.compile(r"[0-9a-f]{32,64}(-\d{1,5})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(slots=True)
class Snapshot:
    """One state of a model: its files by their path inside."""

    hash: str
    files: dict[str, Stored] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many bytes its files have."""
        return sum(file.size for file in self.files.values())

    @property
    def modified(self) -> str:
        """When its youngest file was written."""
        return max((file.modified for file in self.files.values()), default="")


@dataclass(slots=True)
class Model:
    """A model in the bucket; `refs` are the keys of its references by their name."""

    id: str
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    refs: dict[str, Stored] = field(default_factory=dict)

    def newest(self) -> Snapshot:
        """The snapshot that was written last."""
        return max(self.snapshots.values(), key=lambda one: (one.modified, one.hash))


def check_id(id: str) -> str:
    """The id of a model, ORG/NAME or NAME. Raises InvalidNameError."""
    if not _ID.fullmatch(id) or "--" in id or ".." in id:
        raise InvalidNameError("model", f"{id!r} is not a model", "give one like Qwen/Qwen3-14B")
    return id


def folder_of(id: str) -> str:
    """The name of a model's folder."""
    return _FOLDER + check_id(id).replace("/", "--")


def id_of(folder: str) -> str | None:
    """The model whose folder this is, None for any other."""
    name = folder.removeprefix(_FOLDER).replace("--", "/")
    return name if folder.startswith(_FOLDER) and _ID.fullmatch(name) else None


def models_in(objects: Iterable[Stored]) -> dict[str, Model]:
    """What a listing of the prefix holds; what is not of the layout is passed over.

    Raises InvalidNameError for a file that would lie outside of its snapshot.
    """
    models: dict[str, Model] = {}
    for one in objects:
        folder, _, rest = one.key.removeprefix(PREFIX).partition("/")
        kind, _, inside = rest.partition("/")
        id = id_of(folder)
        if id is None or not inside or inside.endswith("/"):
            continue
        model = models.setdefault(id, Model(id))
        if kind == "refs":
            if any(step.startswith(".") for step in inside.split("/")):
                continue  # no reference: a store's own, while it replaces one
            model.refs[check_path(inside, one.key)] = one
        elif kind == "snapshots":
            hash, _, path = inside.partition("/")
            if path and _HASH.fullmatch(hash):
                snapshot = model.snapshots.setdefault(hash, Snapshot(hash))
                snapshot.files[check_path(path, one.key)] = one
    return {id: model for id, model in models.items() if model.snapshots}


def check_path(path: str, key: str = "") -> str:
    """A path inside a snapshot; `key` is the object's that has it. Raises InvalidNameError."""
    steps = path.split("/")
    if any(step in ("", ".", "..") for step in steps) or _CONTROL.search(path):
        mend = "remove it from the bucket" if key else "rename it"
        raise InvalidNameError("file", f"{(key or path)!r} cannot be a file's name", mend)
    return path


def blob_name(stored: Stored, meta: Mapping[str, str]) -> str:
    """What a file's blob is called: as its pusher said, else by the store's own ETag.

    A name never decides where bytes go: it is hexadecimal or it is not used.
    """
    said = meta.get(BLOB, "")
    if _BLOB.fullmatch(said):
        return said
    etag = stored.etag.strip('"')
    if _BLOB.fullmatch(etag):
        return etag
    raise InvalidNameError("blob", f"{stored.key} has the ETag {etag!r}", "push it again")


def is_hash(text: str) -> bool:
    """Whether this names a snapshot."""
    return _HASH.fullmatch(text) is not None


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """HF_HOME as huggingface_hub reads it."""
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(environ.get("HF_HOME") or f"{cache}/huggingface").expanduser()


def default_cache(environ: Mapping[str, str] = os.environ) -> Path:
    """HF_HUB_CACHE as huggingface_hub reads it: where it keeps its models."""
    named = environ.get("HF_HUB_CACHE")
    return Path(named).expanduser() if named else default_home(environ) / "hub"
