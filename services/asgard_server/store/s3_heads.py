"""HEAD of many objects, lists of some, by lines that are kept: a tenth of boto3's work.

Whoever completes thousands of uploads asks that often. Only a plain 200 is answered from here,
and that there is no such object; whatever else a store says, or does not say, the patient client
of `S3Bytes` is asked for.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from typing import Any
from xml.etree import ElementTree

from gimle.asgard.core.s3.place import Place
from gimle.asgard.core.signing import Endpoint
from obstore.exceptions import GenericError

from asgard_server.store.s3_keys import credentials_of
from asgard_server.store.s3_lines import Answer, Lines

_PATIENCE_S = 5.0
_CHECKSUMS = {"x-amz-checksum-mode": "ENABLED"}
_AMAZON = re.compile(r"https://s3[.-].*\.amazonaws\.com(\.cn)?")


class Heads:
    """Asks one store, of one bucket. To be used from one event loop at a time."""

    def __init__(self, place: Place, lines: Lines) -> None:
        self.lines = lines
        self._place = place

    async def head(self, path: str) -> dict[str, str] | None:
        """The headers of an object, none where there is no such object; None says nothing."""
        asked = ("HEAD", self._place.key(path))
        answer = await self._answered(*asked, headers=_CHECKSUMS, said=(200, 404))
        if answer is None:
            return None
        return answer.headers() if answer.status == 200 else {}

    async def sizes(self, prefix: str) -> dict[str, int] | None:
        """The sizes of objects whose keys begin so, by whole keys; None says nothing.

        Of more than a thousand those are told that come first.
        """
        query = {"list-type": "2", "prefix": prefix}
        answer = await self._answered("GET", "", query=query)
        if answer is None:
            return None
        return sizes_of(answer.body)

    async def _answered(
        self, method: str, key: str, *, said: Collection[int] = (200,), **asked: Any
    ) -> Answer | None:
        """An answer of these statuses; None for everything else."""
        try:
            answer = await self.lines.ask(method, key, _PATIENCE_S, **asked)
        except GenericError:
            self.lines.rest()
            return None
        return answer if answer is not None and answer.status in said else None

    async def close(self) -> None:
        """Close all connections."""
        self.lines.close()
        await asyncio.sleep(0)  # they are closed by the loop's next turn


def sizes_of(listing: bytes) -> dict[str, int] | None:
    """The sizes of objects that the answer to ListObjectsV2 tells of, by keys; None for another.

    Names are given whole: those of any namespace, `{*}Key`, are looked for at four times the cost.
    """
    try:
        told = ElementTree.fromstring(listing)  # noqa: S314 - of the store that is ours
        space, brace, name = told.tag.rpartition("}")
        if name != "ListBucketResult":
            return None
        key, size = f"{space}{brace}Key", f"{space}{brace}Size"
        return {
            item.findtext(key) or "": int(item.findtext(size) or -1)
            for item in told.iterfind(f"{space}{brace}Contents")
        }
    except (ElementTree.ParseError, ValueError):
        return None


def heads_of(place: Place, client: Any) -> Heads | None:
    """Heads of the store that a client of boto3 asks; None where nobody says who signs."""
    found = credentials_of(place)
    if found is None:
        return None
    address = client.meta.endpoint_url
    style: Any = "virtual" if _AMAZON.match(address) else "path"
    endpoint = Endpoint.parse(address, style=style)
    return Heads(place, Lines(place.bucket, endpoint, client.meta.region_name, found))
