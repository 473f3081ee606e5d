"""The same for programs on an event loop: `Blobs`, with its work in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from gimle.asgard.client.blobs import AnyPath, Blobs
from gimle.asgard.client.blobs_rows import Blob, Deleted, Downloaded, Uploaded
from gimle.asgard.client.connection import CALL_SECONDS, PATIENCE_SECONDS
from gimle.asgard.transfer import TransferError
from gimle.asgard.transfer.progress import Listener

Done = TypeVar("Done")


class AsyncBlobs:
    """As `Blobs`, which says what each method does and raises.

    A transfer that is cancelled ends within a chunk, and goes on when it is called again.
    Progress is told in threads.
    """

    def __init__(
        self, where: str, *, patience: float = PATIENCE_SECONDS, timeout: float = CALL_SECONDS
    ) -> None:
        self._blobs = Blobs(where, patience=patience, timeout=timeout)

    async def __aenter__(self) -> AsyncBlobs:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._blobs.close)

    async def upload(
        self,
        paths: AnyPath | Iterable[AnyPath],
        name: str | None = None,
        *,
        progress: Listener | None = None,
    ) -> Uploaded:
        """Send files and folders."""
        return await _moving(self._blobs.upload, paths, name, progress=progress)

    async def download(
        self, name: str, to: AnyPath = ".", *, progress: Listener | None = None
    ) -> Downloaded:
        """Fetch a blob, or all whose names lie below `name`."""
        return await _moving(self._blobs.download, name, to, progress=progress)

    async def stat(self, name: str) -> Blob:
        """What is known of a blob."""
        return await asyncio.to_thread(self._blobs.stat, name)

    async def list(self, prefix: str = "") -> AsyncIterator[Blob]:
        """Blobs whose names begin with `prefix`, by name."""
        blobs = self._blobs.list(prefix)
        while (blob := await asyncio.to_thread(next, blobs, None)) is not None:
            yield blob

    async def copy(self, name: str, to: str) -> Blob:
        """Copy a blob to another name, within the store."""
        return await asyncio.to_thread(self._blobs.copy, name, to)

    async def delete(self, name: str) -> None:
        """Delete a blob, or give up its upload."""
        await asyncio.to_thread(self._blobs.delete, name)

    async def delete_all(self, prefix: str) -> Deleted:
        """Delete all blobs whose names begin with `prefix`."""
        return await asyncio.to_thread(self._blobs.delete_all, prefix)


async def _moving(move: Callable[..., Done], *arguments: Any, **more: Any) -> Done:
    stop = threading.Event()
    work: Awaitable[Done] = asyncio.ensure_future(
        asyncio.to_thread(move, *arguments, **more, stop=stop)
    )
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        # The thread is waited for: afterwards nobody writes to these files any more.
        with suppress(TransferError):
            await work
        raise
