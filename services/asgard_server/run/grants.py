"""The ports by which large arrays go straight to the store: grants of requests, and intents.

A result's arrays lie under the keys its document names. An intent says, before the first byte
of one can arrive, which keys those are; whoever sweeps removes nothing that no intent names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from gimle.asgard.core.arrays import ArrayRef
from gimle.asgard.core.errors import AsgardError


@dataclass(frozen=True, slots=True)
class Grant:
    """A request that the store will accept from whoever sends it, until `expires_at`."""

    url: str
    method: str
    headers: Mapping[str, str]
    expires_at: datetime


class Part(NamedTuple):
    """A part of a file, numbered from 1. `sha256` in hexadecimal."""

    number: int
    size_bytes: int
    sha256: str


class Wanted(NamedTuple):
    """A file that is to come. `sha256`: of all its bytes, in hexadecimal, where it is declared."""

    path: str
    size_bytes: int
    sha256: str | None


class Held(NamedTuple):
    """A file as the store has it, with those digests that are known, in hexadecimal.

    `sha256_parts` is over the digests of its parts, of `part_bytes` each but the last.
    """

    size_bytes: int
    etag: str
    sha256: str | None = None
    sha256_parts: str | None = None
    part_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Upload:
    """How a file is to come: in one request, or in parts; or what is there already."""

    put: Grant | None = None
    part_bytes: int = 0
    part_count: int = 0
    arrived: tuple[Part, ...] = ()
    held: Held | None = None


class Grants(Protocol):
    """Whoever can sign requests to the store that keeps the files of arrays.

    Raises `GrantsUnavailableError` where there is nobody who can.
    """

    async def uploads(self, wanted: Sequence[Wanted], seconds: int) -> list[Upload]:
        """Grant uploads for so long; what goes on in parts goes on."""

    async def parts(
        self, wanted: Wanted, parts: Sequence[tuple[int, str]], seconds: int
    ) -> list[Grant]:
        """Grant parts, numbers with SHA-256. Raises `UploadEndedError`, `InvalidFieldError`."""

    async def settle(self, wanted: Sequence[Wanted]) -> list[Held | AsgardError]:
        """Put together what came in parts; answer what is there.

        Or `UploadIncompleteError`, `DigestMismatchError` for one that is not right.
        """

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files, and what has come of them. What is gone is no error."""

    async def downloads(
        self, paths: Sequence[str], seconds: int
    ) -> list[tuple[Grant, Held] | None]:
        """Grant downloads; None for what is not there."""


@dataclass(frozen=True, slots=True)
class Granted:
    """A file of an array that was granted: which array it is of, and what was declared of it."""

    key: str
    field: tuple[str, ...]
    ref: ArrayRef
    size_bytes: int
    sha256: str | None

    @property
    def wanted(self) -> Wanted:
        """It as it is asked of the store."""
        return Wanted(self.ref.path, self.size_bytes, self.sha256)


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to become a result: the files of its arrays that somebody may be uploading.

    `until`: when the last grant ends. `swept`: they are being removed; there is no way back.
    `grows`: the files have rows for this result, and `result_id` is the id of the append.
    """

    result_id: str
    run_id: str
    files: tuple[Granted, ...]
    until: datetime
    swept: bool = False
    grows: str | None = None


class Intents(Protocol):
    """The intents of one place. What a method has written when it answers outlives every process.

    A stamp tells one state of an intent from another. Raises `StorageUnavailableError`.
    """

    async def create(self, intent: Intent) -> str | None:
        """Write an intent; answer its stamp, None when there is one."""

    async def find(self, result_id: str) -> tuple[Intent, str] | None:
        """Look one up, with its stamp."""

    async def replace(self, intent: Intent, stamp: str) -> str | None:
        """Write it in the place of the one of this stamp; None when that is another by now."""

    async def remove(self, result_id: str) -> None:
        """Forget one. One that is gone is no error."""

    async def untouched(self, before: datetime) -> list[str]:
        """Results whose intents were last written before then."""

    async def holds(self, path: str, head: bytes) -> bool:
        """Whether a file of the place begins so."""

    def turn(self) -> AbstractAsyncContextManager[bool]:
        """Say inside whether it is this process that sweeps."""
