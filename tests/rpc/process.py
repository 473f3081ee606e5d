"""The server as a process of its own, to be stopped, killed and started again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

from tests.engines.tying import tied


class ServerProcess:
    """`asgard serve all` on one folder; `address` is its gRPC, the same over restarts.

    `log`, if given, is the file that gets what it says on standard error; `before`, words of
    the command line before its own.
    """

    def __init__(self, folder: Path, log: Path | None = None, before: Sequence[str] = ()) -> None:
        self.folder = folder
        self.log = log
        self.before = before
        self.address = ""
        self.page = ""
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        arguments = ["serve", "all", "--storage", str(self.folder), "--port", "0"]
        with ExitStack() as files:
            self._process = await asyncio.create_subprocess_exec(
                *self.before,
                *(sys.executable, "-m", "gimle.asgard.cli"),
                *arguments,
                "--grpc-port",
                str(self._port),
                stdout=asyncio.subprocess.PIPE,
                stderr=files.enter_context(self.log.open("ab")) if self.log else None,
                env={**os.environ, "ASGARD_DURABILITY": "relaxed"},
            )
        tied(self._process.pid)
        output = self._process.stdout
        assert output is not None
        said = ""
        # The last line of what it says to people; the only one where its log is JSON.
        while "Ctrl-C" not in said and '"serving"' not in said:
            line = (await asyncio.wait_for(output.readline(), 30)).decode()
            assert line, f"the server ended: {said}"
            said += line
        found = re.search(r"(?:gRPC\s+|\"grpc\": \")([^\s\"]+:(\d+))", said)
        page = re.search(r"http://[^\s\"]+", said)
        assert found, said
        assert page, said
        self.address, self._port, self.page = found[1], int(found[2]), page[0]

    @property
    def pid(self) -> int:
        """The process, for a look at it."""
        assert self._process is not None
        return self._process.pid

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; its exit code."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(how)
        return await asyncio.wait_for(self._process.wait(), 30)

    async def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and start it again where it was."""
        await self.end(how)
        await self.start()


@asynccontextmanager
async def a_server(
    folder: Path, log: Path | None = None, before: Sequence[str] = ()
) -> AsyncIterator[ServerProcess]:
    """A server over `folder` that is killed when the block ends."""
    server = ServerProcess(folder, log, before)
    await server.start()
    try:
        yield server
    finally:
        await server.end(signal.SIGKILL)
