"""How the bytes of an object can be checked: by one digest of all, or by one over its parts'."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hashlib import _Hash

Algorithm = Literal["sha256", "md5"]

_ETAG = re.compile(r'"?([0-9a-f]{32})(?:-(\d+))?"?')
_MANAGED = ("x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-algorithm")


@dataclass(frozen=True, slots=True)
class Digest:
    """`value` is of the whole object, or, with `part_bytes`, over the digests of its parts."""

    algorithm: Algorithm
    value: bytes
    part_bytes: int | None = None

    def hash(self) -> _Hash:
        """An empty hash of this kind."""
        return hashlib.new(self.algorithm, usedforsecurity=False)

    def over(self, parts: Iterable[bytes]) -> bytes:
        """The value that parts of these digests give."""
        whole = self.hash()
        for part in parts:
            whole.update(part)
        return whole.digest()

    def taken(self, hash: _Hash) -> bytes:
        """The value of an object whose bytes this hash has taken: the whole is its only part."""
        return hash.digest() if self.part_bytes is None else self.over([hash.digest()])

    @classmethod
    def of_headers(
        cls, headers: Mapping[str, str], size: int, part_bytes: Callable[[], int]
    ) -> Digest | None:
        """What a store's headers say of an object of `size` bytes; None when nothing certain.

        `part_bytes` is asked for the size of the first part of an object that has parts.
        """
        value, dash, count = headers.get("x-amz-checksum-sha256", "").partition("-")
        if value and not dash:
            return cls("sha256", b64decode(value))
        if value:
            return cls._of_parts("sha256", b64decode(value), int(count), size, part_bytes)
        # Without a checksum the ETag is one, unless the store encrypts with keys of others.
        found = _ETAG.fullmatch(headers.get("etag", ""))
        if found is None or any(headers.get(name, "AES256") != "AES256" for name in _MANAGED):
            return None
        if found[2] is None:
            return cls("md5", bytes.fromhex(found[1]))
        return cls._of_parts("md5", bytes.fromhex(found[1]), int(found[2]), size, part_bytes)

    @classmethod
    def _of_parts(
        cls,
        algorithm: Algorithm,
        value: bytes,
        count: int,
        size: int,
        part_bytes: Callable[[], int],
    ) -> Digest | None:
        each = part_bytes()
        regular = each > 0 and (size + each - 1) // each == count
        return cls(algorithm, value, each) if regular else None


def encoded(digest: bytes) -> str:
    """A checksum as stores write it."""
    return b64encode(digest).decode()
