"""Where everything lies in a storage folder.

    runs/{id}.json  results/{id}.json  files/{id}_{field}.npy
    .asgard_metadata.json
    .asgard/locks/NN  .asgard/intents/{result}  .asgard/deleting/{id}  .asgard/deleting/_reserve

A name that begins with a dot is being written, and no scanner looks at it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from zlib import crc32

from gimle.asgard.core.errors import DocumentError
from gimle.asgard.core.ids import is_id

LOCKS = 64
METADATA = ".asgard_metadata.json"
KINDS = {"run": "runs", "result": "results"}

_PLAIN = re.compile(r"[A-Za-z0-9-]+")
_FIELD_BYTES = 80
_ARRAY = re.compile(r"files/([A-Za-z0-9][A-Za-z0-9._~%-]{0,250})")


class Layout:
    """The paths of one storage folder."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.metadata = f"{root}/{METADATA}"
        self.runs = f"{root}/runs"
        self.results = f"{root}/results"
        self.files = f"{root}/files"
        self.hidden = f"{root}/.asgard"
        self.locks = f"{root}/.asgard/locks"
        self.intents = f"{root}/.asgard/intents"
        self.deleting = f"{root}/.asgard/deleting"

    @property
    def folders(self) -> tuple[str, ...]:
        """All folders, parents first."""
        return (
            self.root,
            self.runs,
            self.results,
            self.files,
            self.hidden,
            self.locks,
            self.intents,
            self.deleting,
        )

    def folder(self, kind: str) -> str:
        """The folder of a kind of document."""
        return f"{self.root}/{KINDS[kind]}"

    def document(self, kind: str, id: str) -> str:
        """The path of a document."""
        return f"{self.root}/{KINDS[kind]}/{id}.json"

    def array(self, name: str) -> str:
        """The path of an array file."""
        return f"{self.root}/files/{name}"


def stripe(run_id: str) -> int:
    """The number of the lock that guards a run."""
    return crc32(run_id.encode()) % LOCKS


def document_id(name: str) -> str | None:
    """The id of the document in a file called `name`, None when it is no document."""
    if not name.endswith(".json") or not is_id(name[:-5]):
        return None
    return name[:-5]


def array_name(result_id: str, path: Iterable[str], taken: Iterable[str] = ()) -> str:
    """Name the file of the field at `path` of a result's data: `{id}_{field}.npy`.

    Steps of a nested field are joined by dots. Letters that are not plain are written as
    %XX, long names are cut and get a digest, and a name that is `taken` (in any letter
    case, for some file systems do not tell) gets `~2`, `~3` and so on.
    """
    field = ".".join(
        step if _PLAIN.fullmatch(step) else "".join(map(_escaped, step)) for step in path
    )
    if len(field) > _FIELD_BYTES:
        field = f"{field[:_FIELD_BYTES]}~{blake2b(field.encode(), digest_size=8).hexdigest()}"
    used = {name.casefold() for name in taken}
    name = f"{result_id}_{field}.npy"
    number = 1
    while name.casefold() in used:
        number += 1
        name = f"{result_id}_{field}~{number}.npy"
    return name


def _escaped(letter: str) -> str:
    if _PLAIN.fullmatch(letter) or letter == "_":
        return letter
    return "".join(f"%{byte:02X}" for byte in letter.encode())


def array_file(result_id: str, path: str) -> str:
    """The file name in a reference. Raises DocumentError for a path outside `files/`."""
    match = _ARRAY.fullmatch(path)
    if match is None:
        raise DocumentError(result_id, f"the array path {path!r} is not files/<name>")
    return match[1]


def owned(result_id: str, name: str) -> bool:
    """Tell whether the array file `name` is this result's, so that deleting it takes the file."""
    return name.startswith(f"{result_id}_") and name.endswith(".npy")


def growing_name(name: str) -> str:
    """What an array file is called until it is whole."""
    return f".{name}.tmp"
