"""`python -m tests.sdk.moving up|down PORT BUCKET FOLDER`: a transfer in a process of its own.

Prints the bytes it has moved, and by how much its memory grew, in MiB.
"""

from __future__ import annotations

import resource
import sys
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

from tests.engines.s3_store import ACCESS_KEY, SECRET_KEY


def bucket_at(port: int, name: str) -> Bucket:
    endpoint = Endpoint.parse(f"127.0.0.1:{port}", secure=False)
    return Bucket(Signer(endpoint, Credentials(ACCESS_KEY, SECRET_KEY)), name)


def wanted(bucket: Bucket, folder: Path, prefix: str = "") -> list[Wanted]:
    return [
        Wanted(Remote(one.key, one.size, one.etag), folder / one.key) for one in bucket.list(prefix)
    ]


if __name__ == "__main__":
    way, port, name, where = sys.argv[1:]
    bucket, folder = bucket_at(int(port), name), Path(where)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if way == "up":
        done = upload(tree(folder, ""), DirectUploads(bucket))
    else:
        done = download(wanted(bucket, folder), DirectDownloads(bucket))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(done.bytes_moved, grown // 1024)
