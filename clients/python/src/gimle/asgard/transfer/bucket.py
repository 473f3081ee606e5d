"""A bucket, asked directly: small reads and writes, listings, and what there is of an object."""

from __future__ import annotations

import re
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import md5, sha256
from types import MappingProxyType
from xml.etree import ElementTree

from gimle.asgard.core.signing import Signer, StoreSettings
from gimle.asgard.transfer.answer import Answer
from gimle.asgard.transfer.digests import Digest, encoded
from gimle.asgard.transfer.errors import RefusedError
from gimle.asgard.transfer.line import Body
from gimle.asgard.transfer.patience import patiently
from gimle.asgard.transfer.wire import Lanes

_NONE: Mapping[str, str] = MappingProxyType({})
_MOST_DELETED = 1_000
_XML_NAMESPACE = re.compile(rb'\sxmlns="[^"]*"')
_CHECKSUMS = {"x-amz-checksum-mode": "ENABLED"}
META = "x-amz-meta-"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as the store tells of it. `meta` and `digest` are known after `Bucket.head`."""

    key: str
    size: int
    etag: str
    modified: str = ""
    digest: Digest | None = None
    meta: Mapping[str, str] = field(default_factory=dict)


class Bucket:
    """The requests of one bucket. Thread-safe: each thread has connections of its own.

    Every method raises RefusedError when the store says no, WireError when it says nothing,
    after several attempts where a later one may succeed.
    """

    def __init__(
        self, signer: Signer, name: str, lanes: Lanes | None = None, attempts: int = 6
    ) -> None:
        self.signer = signer
        self.name = name
        self.lanes = lanes or Lanes()
        self.attempts = attempts
        self.stop: threading.Event | None = None

    @classmethod
    def of(cls, settings: StoreSettings) -> Bucket:
        """The bucket that the settings name."""
        return cls(settings.signer(), settings.bucket)

    def read(self, key: str, most: int = 1 << 26) -> bytes:
        """Read an object of at most `most` bytes into memory."""
        return self.ask("GET", key, most=most)[1]

    def write(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object whole, whatever is there."""
        headers = {
            "content-type": content_type,
            "x-amz-checksum-sha256": encoded(sha256(body).digest()),
        }
        self.ask("PUT", key, headers=headers, body=body)

    def delete(self, keys: list[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        for start in range(0, len(keys), _MOST_DELETED):
            root = ElementTree.Element("Delete")
            ElementTree.SubElement(root, "Quiet").text = "true"
            for key in keys[start : start + _MOST_DELETED]:
                ElementTree.SubElement(ElementTree.SubElement(root, "Object"), "Key").text = key
            body = ElementTree.tostring(root)
            said = self.xml("POST", "", {"delete": ""}, body)
            for error in said.iterfind("Error"):
                what = f"delete {error.findtext('Key')}"
                raise RefusedError(
                    what, 409, error.findtext("Code") or "", error.findtext("Message") or ""
                )

    def list(self, prefix: str) -> Iterator[Stored]:
        """List the objects whose keys begin so, by key."""
        token = ""
        while True:
            query = {"list-type": "2", "prefix": prefix}
            if token:
                query["continuation-token"] = token
            page = self.xml("GET", "", query)
            for item in page.iterfind("Contents"):
                yield Stored(
                    item.findtext("Key") or "",
                    int(item.findtext("Size") or 0),
                    item.findtext("ETag") or "",
                    item.findtext("LastModified") or "",
                )
            token = page.findtext("NextContinuationToken") or ""
            if page.findtext("IsTruncated") != "true":
                return

    def head(self, key: str) -> Stored:
        """Ask what there is of an object, with the digest that the store has of it."""
        headers = self.ask("HEAD", key, headers=_CHECKSUMS)[0].headers
        size = int(headers.get("content-length", 0))
        return Stored(
            key,
            size,
            headers.get("etag", ""),
            headers.get("last-modified", ""),
            Digest.of_headers(headers, size, lambda: self._first_part_bytes(key)),
            meta_of(headers),
        )

    def _first_part_bytes(self, key: str) -> int:
        answer = self.ask("HEAD", key, query={"partNumber": "1"})[0]
        return int(answer.headers.get("content-length", 0))

    def xml(
        self, method: str, key: str, query: Mapping[str, str], body: bytes = b"", **headers: str
    ) -> ElementTree.Element:
        """Ask for a document of the store's."""
        sent = dict(headers)
        if body:
            sent["content-type"] = "application/xml"
            sent["content-md5"] = b64encode(md5(body, usedforsecurity=False).digest()).decode()
        said = self.ask(method, key, headers=sent, query=query, body=body)[1]
        root = parsed(said)
        if root.tag == "Error":  # an error after the status was sent: of a long completion
            raise refusal(f"{method} {self.name}/{key}", 500, said)
        return root

    def ask(
        self,
        method: str,
        key: str,
        *,
        headers: Mapping[str, str] = _NONE,
        query: Mapping[str, str] = _NONE,
        body: Body = b"",
        most: int = 1 << 26,
    ) -> tuple[Answer, bytes]:
        """Ask the store something; answer its head and its body."""
        payload = sha256(body).hexdigest() if isinstance(body, bytes) else "UNSIGNED-PAYLOAD"

        def once() -> tuple[Answer, bytes]:
            url, sent = self.signer.sign(
                method, self.name, key, headers=headers, query=query, payload=payload
            )
            with self.lanes.wire.request(method, url, sent, body or None) as answer:
                said = answer.read(most)
            if answer.status >= 300:
                raise refusal(f"{method} {self.name}/{key}".rstrip("/"), answer.status, said)
            return answer, said

        return patiently(once, self.stop, self.attempts)


def meta_of(headers: Mapping[str, str]) -> dict[str, str]:
    """What an object's maker wrote beside it."""
    return {
        name.removeprefix(META): value for name, value in headers.items() if name.startswith(META)
    }


def parsed(said: bytes) -> ElementTree.Element:
    """A document of a store's, its names without their namespace."""
    # A store is trusted with far more than this, and expat bounds what entities may grow to.
    return ElementTree.fromstring(_XML_NAMESPACE.sub(b"", said, count=1))  # noqa: S314


def refusal(what: str, status: int, said: bytes) -> RefusedError:
    """The error for a status, with what the store says of it."""
    try:
        document = parsed(said)
        code, message = document.findtext("Code") or "", document.findtext("Message") or ""
    except ElementTree.ParseError:
        code, message = "", said[:200].decode("utf-8", "replace").strip()
    return RefusedError(what, status, code, message)
