"""What no store takes is refused before a byte is sent; what one refuses in passing goes again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gimle.asgard.transfer import Grant, RefusedError, TooLargeError, TransferStoppedError
from gimle.asgard.transfer.lanes import Work
from gimle.asgard.transfer.line import FilePart
from gimle.asgard.transfer.requesting import ONE_REQUEST_BYTES, send
from gimle.asgard.transfer.wire import Wire

from tests.conftest import free_port
from tests.contract.test_vanished_folders import DENIED
from tests.sdk.put_server import a_put_server


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


@pytest.mark.parametrize("denials", [2, 3])
def test_a_put_into_a_folder_that_vanished_goes_again_at_most_twice(denials: int) -> None:
    with a_put_server() as server, Wire() as wire:
        server.said = DENIED
        server.answers["one"] = [*[403] * denials, 200]
        grant = Grant("PUT", server.urls("one")["one"])
        if denials == 2:
            send(wire, Work((), None), "one", grant, b"body", lambda: grant)
            assert server.bodies == {"one": b"body"}
        else:
            with pytest.raises(RefusedError, match="AccessDenied"):
                send(wire, Work((), None), "one", grant, b"body", lambda: grant)
        assert server.attempts("one") == 3
