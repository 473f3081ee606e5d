"""What is left to be done in BlobService when assets go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asgard_server.asset.store import Blobs


def releasing(blobs: Blobs) -> Callable[[Mapping[str, Any]], Awaitable[None]]:
    """Who receives "blobs.release": all blobs of an owner are to go."""

    async def release(body: Mapping[str, Any]) -> None:
        await blobs.release(body["owner"])

    return release
