"""Who signs what is asked of a store."""

from __future__ import annotations

from collections.abc import Callable
from json import JSONDecodeError

import boto3
from gimle.asgard.core.errors import StorageUnavailableError
from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.signing import Credentials, Lent

NOT_LENT = (OSError, JSONDecodeError, UnicodeDecodeError, RuntimeError)
"""What botocore raises, besides its own errors, where a program gives no credentials any more: it
cannot be started, says something else, or gives such as have ended."""


def not_lent(place: str, error: Exception) -> StorageUnavailableError:
    """What is told whoever asks a place meanwhile."""
    mend = f"credentials are lent no more ({error}); see to what lends them"
    return StorageUnavailableError(place, mend, passing=True)


def credentials_of(place: Place) -> Credentials | Callable[[], Credentials] | None:
    """The keys that are given with a place, or a function that lends those of this machine.

    The function may block, to renew them. None: nobody signs.
    """
    given = place.credentials
    if "aws_access_key_id" in given:
        return Credentials(
            given["aws_access_key_id"],
            given["aws_secret_access_key"],
            given.get("aws_session_token"),
        )
    found = boto3.Session().get_credentials()
    return None if found is None else Lent(found).credentials
