"""Moving files straight to and from real stores: whole, checked, and on from where it ended."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from gimle.asgard.core.signing import Credentials, Endpoint, Signer
from gimle.asgard.transfer import (
    Bucket,
    BusyError,
    Digest,
    DirectDownloads,
    DirectUploads,
    Grant,
    Measured,
    Outgoing,
    Progress,
    RefusedError,
    Remote,
    TransferStoppedError,
    Wanted,
    WrongBytesError,
    download,
    line,
    part_bytes,
    parts_at_once,
    tree,
    upload,
)
from gimle.asgard.transfer.errors import WireError
from gimle.asgard.transfer.partial import Partial, Plan, partial_path

from tests.engines import minio, versitygw
from tests.engines.s3_store import ACCESS_KEY, ROOT, SECRET_KEY, Store
from tests.rpc.authorities import Authority, files_of
from tests.sdk.moving import bucket_at, wanted
from tests.sdk.relay import Relay, a_relay

STORES: dict[str, Callable[[], Store]] = {"minio": minio.server, "versitygw": versitygw.server}
MIB = 1 << 20
PART = 16 * MIB
UNDERWAY = 2 * PART
LARGE = 8 * PART + 12_345


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param]()


@pytest.fixture
def bucket(store: Store) -> Bucket:
    return bucket_at(store.port, store.bucket())


@pytest.fixture
def at_minio() -> Bucket:
    store = minio.server()
    return bucket_at(store.port, store.bucket())


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file of several parts, each other bytes."""
    folder = tmp_path_factory.mktemp("large")
    with (folder / "large.bin").open("wb") as file:
        for _ in range(LARGE // MIB):
            file.write(os.urandom(MIB))
        file.write(os.urandom(LARGE % MIB))
    return folder


@pytest.fixture
def relay(bucket: Bucket) -> Iterator[Relay]:
    port = int(bucket.signer.endpoint.netloc.rpartition(":")[2])
    with a_relay(port) as relay:
        yield relay


def same(a: Path, b: Path) -> bool:
    return subprocess.run(["cmp", "-s", a, b], check=False).returncode == 0


def test_a_tree_of_all_sizes_comes_back_as_it_went(
    bucket: Bucket, large: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    sizes = {
        "empty": 0,
        "a b+ä&%20.txt": 1_000,
        "deep/er/one": MIB,
        "two": MIB + 1,
        "mid": 20 * MIB,
    }
    for name, size in sizes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(size))
    (folder / "large.bin").symlink_to(large / "large.bin")
    total = sum(sizes.values()) + LARGE
    told: list[Progress] = []
    done = upload(tree(folder, "some/prefix"), DirectUploads(bucket), progress=told.append)
    assert done == told[-1] == Progress(6, total, 6, total, total)
    kinds = {one.key: bucket.head(one.key).digest for one in bucket.list("some/prefix/")}
    assert {key.removeprefix("some/prefix/") for key in kinds} == {*sizes, "large.bin"}
    for key, digest in kinds.items():
        assert digest is not None
        assert digest.algorithm == "sha256"
        assert digest.part_bytes == (PART if key.endswith("large.bin") else None)
    done = download(wanted(bucket, tmp_path / "out"), DirectDownloads(bucket))
    assert done == Progress(6, total, 6, total, total)
    for name in [*sizes, "large.bin"]:
        assert same(folder / name, tmp_path / "out" / "some/prefix" / name)
    assert not list(tmp_path.rglob("*.asgard-part"))


def moved_after_kill(way: str, relay: Relay, bucket: Bucket, folder: Path) -> int:
    """Kill a transfer when 70 % have gone; run it again; answer what the second one moved."""
    command = [sys.executable, "-m", "tests.sdk.moving", way, str(relay.port), bucket.name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    relay.mark = relay.up + relay.down + LARGE * 7 // 10
    first = subprocess.Popen([*command, str(folder)], env=environment, cwd=ROOT)
    assert relay.reached.wait(60)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    said = subprocess.run(
        [*command, str(folder)], env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    moved, grown = map(int, said.stdout.split())
    assert grown < 80, "memory is bounded by lanes, not by files"
    return moved


def test_a_killed_upload_sends_32_mib_of_a_file_again_at_most(
    bucket: Bucket, relay: Relay, large: Path
) -> None:
    moved = moved_after_kill("up", relay, bucket, large)
    assert moved <= LARGE - LARGE * 7 // 10 + UNDERWAY
    assert relay.up <= LARGE + UNDERWAY + MIB, "what went over the wire in both runs"
    assert bucket.head("large.bin").size == LARGE
    assert not list(
        bucket.xml("GET", "", {"uploads": "", "prefix": "large.bin"}).iterfind("Upload")
    )


def test_a_killed_download_fetches_32_mib_of_a_file_again_at_most(
    bucket: Bucket, relay: Relay, large: Path, tmp_path: Path
) -> None:
    upload(tree(large, ""), DirectUploads(bucket))
    target = tmp_path / "large.bin"
    moved_after_kill("down", relay, bucket, tmp_path)
    assert relay.down <= LARGE + UNDERWAY + MIB, "what went over the wire in both runs"
    assert same(target, large / "large.bin")
    assert not partial_path(target).exists()


def test_connections_that_break_are_made_anew(
    bucket: Bucket, relay: Relay, large: Path, tmp_path: Path
) -> None:
    through = bucket_at(relay.port, bucket.name)
    relay.cuts = [3 * MIB, 40 * MIB, 80 * MIB]
    upload(tree(large, ""), DirectUploads(through))
    assert not relay.cuts
    relay.cuts = [relay.up + relay.down + count * MIB for count in (1, 30, 60, 61)]
    download(wanted(bucket, tmp_path), DirectDownloads(through))
    assert not relay.cuts
    assert same(tmp_path / "large.bin", large / "large.bin")


def test_over_tls_and_only_to_whom_an_authority_knows(
    at_minio: Bucket, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority("tests")
    files = files_of(tmp_path / "tls", authority.pair("store"), authority)
    assert files.certificate is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    host, _, port = at_minio.signer.endpoint.netloc.rpartition(":")
    with a_relay(int(port), context) as relay:
        # Signed for the relay's own port, which the store never sees but in the Host.
        signer = Signer(
            Endpoint.parse(f"https://{host}:{relay.port}"), Credentials(ACCESS_KEY, SECRET_KEY)
        )
        secure = Bucket(signer, at_minio.name, attempts=1)
        line.trusted.cache_clear()
        with pytest.raises(WireError, match="CERTIFICATE_VERIFY_FAILED"):
            secure.write("small", b"body")
        monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
        line.trusted.cache_clear()
        upload(tree(large, ""), DirectUploads(secure))
        download(wanted(secure, tmp_path / "out"), DirectDownloads(secure))
    line.trusted.cache_clear()
    assert same(tmp_path / "out" / "large.bin", large / "large.bin")


def test_a_stopped_transfer_goes_on_later(at_minio: Bucket, large: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    def stop_soon(now: Progress) -> None:
        if now.bytes_done > LARGE // 3:
            stop.set()

    with pytest.raises(TransferStoppedError):
        upload(tree(large, ""), DirectUploads(at_minio), progress=stop_soon, stop=stop)
    assert list(at_minio.list("")) == []
    done = upload(tree(large, ""), DirectUploads(at_minio))
    assert done.bytes_moved < LARGE * 3 // 4
    stop.clear()
    with pytest.raises(TransferStoppedError):
        download(
            wanted(at_minio, tmp_path), DirectDownloads(at_minio), progress=stop_soon, stop=stop
        )
    assert not (tmp_path / "large.bin").exists()
    done = download(wanted(at_minio, tmp_path), DirectDownloads(at_minio))
    assert done.bytes_moved < LARGE * 3 // 4
    assert same(tmp_path / "large.bin", large / "large.bin")


def test_what_others_sent_is_checked_by_its_etag(
    bucket: Bucket, store: Store, large: Path, tmp_path: Path
) -> None:
    store.client().upload_file(str(large / "large.bin"), bucket.name, "large.bin")
    store.client().put_object(Bucket=bucket.name, Key="small", Body=b"of another client")
    digest = bucket.head("large.bin").digest
    assert digest is not None
    assert digest.part_bytes == 8 * MIB
    download(wanted(bucket, tmp_path), DirectDownloads(bucket))
    assert same(tmp_path / "large.bin", large / "large.bin")
    wrong = Remote("small", 17, digest=Digest("md5", bytes(16)))
    with pytest.raises(WrongBytesError, match="small: its digest is"):
        download([Wanted(wrong, tmp_path / "wrong")], DirectDownloads(bucket))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.bin", "small"]


def test_wrong_bytes_in_a_partial_file_are_found(
    at_minio: Bucket, large: Path, tmp_path: Path
) -> None:
    upload(tree(large, ""), DirectUploads(at_minio))
    there, target = at_minio.head("large.bin"), tmp_path / "large.bin"
    partial = Partial(target, Plan(LARGE, there.etag, PART))
    partial.note(0, PART, bytes(31) + b"x")  # as if it had all arrived
    partial.close()
    with pytest.raises(WrongBytesError, match="its digest is"):
        download(wanted(at_minio, tmp_path), DirectDownloads(at_minio))
    assert list(tmp_path.iterdir()) == []
    download(wanted(at_minio, tmp_path), DirectDownloads(at_minio))
    assert same(target, large / "large.bin")


def test_one_process_at_a_target(at_minio: Bucket, tmp_path: Path) -> None:
    at_minio.write("k", b"body")
    partial = Partial(tmp_path / "k", Plan(4, '"e"', PART))
    with pytest.raises(BusyError):
        download(wanted(at_minio, tmp_path), DirectDownloads(at_minio))
    partial.close()
    download(wanted(at_minio, tmp_path), DirectDownloads(at_minio))
    assert (tmp_path / "k").read_bytes() == b"body"


def test_an_object_that_changed_is_not_mixed(at_minio: Bucket, large: Path, tmp_path: Path) -> None:
    at_minio.write("small", b"old")
    listed = [*wanted(at_minio, tmp_path)]
    at_minio.write("small", b"new")
    with pytest.raises(WrongBytesError, match="it changed"):
        download(listed, DirectDownloads(at_minio))
    stale = Remote("small", 3, listed[0].remote.etag)
    with pytest.raises(WrongBytesError, match="it changed"):
        download([Wanted(replace(stale, size=LARGE), tmp_path / "x")], DirectDownloads(at_minio))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_object_leaves_nothing(bucket: Bucket, tmp_path: Path) -> None:
    for size in (3, LARGE):
        with pytest.raises(RefusedError) as caught:
            download([Wanted(Remote("gone", size), tmp_path / "gone")], DirectDownloads(bucket))
        assert caught.value.missing
    assert list(tmp_path.iterdir()) == []


class Meddling(DirectUploads):
    """Changes each file after it was read and before it is sent."""

    def whole(self, files: Sequence[Measured]) -> Sequence[Grant | None]:
        for one in files:
            one.file.path.write_bytes(os.urandom(one.size))
        return super().whole(files)


def test_a_file_that_changes_meanwhile_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(os.urandom(2 * MIB))
    with pytest.raises(WrongBytesError, match="changed while it was sent"):
        upload([Outgoing(file, "f")], Meddling(bucket))
    assert list(bucket.list("")) == []


@dataclass(frozen=True)
class Hesitating(DirectUploads):
    """Its first grants have expired by the time they are used."""

    asked: list[int] = field(default_factory=list)

    def whole(self, files: Sequence[Measured]) -> Sequence[Grant | None]:
        self.asked.append(len(files))
        grants = super().whole(files)
        if len(self.asked) > 1:
            return grants
        return [grant and replace(grant, expire_time=1.0, url="http://[::]") for grant in grants]


def test_an_expired_grant_is_asked_for_anew(at_minio: Bucket, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    place = Hesitating(at_minio)
    upload(tree(tmp_path, ""), place)
    assert place.asked == [2, 1, 1]
    assert at_minio.read("b") == b"b"


def test_parts_are_a_function_of_the_size() -> None:
    assert part_bytes(64 * MIB + 1) == part_bytes(1 << 30) == PART
    assert part_bytes((1 << 30) + 1) == part_bytes(100 << 30) == 2 * PART
    for size in (200 << 30, 5 << 40):
        assert -(-size // part_bytes(size)) <= 10_000
        assert part_bytes(size) % MIB == 0


@pytest.mark.parametrize("size", [64 * MIB + 1, 1 << 30, (1 << 30) + 1, 300 << 30])
def test_of_one_file_no_more_than_32_mib_is_sent_at_once(size: int) -> None:
    assert parts_at_once(part_bytes(size)) * part_bytes(size) == UNDERWAY


def test_a_part_of_more_than_32_mib_is_sent_alone() -> None:
    assert parts_at_once(part_bytes(5 << 40)) == 1
