"""Bytes to and from MinIO, digests computed and verified, against s5cmd on the same store."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gimle.asgard.core.signing import Credentials, Endpoint, Signer
from gimle.asgard.transfer import (
    Bucket,
    DirectDownloads,
    DirectUploads,
    Remote,
    Wanted,
    download,
    tree,
    upload,
)

from tests.benchmarks.figures import Bench, Figure, median, share
from tests.engines import minio
from tests.engines.s3_store import ACCESS_KEY, ROOT, SECRET_KEY, Store

UP, DOWN = 1.0, 0.8
_MIB = 1 << 20


def measure(bench: Bench) -> list[Figure]:
    """One large file, many small ones, a tree of both; ours and theirs in turns, the medians."""
    store = minio.server()
    name = store.bucket()
    bucket = Bucket(
        Signer(Endpoint.parse(store.endpoint), Credentials(ACCESS_KEY, SECRET_KEY)), name
    )
    figures = []
    tree_mib = 512 if bench.quick else 2_048
    loads = {
        "256 MiB": {"one": 256 * _MIB},
        "2,000 small files": {f"{number:04}.json": 2_048 for number in range(2_000)},
        f"a tree of {tree_mib} MiB": _tree(tree_mib * _MIB),
    }
    for what, files in loads.items():
        folder = bench.folder / "transfers"
        _fill(folder / "in", files)
        rounds = bench.few(5, 3) if what != f"a tree of {tree_mib} MiB" else bench.few(3, 1)
        figures += _compared(what, folder, store, bucket, len(files), sum(files.values()), rounds)
        shutil.rmtree(folder)
        bucket.delete([one.key for one in bucket.list("")])
    return figures


def _tree(bytes: int) -> dict[str, int]:
    """A fourth each in one file, in files of 64 MiB, of 4 MiB, and of 256 KiB."""
    fourth = bytes // 4
    sizes = {"large/one": fourth}
    for folder, each in (("shards", 64 * _MIB), ("arrays", 4 * _MIB), ("small", _MIB // 4)):
        sizes |= {f"{folder}/{number:04}": each for number in range(fourth // each)}
    return sizes


def _fill(folder: Path, files: dict[str, int]) -> None:
    block = os.urandom(_MIB)
    for number, (name, size) in enumerate(files.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(number.to_bytes(4, "big")[: size - file.tell()])
            while left := size - file.tell():
                file.write(block[:left])


def _compared(
    what: str, folder: Path, store: Store, bucket: Bucket, files: int, size: int, rounds: int
) -> list[Figure]:
    theirs = _s5cmd(store)
    few_bytes = size < files * _MIB // 64
    amount, unit = (files, "files/s") if few_bytes else (size / _MIB, "MiB/s")

    def fetch() -> None:
        wanted = [
            Wanted(Remote(one.key, one.size, one.etag), folder / "out" / one.key)
            for one in bucket.list("ours/")
        ]
        download(wanted, DirectDownloads(bucket))

    sides = (
        (
            lambda: upload(tree(folder / "in", "ours"), DirectUploads(bucket)),
            lambda: theirs(f"{folder}/in/", f"s3://{bucket.name}/theirs/"),
        ),
        (fetch, lambda: theirs(f"s3://{bucket.name}/theirs/*", f"{folder}/out2/")),
    )
    up: list[tuple[float, float]] = []
    down: list[tuple[float, float]] = []
    for number in range(rounds):
        for pair, seconds in zip(sides, (up, down), strict=True):
            # Who comes first finds another page cache: they take turns in that too.
            if number % 2:
                other, ours = _timed(pair[1]), _timed(pair[0])
            else:
                ours, other = _timed(pair[0]), _timed(pair[1])
            seconds.append((ours, other))
        shutil.rmtree(folder / "out")
        shutil.rmtree(folder / "out2")
    return [
        share(
            f"{direction} of {what}, against s5cmd",
            amount / median([ours for ours, _ in seconds]),
            amount / median([other for _, other in seconds]),
            least,
            unit,
            note,
        )
        for direction, seconds, least, note in (
            ("upload", up, UP, "which computes no SHA-256 of parts"),
            ("download", down, DOWN, "which verifies nothing"),
        )
    ]


def _timed(work: Callable[[], Any]) -> float:
    os.sync()  # what others have left to be written is not for this one to wait for
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _s5cmd(store: Store) -> Callable[[str, str], None]:
    binary = shutil.which("s5cmd")
    if binary is None:
        subprocess.run([ROOT / ".ci" / "setup-s5cmd"], check=True)
        binary = str(ROOT / ".cache" / "engines" / "bin" / "s5cmd")
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }

    def copy(source: str, target: str) -> None:
        command = [binary, "--endpoint-url", store.endpoint, "cp", source, target]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

    return copy
