"""Small objects written over lines that are kept: less than half of obstore's work.

What a line does not know (a proxy, a redirect, much to write) is left to obstore, and what a store
says is raised as obstore raises it.
"""

from __future__ import annotations

from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.signing import Endpoint
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from asgard_server.store.s3_keys import credentials_of
from asgard_server.store.s3_lines import Lines

# What is hashed on the loop, and sent in one go.
MOST_BYTES = 65_536
_REDIRECTS = range(300, 400)
_REFUSALS: dict[int, type[BaseError] | type[FileNotFoundError]] = {
    401: UnauthenticatedError,
    403: PermissionDeniedError,
    404: FileNotFoundError,
    409: AlreadyExistsError,
    412: PreconditionError,
}


class Puts:
    """Writes small objects of one place. To be used from one event loop at a time.

    An attempt that is not answered within `attempt_s` is given up.
    """

    def __init__(self, place: Place, lines: Lines, attempt_s: float) -> None:
        self.lines = lines
        self._encryption = _encryption(place)
        self._attempt_s = attempt_s

    async def put(self, key: str, body: bytes, condition: tuple[str, str]) -> str | None:
        """Write an object on a condition, a header; answer its etag.

        None where it has not been tried: obstore is to be asked. Raises what obstore does, with
        the store's own words; an error without a status is of an attempt that may still arrive.
        """
        if len(body) > MOST_BYTES:
            return None
        headers = {**self._encryption, condition[0]: condition[1]}
        answer = await self.lines.ask("PUT", key, self._attempt_s, headers=headers, body=body)
        if answer is None:
            return None
        if answer.status in _REDIRECTS:
            self.lines.rest()
            return None
        if answer.status != 200:
            raise _refusal(answer.status, answer.body)
        etag = answer.headers().get("etag")
        if not etag:
            raise GenericError("it answers a put without an etag")
        return etag

    def close(self) -> None:
        """Close all connections; those in use when they are given back."""
        self.lines.close()


def puts_of(place: Place, endpoint: str | None, region: str, attempt_s: float) -> Puts | None:
    """Puts to the store at `endpoint`, Amazon's unless there is one; None if nobody signs."""
    credentials = credentials_of(place)
    if credentials is None:
        return None
    address = (
        Endpoint.parse(f"https://s3.{region}.amazonaws.com", style="virtual")
        if endpoint is None
        else Endpoint.parse(endpoint)
    )
    return Puts(place, Lines(place.bucket, address, region, credentials), attempt_s)


def _encryption(place: Place) -> dict[str, str]:
    names = {
        "ServerSideEncryption": "x-amz-server-side-encryption",
        "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    }
    return {names[name]: value for name, value in place.encryption.items()}


def _refusal(status: int, body: bytes) -> Exception:
    said = f"the store refuses a put, status code: {status}: {body.decode(errors='replace')}"
    return _REFUSALS.get(status, GenericError)(said)
