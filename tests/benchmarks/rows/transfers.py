"""Bytes to and from MinIO by the library alone, digests computed and verified, against s5cmd."""

from __future__ import annotations

import shutil
from pathlib import Path

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

from tests.benchmarks import moving
from tests.benchmarks.figures import Bench, Figure
from tests.engines import minio
from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY, Store


def measure(bench: Bench) -> list[Figure]:
    """One large file, many small ones, a tree of both; ours and theirs in turns, the best."""
    store = minio.server()
    signer = Signer(Endpoint.parse(store.endpoint), Credentials(ACCESS_KEY, SECRET_KEY))
    bucket = Bucket(signer, store.bucket())
    figures = []
    for files in (
        moving.one_file(),
        moving.small_files(),
        moving.a_tree(moving.tree_mib(bench)),
    ):
        folder = bench.folder / "transfers"
        files.write(folder / "in")
        figures += _compared(bench, files, folder, store, bucket)
        shutil.rmtree(folder)
        bucket.delete([one.key for one in bucket.list("")])
    return figures


def _compared(
    bench: Bench, files: moving.Files, folder: Path, store: Store, bucket: Bucket
) -> list[Figure]:
    theirs = moving.s5cmd(store)

    def fetch(number: int) -> None:
        wanted = [
            Wanted(Remote(one.key, one.size, one.etag), folder / "out" / one.key)
            for one in bucket.list(f"ours-{number}/")
        ]
        download(wanted, DirectDownloads(bucket))

    def clear(number: int) -> None:
        # Few bytes stay: where files were removed a moment ago, making others is slow.
        if files.heavy:
            shutil.rmtree(folder / "out")
            for whose in ("ours", "theirs"):
                bucket.delete([one.key for one in bucket.list(f"{whose}-{number}/")])

    sides = (
        (
            lambda number: upload(tree(folder / "in", f"ours-{number}"), DirectUploads(bucket)),
            lambda number: theirs(f"{folder}/in/", f"s3://{bucket.name}/theirs-{number}/"),
        ),
        (
            fetch,
            lambda number: theirs(
                f"s3://{bucket.name}/theirs-{number}/*", f"{folder}/out/theirs-{number}/"
            ),
        ),
    )
    up, up2, down, down2 = moving.in_turns(files.rounds(bench), sides, clear)
    moving.say(bench, files, {"up": up, "s5cmd up": up2, "down": down, "s5cmd down": down2})
    return [
        moving.against_s5cmd("upload", files, up, up2, moving.UP, moving.CHECKED_UP),
        moving.against_s5cmd("download", files, down, down2, moving.DOWN, moving.CHECKED_DOWN),
    ]
