"""What a store in S3 refuses, and in our words why."""

from __future__ import annotations

import re

from gimle.asgard.core.errors import AsgardError, StorageFullError, StorageUnavailableError
from gimle.asgard.core.full_stores import is_full
from gimle.asgard.core.s3.place import Place
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
# The first is said by versitygw when the folder of a key, left empty by a delete, vanished while
# the object was on its way into it.
_PASSING = {"ExistingObjectIsDirectory", "SlowDown"}


def passes(error: BaseError) -> bool:
    """Whether the same request may be answered in a moment."""
    status, code = status_of(error), code_of(error)
    if is_full(code, status, str(error)):
        return False
    if code in _PASSING:
        return True
    if isinstance(error, AlreadyExistsError | PreconditionError):
        # 409: another write of this very key is under way.
        return status == 409
    if status is None:
        return not isinstance(error, PermissionDeniedError | UnauthenticatedError)
    return status in (408, 409, 429) or status >= 500


def vanished(error: BaseError) -> bool:
    """Whether MinIO may have meant that the folder of a key, left empty by a delete, vanished while
    the object was on its way into it (5 of 8,253 puts); or that it refuses us.
    """
    return code_of(error) == "AccessDenied"


def status_of(error: Exception) -> int | None:
    """The HTTP status of an answer, None where none came."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def code_of(error: Exception) -> str:
    """The store's own word for it, empty where it says none."""
    found = _CODE.search(str(error))
    return found[1] if found else ""


def refuse_missing_bucket(place: Place, error: Exception) -> None:
    """Raise what it means where it is the bucket that is not there, and not an object."""
    if code_of(error) == "NoSuchBucket":
        raise refusal(place, error) from error


def refusal(place: Place, error: Exception) -> AsgardError:
    """The store's refusal in our words."""
    where, code, status = str(place), code_of(error), status_of(error)
    if is_full(code, status, str(error)):
        return StorageFullError(where)
    if code == "NoSuchBucket":
        bucket = place.bucket
        mend = f"there is no bucket {bucket}; create it, or set the endpoint of its store"
    elif isinstance(error, PermissionDeniedError | UnauthenticatedError):
        mend = f"it refuses us ({code or status}); check its keys and what they allow"
    elif status is not None:
        mend = f"it answers {status} {code}; is it in order?"
    else:
        mend = "it does not answer; is the store running there?"
    return StorageUnavailableError(where, mend)
