"""What no store takes is refused before a byte is sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gimle.asgard.transfer import Grant, TooLargeError, TransferStoppedError
from gimle.asgard.transfer.lanes import Work
from gimle.asgard.transfer.line import FilePart
from gimle.asgard.transfer.requesting import ONE_REQUEST_BYTES, send
from gimle.asgard.transfer.wire import Wire

from tests.conftest import free_port


def test_more_than_5_gb_in_one_request_is_refused_beforehand(tmp_path: Path) -> None:
    path = tmp_path / "vast"
    path.touch()
    os.truncate(path, ONE_REQUEST_BYTES + 1)  # a file of holes: no disk is needed
    nowhere = Grant("PUT", f"http://127.0.0.1:{free_port()}/bucket/key")
    with path.open("rb", buffering=0) as file:
        vast, most = (FilePart(file.fileno(), 0, ONE_REQUEST_BYTES + more) for more in (1, 0))
        with Wire() as wire:
            with pytest.raises(TooLargeError, match=r"at most 5,000,000,000; upload it in parts"):
                send(wire, Work((), None), "vast", nowhere, vast, lambda: nowhere)
            # A byte less is begun, and here stopped before its first.
            stopped = Work((), None)
            stopped.stop.set()
            with pytest.raises(TransferStoppedError):
                send(wire, stopped, "most", nowhere, most, lambda: nowhere)
