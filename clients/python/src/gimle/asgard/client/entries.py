"""What a spool is made of: entries as lines of a segment, and their arrays as files."""

from __future__ import annotations

import fcntl
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import orjson
from gimle.asgard.client.outgoing import PIECE_BYTES, Outgoing
from gimle.asgard.core.arrays import Array
from gimle.asgard.core.enclosing import npy_parts
from gimle.asgard.core.folder.files import write_all
from gimle.asgard.v1 import one_result_pb2 as one_pb
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1.append_result_pb2 import AppendResultRequest

_REQUESTS: dict[str, Any] = {
    "CreateRun": pb.CreateRunRequest,
    "SaveRun": pb.SaveRunRequest,
    "UpdateRun": pb.UpdateRunRequest,
    "FinishRun": pb.FinishRunRequest,
    "DeleteRun": pb.DeleteRunRequest,
    "AddResult": pb.AddResultRequest,
    "AppendResult": AppendResultRequest,
    "DeleteResult": one_pb.DeleteResultRequest,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One call that waits. `time` is that of its saving, in ns since 1970.

    body: its request without arrays. arrays: of each of its results the names of their files,
    by key.
    """

    segment: str
    number: int
    time: int
    run_id: str
    id: str
    method: str
    body: bytes
    arrays: tuple[dict[str, str], ...]

    @property
    def files(self) -> list[str]:
        """The names of its arrays' files."""
        return [name for files in self.arrays for name in files.values()]

    def fields(self) -> dict[str, Any]:
        """What is written of it; where it is written says the rest."""
        return {
            "time": self.time,
            "run_id": self.run_id,
            "id": self.id,
            "method": self.method,
            "request": b64encode(self.body).decode(),
            "arrays": list(self.arrays),
        }

    def line(self) -> bytes:
        """It as a line of its segment."""
        text = orjson.dumps(self.fields())
        return b"%08x %s\n" % (crc32(text), text)

    def call(self, folder: Path) -> Outgoing:
        """The call, its arrays mapped from `folder`. Raises FileNotFoundError, ValueError."""
        request = _REQUESTS[self.method].FromString(self.body)
        arrays = tuple(
            {key: _mapped(folder / name) for key, name in files.items()} for files in self.arrays
        )
        return Outgoing(self.method, self.id, request, arrays)


def entry_of(segment: str, number: int, fields: Mapping[str, Any]) -> Entry:
    """An entry from what was written of it."""
    return Entry(
        segment,
        number,
        fields["time"],
        fields["run_id"],
        fields["id"],
        fields["method"],
        b64decode(fields["request"]),
        tuple(fields["arrays"]),
    )


def entries_in(path: Path) -> Iterator[Entry]:
    """The whole entries of a segment. What its process died over is none."""
    with open(path, "rb") as file:
        for number, line in enumerate(file):
            if not line.endswith(b"\n") or f"{crc32(line[9:-1]):08x}".encode() != line[:8]:
                return
            yield entry_of(path.stem, number, orjson.loads(line[9:-1]))


def lock(path: Path) -> int:
    """Open a segment and be the only one at it, until it is closed."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def write_array(path: Path, array: Array) -> None:
    """Bring an array to the disk, as a .npy file."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        for part in npy_parts(array, PIECE_BYTES):
            write_all(fd, part)
        os.fsync(fd)
    finally:
        os.close(fd)


def _mapped(path: Path) -> Array:
    array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
