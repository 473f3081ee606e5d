"""A window of a large result in S3 is drawn from what it holds: the rest is not read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
from asgard_server.run.render import RenderOptions, render
from gimle.asgard import AsgardStorage
from gimle.asgard.core.documents import ResultDocument
from gimle.asgard.v1 import run_service_pb2_grpc as pb_grpc
from gimle.asgard.v1.render_result_pb2 import RenderResultRequest

from tests.rpc.running import OPTIONS
from tests.sdk.array_places import PLACES, Place

POINTS = 10_000_000
# What a window of 1,000 of ten million points takes: 33 glances, some steps of two searches,
# both arrays' window, each 16 KiB at the least; and what a replica asks of its store meanwhile.
ZOOM_BYTES = 2_000_000


@pytest.fixture(scope="module", params=["minio", "versitygw"])
def place(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Place]:
    with PLACES[request.param](tmp_path_factory.mktemp("place")) as opened:
        yield opened


class Drawing:
    """Draws results of a place, and of a folder that holds the same."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = AsgardStorage(folder)
        self.storage = place.open()
        self.run = self.storage.create_run("r")
        self.folder.create_run("r", id=self.run.id)

    def save(self, result_type: str, data: dict[str, Any]) -> str:
        """Save a result in both; answer its id."""
        result = self.storage.add_result(self.run, result_type, data)
        self.folder.add_result(self.run.id, result_type, data, id=result.id)
        return result.id

    def view(self, result_id: str, **asked: Any) -> tuple[Any, int]:
        """What a replica draws, and how many bytes it read from the store for it."""
        assert self.place.own is not None
        before = self.place.own.down
        address = self.place.where.removeprefix("grpc://")
        with grpc.insecure_channel(address, options=OPTIONS) as channel:
            stub: Any = pb_grpc.RunServiceStub(channel)
            request = RenderResultRequest(result_id=result_id, **asked)
            answer = stub.RenderResult(request, timeout=25)
        body = answer.body.data
        read = self.place.own.down - before
        return body if "format" in asked else orjson.loads(body), read

    def expected(self, result_id: str, **asked: Any) -> Any:
        """What the same request draws of the folder's."""
        result = self.folder.load_result(result_id)
        document = ResultDocument(
            result.id,
            result.run_id,
            result.result_type,
            result.data,
            result.created_at,
            result.display,
        )
        body = render(document, RenderOptions(**asked)).body
        return body if "binary" in asked else orjson.loads(body)


@pytest.fixture
def drawing(place: Place, tmp_path: Path) -> Drawing:
    return Drawing(place, tmp_path / "folder")


def test_a_zoom_into_ten_million_points_reads_two_megabytes_at_most(drawing: Drawing) -> None:
    x = np.linspace(0, 1, POINTS)
    result = drawing.save("Solution1D", {"x": x, "computed": np.sin(300 * x)})
    for low in (0.25, 0.75):
        asked = {"width": 800, "height": 400, "x_min": low, "x_max": low + 1e-4}
        view, read = drawing.view(result, **asked)
        assert view == drawing.expected(result, **asked)
        assert view["n"] == POINTS
        assert read < ZOOM_BYTES, f"{read:,} bytes were read of {2 * x.nbytes:,}"
    whole, read = drawing.view(result, width=800, height=400)
    assert whole == drawing.expected(result, width=800, height=400)
    assert read > 1.9 * x.nbytes, "all of it was looked at, now"
    _, read = drawing.view(result, width=400, height=400)
    assert read < ZOOM_BYTES, "and then it is on this machine's disk"


def test_a_falling_axis_and_one_that_turns_back_are_drawn_as_from_a_folder(
    drawing: Drawing,
) -> None:
    length = 400_000
    falling = np.linspace(1, 0, length)
    sweeps = np.tile(np.linspace(0, 1, length // 8), 8)
    hidden = np.linspace(0, 1, length)
    hidden[100_000:100_050] = hidden[100_000:100_050][::-1].copy()
    gaps = np.linspace(0, 1, length)
    gaps[::1_000] = np.nan
    for x in (falling, sweeps, hidden, gaps):
        y = np.cos(40 * x) + np.arange(length) / length
        result = drawing.save("Solution1D", {"x": x, "computed": y, "expected": y + 1})
        asked = {"width": 500, "height": 400, "x_min": 0.2495, "x_max": 0.2505}
        view, _ = drawing.view(result, **asked)
        assert view == drawing.expected(result, **asked)


def test_rows_and_frames_are_read_as_far_as_a_window_reaches(drawing: Drawing) -> None:
    field = np.random.default_rng(1).normal(size=(4_000, 2_000)).astype(np.float32)
    y, x = np.linspace(0, 1, 4_000), np.linspace(0, 1, 2_000)
    result = drawing.save("Solution2D", {"x": x, "y": y, "computed": field})
    asked = {"width": 300, "height": 200, "y_min": 0.5, "y_max": 0.51}
    view, read = drawing.view(result, **asked)
    assert view == drawing.expected(result, **asked)
    assert read < field.nbytes / 20, f"{read:,} bytes"
    frames = np.random.default_rng(2).normal(size=(400, 100, 100))
    result = drawing.save("PhysicsAnimation", {"frames": frames, "t": np.arange(400.0)})
    page = {"frame_start": 200, "frame_count": 8, "y_min": -3.0, "y_max": 3.0}
    drawn, read = drawing.view(result, format="FORMAT_BINARY", **page)
    assert drawn == drawing.expected(result, binary=True, **page)
    assert read < frames.nbytes / 20, f"{read:,} bytes"


def test_what_grows_in_chunks_is_drawn_chunk_by_chunk(drawing: Drawing) -> None:
    x = np.arange(500_000.0)
    result = drawing.save("Solution1D", {"x": x, "computed": np.sqrt(x)})
    for start in range(500_000, 600_000, 25_000):
        more = np.arange(start, start + 25_000.0)
        for storage in (drawing.storage, drawing.folder):
            storage.append(result, {"x": more, "computed": np.sqrt(more)}, at=start)
    asked = {"width": 400, "height": 300, "x_min": 549_000.0, "x_max": 552_000.0}
    view, read = drawing.view(result, **asked)
    assert view == drawing.expected(result, **asked)
    assert read < ZOOM_BYTES, f"{read:,} bytes"
    whole, _ = drawing.view(result, width=400, height=300)
    assert whole == drawing.expected(result, width=400, height=300)


def test_drawings_that_wait_for_the_store_hold_up_no_others(drawing: Drawing) -> None:
    relay = drawing.place.own
    assert relay is not None
    x = np.linspace(0, 1, 400_000)
    slow = drawing.save("Solution1D", {"x": x, "computed": np.sin(9 * x)})
    large = drawing.save("Solution1D", {"x": x, "computed": np.cos(9 * x)})
    small = drawing.save("Solution1D", {"x": x[:100], "computed": x[:100]})
    relay.holds = lambda data: slow.encode() in data and b"range: bytes=0-" not in data.lower()
    try:
        with ThreadPoolExecutor(6) as readers:
            waiting = [readers.submit(drawing.view, slow, width=300, height=200) for _ in range(6)]
            until = time.monotonic() + 15
            while relay.held < 6:
                assert time.monotonic() < until, f"{relay.held} of 6 drawings have begun to wait"
                time.sleep(0.02)
            for other in (large, small):
                view, _ = drawing.view(other, width=300, height=200)
                assert view == drawing.expected(other, width=300, height=200)
            assert not any(each.done() for each in waiting)
            relay.released.set()
            expected = drawing.expected(slow, width=300, height=200)
            assert all(each.result()[0] == expected for each in waiting)
    finally:
        relay.released.set()
        relay.holds = lambda data: False


def test_any_array_is_previewed_as_from_a_folder(drawing: Drawing) -> None:
    draw = np.random.default_rng(3)
    data = {
        "plain": draw.normal(size=(300, 1_000)),
        "complex": draw.normal(size=200_000) + 1j * draw.normal(size=200_000),
        "whole": draw.integers(0, 9, 400_000),
        "odd": draw.normal(size=(2, 300_000)).astype(np.float32)[:, ::2],
    }
    result = drawing.save("Anything", data)
    view, _ = drawing.view(result)
    assert view == drawing.expected(result)
    paths = draw.normal(size=(50, 20_000)).cumsum(axis=1)
    result = drawing.save("StochasticEnsemble", {"t": np.arange(20_000.0), "paths": paths})
    for window in ({}, {"x_min": 5_000.0, "x_max": 5_100.0}):
        asked = {"width": 600, "height": 400, **window}
        view, _ = drawing.view(result, **asked)
        assert view == drawing.expected(result, **asked)
    loss = np.abs(draw.normal(size=300_000)) + 1
    result = drawing.save("OptimizationResult", {"loss": loss, "parameters": {"a": loss * 2}})
    view, _ = drawing.view(result, width=300, height=200)
    assert view == drawing.expected(result, width=300, height=200)
    steps = {"values": draw.integers(0, 9, 400_000), "n": np.arange(400_000)}
    result = drawing.save("DiscreteSequence", steps)
    asked = {"width": 300, "height": 200, "x_min": 1_000.0, "x_max": 1_500.0}
    view, _ = drawing.view(result, **asked)
    assert view == drawing.expected(result, **asked)
