"""What goes wrong while bytes move.

TransferError             also OSError
├── RefusedError          the store, or a proxy before it, said no
├── TooLargeError         more than one request carries
├── WrongBytesError       what arrived, or what lies there, is not what was promised
├── BusyError             another process is at the same target
├── WireError             no answer came, or what came was not one
└── TransferStoppedError  the caller asked to stop; a later call goes on where it ended
"""

from __future__ import annotations

from gimle.asgard.core.errors import AsgardError
from gimle.asgard.core.full_stores import is_full


class TransferError(AsgardError, OSError):
    """Bytes could not be moved."""


class RefusedError(TransferError):
    """`what` was refused, with a `status` and the store's own `code` ("NoSuchKey", "" for none).

    `full`: whether the store has no room.
    """

    def __init__(self, what: str, status: int, code: str, message: str) -> None:
        said = ": ".join(word for word in (code, message) if word) or "no reason given"
        self.what = what
        self.status = status
        self.code = code
        self.full = is_full(code, status, message)
        mend = "; make room there and send it again" if self.full else ""
        super().__init__(f"{what}: refused with {status}, {said}{mend}")

    @property
    def missing(self) -> bool:
        """Whether there is simply no such object or bucket."""
        return self.status == 404

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.status in {408, 429, 500, 502, 503, 504} and not self.full


class WireError(TransferError):
    """The connection broke, or what came over it was not HTTP."""


class TooLargeError(TransferError):
    """`name` has more bytes than a store takes in one request: said before any is sent."""

    def __init__(self, name: str, size: int, limit: int, mend: str) -> None:
        super().__init__(
            f"{name}: has {size:,} bytes, and one request carries at most {limit:,}; {mend}"
        )
        self.name = name
        self.limit = limit


class WrongBytesError(TransferError):
    """The bytes of `name` are not those that were promised."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name


class BusyError(TransferError):
    """Another process is writing `path`."""

    def __init__(self, path: str) -> None:
        super().__init__(f"another process is writing {path}; wait for it")
        self.path = path


class TransferStoppedError(TransferError):
    """The caller asked to stop."""

    def __init__(self) -> None:
        super().__init__("stopped; the same call again goes on from here")
