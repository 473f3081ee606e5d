"""From a folder of weights, or a cache of huggingface_hub, into the bucket."""

from __future__ import annotations

import mimetypes
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.core.walking import below
from gimle.asgard.models.layout import (
    BLOB,
    PREFIX,
    UNFINISHED,
    check_path,
    folder_of,
    id_of,
    is_hash,
)
from gimle.asgard.transfer import Bucket, DirectUploads, Outgoing, Progress, Stored, upload
from gimle.asgard.transfer.checking import holds, sha256_of
from gimle.asgard.transfer.progress import Listener

_LFS = {
    ".bin",
    ".gguf",
    ".h5",
    ".model",
    ".msgpack",
    ".npz",
    ".onnx",
    ".pt",
    ".pth",
    ".safetensors",
}
_LFS_BYTES = 10 << 20
"""From here on the Hub keeps any file by its SHA-256; smaller text by git's own digest."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: the models it found, and what of their files had to be sent."""

    models: tuple[str, ...]
    files: int
    skipped: int
    progress: Progress


def push(
    path: Path,
    bucket: Bucket,
    *,
    id: str | None = None,
    progress: Listener | None = None,
    stop: threading.Event | None = None,
) -> Pushed:
    """Put every model below `path` into the bucket; what it has already is not sent again.

    `path` is a cache of huggingface_hub, one `models--ORG--NAME` folder, or a folder with the
    files of one model, which needs its `id`. Raises InvalidFieldError, OSError, TransferError.
    """
    found = list(_models(path, id))
    if not found:
        raise InvalidFieldError(
            "path",
            f"there is no model in {path}",
            "give a cache of huggingface_hub, or a model's folder and --name ORG/NAME",
        )
    files, refs, skipped = [], [], 0
    for model, folder in found:
        prefix = f"{PREFIX}{folder_of(model)}/"
        there = {one.key: one for one in bucket.list(prefix)}
        wanted, texts = _outgoing(model, folder, prefix)
        missing = [one for one in wanted if not _is_there(bucket, there.get(one.name), one)]
        files += missing
        skipped += len(wanted) - len(missing)
        refs += texts
    done = upload(files, DirectUploads(bucket), progress=progress, stop=stop)
    # A reference comes last: who reads it finds the files it speaks of.
    for key, hash in refs:
        bucket.write(key, hash.encode(), "text/plain")
    return Pushed(tuple(model for model, _ in found), len(files), skipped, done)


def _models(path: Path, id: str | None) -> Iterator[tuple[str, Path]]:
    """The models at `path`, and where their files are."""
    own = id_of(path.name) or id_of(path.resolve().name)
    if id is not None or own is not None:
        if path.is_dir() and any(path.iterdir()):
            yield id or own or "", path
        return
    for home in (path, path / "hub"):
        if home.is_dir() and not (home.is_symlink() and home != path):
            for folder in sorted(home.iterdir()):
                model = id_of(folder.name)
                if model is not None and (folder / "snapshots").is_dir():
                    yield model, folder


def _outgoing(
    model: str, folder: Path, prefix: str
) -> tuple[list[Outgoing], list[tuple[str, str]]]:
    """The files of a model with their keys, and its references with their hashes."""
    if not (folder / "snapshots").is_dir():
        blobs = {path: _blob(path) for path in _shown(folder)}
        hash = sha1(usedforsecurity=False)
        for path, blob in blobs.items():
            hash.update(f"{path.relative_to(folder).as_posix()}\0{blob}\n".encode())
        snapshot = f"{prefix}snapshots/{hash.hexdigest()}/"
        files = [_file(path, snapshot, folder, blob) for path, blob in blobs.items()]
        return files, [(f"{prefix}refs/main", hash.hexdigest())]
    files, hashes = [], set()
    for snapshot_folder in sorted((folder / "snapshots").iterdir()):
        if is_hash(snapshot_folder.name):
            key = f"{prefix}snapshots/{snapshot_folder.name}/"
            for path in _files(snapshot_folder):
                files.append(_file(path, key, snapshot_folder, _blob(path)))
                hashes.add(snapshot_folder.name)
    refs = []
    for path in _shown(folder / "refs"):
        name = check_path(path.relative_to(folder / "refs").as_posix())
        named = path.read_bytes().decode(errors="replace").strip()
        # One that a download left which never ended would hide what the store has under its name.
        if named in hashes:
            refs.append((f"{prefix}refs/{name}", named))
    return files, refs


def _shown(folder: Path) -> list[Path]:
    """All files below a folder but those of hidden ones: .git, .cache and the like."""
    return [
        path
        for path in _files(folder)
        if not any(step.startswith(".") for step in path.relative_to(folder).parts)
    ]


def _files(folder: Path) -> list[Path]:
    """All files below a folder; a link whose blob is missing is an error that names it."""
    found = []
    for entry in below(folder) if folder.is_dir() else ():
        path = Path(entry.path)
        if path.name.startswith(".") and path.name.endswith(UNFINISHED):
            continue
        if path.is_file():
            found.append(path)
        elif path.is_symlink() and not path.exists():
            raise InvalidFieldError("path", f"{path} is not there whole", "download it again")
    return found


def _file(path: Path, key: str, folder: Path, blob: str) -> Outgoing:
    inside = check_path(path.relative_to(folder).as_posix())
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Outgoing(path, f"{key}{inside}", kind, {BLOB: blob})


def _blob(path: Path) -> str:
    """The name that a file's blob has in a cache, or would have."""
    if path.is_symlink():
        target = path.resolve()
        if target.parent.name == "blobs":
            return target.name
    if path.suffix in _LFS or path.stat().st_size >= _LFS_BYTES:
        return sha256_of(path)
    body = path.read_bytes()
    return sha1(f"blob {len(body)}\0".encode() + body, usedforsecurity=False).hexdigest()


def _is_there(bucket: Bucket, listed: Stored | None, file: Outgoing) -> bool:
    """Whether the bucket has this very file."""
    if listed is None or listed.size != file.path.stat().st_size:
        return False
    there = bucket.head(listed.key)
    if there.meta.get(BLOB) != file.meta[BLOB]:
        return False
    return there.digest is None or holds(file.path, there.digest)
