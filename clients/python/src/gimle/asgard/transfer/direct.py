"""A bucket that we hold the keys of, as a place to send to and fetch from."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from gimle.asgard.transfer.bucket import META, Bucket, parsed
from gimle.asgard.transfer.digests import Digest, encoded
from gimle.asgard.transfer.errors import RefusedError
from gimle.asgard.transfer.grants import Begun, Grant, Measured, Outgoing, Part, Remote, part_bytes

_EXPIRES_S = 3_600


@dataclass(frozen=True, slots=True)
class DirectUploads:
    """Sends files to the keys that are their names, whatever lies there.

    An upload in parts is found again by its key: the store lists what it has of it.
    """

    bucket: Bucket
    wants_sha256: bool = False

    def whole(self, files: Sequence[Measured]) -> Sequence[Grant | None]:
        """Leave to put each of these."""
        grants = []
        for one in files:
            assert one.sha256 is not None  # noqa: S101 - the engine has read it
            headers = {
                "content-length": str(one.size),
                "content-type": one.file.content_type,
                "x-amz-checksum-sha256": encoded(one.sha256),
                **{META + name: value for name, value in one.file.meta.items()},
            }
            grants.append(self._grant(one.file.name, headers, {}))
        return grants

    def arrived(self, files: Sequence[Measured]) -> None:
        """The store has checked them: nothing is left to do."""

    def there(self, file: Measured) -> bool:
        """False: what is sent again takes the place of what lies there."""
        return False

    def begin(self, file: Outgoing, size: int) -> Begun:
        """Begin an upload in parts, or go on with the newest that has parts of this size."""
        each = part_bytes(size)
        for id in self._unfinished(file.name):
            arrived = self._arrived(file.name, id)
            if all(
                part.size == min(each, size - (number - 1) * each)
                for number, part in arrived.items()
            ):
                return Begun(id, file.name, each, arrived)
        headers = {
            "content-type": file.content_type,
            "x-amz-checksum-algorithm": "SHA256",
            **{META + name: value for name, value in file.meta.items()},
        }
        said = self.bucket.ask("POST", file.name, headers=headers, query={"uploads": ""})[1]
        id = parsed(said).findtext("UploadId") or ""
        return Begun(id, file.name, each)

    def _unfinished(self, key: str) -> list[str]:
        """The ids of the uploads that were begun for a key, the newest first."""
        said = self.bucket.xml("GET", "", {"uploads": "", "prefix": key})
        found = [
            (item.findtext("Initiated") or "", item.findtext("UploadId") or "")
            for item in said.iterfind("Upload")
            if item.findtext("Key") == key
        ]
        return [id for _, id in sorted(found, reverse=True)]

    def _arrived(self, key: str, id: str) -> dict[int, Part]:
        arrived: dict[int, Part] = {}
        marker = "0"
        while True:
            query = {"uploadId": id, "part-number-marker": marker}
            try:
                page = self.bucket.xml("GET", key, query)
            except RefusedError as error:
                if error.missing:  # completed or aborted since it was listed
                    return {0: Part(0, -1, b"")}
                raise
            for item in page.iterfind("Part"):
                number, checksum = (
                    int(item.findtext("PartNumber") or 0),
                    b64decode(item.findtext("ChecksumSHA256") or ""),
                )
                arrived[number] = Part(
                    number, int(item.findtext("Size") or 0), checksum, item.findtext("ETag") or ""
                )
            marker = page.findtext("NextPartNumberMarker") or "0"
            if page.findtext("IsTruncated") != "true":
                return arrived

    def parts(self, begun: Begun, parts: Sequence[Part]) -> Sequence[Grant]:
        """Leave to send each of these parts."""
        return [
            self._grant(
                begun.name,
                {"content-length": str(part.size), "x-amz-checksum-sha256": encoded(part.sha256)},
                {"partNumber": str(part.number), "uploadId": begun.id},
            )
            for part in parts
        ]

    def complete(self, begun: Begun, file: Measured, parts: Sequence[Part]) -> None:
        """Make the object of its parts."""
        root = ElementTree.Element("CompleteMultipartUpload")
        for part in parts:
            item = ElementTree.SubElement(root, "Part")
            ElementTree.SubElement(item, "PartNumber").text = str(part.number)
            ElementTree.SubElement(item, "ETag").text = part.etag
            ElementTree.SubElement(item, "ChecksumSHA256").text = encoded(part.sha256)
        try:
            self.bucket.xml("POST", begun.name, {"uploadId": begun.id}, ElementTree.tostring(root))
        except RefusedError as error:
            # The answer to an earlier attempt may have been lost, or another process was faster.
            if error.code != "NoSuchUpload" or not self._is_there(begun, file, parts):
                raise

    def _is_there(self, begun: Begun, file: Measured, parts: Sequence[Part]) -> bool:
        try:
            there = self.bucket.head(begun.name)
        except RefusedError:
            return False
        expected = Digest("sha256", b"", begun.part_bytes)
        digest = Digest("sha256", expected.over(part.sha256 for part in parts), begun.part_bytes)
        return (there.size, there.digest) == (file.size, digest)

    def _grant(self, key: str, headers: dict[str, str], query: dict[str, str]) -> Grant:
        signer = self.bucket.signer
        url = signer.presign("PUT", self.bucket.name, key, _EXPIRES_S, headers=headers, query=query)
        return Grant("PUT", url, headers, signer.expire_time(_EXPIRES_S))


@dataclass(frozen=True, slots=True)
class DirectDownloads:
    """Fetches the objects of a bucket."""

    bucket: Bucket

    def grants(self, objects: Sequence[Remote]) -> Sequence[Grant]:
        """Leave to read each of these."""
        signer = self.bucket.signer
        headers = {"x-amz-checksum-mode": "ENABLED"}
        end = signer.expire_time(_EXPIRES_S)
        return [
            Grant(
                "GET",
                signer.presign("GET", self.bucket.name, one.name, _EXPIRES_S, headers=headers),
                headers,
                end,
            )
            for one in objects
        ]

    def described(self, remote: Remote) -> Remote:
        """The object as it is now, with its digest."""
        there = self.bucket.head(remote.name)
        return Remote(remote.name, there.size, there.etag, there.digest)
