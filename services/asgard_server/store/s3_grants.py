"""Grants to an S3 store: URLs that it accepts itself, signed here without asking it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote

from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.signing import Signer

from asgard_server.blob.domain import Target
from asgard_server.blob.parts import part_bytes
from asgard_server.blob.store import Grant

_HEADERS = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
}
_READ_CACHE = "private, max-age=31536000, immutable"


class S3Grants:
    """Signs for the address that clients use; `rewrite` changes download URLs on their way out.

    The signature covers the host: `signer` is for the public endpoint, where there is one, and
    `reading`, where downloads are rewritten, for the host that their proxy forwards.
    """

    def __init__(
        self,
        place: Place,
        signer: Signer,
        *,
        reading: Signer | None = None,
        rewrite: Callable[[str], str] = lambda url: url,
    ) -> None:
        self._place = place
        self._encryption = {
            _HEADERS[name]: value for name, value in sorted(place.encryption.items())
        }
        self._signer = signer
        self._reading = reading or signer
        self._rewrite = rewrite

    def put(self, blob: Target, seconds: int) -> Grant:
        """One request for all bytes: write-once with size and digest where those are declared."""
        headers = dict(self._encryption)
        # Who sends a plain PUT says of what type it is as it likes: the copy has the blob's.
        if blob.way != "plain":
            headers["content-type"] = blob.content_type
        if blob.way == "checked":
            headers |= {
                "content-length": str(blob.size_bytes),
                "if-none-match": "*",
                "x-amz-checksum-sha256": _base64(blob.sha256 or ""),
            }
        return self._grant("PUT", blob.arrives_at, seconds, headers, {})

    def part(self, blob: Target, number: int, sha256: str, seconds: int) -> Grant:
        """A request for one part of an upload in parts, with its size and digest."""
        headers = {
            "content-length": str(part_bytes(blob.size_bytes or 0, number)),
            "x-amz-checksum-sha256": _base64(sha256),
        }
        query = {"partNumber": str(number), "uploadId": str(blob.upload_id)}
        return self._grant("PUT", blob.key, seconds, headers, query)

    def get(
        self, blob: Target, seconds: int, wanted: tuple[int, int] | None, save_as: str
    ) -> Grant:
        """A request that reads all bytes, or those of a range (both inclusive)."""
        headers = {} if wanted is None else {"range": f"bytes={wanted[0]}-{wanted[1]}"}
        query = {
            "response-content-type": blob.content_type,
            "response-cache-control": _READ_CACHE,
        }
        if save_as:
            name = quote(save_as, safe="")
            query["response-content-disposition"] = f"attachment; filename*=UTF-8''{name}"
        grant = self._grant("GET", blob.key, seconds, headers, query)
        return Grant(self._rewrite(grant.url), grant.method, grant.headers, grant.expires_at)

    def _grant(
        self, method: str, key: str, seconds: int, headers: dict[str, str], query: dict[str, str]
    ) -> Grant:
        signer = self._reading if method == "GET" else self._signer
        url = signer.presign(
            method,
            self._place.bucket,
            self._place.key(key),
            seconds,
            headers=headers,
            query=query,
        )
        expires_at = datetime.fromtimestamp(signer.expire_time(seconds), UTC)
        return Grant(url, method, headers, expires_at)


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()
