"""What lies in a cache already: whole and of use, or left behind and in the way."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from gimle.asgard.models.layout import Model, folder_of, is_hash

_RECORD = ".asgard-whole.json"
"""Of each snapshot that was whole once: its files and their sizes. Nobody else looks at it."""

_WEIGHTS = {".safetensors", ".bin", ".gguf", ".pt", ".pth", ".h5", ".msgpack", ".onnx"}
_ABANDONED_S = 3_600
"""After this long without a byte, an unfinished download of huggingface_hub is nobody's."""


def noted_whole(snapshot: Path) -> dict[str, int]:
    """The files of a snapshot that was whole once, and their sizes; none of any other."""
    return _read(snapshot.parent.parent / _RECORD).get(snapshot.name, {})


def forget_whole(snapshot: Path) -> None:
    """Note that a snapshot is not what it was: its bytes are compared when it is pulled again."""
    record = snapshot.parent.parent / _RECORD
    known = _read(record)
    if known.pop(snapshot.name, None) is not None:
        _write(record, known)


def note_whole(snapshot: Path) -> None:
    """Note that all files of this snapshot are there now."""
    record = snapshot.parent.parent / _RECORD
    known = _read(record)
    known[snapshot.name] = {
        path.relative_to(snapshot).as_posix(): path.stat().st_size
        for path in sorted(snapshot.rglob("*"))
        if path.is_file()
    }
    _write(record, known)


def _write(record: Path, known: dict[str, dict[str, int]]) -> None:
    beside = record.with_name(f"{_RECORD}.asgard-part")
    beside.write_text(json.dumps(known))
    os.replace(beside, record)


def whole(home: Path, id: str) -> Path | None:
    """The snapshot that `main` names, if it was whole once and has all of its files still."""
    for place in (home, home / "hub"):
        folder = place / folder_of(id)
        try:
            hash = (folder / "refs" / "main").read_text().strip()
        except OSError:
            continue
        files = _read(folder / _RECORD).get(hash)
        snapshot = folder / "snapshots" / hash
        if files and all(_has(snapshot / path, size) for path, size in files.items()):
            return snapshot
    return None


def _has(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _read(record: Path) -> dict[str, dict[str, int]]:
    try:
        known = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}  # what is not known to be whole is fetched again
    return known if isinstance(known, dict) else {}


def clear_stale(folder: Path, model: Model) -> None:
    """Remove of a model's folder what would be taken for it and is not.

    That is: snapshots which the store has not, and which are not whole (a link leads nowhere, or
    they have no weights while the store's do); and notes that a file does not exist, of files that
    the store has. While another program downloads into the folder, its snapshots are left alone.
    """
    for snapshot in model.snapshots.values():
        for path in snapshot.files:
            (folder / ".no_exist" / snapshot.hash / path).unlink(missing_ok=True)
    busy = _is_busy(folder)
    weighs = any(_is_weight(path) for one in model.snapshots.values() for path in one.files)
    if busy or not (folder / "snapshots").is_dir():
        return
    for snapshot_folder in (folder / "snapshots").iterdir():
        name = snapshot_folder.name
        if name not in model.snapshots and is_hash(name) and snapshot_folder.is_dir():
            paths = [path for path in snapshot_folder.rglob("*") if not path.is_dir()]
            broken = not all(path.exists() for path in paths)
            if broken or (weighs and not any(map(_is_weight, map(str, paths)))):
                shutil.rmtree(snapshot_folder)


def _is_weight(path: str) -> bool:
    return Path(path).suffix in _WEIGHTS


def _is_busy(folder: Path) -> bool:
    """Whether somebody downloads into a model's folder; what was abandoned is removed."""
    busy = False
    for path in (folder / "blobs").glob("*.incomplete"):
        if time.time() - path.stat().st_mtime > _ABANDONED_S:
            path.unlink()
        else:
            busy = True
    return busy
