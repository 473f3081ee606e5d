"""Small objects that are fetched in a row: each is right, or fetched again alone, or not shown."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import md5, sha256
from pathlib import Path

import pytest
from gimle.asgard.transfer import (
    Bucket,
    BusyError,
    Digest,
    DirectDownloads,
    DirectUploads,
    Grant,
    Remote,
    TransferStoppedError,
    Wanted,
    WrongBytesError,
    download,
    tree,
    upload,
)
from gimle.asgard.transfer.partial import locked, partial_path

from tests.engines import minio, versitygw
from tests.engines.s3_store import Store
from tests.sdk.blob_places import PLACES, in_s3
from tests.sdk.moving import bucket_at, wanted
from tests.sdk.relay import Relay, a_relay
from tests.sdk.test_small_files import COUNT, digests, files

__all__ = ["files"]  # a fixture

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}


class Asked:
    """The requests that a relay has seen, and how many of them came together at most."""

    def __init__(self, relay: Relay) -> None:
        self.paths: list[bytes] = []
        self.together = 0
        self._lock = threading.Lock()
        relay.holds = self._see

    def _see(self, data: bytes) -> bool:
        found = re.findall(rb"GET (/\S+?)\?", data)
        with self._lock:
            self.paths += found
            self.together = max(self.together, len(found))
        return False


@pytest.mark.parametrize("lost", [0, 5])
@pytest.mark.parametrize("name", STORES)
def test_small_objects_come_from_a_store(name: str, lost: int, files: Path, tmp_path: Path) -> None:
    store = STORES[name]()
    with a_relay(store.port) as relay:
        bucket = bucket_at(relay.port, store.bucket())
        upload(tree(files, ""), DirectUploads(bucket))
        listed, asked = wanted(bucket, tmp_path / "out"), Asked(relay)
        relay.lost = lost
        done = download(listed, DirectDownloads(bucket))
        assert relay.lost == 0
    if name == "minio" and not lost:  # versitygw closes the connection after each of them
        assert len(asked.paths) == COUNT + 1
        assert asked.together > 1
    assert (done.files_done, done.bytes_moved) == (COUNT + 1, done.bytes)
    assert digests(tmp_path / "out") == digests(files)
    assert not list((tmp_path / "out").rglob("*.asgard-part"))


@pytest.mark.parametrize("lost", [0, 5])
def test_small_blobs_come_in_rows_each_once_unless_an_answer_is_lost(
    lost: int, files: Path, tmp_path: Path
) -> None:
    with in_s3(tmp_path) as place:
        assert place.relay is not None
        place.blobs().upload(files, "x")
        asked = Asked(place.relay)
        place.relay.lost = lost
        place.blobs().download("x", tmp_path / "out")
        assert place.relay.lost == 0
    assert digests(tmp_path / "out/x") == digests(files)
    assert asked.together > 1
    assert len(set(asked.paths)) == COUNT + 1
    if not lost:
        assert len(asked.paths) == COUNT + 1


@pytest.mark.parametrize("name", PLACES)
def test_a_damaged_blob_among_small_ones_is_not_shown(
    name: str, files: Path, tmp_path: Path
) -> None:
    with PLACES[name](tmp_path) as place:
        done = place.blobs().upload(files / "deep", "x")
        place.damage(done.blobs[150])
        with pytest.raises(WrongBytesError, match=r"x/150\.json: its digest is"):
            place.blobs().download("x", tmp_path / "out")
    shown = digests(tmp_path / "out/x")
    assert shown.items() <= digests(files / "deep").items()
    assert "150.json" not in shown
    assert not list((tmp_path / "out").rglob("*.asgard-part"))


@pytest.mark.parametrize("name", PLACES)
def test_a_stopped_download_of_small_blobs_goes_on_later(
    name: str, files: Path, tmp_path: Path
) -> None:
    stop = threading.Event()
    with PLACES[name](tmp_path) as place:
        up = place.blobs().upload(files / "deep", "x")
        with pytest.raises(TransferStoppedError):
            place.blobs().download(
                "x", tmp_path / "out", progress=lambda now: stop.set(), stop=stop
            )
        shown = list((tmp_path / "out/x").iterdir())
        assert 0 < len(shown) < COUNT
        *right, damaged = sorted(shown)  # by size, too
        damaged.write_bytes(os.urandom(damaged.stat().st_size))
        there = sum(path.stat().st_size for path in right)
        assert place.blobs().download("x", tmp_path / "out").bytes_moved == up.bytes - there
    assert digests(tmp_path / "out/x") == digests(files / "deep")


BODIES = {f"/{letter}": letter.encode() * 100 for letter in "abcdefgh"}


@contextmanager
def mixing() -> Iterator[tuple[str, list[str]]]:
    """Who answers what comes alone rightly, and a row from its end, and what was asked for."""
    asked: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def answer(client: socket.socket) -> None:
        said = b""
        while data := client.recv(1 << 16):
            said += data
            if said.endswith(b"\r\n\r\n"):
                paths = re.findall(r"GET (\S+) ", said.decode())
                asked.extend(paths)
                for path in reversed(paths):
                    etag = md5(BODIES[path], usedforsecurity=False).hexdigest()
                    head = f'HTTP/1.1 200 OK\r\ncontent-length: 100\r\netag: "{etag}"\r\n\r\n'
                    client.sendall(head.encode() + BODIES[path])
                said = b""

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            connections.append(client)
            threads.append(threading.Thread(target=answer, args=(client,)))
            threads[-1].start()

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        serving.join()
        listener.close()
        for thread, client in zip(threads, connections, strict=True):
            thread.join()
            client.close()


@dataclass(frozen=True)
class At:
    """Where objects lie that need no leave."""

    url: str

    def grants(self, objects: Sequence[Remote]) -> Sequence[Grant]:
        return [Grant("GET", self.url + one.name) for one in objects]

    def described(self, remote: Remote) -> Remote:
        return remote


@pytest.mark.parametrize("known", ["digest", "etag", "nothing"])
def test_answers_that_were_mixed_up_are_asked_for_again_alone(known: str, tmp_path: Path) -> None:
    def remote(name: str, body: bytes) -> Remote:
        etag = md5(body, usedforsecurity=False).hexdigest()
        digest = Digest("sha256", sha256(body).digest())
        return Remote(
            name, 100, f'"{etag}"' if known == "etag" else "", digest if known == "digest" else None
        )

    objects = [
        Wanted(remote(name, body), tmp_path / name.strip("/")) for name, body in BODIES.items()
    ]
    with mixing() as (url, asked):
        download(objects, At(url))
    if known == "nothing":  # that would tell whose answer has come: they go in no row
        assert sorted(asked) == sorted(BODIES)
    else:
        assert len(asked) == 2 * len(BODIES)
    assert {f"/{path.name}": path.read_bytes() for path in tmp_path.iterdir()} == BODIES


@pytest.fixture
def relay() -> Iterator[Relay]:
    with a_relay(minio.server().port) as relay:
        yield relay


@pytest.fixture
def some(relay: Relay) -> Bucket:
    """A bucket with a few small objects, behind the relay."""
    bucket = bucket_at(relay.port, minio.server().bucket())
    for name, body in BODIES.items():
        bucket.write(name.strip("/"), body)
    return bucket


@dataclass(frozen=True)
class Hesitating(DirectDownloads):
    """Its first grants have expired by the time they are used."""

    asked: list[int] = field(default_factory=list)

    def grants(self, objects: Sequence[Remote]) -> Sequence[Grant]:
        self.asked.append(len(objects))
        grants = super().grants(objects)
        if len(self.asked) > 1:
            return grants
        return [replace(grant, expire_time=1.0, url="http://[::]") for grant in grants]


def test_expired_grants_are_asked_for_anew_before_a_row(
    some: Bucket, relay: Relay, tmp_path: Path
) -> None:
    place = Hesitating(some)
    listed, asked = wanted(some, tmp_path), Asked(relay)
    download(listed, place)
    assert place.asked == [8, *[1] * 8]
    assert asked.together > 1
    assert (tmp_path / "h").read_bytes() == BODIES["/h"]


def test_what_another_process_is_writing_is_left_to_it(some: Bucket, tmp_path: Path) -> None:
    file = locked(partial_path(tmp_path / "c"))
    try:
        with pytest.raises(BusyError):
            download(wanted(some, tmp_path), DirectDownloads(some))
        assert partial_path(tmp_path / "c").exists()
    finally:
        os.close(file)
    download(wanted(some, tmp_path), DirectDownloads(some))
    assert sorted(path.name for path in tmp_path.iterdir()) == [name.strip("/") for name in BODIES]


def test_an_object_that_changed_after_it_was_listed_is_said(some: Bucket, tmp_path: Path) -> None:
    listed = wanted(some, tmp_path)
    some.write("e", b"E" * 100)
    with pytest.raises(WrongBytesError, match="e: it changed after it was listed"):
        download(listed, DirectDownloads(some))
    assert not (tmp_path / "e").exists()


def test_a_target_is_never_seen_half_written(some: Bucket, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"of old" * 1_000)
    before = (tmp_path / "a").stat().st_ino
    with (tmp_path / "a").open("rb") as reader:
        download(wanted(some, tmp_path), DirectDownloads(some))
        assert reader.read() == b"of old" * 1_000
    assert (tmp_path / "a").stat().st_ino != before
    assert (tmp_path / "a").read_bytes() == BODIES["/a"]
