"""Which file becomes which blob, and which blob becomes which file.

As with `cp`: a folder `results` becomes the blobs `results/...`, and getting `run-7/results`
makes a folder `results`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from mimetypes import MimeTypes
from pathlib import Path

from gimle.asgard.client.blobs_rows import Blob
from gimle.asgard.core.errors import InvalidFieldError
from gimle.asgard.transfer import Outgoing, tree

# Of Python alone: what the machine's own tables say would make the same file another upload.
_TYPES = MimeTypes()
_UNKNOWN = "application/octet-stream"
_UNFINISHED = ".asgard-part"


def outgoing(paths: Iterable[Path], name: str | None) -> list[Outgoing]:
    """The files at these paths, with the names of their blobs.

    `name` is that of the one file or folder; with several paths, or with a slash at its end,
    what their own names are put below. Raises InvalidFieldError, FileNotFoundError.
    """
    given = list(paths)
    if not given:
        raise InvalidFieldError("paths", "are none", "give a file or a folder")
    if name is not None and not name.strip("/"):
        raise InvalidFieldError("name", "is empty", "give one, or leave it out for the path's own")
    below = name is not None and (len(given) > 1 or name.endswith("/"))
    files: list[Outgoing] = []
    for path in given:
        own = path.resolve().name if name is None or below else name
        whole = f"{name.rstrip('/')}/{own}" if name is not None and below else own
        files += _files(path, whole)
    if not files:
        raise InvalidFieldError("paths", "have no file in them", "give a file or a folder of some")
    return list(_each_once(files))


def _files(path: Path, name: str) -> Iterator[Outgoing]:
    if path.is_dir():
        for file in tree(path, name):
            if not (file.path.name.startswith(".") and file.path.name.endswith(_UNFINISHED)):
                yield replace(file, content_type=_content_type(file.path.suffix))
        return
    path.stat()  # says by itself that there is nothing
    if not path.is_file():
        raise InvalidFieldError("paths", f"{path} is neither a file nor a folder", "leave it out")
    yield Outgoing(path, name, _content_type(path.suffix))


@lru_cache(maxsize=256)
def _content_type(suffix: str) -> str:
    kind, packed = _TYPES.guess_type(f"file{suffix}")
    return _UNKNOWN if kind is None or packed else kind


def _each_once(files: Sequence[Outgoing]) -> Iterator[Outgoing]:
    """The files with their names in the form that the service gives them."""
    seen: dict[str, Path] = {}
    for file in files:
        name = unicodedata.normalize("NFC", file.name)
        other = seen.setdefault(name, file.path)
        if other is not file.path:
            raise InvalidFieldError(
                "paths", f"{other} and {file.path} would both be {name}", "upload them apart"
            )
        yield file if name == file.name else replace(file, name=name)


def targets(blobs: Sequence[Blob], asked: str, to: Path) -> list[Path]:
    """The files below `to` that blobs become, from the last step of what was asked for on.

    Raises InvalidFieldError for a name that leads elsewhere, or that no file can have beside
    the others.
    """
    start = asked.rstrip("/").rfind("/") + 1
    folders: set[str] = set()
    for blob in blobs:
        folder = blob.name[start:].rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    for blob in blobs:
        if blob.name[start:] in folders:
            raise InvalidFieldError(
                "name",
                f"{blob.name} is a blob, and others lie below it",
                "no folder can hold both: get them one by one, into different ones",
            )
    return [to.joinpath(*_steps(blob.name, start)) for blob in blobs]


def _steps(name: str, start: int) -> list[str]:
    # The service has checked it, but who knows who answers.
    steps = name[start:].split("/")
    if any(step in ("", ".", "..") or "\\" in step or "\0" in step for step in steps):
        raise InvalidFieldError("name", f"{name!r} leads elsewhere", "it cannot be a file's")
    return steps
