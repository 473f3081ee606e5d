"""Everything this library raises on purpose.

AsgardError
├── InvalidNameError        also ValueError: a name or id that can not be a file's
├── InvalidFieldError       also ValueError: a field breaks its rule
├── NotFoundError           also FileNotFoundError: no such run, result or object
├── AlreadyExistsError      also FileExistsError: the id is taken
├── DeletedError            the id belonged to something deleted
├── EtagMismatchError       changed by somebody else since it was read
├── LengthMismatchError     an append expected another committed length
├── CannotAppendError       a result can not grow in this way
├── StorageUnavailableError also OSError: the place is gone, or another one than was opened
├── StorageFullError        also OSError: no room; nothing was half-written
├── StorageReadOnlyError    also PermissionError: the place may be read, not written
├── DocumentError           also ValueError: a stored document can not be read
├── BlobNotReadyError       the bytes of a blob are not complete
├── UploadEndedError        the blob is ready, given up or deleted
├── UploadIncompleteError   not all bytes have arrived
├── DigestMismatchError     the bytes that arrived are not those declared
├── BlobOwnedError          somebody has claimed the blob
├── UnknownTypeError        also LookupError: a stored object of a class nobody registered
└── ServiceError            only from a service:
    ├── PageTokenMismatchError    the page token belongs to another list
    ├── ResumeTokenUnusableError  the watch must start again at a snapshot
    ├── WatcherTooSlowError       the watcher was ended; resume from its last token
    ├── StoppingError             the service is stopping; resume elsewhere
    ├── RequestTooLargeError      the request has more bytes than the service takes
    ├── BlobTooLargeError         the blob is too large to pass through the service
    └── UnknownMethodError        the service has no such method

What is raised of who you are and what you may is in access_errors.py, of jobs in job_errors.py.

Values that can not be stored at all (object arrays, sets, functions) raise a
plain TypeError that names the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class AsgardError(Exception):
    """What all errors of this library have in common."""


class InvalidNameError(AsgardError, ValueError):
    """A name or id that must not touch the disk. Says which `field`, the `problem`, the `mend`."""

    def __init__(self, field: str, problem: str, mend: str) -> None:
        super().__init__(f"{field}: {problem}; {mend}")
        self.field = field
        self.problem = problem
        self.mend = mend


class InvalidFieldError(AsgardError, ValueError):
    """A field that breaks its rule. Says which `field`, the `problem`, the `mend`."""

    def __init__(self, field: str, problem: str, mend: str) -> None:
        super().__init__(f"{field}: {problem}; {mend}")
        self.field = field
        self.problem = problem
        self.mend = mend


class NotFoundError(AsgardError, FileNotFoundError):
    """There is no `kind` ("run", "result", "object") called `id`."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"there is no {kind} {id}")
        self.kind = kind
        self.id = id


class AlreadyExistsError(AsgardError, FileExistsError):
    """There is already a `kind` called `id`."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"there is already a {kind} {id}")
        self.kind = kind
        self.id = id


class DeletedError(AsgardError):
    """The id belonged to something that was deleted at `deleted_at`."""

    def __init__(self, id: str, deleted_at: datetime) -> None:
        super().__init__(f"{id} was deleted at {deleted_at.isoformat()}; use a new id")
        self.id = id
        self.deleted_at = deleted_at


class EtagMismatchError(AsgardError):
    """Somebody else changed it meanwhile; `etag` is the present one."""

    def __init__(self, etag: str) -> None:
        super().__init__(f"it was changed meanwhile and now has the etag {etag}; read it again")
        self.etag = etag


class LengthMismatchError(AsgardError):
    """An append expected another committed length than `length`, the true one."""

    def __init__(self, length: int) -> None:
        super().__init__(f"the result has {length} rows, not the number expected; read it again")
        self.length = length


class CannotAppendError(AsgardError, ValueError):
    """The result `result_id` can not grow in this way, because of `problem`."""

    def __init__(self, result_id: str, problem: str) -> None:
        super().__init__(f"cannot append to result {result_id}: {problem}")
        self.result_id = result_id
        self.problem = problem


class StorageUnavailableError(AsgardError, OSError):
    """The storage place is gone, unreadable, or another one than was opened.

    `passing`: it did not answer at all; waiting may be all that is needed.
    """

    def __init__(self, place: str, mend: str, *, passing: bool = False) -> None:
        super().__init__(f"the storage {place} is not available: {mend}")
        self.place = place
        self.mend = mend
        self.passing = passing


class StorageFullError(AsgardError, OSError):
    """The storage place has no room. Nothing was half-written.

    `what`: for what, such as the name of a file, "" where that was not said. `needed_bytes` and
    `free_bytes`: how much that needs and how much is free, None where that is not known.
    """

    def __init__(
        self,
        place: str,
        what: str = "",
        needed_bytes: int | None = None,
        free_bytes: int | None = None,
    ) -> None:
        problem = f"the storage {place} is full"
        if needed_bytes is not None and free_bytes is not None:
            problem += f": {needed_bytes:,} bytes are needed, and {free_bytes:,} are free"
        again = "send it again" if what else "save again"
        super().__init__(f"{what}{': ' if what else ''}{problem}; make room and {again}")
        self.place = place
        self.what = what
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes

    @classmethod
    def told(cls, place: str, info: Mapping[str, str]) -> StorageFullError:
        """As a service has said it in the metadata of its ErrorInfo. Raises ValueError."""
        needed, free = info.get("neededBytes"), info.get("freeBytes")
        return cls(
            place,
            info.get("what", ""),
            None if needed is None else int(needed),
            None if free is None else int(free),
        )

    def of(self, what: str) -> StorageFullError:
        """The same of a file that is known to whoever hears of it, unless it has been said."""
        return StorageFullError(self.place, self.what or what, self.needed_bytes, self.free_bytes)


class StorageReadOnlyError(AsgardError, PermissionError):
    """The storage place may be read and not written. Nothing was half-written."""

    def __init__(self, place: str, mend: str) -> None:
        super().__init__(f"the storage {place} may only be read: {mend}")
        self.place = place
        self.mend = mend


class DocumentError(AsgardError, ValueError):
    """The stored document `id` can not be read, because of `problem`."""

    def __init__(self, id: str, problem: str) -> None:
        super().__init__(f"the document {id or '(unnamed)'} cannot be read: {problem}")
        self.id = id
        self.problem = problem


class UnknownTypeError(AsgardError, LookupError):
    """A stored object is of the class `name`, which is not registered in this process."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"no class {name!r} is registered; import or define it (a subclass of Serialisable) "
            "before loading"
        )
        self.name = name


class BlobNotReadyError(AsgardError):
    """The bytes of the blob `id` cannot be had: it is `state`."""

    def __init__(self, id: str, state: str) -> None:
        super().__init__(f"the blob {id} is {state}, not ready; complete its upload first")
        self.id = id
        self.state = state


class UploadEndedError(AsgardError):
    """The upload of the blob `id` does not go on: the blob is `state`."""

    def __init__(self, id: str, state: str) -> None:
        super().__init__(f"the upload of blob {id} has ended, it is {state}; begin another one")
        self.id = id
        self.state = state


class UploadIncompleteError(AsgardError):
    """Of the blob `id` not all bytes have arrived; `missing_parts` names parts that have not."""

    def __init__(self, id: str, problem: str, missing_parts: tuple[int, ...] = ()) -> None:
        super().__init__(f"the upload of blob {id} is not complete: {problem}")
        self.id = id
        self.problem = problem
        self.missing_parts = missing_parts


class DigestMismatchError(AsgardError):
    """The bytes that arrived for the blob `id` are not those that were declared."""

    def __init__(self, id: str, problem: str) -> None:
        super().__init__(f"blob {id}: {problem}; upload the right bytes under a new id")
        self.id = id
        self.problem = problem


class BlobOwnedError(AsgardError):
    """The blob `id` is claimed by `owner`."""

    def __init__(self, id: str, owner: str) -> None:
        super().__init__(f"the blob {id} is claimed by {owner}; release it first")
        self.id = id
        self.owner = owner


class ServiceError(AsgardError):
    """What only a service says, not a folder."""


class PageTokenMismatchError(ServiceError):
    """The page token belongs to another list, or to other arguments of this one."""


class ResumeTokenUnusableError(ServiceError):
    """The resume token is of another epoch, kind or filter, or too old: start at a snapshot."""


class WatcherTooSlowError(ServiceError):
    """The watcher fell too far behind and was ended: resume from its last token."""


class StoppingError(ServiceError):
    """The service is stopping: resume elsewhere from the last token."""


class RequestTooLargeError(ServiceError):
    """The request has more than `limit_bytes` bytes."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the request is larger than {limit_bytes:,} bytes; "
            "send results one by one, and long ones by append"
        )
        self.limit_bytes = limit_bytes


class BlobTooLargeError(ServiceError):
    """The blob has more than `limit_bytes` bytes, which is what passes through the service."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the blob has more than {limit_bytes:,} bytes; ask for a grant")
        self.limit_bytes = limit_bytes


class GrantsUnavailableError(ServiceError):
    """Nobody grants requests to the store behind the service, which takes arrays itself."""

    def __init__(self, mend: str) -> None:
        super().__init__(f"nobody grants requests to the store; {mend}")
        self.mend = mend


class UnknownMethodError(ServiceError):
    """The service has no such method."""
