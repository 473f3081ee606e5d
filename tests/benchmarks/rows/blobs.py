"""Bytes until BlobService has them, digests computed and verified, against s5cmd on its store."""

from __future__ import annotations

import shutil
from pathlib import Path

from gimle.asgard.client.blobs import Blobs
from gimle.asgard.core.signing import Credentials, Endpoint, Signer
from gimle.asgard.transfer import Bucket

from tests.benchmarks import moving
from tests.benchmarks.clusters import blob_cluster
from tests.benchmarks.figures import Bench, Figure
from tests.cluster.blob_processes import BlobCluster
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY


def measure(bench: Bench) -> list[Figure]:
    """One large file, many small ones, a tree of both; ours and theirs in turns, the best."""
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
    signer = Signer(Endpoint.parse(cluster.store.endpoint), Credentials(ACCESS_KEY, SECRET_KEY))
    bucket = Bucket(signer, cluster.bucket)
    place = f"s3://{cluster.bucket}/theirs-"
    with Blobs(cluster.replicas[0].where) as blobs:

        def clear(number: int) -> None:
            # Few bytes stay: where files were removed a moment ago, making others is slow.
            if files.heavy:
                shutil.rmtree(folder / "out")
                blobs.delete_all(f"ours-{number}/")
                bucket.delete([one.key for one in bucket.list(f"theirs-{number}/")])

        sides = (
            (
                # A name has its bytes for good: each round has another one.
                lambda number: blobs.upload(folder / "in", f"ours-{number}"),
                lambda number: theirs(f"{folder}/in/", f"{place}{number}/"),
            ),
            (
                lambda number: blobs.download(f"ours-{number}", folder / "out"),
                lambda number: theirs(f"{place}{number}/*", f"{folder}/out/theirs-{number}/"),
            ),
        )
        up, up2, down, down2 = moving.in_turns(files.rounds(bench), sides, clear)
        for number in range(files.rounds(bench)):
            blobs.delete_all(f"ours-{number}/")
    moving.say(bench, files, {"up": up, "s5cmd up": up2, "down": down, "s5cmd down": down2})
    return [
        moving.against_s5cmd("upload", files, up, up2, moving.UP, moving.CHECKED_UP),
        moving.against_s5cmd("download", files, down, down2, moving.DOWN, moving.CHECKED_DOWN),
    ]
