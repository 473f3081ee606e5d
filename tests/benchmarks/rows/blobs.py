"""Bytes until BlobService has them, digests computed and verified, against s5cmd on its store."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

from gimle.asgard.client.blobs import Blobs

from tests.benchmarks import moving
from tests.benchmarks.clusters import blob_cluster
from tests.benchmarks.figures import Bench, Figure
from tests.cluster.blob_processes import BlobCluster


def measure(bench: Bench) -> list[Figure]:
    """One large file, many small ones, a tree of both; ours and theirs in turns, the medians."""
    figures = []
    with blob_cluster(bench.folder / "blobs") as cluster:
        for files in (
            moving.one_file(),
            moving.small_files(),
            moving.a_tree(moving.tree_mib(bench)),
        ):
            folder = bench.folder / "transfers"
            files.write(folder / "in")
            figures += _compared(bench, files, folder, cluster)
            shutil.rmtree(folder)
    return figures


def _compared(
    bench: Bench, files: moving.Files, folder: Path, cluster: BlobCluster
) -> list[Figure]:
    theirs = moving.s5cmd(cluster.store)
    bucket = f"s3://{cluster.bucket}/theirs"
    numbers = count()
    with Blobs(cluster.replicas[0].where) as blobs:
        name = ""

        def send() -> None:
            # A name has its bytes for good: each round has another one.
            nonlocal name
            name = f"ours-{next(numbers)}"
            blobs.upload(folder / "in", name)

        def clear() -> None:
            shutil.rmtree(folder / "out")
            shutil.rmtree(folder / "out2")
            blobs.delete_all(f"{name}/")

        sides = (
            (send, lambda: theirs(f"{folder}/in/", f"{bucket}/")),
            (
                lambda: blobs.download(name, folder / "out"),
                lambda: theirs(f"{bucket}/*", f"{folder}/out2/"),
            ),
        )
        up, up2, down, down2 = moving.in_turns(files.rounds(bench), sides, clear)
    for what, seconds in (("up", up), ("s5cmd", up2), ("down", down), ("s5cmd", down2)):
        bench.say(f"  {files.what}, {what}: {[round(each, 2) for each in seconds]} s")
    return [
        moving.against_s5cmd("upload", files, up, up2, moving.UP, moving.CHECKED_UP),
        moving.against_s5cmd("download", files, down, down2, moving.DOWN, moving.CHECKED_DOWN),
    ]
