"""How long a service may take is for the author to say, and what takes longer is said so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from gimle.asgard import AsgardStorage
from gimle.asgard.core.errors import InvalidFieldError, StorageUnavailableError
from gimle.asgard.v1 import run_service_pb2 as pb
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc

STORED = pb.Result(
    result_id="x",
    run_id="r",
    result_type="T",
    data=b'{"x":{"$array":"files/x_x.npy","dtype":"float64","shape":[400000]}}',
)
HEAD = pb.ReadResultResponse(
    result=pb.Result(
        result_id="x",
        run_id="r",
        result_type="T",
        data=b'{"x":{"$array":"x","dtype":"float64","shape":[400000]}}',
    )
)


class Slow(pb_grpc.RunServiceServicer):
    """A service that takes its time; `asked` counts the calls."""

    def __init__(self) -> None:
        self.asked = 0
        self.released = threading.Event()

    def GetRun(self, request: Any, context: Any) -> Any:
        self.asked += 1
        self.released.wait(20)

    def GetResult(self, request: Any, context: Any) -> Any:
        return pb.GetResultResponse(result=STORED)

    def ReadResult(self, request: Any, context: Any) -> Iterator[Any]:
        self.asked += 1
        yield HEAD
        self.released.wait(20)

    def WriteResult(self, request_iterator: Any, context: Any) -> Any:
        self.asked += 1
        next(request_iterator)
        self.released.wait(20)


@contextmanager
def a_slow_service() -> Iterator[tuple[Slow, str]]:
    slow: Any = Slow()  # type: ignore[abstract]  # what it has not, nobody here asks for
    server = grpc.server(ThreadPoolExecutor(4))
    pb_grpc.add_RunServiceServicer_to_server(slow, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield slow, f"grpc://127.0.0.1:{port}"
    finally:
        slow.released.set()
        server.stop(None).wait(10)


def test_a_call_ends_when_its_time_is_over_and_is_repeated_while_patience_lasts() -> None:
    with a_slow_service() as (slow, where):
        began = time.monotonic()
        storage = AsgardStorage(where, timeout=0.3, patience=0)
        with pytest.raises(StorageUnavailableError, match="did not answer in time"):
            storage.load_run("r")
        assert time.monotonic() - began < 12
        assert slow.asked == 1
        with pytest.raises(StorageUnavailableError):
            AsgardStorage(where, timeout=0.3, patience=1).load_run("r")
        assert slow.asked > 2


def test_arrays_that_stop_on_their_way_end_when_the_time_for_their_size_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gimle.asgard.client.home.SLOWEST_BYTES_A_SECOND", 1 << 24)
    monkeypatch.setattr("gimle.asgard.client.connection.SLOWEST_BYTES_A_SECOND", 1 << 24)
    with a_slow_service() as (slow, where):
        storage = AsgardStorage(where, timeout=0.3, patience=0)
        asks: list[Callable[[], object]] = [
            lambda: storage.load_result("x"),
            lambda: storage.add_result("r", "T", {"x": np.zeros(400_000)}),
        ]
        for ask in asks:
            began = time.monotonic()
            with pytest.raises(StorageUnavailableError, match="did not answer in time"):
                ask()
            assert 0.3 < time.monotonic() - began < 12
        assert slow.asked == 2


@pytest.mark.parametrize(
    ("options", "field"),
    [({"timeout": 0}, "timeout"), ({"timeout": -1}, "timeout"), ({"patience": 1e9}, "patience")],
)
def test_times_that_are_none_are_refused(options: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidFieldError, match=f"^{field}: "):
        AsgardStorage("grpc://localhost:1", **options)  # type: ignore[arg-type]  # of one type each


def test_elsewhere_they_mean_nothing(tmp_path: Path) -> None:
    storage = AsgardStorage(tmp_path, timeout=1, patience=1, progress=lambda transfer: None)
    assert storage.create_run("r").name == "r"
